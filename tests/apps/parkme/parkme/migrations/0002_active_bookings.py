from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """The partial index of the guide, made without stopping whoever writes."""

    atomic = False
    dependencies = [("parkme", "0001_initial")]
    operations = [
        AddIndexConcurrently(
            "booking",
            models.Index(
                fields=["plate", "status", "created_at"],
                condition=models.Q(status__in=["ACTIVE", "CONFIRMED"]),
                name="bookings_active_status",
            ),
        )
    ]
