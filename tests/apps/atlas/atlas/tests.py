from __future__ import annotations

from unittest import mock

import redis
from django.test import TestCase, override_settings

LISBON = {"longitude": -9.14, "latitude": 38.72}


class Near(TestCase):
    def test_what_is_near_is_found_the_nearest_first(self) -> None:
        found = self.client.get("/api/near/", {**LISBON, "kilometres": 40}).json()["places"]
        distances = [place["kilometres"] for place in found]
        self.assertIn("Sintra", [place["name"] for place in found])
        self.assertNotIn("Porto", [place["name"] for place in found])
        self.assertEqual(distances, sorted(distances))

    def test_a_question_without_a_distance_is_refused(self) -> None:
        self.assertEqual(self.client.get("/api/near/", LISBON).status_code, 400)


class Health(TestCase):
    @override_settings(EXTERNAL_API_URL="http://127.0.0.1:1/")
    def test_a_service_of_somebody_else_is_told_and_takes_nothing_away(self) -> None:
        answer = self.client.get("/health/")
        self.assertEqual(answer.json()["external_api"], "disconnected")
        self.assertEqual(answer.status_code, 200)

    def test_without_redis_it_is_ill(self) -> None:
        with mock.patch("atlas.health.cache.set", side_effect=redis.ConnectionError):
            answer = self.client.get("/health/")
        self.assertEqual(answer.json()["redis"], "disconnected")
        self.assertEqual(answer.status_code, 503)
