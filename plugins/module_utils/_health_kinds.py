# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every kind of health check by its name."""

from __future__ import annotations

from ansible_collections.slipway.stack.plugins.module_utils import _health, _health_services

KINDS: dict[str, _health.Kind] = {kind.KIND: kind for kind in _health_services.ALL}
