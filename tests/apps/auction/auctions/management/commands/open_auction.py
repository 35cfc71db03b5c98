from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from auctions.models import Auction


class Command(BaseCommand):
    help = "Opens an auction and prints its number."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("title")
        parser.add_argument("--closes-in", type=int, default=3600, metavar="SECONDS")
        parser.add_argument("--starting-price", type=int, default=1, metavar="EUROS")

    def handle(self, *args: Any, **options: Any) -> str:
        auction = Auction.objects.create(
            title=options["title"],
            starting_price=options["starting_price"],
            closes_at=timezone.now() + timedelta(seconds=options["closes_in"]),
        )
        return str(auction.pk)
