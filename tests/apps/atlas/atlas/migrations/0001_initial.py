from django.db import migrations, models

PLACES = [
    ("Lisboa", -9.1393, 38.7223),
    ("Sintra", -9.3817, 38.8029),
    ("Porto", -8.6291, 41.1579),
    ("Coimbra", -8.4292, 40.2033),
]
ADD = """
INSERT INTO atlas_place (name, at) VALUES (%s, ST_SetSRID(ST_MakePoint(%s, %s), 4326)::geography)
"""


def add_places(apps, schema_editor):
    for place in PLACES:
        schema_editor.execute(ADD, place)


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.CreateModel(
            "Place",
            [
                ("id", models.BigAutoField(primary_key=True)),
                ("name", models.CharField(max_length=80, unique=True)),
            ],
        ),
        migrations.RunSQL(
            "ALTER TABLE atlas_place ADD COLUMN at geography(Point, 4326) NOT NULL",
            "ALTER TABLE atlas_place DROP COLUMN at",
        ),
        migrations.RunSQL(
            "CREATE INDEX atlas_place_at ON atlas_place USING gist (at)",
            "DROP INDEX atlas_place_at",
        ),
        migrations.RunPython(add_places, migrations.RunPython.noop),
    ]
