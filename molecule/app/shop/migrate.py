"""Stands for migrations: says which database it was given."""

from __future__ import annotations

import os
from pathlib import Path

Path("/srv/shop/media/migrated").write_text(os.environ["SHOP_DATABASE"])
print("migrated", os.environ["SHOP_DATABASE"])
