"""Makes the checkout importable as ansible_collections.slipway.stack, wherever it was cloned."""

from __future__ import annotations

import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def _namespace(name: str, path: list[str]) -> None:
    module = types.ModuleType(name)
    module.__path__ = path
    sys.modules.setdefault(name, module)


_namespace("ansible_collections", [])
_namespace("ansible_collections.slipway", [])
_namespace("ansible_collections.slipway.stack", [str(ROOT)])
