from celery import shared_task
from django.core.files.base import ContentFile

from .models import Booking


@shared_task
def write_ticket(booking_id: int) -> None:
    booking = Booking.objects.select_related("spot").get(pk=booking_id)
    if not booking.ticket:  # a task may run twice
        text = f"{booking.plate} may park in {booking.spot.number}\n"
        booking.ticket.save(f"{booking.pk}.txt", ContentFile(text.encode()))
