import django.db.models.deletion
from django.db import migrations, models


def stock_up(apps, schema_editor):
    products = apps.get_model("ecommerce", "Product").objects
    for name, cents in (("Kettle", 4900), ("Teapot", 3200), ("Cup", 900)):
        products.create(name=name, cents=cents, stock=1000)


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Product",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(max_length=80, unique=True)),
                ("cents", models.PositiveIntegerField()),
                ("stock", models.PositiveIntegerField()),
            ],
        ),
        migrations.CreateModel(
            "Order",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("placed_at", models.DateTimeField(auto_now_add=True)),
                ("confirmed_at", models.DateTimeField(null=True)),
                (
                    "product",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, to="ecommerce.product"
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        fields=["placed_at"],
                        condition=models.Q(confirmed_at=None),
                        name="orders_to_confirm",
                    )
                ]
            },
        ),
        migrations.RunPython(stock_up, migrations.RunPython.noop),
    ]
