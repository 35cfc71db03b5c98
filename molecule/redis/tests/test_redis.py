# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What the two instances promise, asked of the running servers."""

from __future__ import annotations

import shlex
import time
import typing as t

import pytest
from operations import apply
from testinfra.host import Host

BROKER, CACHE = 6379, 6380
Ask = t.Callable[..., str]


@pytest.fixture(scope="session")
def passwords(scenario: dict[str, t.Any]) -> dict[str, str]:
    declared = {user["name"]: user["password"] for user in scenario["redis_users"]}
    return {**declared, "slipway": scenario["redis_admin_password"]}


@pytest.fixture
def engine(host: Host) -> str:
    return "valkey" if host.file("/etc/valkey").exists else "redis"


@pytest.fixture
def unit(engine: str) -> str:
    return f"{engine}-server@{{}}.service"


@pytest.fixture
def ask(host: Host, engine: str, passwords: dict[str, str]) -> t.Iterator[Ask]:
    """What a server answers to a user's command; both servers are left empty."""

    def ask(port: int, user: str, *command: object) -> str:
        words = " ".join(shlex.quote(str(word)) for word in command)
        # A subscription would wait for messages.
        limited = "timeout 3 " if "SUBSCRIBE" in words else ""
        login = f"REDISCLI_AUTH={shlex.quote(passwords[user])} {limited}{engine}-cli --user {user}"
        return str(host.run(f"{login} -p {port} {words} 2>&1").stdout.strip())

    yield ask
    for port in (BROKER, CACHE):
        ask(port, "slipway", "FLUSHALL")


def main_process(host: Host, unit: str) -> int:
    return int(host.check_output(f"systemctl show -P MainPID {unit}"))


def kill(host: Host, unit: str) -> None:
    """kill -9, and wait until another process serves in its place."""
    before = main_process(host, unit)
    host.check_output(f"kill -9 {before}")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if main_process(host, unit) not in (0, before) and host.service(unit).is_running:
            return
        time.sleep(0.3)
    pytest.fail(f"{unit} did not come back:\n{host.run(f'journalctl -n 20 -u {unit}').stdout}")


def fill(ask: Ask, port: int) -> list[str]:
    """Write 80 MB into a server that may hold 64 MB."""
    script = "for i=1,64 do redis.call('SET', ARGV[1]..i, string.rep('x', 131072)) end return 'OK'"
    return [ask(port, "auction", "EVAL", script, 0, f"auction:{part}:") for part in range(10)]


@pytest.mark.parametrize("port", [BROKER, CACHE])
def test_nobody_gets_in_without_a_password(host: Host, engine: str, port: int) -> None:
    for command in ("GET auction:1", "INFO", "ACL LIST", "SET auction:1 1"):
        assert "NOAUTH" in host.run(f"{engine}-cli -p {port} {command}").stdout


@pytest.mark.parametrize("port", [BROKER, CACHE])
def test_a_wrong_password_is_refused(host: Host, engine: str, port: int) -> None:
    for user in ("default", "auction", "slipway"):
        said = host.run(
            f"REDISCLI_AUTH=wrong {engine}-cli -p {port} --user {user} PING 2>&1"
        ).stdout
        assert "WRONGPASS" in said


def test_only_the_declared_addresses_answer(host: Host) -> None:
    listening = host.check_output("ss -Hltn '( sport = :6379 or sport = :6380 )'").splitlines()
    addresses = {line.split()[3].rsplit(":", 1)[0] for line in listening}
    assert "127.0.0.1" in addresses
    assert addresses <= {"127.0.0.1", "[::1]"}


def test_the_package_s_own_instance_is_off(host: Host, engine: str) -> None:
    default = host.service(f"{engine}-server")
    assert not default.is_running
    assert not default.is_enabled


def test_a_user_reaches_its_own_keys_only(ask: Ask) -> None:
    assert ask(BROKER, "auction", "SET", "auction:bid", 7) == "OK"
    assert ask(BROKER, "auction", "GET", "auction:bid") == "7"
    for command in (["GET", "auction:bid"], ["SET", "auction:bid", 8], ["DEL", "auction:bid"]):
        assert "NOPERM" in ask(BROKER, "shop", *command)
    script = "return redis.call('GET', 'shop:bid')"
    assert "access" in ask(BROKER, "auction", "EVAL", script, 0)
    assert ask(BROKER, "auction", "GET", "auction:bid") == "7"


