from django.conf import settings
from django.conf.urls.static import static
from django.contrib import admin
from django.urls import path

from auctions import views

from .health import health

urlpatterns = [
    path("", views.index, name="index"),
    path("auctions/<int:auction_id>/bid/", views.bid, name="bid"),
    path("api/auctions/", views.api_auctions),
    path("api/auctions/<int:auction_id>/", views.api_auction),
    path("api/auctions/<int:auction_id>/bids/", views.api_bids),
    path("health/", health),
    path("admin/", admin.site.urls),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),  # only while DEBUG
]
