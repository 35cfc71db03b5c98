"""Places on the sphere. Plain SQL in place of GeoDjango, which wants GDAL on every machine."""

from __future__ import annotations

from django.db import connection, models

NEAR = """
SELECT name, round((ST_Distance(at, here) / 1000)::numeric, 1)::float
  FROM atlas_place, (SELECT ST_SetSRID(ST_MakePoint(%s, %s), 4326)::geography AS here) AS asked
 WHERE ST_DWithin(at, here, %s) ORDER BY at <-> here LIMIT 20
"""


class Place(models.Model):
    """Its column `at` is PostGIS' own, so that only SQL knows of it."""

    name = models.CharField(max_length=80, unique=True)

    def __str__(self) -> str:
        return self.name


def near(longitude: float, latitude: float, kilometres: float) -> list[dict[str, object]]:
    with connection.cursor() as cursor:
        cursor.execute(NEAR, [longitude, latitude, kilometres * 1000])
        return [{"name": name, "kilometres": distance} for name, distance in cursor.fetchall()]
