from __future__ import annotations

from django.core.validators import FileExtensionValidator, MinValueValidator
from django.db import models
from django.db.models import Count, F, OuterRef, Q, Subquery
from django.utils import timezone


class AuctionQuerySet(models.QuerySet["Auction"]):
    def due(self) -> AuctionQuerySet:
        return self.filter(closed_at=None, closes_at__lte=timezone.now())

    def with_standing(self) -> AuctionQuerySet:
        """How many bids, how high, whose; the open ones first, the next to close on top."""
        best = Bid.objects.filter(auction=OuterRef("pk")).order_by("-amount")
        return self.annotate(
            bid_count=Count("bids"),
            highest=Subquery(best.values("amount")[:1]),
            leader=Subquery(best.values("bidder")[:1]),
        ).order_by(F("closed_at").desc(nulls_first=True), "closes_at", "pk")


class Auction(models.Model):
    title = models.CharField(max_length=80, unique=True)
    description = models.CharField(max_length=240, blank=True)
    picture = models.FileField(
        upload_to="pictures",
        blank=True,
        validators=[FileExtensionValidator(["svg", "png", "jpg", "webp"])],
    )
    starting_price = models.PositiveIntegerField(
        validators=[MinValueValidator(1)], help_text="whole euros"
    )
    closes_at = models.DateTimeField(db_index=True)
    closed_at = models.DateTimeField(null=True, blank=True, editable=False)
    winning_bid = models.OneToOneField(
        "Bid", models.RESTRICT, null=True, blank=True, editable=False, related_name="+"
    )

    objects = AuctionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(winning_bid=None) | Q(closed_at__isnull=False),
                name="only_closed_auctions_are_won",
            ),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def is_open(self) -> bool:
        return self.closed_at is None and self.closes_at > timezone.now()


class Bid(models.Model):
    auction = models.ForeignKey(Auction, models.CASCADE, related_name="bids")
    bidder = models.CharField(max_length=40)
    amount = models.PositiveIntegerField(help_text="whole euros")
    placed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-amount"]
        constraints = [
            # Also the index that finds the highest bid.
            models.UniqueConstraint(fields=["auction", "amount"], name="no_two_equal_bids"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="bids_are_positive"),
        ]

    def __str__(self) -> str:
        return f"{self.bidder}: {self.amount} €"
