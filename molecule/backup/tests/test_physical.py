# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Physical backups of a real PostgreSQL: archiving, and what is made of its files."""

from __future__ import annotations

import time

from testinfra.host import Host

CONFIGURATION = "/etc/pgbackrest/pgbackrest.conf"


def postgres(host: Host, statement: str) -> str:
    command = "runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -c"
    return host.check_output(f'{command} "{statement}"')


def test_a_segment_is_archived_soon_after_it_is_finished(host: Host) -> None:
    postgres(host, "SELECT pg_create_restore_point('test')")
    segment = postgres(host, "SELECT pg_walfile_name(pg_switch_wal())")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        archived = postgres(host, "SELECT last_archived_wal FROM pg_stat_archiver")
        if archived >= segment:
            break
        time.sleep(0.5)
    assert archived >= segment
    assert postgres(host, "SHOW archive_timeout") == "1min"


def test_only_root_and_postgres_can_read_the_passphrase(host: Host) -> None:
    file = host.file(CONFIGURATION)
    assert (file.user, file.group, file.mode) == ("root", "postgres", 0o640)
    assert "lab-only-cipher-pass" not in host.check_output("journalctl --no-pager")
