from __future__ import annotations

from unittest import mock

from django.test import TestCase

from .models import Order, Product
from .tasks import confirm


@mock.patch("ecommerce.urls.confirm.delay")
class Orders(TestCase):
    def setUp(self) -> None:
        self.last = Product.objects.create(name="The last one", cents=100, stock=1)
        self.url = f"/api/products/{self.last.pk}/orders/"

    def test_the_last_one_is_sold_once(self, told: mock.Mock) -> None:
        answers = [self.client.post(self.url).status_code for _customer in range(2)]
        self.assertEqual(answers, [201, 409])
        self.assertEqual(Order.objects.filter(product=self.last).count(), told.call_count)

    def test_an_order_is_confirmed_once(self, told: mock.Mock) -> None:
        order = Order.objects.get(pk=self.client.post(self.url).json()["order"])
        told.assert_called_once_with(order.pk)
        self.assertFalse(self.client.get(f"/api/orders/{order.pk}/").json()["confirmed"])
        for _run in range(2):  # a task may run twice
            confirm(order.pk)
            self.assertTrue(self.client.get(f"/api/orders/{order.pk}/").json()["confirmed"])
        first = Order.objects.get(pk=order.pk).confirmed_at
        confirm(order.pk)
        self.assertEqual(Order.objects.get(pk=order.pk).confirmed_at, first)
