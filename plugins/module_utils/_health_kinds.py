# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Every kind of health check by its name."""

from __future__ import annotations

from ansible_collections.slipway.stack.plugins.module_utils import (
    _health,
    _health_backup,
    _health_celery,
    _health_host,
    _health_http,
    _health_pgbouncer,
    _health_pooling,
    _health_postgres,
    _health_redis,
    _health_tls,
    _health_unit,
    _health_uploads,
    _health_websocket,
)

_ALL: tuple[_health.Kind, ...] = (
    _health_backup,
    _health_celery,
    _health_host,
    _health_http,
    _health_pgbouncer,
    _health_pooling,
    _health_postgres,
    _health_redis,
    _health_tls,
    _health_unit,
    _health_uploads,
    _health_websocket,
)
KINDS = {kind.KIND: kind for kind in _ALL}
