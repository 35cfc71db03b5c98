from __future__ import annotations

import unittest
import uuid

import main
from fastapi import Response


class Recommendations(unittest.TestCase):
    def look(self, *products: int) -> None:
        visitor = str(uuid.uuid4())
        for product in products:
            main.look(main.View(visitor=visitor, product=product))

    def test_what_most_others_looked_at_comes_first(self) -> None:
        self.look(1, 2, 3)
        self.look(1, 3, 3)
        self.assertEqual(main.recommendations(1), {"products": [3, 2]})
        self.assertEqual(main.recommendations(9), {"products": []})

    def test_it_is_well_with_database_and_redis(self) -> None:
        self.assertEqual(main.health(Response())["status"], "healthy")
