"""WebSockets: `gunicorn -k uvicorn_worker.UvicornWorker auction.asgi:application`."""

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "auction.settings")

http = get_asgi_application()  # before any import that needs the models

from auctions.consumers import AuctionConsumer, HealthConsumer  # noqa: E402

# Pages of this site and of the frontends that the API trusts.
origins = [*settings.ALLOWED_HOSTS, *settings.CORS_ALLOWED_ORIGINS]

application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": OriginValidator(
            URLRouter(
                [
                    path("ws/auctions/<int:auction_id>/", AuctionConsumer.as_asgi()),
                    path("ws/health/", HealthConsumer.as_asgi()),
                ]
            ),
            origins,
        ),
    }
)
