# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The limit: the shell script that somebody would write who knows exactly what is to be done."""

from __future__ import annotations

import base64
import shlex

from benchmarks.reference import APPLICATION, HOME, UV, Reference

ORDER = ("postgresql@", "pgbouncer", "redis-server@")


def install(reference: Reference, early: bytes, everything: bytes) -> str:
    """Return the script that makes a bare machine what the reference is."""
    first = [unit for start in ORDER for unit in reference.active if unit.startswith(start)]
    last = [unit for unit in reference.active if unit not in first]
    users = [
        "useradd --system --user-group --no-create-home"
        f" --home-dir {user['home']} --shell {user['shell']} {name}"
        for name, user in reference.users.items()
    ]
    return "\n".join(
        [
            "set -eu; umask 022; export DEBIAN_FRONTEND=noninteractive",
            _unpack(early),
            "apt-get update -q",
            "apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-confold "
            + " ".join(reference.packages),
            *users,
            "pg_createcluster --locale=C.UTF-8 --encoding=UTF8 --start-conf=auto"
            f" {reference.postgres_version} main -- --data-checksums",
            _unpack(everything),
            f"systemctl disable --now --quiet {' '.join(reference.disabled)}",
            "systemd-tmpfiles --create /etc/tmpfiles.d/slipway-*.conf || true",
            "systemctl daemon-reload",
            f"systemctl enable --quiet {' '.join(reference.enabled)}",
            f"systemctl restart {' '.join(first)}",
            "psql() { (cd / && runuser -u postgres -- psql -qX -v ON_ERROR_STOP=1 >/dev/null); }",
            _fed("psql", reference.roles),
            _fed("psql", reference.database),
            release(reference),
            f"systemctl restart {' '.join(last)}",
            healthy(),
        ]
    )


def release(reference: Reference) -> str:
    """Return what puts the application's commit and its environment in place."""
    path = f"{HOME}/releases/{reference.commit[:12]}"
    user = f"runuser -u {APPLICATION} --"
    return f"""
python3 -m venv {UV}
{UV}/bin/pip install --quiet --disable-pip-version-check --no-cache-dir uv=={reference.uv}
install -d -o root -g {APPLICATION} -m 750 {path}
install -d -o {APPLICATION} -g {APPLICATION} -m 750 {path}/source {path}/venv
cd {path}/source; umask 027; export HOME={HOME}/cache UV_CACHE_DIR={HOME}/cache/uv
{user} git -c init.defaultBranch=main init --quiet .
{user} git fetch --quiet --depth=1 {reference.repository} {reference.commit}
{user} git checkout --quiet --force FETCH_HEAD
export UV_PROJECT_ENVIRONMENT={path}/venv UV_SYSTEM_CERTS=1
{user} {UV}/bin/uv venv --quiet --no-python-downloads --python /usr/bin/python3 {path}/venv
{user} {UV}/bin/uv sync --quiet --frozen --no-dev --no-python-downloads --compile-bytecode \\
  --python /usr/bin/python3
{user} {path}/venv/bin/python -m compileall -q {path}/source || true
ln -s source {path}/project
echo {reference.commit} >{path}/REVISION
echo 'RELEASE_REVISION="{reference.commit}"' >{path}/release.env
manage() {{ systemd-run --quiet --wait --pipe --collect -p User={APPLICATION} \\
  -p WorkingDirectory={path}/project -p EnvironmentFile=/etc/slipway/{APPLICATION}/environment \\
  {path}/venv/bin/python manage.py "$@" </dev/null; }}
manage migrate --noinput --verbosity 0
manage collectstatic --noinput --verbosity 0
ln -sfn releases/{reference.commit[:12]} {HOME}/current
unset HOME UV_CACHE_DIR UV_PROJECT_ENVIRONMENT; cd /; umask 022"""


def healthy() -> str:
    """Return what waits until the application answers through nginx."""
    return (
        "python3 -c '"
        "import socket,ssl,time\n"
        "c=ssl._create_unverified_context()\n"
        "for _ in range(300):\n"
        "  try:\n"
        '    with c.wrap_socket(socket.create_connection(("127.0.0.1",443),9),'
        f'server_hostname="{APPLICATION}.test") as s:\n'
        f'      s.sendall(b"GET /health/ HTTP/1.0\\r\\nHost: {APPLICATION}.test\\r\\n\\r\\n")\n'
        '      if b" 200 " in s.recv(64): break\n'
        "  except OSError: pass\n"
        "  time.sleep(.1)\n"
        'else: raise SystemExit("the application is not healthy")\n\''
    )


def check(reference: Reference) -> str:
    """Return the script that says whether a machine still is what the reference is.

    It finds that something is different; it neither says what nor why, nor mends it.
    """
    sums = "\n".join(f"{e['sha256']}  {path}" for path, e in reference.files.items())
    entries = {**reference.directories, **reference.files}
    owned = "\n".join(
        f"{e['owner']}:{e['group']} 0{int(e['mode'], 8) & 0o1777:o} {path}"
        for path, e in entries.items()
    )
    lookup = f"ls-remote {reference.repository} refs/heads/{reference.version}"
    query = (
        "SELECT count(*) FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba"
        f" WHERE d.datname = '{APPLICATION}' AND r.rolname = '{APPLICATION}'"
    )
    units = " ".join(reference.active)
    return "\n".join(
        [
            "set -euE -o pipefail; trap 'echo differs: $BASH_COMMAND' ERR",
            f"dpkg-query -W {' '.join(reference.packages)} >/dev/null",
            f"getent passwd {' '.join(reference.users)} >/dev/null",
            f"sha256sum --check --quiet <<'END'\n{sums}\nEND",
            # chmod by number leaves a directory's inherited set-group-ID bit as it is.
            f"stat -c '%U:%G 0%a %n' {_words(list(entries))} | sed 's/ 02/ 0/'"
            f" | diff - <(cat <<'END'\n{owned}\nEND\n)",
            *(f'test "$(readlink {path})" = {to}' for path, to in reference.links.items()),
            # With --quiet one good unit would do for all.
            f'test "$(systemctl is-active {units} | sort -u)" = active',
            f"systemctl is-enabled {' '.join(reference.enabled)} | {{ ! grep -v ^enabled; }}",
            f'test "$(cd / && runuser -u postgres -- psql -AtXc "{query}")" = 1',
            f"git {lookup} | grep -q {reference.commit}",
            f"grep -q {reference.commit} {HOME}/current/REVISION",
            f"{UV}/bin/uv --version | grep -q {reference.uv}",
            "echo the same",
        ]
    )


def _unpack(archive: bytes) -> str:
    return f"base64 -d <<'END' | tar -xzp -C /\n{base64.encodebytes(archive).decode()}END"


def _fed(command: str, text: str) -> str:
    return f"{command} <<'END'\n{text}\nEND"


def _words(paths: list[str]) -> str:
    return " ".join(shlex.quote(path) for path in paths)
