from __future__ import annotations

import unittest

import main
from fastapi import HTTPException

PHONE = main.Phone(phone="+351912345678")


class SignIn(unittest.TestCase):
    def code(self) -> str:
        main.send_code(PHONE)
        return str(main.store.get(f"{main.PREFIX}code:{PHONE.phone}"))

    def sign_in(self, code: str) -> str:
        return main.sign_in(main.Code(phone=PHONE.phone, code=code))["token"]

    def test_a_code_serves_once(self) -> None:
        code = self.code()
        self.assertEqual(main.signed_in(f"Bearer {self.sign_in(code)}"), PHONE.phone)
        with self.assertRaises(HTTPException):
            self.sign_in(code)

    def test_a_wrong_guess_takes_the_code_away(self) -> None:
        code = self.code()
        for guess in ("guess", code):
            with self.assertRaises(HTTPException):
                self.sign_in(guess)

    def test_a_stranger_is_refused(self) -> None:
        with self.assertRaises(HTTPException) as refused:
            main.signed_in("Bearer nobody")
        self.assertEqual(refused.exception.status_code, 401)

    def test_a_property_is_listed_once_it_is_added(self) -> None:
        number = main.add_property(main.Property(address="Rua das Flores 1"))["id"]
        (found,) = [each for each in main.properties() if each["id"] == number]
        self.assertEqual((found["photo"], found["reviewed"]), (False, False))
