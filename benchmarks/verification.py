# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""python3 -m benchmarks.verification: a backup verified beside reading it and hashing it.

The server is rclone on this machine, which keeps objects as files; each measurement is a process of
its own, so that its memory is its own. What counts is the ratio within a round.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MEGABYTE = 1024 * 1024
BUCKET = "benchmark"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.verification", description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / BUCKET / "shop").mkdir(parents=True)
        server = _server(folder)
        try:
            _fill(folder / BUCKET / "shop", options.megabytes * MEGABYTE)
            rounds = [
                {what: _measured(what, server) for what in ("nothing", "sha256", *LEVELS)}
                for _round in range(options.rounds)
            ]
        finally:
            server.process.terminate()
            server.process.wait()
    print(report(rounds, options.megabytes))
    return 0


LEVELS = ("intact", "readable")


class _Server:
    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process, self.url = process, url


def _server(folder: Path) -> _Server:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).parent / "rclone"
    command = [str(program), "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", "lab,secret", "--config", "/dev/null"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet)
    for _attempt in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    return _Server(process, f"http://127.0.0.1:{port}")


def _library() -> Any:
    """The library as the collection imports it, wherever the checkout lies."""
    sys.path.insert(0, str(ROOT / "collections"))
    from ansible_collections.slipway.stack.plugins.module_utils import (
        _backups,
        _s3,
        _verification,
        _verify,
    )

    return _backups, _s3, _verification, _verify


def _fill(folder: Path, size: int) -> None:
    """A plain dump: rows of random text, as hard to read as to store."""
    backups, _s3, _rules, _verify = _library()
    now = datetime.now(UTC).replace(microsecond=0)
    file = f"{now.strftime(backups.STAMP)}-00000000.sql"
    path = folder / file
    rows = 0
    block = b"".join(b"%d\t%s\n" % (n, os.urandom(64).hex().encode()) for n in range(8000))
    with path.open("wb") as dump:
        dump.write(
            b"--\n-- PostgreSQL database dump\n--\n\n"
            b"CREATE TABLE public.rows (\n    id integer,\n    x text\n);\n\n\n"
            b"--\n-- Data for Name: rows; Type: TABLE DATA; Schema: public; Owner: postgres\n--\n\n"
            b"COPY public.rows (id, x) FROM stdin;\n"
        )
        while dump.tell() < size:
            dump.write(block)
            rows += 8000
        dump.write(b"\\.\n\n\n--\n-- PostgreSQL database dump complete\n--\n\n")
    digest = hashlib.sha256()
    with path.open("rb") as dump:
        while chunk := dump.read(MEGABYTE):
            digest.update(chunk)
    record = backups.Record(
        *("shop", file, path.stat().st_size, digest.hexdigest(), "0", now.isoformat()),
        *(now.isoformat(), "18", "18", "none"),
        tables={"public.rows": rows},
        verified=True,
    )
    (folder / backups.record_name(file)).write_text(record.as_json())


def _target(s3: Any, url: str) -> Any:
    return s3.Target(BUCKET, "", url, None, "lab", "secret", None, "path")


def _measured(what: str, server: _Server) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.verification", "--measure", what, server.url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def measure(what: str, url: str) -> dict[str, float]:
    """Seconds of one reading, and the most memory that this process took, in kilobytes."""
    seconds = 0.0
    if what != "nothing":
        _backups, s3, _rules, verify = _library()
        target = _target(s3, url)
        client = s3.client(target)
        (key,) = [o.key for o in s3.list_objects(client, target) if o.key.endswith(".sql")]

        def hashed() -> None:
            body = client.get_object(Bucket=BUCKET, Key=key)["Body"]
            digest = hashlib.sha256()
            for chunk in body.iter_chunks(MEGABYTE):
                digest.update(chunk)

        def verified() -> None:
            request = verify.Request(target, level=what)
            (verdict,) = verify.verify(client, request, datetime.now(UTC))
            if verdict.reached != what:
                raise SystemExit(f"{what} was not reached: {verdict.findings}")

        work: Callable[[], None] = hashed if what == "sha256" else verified
        begun = time.monotonic()
        work()
        seconds = time.monotonic() - begun
    # Not getrusage: its maximum begins with that of the process that started this one.
    (own,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return {"seconds": seconds, "memory": float(own)}


def report(rounds: list[dict[str, dict[str, float]]], megabytes: int) -> str:
    """The table of the measurements, the ratios taken within each round."""
    lines = [
        f"| {megabytes} MiB | MiB/s | x read and sha256 | MiB above the interpreter |",
        "|---|---|---|---|",
    ]
    for what in ("sha256", *LEVELS):
        speed = [megabytes / each[what]["seconds"] for each in rounds]
        ratio = [each["sha256"]["seconds"] / each[what]["seconds"] for each in rounds]
        above = [(each[what]["memory"] - each["nothing"]["memory"]) / 1024 for each in rounds]
        lines.append(
            f"| {what} | {median(speed):.0f} | {median(ratio):.2f} "
            f"[{min(ratio):.2f}-{max(ratio):.2f}] | {max(above):.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2], sys.argv[3])))
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
