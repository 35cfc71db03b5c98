from typing import Any

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.core.exceptions import ObjectDoesNotExist

from .bidding import group, standing
from .models import Auction


@database_sync_to_async
def _standing(auction_id: int) -> dict[str, Any]:
    return standing(Auction.objects.with_standing().get(pk=auction_id))


class HealthConsumer(AsyncJsonWebsocketConsumer):
    """Says at once that this process can talk: `/ws/health/`."""

    async def connect(self) -> None:
        await self.accept()
        await self.send_json({"status": "healthy"})

    async def receive(self, *args: Any, **kwargs: Any) -> None:
        """Nobody is listened to here."""


class AuctionConsumer(AsyncJsonWebsocketConsumer):
    """Tells where one auction stands: at once, and whenever that changes."""

    async def connect(self) -> None:
        auction_id = self.scope["url_route"]["kwargs"]["auction_id"]
        self.groups = [group(auction_id)]
        # Joined before reading: a bid in between is told twice rather than never.
        await self.channel_layer.group_add(group(auction_id), self.channel_name)
        try:
            now = await _standing(auction_id)
        except ObjectDoesNotExist:
            await self.close()
            return
        await self.accept()
        await self.send_json(now)

    async def receive(self, *args: Any, **kwargs: Any) -> None:
        """Bids come over HTTP; here one only listens."""

    async def auction_changed(self, event: dict[str, Any]) -> None:
        await self.send_json(event["standing"])
