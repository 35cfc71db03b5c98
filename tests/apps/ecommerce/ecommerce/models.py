from __future__ import annotations

from django.db import models, transaction
from django.db.models import F, Q


class Product(models.Model):
    name = models.CharField(max_length=80, unique=True)
    cents = models.PositiveIntegerField()
    stock = models.PositiveIntegerField()

    def __str__(self) -> str:
        return self.name


class Order(models.Model):
    product = models.ForeignKey(Product, models.PROTECT)
    placed_at = models.DateTimeField(auto_now_add=True)
    confirmed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["placed_at"], condition=Q(confirmed_at=None), name="orders_to_confirm"
            )
        ]

    def __str__(self) -> str:
        return f"Order {self.pk}"


class SoldOut(Exception):
    """Somebody else was faster."""


@transaction.atomic
def order(product_id: int) -> Order:
    """Take one from the stock, which two customers cannot take both."""
    in_stock = Product.objects.filter(pk=product_id, stock__gt=0)
    if not in_stock.update(stock=F("stock") - 1):
        raise SoldOut
    return Order.objects.create(product_id=product_id)
