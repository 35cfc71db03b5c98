from __future__ import annotations

from unittest import mock

from django.core.cache import cache
from django.test import TestCase

from .models import Booking, Spot


@mock.patch("parkme.views.write_ticket.delay")
class Bookings(TestCase):
    # The second stands for a replica that has heard of nothing yet.
    databases = ("default", "replica")

    def setUp(self) -> None:
        cache.delete("free")

    def test_the_last_spot_is_given_once(self, told: mock.Mock) -> None:
        Spot.objects.exclude(number="A001").update(is_active=False)
        answers = [self.client.post("/api/bookings/", {"plate": plate}) for plate in ("A", "B")]
        self.assertEqual([answer.status_code for answer in answers], [201, 409])
        told.assert_called_once_with(Booking.objects.get().pk)

    def test_what_was_just_written_is_read_where_it_was_written(self, told: mock.Mock) -> None:
        booked = self.client.post("/api/bookings/", {"plate": "77-SL-01"}).json()
        self.assertEqual(self.client.get(f"/api/bookings/{booked['id']}/").json(), booked)
        self.assertFalse(Booking.objects.using("replica").exists())

    def test_reads_that_are_marked_go_to_the_replica(self, told: mock.Mock) -> None:
        free = Spot.objects.using("replica").count()
        self.client.post("/api/bookings/", {"plate": "77-SL-01"})
        self.assertEqual(self.client.get("/api/spots/").json(), {"free": free})
