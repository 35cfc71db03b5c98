import django.db.models.deletion
from django.db import migrations, models


def number_spots(apps, schema_editor):
    spots = apps.get_model("parkme", "Spot").objects.using(schema_editor.connection.alias)
    spots.bulk_create(spots.model(number=f"A{number:03}") for number in range(1, 201))


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Spot",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("number", models.CharField(max_length=8, unique=True)),
                ("is_active", models.BooleanField(default=True)),
            ],
        ),
        migrations.CreateModel(
            "Booking",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("plate", models.CharField(max_length=12)),
                ("status", models.CharField(default="ACTIVE", max_length=10)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("ticket", models.FileField(blank=True, upload_to="tickets")),
                (
                    "spot",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="bookings",
                        to="parkme.spot",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=["spot"],
                        condition=models.Q(status="ACTIVE"),
                        name="one_car_in_a_spot",
                    )
                ]
            },
        ),
        migrations.RunPython(number_spots, migrations.RunPython.noop),
    ]