def test_a_user_reaches_its_own_channels_only(ask: Ask) -> None:
    assert ask(BROKER, "auction", "PUBLISH", "auction:live", "sold") == "0"
    assert "NOPERM" in ask(BROKER, "shop", "PUBLISH", "auction:live", "sold")
    assert "NOPERM" in ask(BROKER, "shop", "SUBSCRIBE", "auction:live")
    assert "NOPERM" in ask(BROKER, "shop", "PSUBSCRIBE", "*")


def test_rules_for_commands_come_after_the_role_s_own(ask: Ask) -> None:
    assert "redis_version" in ask(BROKER, "shop", "INFO", "server")
    assert "NOPERM" in ask(BROKER, "shop", "EVAL", "return 1", 0)
    assert "NOPERM" in ask(BROKER, "auction", "INFO", "server")


def test_declared_patterns_replace_the_name_s_own(ask: Ask) -> None:
    assert ask(BROKER, "shop", "SET", "{shop}:1", 1) == "OK"
    assert "NOPERM" in ask(BROKER, "auction", "SET", "{auction}:1", 1)


@pytest.mark.parametrize(
    "command",
    [
        "CONFIG GET requirepass",
        "ACL LIST",
        "ACL SETUSER auction ~*",
        "FLUSHALL",
        "FLUSHDB",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "MONITOR",
        "SHUTDOWN",
        "SAVE",
        "REPLICAOF 127.0.0.1 1",
        "CLIENT LIST",
        "PUBSUB CHANNELS",
        "SCRIPT FLUSH",
        "FUNCTION LIST",
        "MODULE LIST",
        "SLOWLOG GET",
    ],
)
def test_a_user_may_not(ask: Ask, command: str) -> None:
    assert "NOPERM" in ask(BROKER, "auction", *command.split())


def test_a_user_may_do_what_queues_and_channels_need(ask: Ask) -> None:
    may: list[list[object]] = [
        ["SELECT", 1],
        ["PUBSUB", "NUMSUB", "auction:live"],
        ["SUBSCRIBE", "auction:live"],
        ["PSUBSCRIBE", "auction:/0.celeryev/worker.*"],
        ["PSUBSCRIBE", "auction:/0.celery.pidbox"],
        ["MULTI"],
        ["TIME"],
        ["LPUSH", "auction:queue", "task"],
        ["BRPOP", "auction:queue", 1],
        ["SADD", "auction:bindings", "queue"],
        ["ZADD", "auction:unacked_index", 1, "tag"],
        ["ZREVRANGEBYSCORE", "auction:unacked_index", 2, 0],
        ["HSET", "auction:unacked", "tag", "task"],
        ["BZPOPMIN", "auction:specific", 1],
        ["EXPIRE", "auction:group", 60],
        ["EVAL", "return 1", 0],
        ["SETEX", "auction:result", 60, "done"],
        ["CLIENT", "SETNAME", "worker"],
    ]
    for command in may:
        assert "NOPERM" not in ask(BROKER, "auction", *command)


def test_a_full_broker_refuses_writes_and_loses_nothing(ask: Ask) -> None:
    ask(BROKER, "auction", "LPUSH", "auction:queue", "first")
    assert any("OOM" in answer for answer in fill(ask, BROKER))
    assert "OOM" in ask(BROKER, "auction", "LPUSH", "auction:queue", "second")
    assert ask(BROKER, "auction", "LRANGE", "auction:queue", 0, -1) == "first"
    assert "evicted_keys:0" in ask(BROKER, "slipway", "INFO", "stats")


def test_a_full_cache_evicts_and_goes_on(ask: Ask) -> None:
    assert fill(ask, CACHE) == ["OK"] * 10
    assert ask(CACHE, "auction", "SET", "auction:newest", 1) == "OK"
    assert ask(CACHE, "auction", "GET", "auction:newest") == "1"
    assert "evicted_keys:0" not in ask(CACHE, "slipway", "INFO", "stats")


def test_a_full_cache_leaves_the_broker_alone(ask: Ask) -> None:
    fill(ask, CACHE)
    assert ask(BROKER, "auction", "SET", "auction:bid", 7) == "OK"
    assert ask(CACHE, "auction", "GET", "auction:bid") == ""


