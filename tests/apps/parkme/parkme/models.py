from __future__ import annotations

from django.db import models, transaction
from django.db.models import Q


class Spot(models.Model):
    """A place to park; it is free while no booking of it is active."""

    number = models.CharField(max_length=8, unique=True)
    is_active = models.BooleanField(default=True)

    def __str__(self) -> str:
        return self.number


class Booking(models.Model):
    spot = models.ForeignKey(Spot, models.PROTECT, related_name="bookings")
    plate = models.CharField(max_length=12)
    status = models.CharField(max_length=10, default="ACTIVE")
    created_at = models.DateTimeField(auto_now_add=True)
    ticket = models.FileField(upload_to="tickets", blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["spot"], condition=Q(status="ACTIVE"), name="one_car_in_a_spot"
            )
        ]
        indexes = [
            models.Index(
                fields=["plate", "status", "created_at"],
                condition=Q(status__in=["ACTIVE", "CONFIRMED"]),
                name="bookings_active_status",
            )
        ]

    def __str__(self) -> str:
        return f"{self.plate} in {self.spot}"


def free_spots() -> models.QuerySet[Spot]:
    taken = Booking.objects.filter(status="ACTIVE").values("spot")
    return Spot.objects.filter(is_active=True).exclude(pk__in=taken)


@transaction.atomic
def book(plate: str) -> Booking | None:
    """Take the first free spot that nobody else is taking at this moment."""
    spot = free_spots().select_for_update(skip_locked=True).order_by("number").first()
    return Booking.objects.create(spot=spot, plate=plate) if spot else None
