from celery import shared_task
from django.utils import timezone

from .models import Order


@shared_task
def confirm(order_id: int) -> None:
    Order.objects.filter(pk=order_id, confirmed_at=None).update(confirmed_at=timezone.now())