def test_acknowledged_writes_survive_kill_9(host: Host, ask: Ask, unit: str) -> None:
    for number in range(20):
        assert ask(BROKER, "auction", "SET", f"auction:{number}", number) == "OK"
    kill(host, unit.format("broker"))
    kept = [ask(BROKER, "auction", "GET", f"auction:{number}") for number in range(20)]
    assert kept == [str(number) for number in range(20)]


def test_transactions_and_scripts_survive_kill_9(
    host: Host, engine: str, passwords: dict[str, str], ask: Ask, unit: str
) -> None:
    login = f"REDISCLI_AUTH={shlex.quote(passwords['auction'])} {engine}-cli --user auction"
    transaction = "MULTI\nSET auction:acknowledged 1\nLPUSH auction:queue task\nEXEC\n"
    host.check_output(f"printf {shlex.quote(transaction)} | {login} -p {BROKER}")
    ask(BROKER, "auction", "EVAL", "redis.call('SET', KEYS[1], 1)", 1, "auction:scripted")
    kill(host, unit.format("broker"))
    names = ("auction:acknowledged", "auction:scripted")
    assert [ask(BROKER, "auction", "GET", name) for name in names] == ["1", "1"]
    assert ask(BROKER, "auction", "LLEN", "auction:queue") == "1"


@pytest.mark.parametrize("port", [BROKER, CACHE])
def test_the_default_user_lets_nobody_in(host: Host, engine: str, port: int) -> None:
    for word in ("''", "default", "nopass"):
        assert "WRONGPASS" in host.run(f"{engine}-cli -p {port} AUTH default {word}").stdout
    assert "NOAUTH" in host.run(f"{engine}-cli -p {port} HELLO 3").stdout


def test_the_cache_comes_back_empty(host: Host, ask: Ask, unit: str) -> None:
    ask(CACHE, "auction", "SET", "auction:1", 1)
    kill(host, unit.format("cache"))
    assert ask(CACHE, "auction", "DBSIZE") == "0"


def test_the_broker_does_not_notice_a_stopped_cache(host: Host, ask: Ask, unit: str) -> None:
    before = main_process(host, unit.format("broker"))
    host.check_output(f"systemctl stop {unit.format('cache')}")
    try:
        assert ask(BROKER, "auction", "PING") == "PONG"
        assert main_process(host, unit.format("broker")) == before
    finally:
        host.check_output(f"systemctl start {unit.format('cache')}")


def test_reloading_loads_the_users_without_a_restart(host: Host, engine: str, unit: str) -> None:
    users = f"/etc/{engine}/users.acl"
    before = main_process(host, unit.format("broker"))
    ping = f"REDISCLI_AUTH=guest {engine}-cli --user guest PING 2>&1"
    assert "WRONGPASS" in host.run(ping).stdout
    host.check_output(f"cp -p {users} {users}.kept")
    try:
        digest = host.check_output("printf guest | sha256sum | cut -d' ' -f1")
        host.check_output(f"echo 'user guest on #{digest} +ping' >> {users}")
        host.check_output(f"systemctl reload {unit.format('broker')}")
        assert host.run(ping).stdout.strip() == "PONG"
        host.check_output(f"echo 'user broken on #1' >> {users}")
        assert host.run(f"systemctl reload {unit.format('broker')}").rc != 0
        assert host.run(ping).stdout.strip() == "PONG"
    finally:
        host.check_output(f"mv {users}.kept {users}")
        host.check_output(f"systemctl reload {unit.format('broker')}")
    assert main_process(host, unit.format("broker")) == before
    assert "WRONGPASS" in host.run(ping).stdout


def test_a_changed_password_counts_without_a_restart(
    host: Host, ask: Ask, unit: str, passwords: dict[str, str], scenario: dict[str, t.Any]
) -> None:
    before = main_process(host, unit.format("broker"))
    users = [{**user, "password": "changed"} for user in scenario["redis_users"]]
    try:
        done = apply(host, redis_users=users)
        assert done.returncode == 0, done.stdout
        assert "WRONGPASS" in ask(BROKER, "auction", "PING")
        passwords["changed"], passwords["auction"] = passwords["auction"], "changed"
        assert ask(BROKER, "auction", "PING") == "PONG"
        passwords["auction"] = passwords.pop("changed")
    finally:
        assert apply(host).returncode == 0
    assert ask(BROKER, "auction", "PING") == "PONG"
    assert main_process(host, unit.format("broker")) == before


