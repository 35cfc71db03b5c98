"""Auctions and the bids on them."""
