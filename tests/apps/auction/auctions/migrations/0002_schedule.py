"""Beat closes due auctions every few seconds; the admin site can change how often."""

from django.db import migrations


def schedule(apps, schema_editor):
    interval = apps.get_model("django_celery_beat", "IntervalSchedule")
    task = apps.get_model("django_celery_beat", "PeriodicTask")
    every, _created = interval.objects.get_or_create(every=3, period="seconds")
    task.objects.get_or_create(
        name="Close due auctions",
        defaults={
            "task": "auctions.tasks.close_due_auctions",
            "interval": every,
            "expire_seconds": 30,  # without workers the queue does not grow
        },
    )


def unschedule(apps, schema_editor):
    task = apps.get_model("django_celery_beat", "PeriodicTask")
    task.objects.filter(name="Close due auctions").delete()


class Migration(migrations.Migration):
    dependencies = [
        ("auctions", "0001_initial"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [migrations.RunPython(schedule, unschedule)]
