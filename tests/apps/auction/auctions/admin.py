from django.contrib import admin

from .models import Auction, Bid


@admin.register(Auction)
class AuctionAdmin(admin.ModelAdmin):
    list_display = ["title", "starting_price", "closes_at", "closed_at", "winning_bid"]


@admin.register(Bid)
class BidAdmin(admin.ModelAdmin):
    """To look at: bids are made under the auction's lock, never by hand."""

    list_display = ["auction", "bidder", "amount", "placed_at"]

    def has_add_permission(self, request, obj=None):
        return False

    def has_change_permission(self, request, obj=None):
        return False