def test_a_changed_instance_leaves_the_other_alone(
    host: Host, ask: Ask, unit: str, scenario: dict[str, t.Any]
) -> None:
    before = main_process(host, unit.format("broker")), main_process(host, unit.format("cache"))
    broker, cache = scenario["redis_instances"]
    try:
        done = apply(host, redis_instances=[broker, {**cache, "memory_limit_megabytes": 96}])
        assert done.returncode == 0, done.stdout
        assert ask(CACHE, "slipway", "CONFIG", "GET", "maxmemory").endswith(str(96 * 2**20))
        assert main_process(host, unit.format("broker")) == before[0]
        assert main_process(host, unit.format("cache")) != before[1]
    finally:
        assert apply(host).returncode == 0


BAD = {
    "ACL": {"redis_users": [{"name": "auction", "password": "x", "commands": ["+nosuch"]}]},
    "memory": {"redis_instances": [{"name": "cache", "port": 6380, "settings": {"hz": "often"}}]},
}


@pytest.mark.either
@pytest.mark.parametrize("variables", BAD.values(), ids=BAD)
def test_a_bad_value_is_refused_and_the_servers_go_on(
    host: Host, ask: Ask, engine: str, unit: str, variables: dict[str, t.Any]
) -> None:
    def state() -> tuple[str, int]:
        sums = host.check_output(f"sha256sum /etc/{engine}/*")
        return sums, main_process(host, unit.format("cache"))

    before = state()
    done = apply(host, **variables)
    assert done.returncode != 0
    assert "refused and nothing was written" in " ".join(done.stdout.split())
    assert state() == before
    assert ask(CACHE, "auction", "PING") == "PONG"


def test_valkey_is_refused_where_debian_has_none(host: Host, engine: str) -> None:
    if engine == "valkey":
        pytest.skip("this Debian has it")
    done = apply(host, redis_engine="valkey")
    assert done.returncode != 0
    assert "Debian 12 does not have" in " ".join(done.stdout.split())
    assert not host.file("/etc/valkey").exists


def test_passwords_are_on_disk_as_sums_only(
    host: Host, engine: str, passwords: dict[str, str]
) -> None:
    for user in ("auction", "shop"):
        assert host.run(f"grep -rqF {shlex.quote(passwords[user])} /etc /var/lib/{engine}").rc == 1
    admin = host.file(f"/etc/{engine}/admin.env")
    assert (admin.user, admin.group, admin.mode) == ("root", "root", 0o600)
    users = host.file(f"/etc/{engine}/users.acl")
    assert (users.user, users.group, users.mode) == ("root", engine, 0o640)


def test_no_password_is_in_an_environment_or_the_journal(
    host: Host, unit: str, passwords: dict[str, str]
) -> None:
    process = main_process(host, unit.format("broker"))
    for password in passwords.values():
        word = shlex.quote(password)
        assert host.run(f"grep -aqF {word} /proc/{process}/environ /proc/{process}/cmdline").rc == 1
        assert host.run(f"journalctl --no-pager | grep -qF {word}").rc == 1


def test_the_administrator_finds_the_password_beside_the_configuration(
    host: Host, engine: str
) -> None:
    said = host.check_output(
        f"set -a; . /etc/{engine}/admin.env;"
        f" {engine}-cli -s /run/{engine}-cache/{engine}-server.sock --user slipway ACL WHOAMI"
    )
    assert said == "slipway"


@pytest.mark.parametrize("instance", ["broker", "cache"])
def test_an_instance_is_confined_to_its_own_data(
    host: Host, engine: str, unit: str, instance: str
) -> None:
    process = main_process(host, unit.format(instance))
    mounts = host.check_output(f"cat /proc/{process}/mounts").splitlines()
    writable = {line.split()[1] for line in mounts if line.split()[3].startswith("rw")}
    ours = {path for path in writable if path.startswith(("/etc", f"/var/lib/{engine}"))}
    assert ours == {f"/var/lib/{engine}/{instance}"}


def test_settings_win_over_the_role(host: Host, ask: Ask) -> None:
    assert ask(CACHE, "slipway", "CONFIG", "GET", "maxmemory-samples").endswith("10")
    assert ask(BROKER, "slipway", "CONFIG", "GET", "maxmemory-samples").endswith("5")
    assert ask(BROKER, "slipway", "CONFIG", "GET", "save").endswith("900 1 300 10 60 10000")
