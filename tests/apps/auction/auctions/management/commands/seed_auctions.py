from datetime import timedelta
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand
from django.utils import timezone

from auctions.models import Auction

PICTURES = Path(__file__).resolve().parents[2] / "pictures"
LOTS = [  # picture, hours until it closes, starting price, title, description
    ("watch", 2, 240, "Pocket watch, 1911", "Silver case, enamel dial, winds and keeps time."),
    ("boat", 5, 85, "Model of the ketch Margot", "Pear wood and linen, built by her second mate."),
    ("vase", 26, 60, "Stoneware vase", "Reduction fired, celadon glaze, thrown in one piece."),
    ("camera", 30, 150, "Rangefinder camera", "Fifty millimetre lens, shutter serviced this year."),
    ("lamp", 50, 110, "Architect's lamp", "Spring balanced, brass joints, rewired for today."),
    ("moon", 74, 320, "Map of the near side", "Lithograph of the Moon, 1962, number 41 of 200."),
]


class Command(BaseCommand):
    help = "Opens the demonstration's auctions that are missing; a second run changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        for picture, hours, price, title, description in LOTS:
            name = f"pictures/{picture}.svg"
            if not default_storage.exists(name):  # pictures are per machine, auctions are not
                content = (PICTURES / f"{picture}.svg").read_bytes()
                default_storage.save(name, ContentFile(content))
            _auction, created = Auction.objects.get_or_create(
                title=title,
                defaults={
                    "description": description,
                    "picture": name,
                    "starting_price": price,
                    "closes_at": timezone.now() + timedelta(hours=hours),
                },
            )
            self.stdout.write(f"{title}: {'opened' if created else 'already there'}")
