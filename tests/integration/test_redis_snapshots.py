"""Snapshots in a real Redis: each way to reach it, each way in which it fails, and a server that lives with it."""

import logging
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from scheduler_api.v1 import admin_service_pb2 as admin_api
from scheduler_server.app import App
from scheduler_server.model.task import Task
from scheduler_server.rpc.health import SERVING
from scheduler_server.rpc.server import ServerSettings
from scheduler_server.settings import Settings, StorageSettings
from scheduler_server.storage import RedisSnapshots, SnapshotError, parse
from tests.integration.processes import House, Server, eventually, free_port, serve_command, until
from tests.integration.snapshot_stores import write
from tests.redis_server import RedisServer, any_executable, redis_server

SECRET = "geh/eim"
ENCODED = "geh%2Feim"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as running:
        yield running


def store(url: str, *, timeout_s: float = 5.0, server: str = "one", prefix: str = "p") -> RedisSnapshots:
    return RedisSnapshots(parse(url), prefix=prefix, format="f", version=1, timeout_s=timeout_s, server=server)


def refusal(each: RedisSnapshots, *, when: str = "read") -> str:
    """The one line with which it fails."""
    with pytest.raises(SnapshotError) as caught:
        each.read() if when == "read" else write(each, b"x")
    line = str(caught.value)
    assert "\n" not in line
    assert "geh" not in line
    assert each.location in line
    return line


# ---------------------------------------------------------------------- ways to reach it


def test_by_port_socket_and_database(server: RedisServer) -> None:
    for number, url in enumerate((server.url, server.unix_url, f"{server.url}/3", f"{server.unix_url}?db=4")):
        write(store(url), b"%d" % number)
    for db, expected in ((0, b"1"), (3, b"2"), (4, b"3")):
        assert store(f"{server.url}/{db}").read().records == [expected]


def test_with_user_and_password(tmp_path: Path) -> None:
    with redis_server(tmp_path / "r", "--requirepass", SECRET, password=SECRET) as server:
        server.client(password=SECRET).execute_command(
            "ACL", "SETUSER", "alice", "on", f">{SECRET}", "~{p}*", "-@all",
            "+get", "+set", "+eval", "+exists", "+persist", "+expire", "+rename", "+unlink",
        )  # fmt: skip
        for user in ("", "alice"):
            each = store(f"redis://{user}:{ENCODED}@127.0.0.1:{server.port}")
            for number in range(4):
                write(each, b"%d" % number)
            assert each.read().records == [b"3"]
            assert "geh" not in each.location
        other = store(f"redis://alice:{ENCODED}@127.0.0.1:{server.port}", prefix="q")
        assert "the user may not run what snapshots need" in refusal(other)
        assert "user or password is wrong" in refusal(store(f"redis://:x{ENCODED}@127.0.0.1:{server.port}"))
        assert "it wants a password, and the URL has none" in refusal(store(server.url))


def test_by_sentinel_also_after_a_failover(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "first", "--repl-diskless-sync-delay", "0") as first,
        redis_server(tmp_path / "second") as second,
    ):
        second.client().replicaof("127.0.0.1", first.port)
        watch = RedisServer(tmp_path / "sentinel", any_executable())
        try:
            watch.start_sentinel(first, "main")
            each = store(f"redis+sentinel://127.0.0.1:1,127.0.0.1:{watch.port}/main")
            write(each, b"before")
            assert second.client().info("replication")["role"] == "slave"
            line = refusal(store(f"redis+sentinel://127.0.0.1:{watch.port}/other"))
            assert "no Sentinel that answers knows a master of that service" in line
            _wait(lambda: second.client().get("{p}:snapshot"), "replicated")
            _wait(lambda: watch.client().sentinel_slaves("main"), "Sentinel knows the replica")
            _wait(lambda: _accepted(watch, "SENTINEL", "FAILOVER", "main"), "Sentinel trusts the replica")
            _wait(lambda: watch.client().sentinel_get_master_addr_by_name("main")[1] == second.port, "failed over")
            _wait(lambda: watch.client().sentinel_masters()["main"]["port"] == second.port, "it is the master for all")
            assert each.read().records == [b"before"]
            write(each, b"after")
            assert store(second.url).read().records == [b"after"]
        finally:
            watch.stop()


def _accepted(server: RedisServer, *words: str) -> bool:
    try:
        return bool(server.client().execute_command(*words))
    except redis.ResponseError:
        return False


def test_in_a_cluster(tmp_path: Path) -> None:
    with redis_server(tmp_path / "r", "--cluster-enabled", "yes") as server:
        each = store(f"redis+cluster://127.0.0.1:{server.port}")
        assert "the cluster is down: not every slot is served" in refusal(each)
        client = server.client()
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
        _wait(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO", NEVER_DECODE=True), "it is up")
        for number in range(4):
            write(each, bytes(600_000), b"%d" % number)
        content = each.read()
        assert content.records[1] == b"3"
        assert any("appendonly is no" in warning for warning in content.warnings)
        assert len(client.keys("*")) == 2 + 2 * 3
    with redis_server(tmp_path / "single") as server:
        assert "luster mode is not enabled" in refusal(store(f"redis+cluster://127.0.0.1:{server.port}"))
    assert "it cannot be reached" in refusal(store(f"redis+cluster://127.0.0.1:{server.port}"))


def _wait(true: Any, what: str) -> None:
    until_s = time.monotonic() + 30.0
    while not true():
        assert time.monotonic() < until_s, what
        time.sleep(0.02)


def test_over_tls_the_certificate_is_checked(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    words = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    words += ["--tls-auth-clients", "no"]
    try:
        with redis_server(tmp_path / "r", *words) as server:
            trusted = store(f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}")
            write(trusted, b"x")
            assert trusted.read().records == [b"x"]
            assert "its certificate is not trusted" in refusal(store(f"rediss://127.0.0.1:{port}"))
            assert "it did not answer" in refusal(store(f"rediss://127.0.0.1:{server.port}", timeout_s=0.3))
            assert "it cannot be reached" in refusal(store(f"redis://127.0.0.1:{port}"))
            missing = refusal(store(f"rediss://127.0.0.1:{port}?ssl_ca_certs=/no/such/file"))
            assert "No such file" in missing
    except AssertionError as error:
        if "Bad directive" in str(error):
            pytest.skip("this redis-server was built without TLS")
        raise


# ---------------------------------------------------------------------- ways to fail


def test_nobody_listens(tmp_path: Path) -> None:
    assert "it cannot be reached: Connection refused" in refusal(store(f"redis://127.0.0.1:{free_port()}"))
    assert "it cannot be reached: No such file or directory" in refusal(store(f"unix://{tmp_path}/none.sock"))
    assert "it cannot be reached" in refusal(store("redis://no-such-host.invalid"))


def test_a_name_of_ours_that_is_something_else_is_told_and_left(server: RedisServer) -> None:
    server.client().rpush("{p}:snapshot", "mine")
    for when in ("read", "write"):
        assert "holds something else than a snapshot" in refusal(store(server.url), when=when)
    assert server.client().lrange("{p}:snapshot", 0, -1) == [b"mine"]


def test_a_replica_refuses_and_a_master_takes(server: RedisServer) -> None:
    each = store(server.url)
    write(each, b"x")
    server.client().replicaof("127.0.0.1", free_port())
    assert "it is a read-only replica" in refusal(each, when="write")
    assert each.read().records == [b"x"]
    server.client().replicaof("NO", "ONE")
    write(each, b"y")


def test_out_of_memory_leaves_the_edition_before_and_nothing_else(server: RedisServer) -> None:
    each = store(server.url)
    write(each, b"x")
    held = sorted(server.client().keys("*"))
    server.client().config_set("maxmemory", 3 << 20)
    session = each.begin(created_at=1.0)
    with pytest.raises(SnapshotError, match="it is out of memory"):
        session.append([bytes(256 * 1024)] * 100)
    session.abort()
    server.client().config_set("maxmemory", 0)
    assert each.read().records == [b"x"]
    assert sorted(server.client().keys("*")) == held


def test_a_server_that_does_not_answer_costs_the_timeout_once(server: RedisServer) -> None:
    each = store(server.url, timeout_s=0.3)
    write(each, b"x")
    server.signal(signal.SIGSTOP)
    for when in ("read", "write"):
        since = time.monotonic()
        assert "it did not answer within 0.3 s" in refusal(each, when=when)
        assert time.monotonic() - since < 1.5
    server.signal(signal.SIGCONT)
    assert each.read().records == [b"x"]


def test_chunks_that_vanish_before_the_switch_leave_the_edition_before(server: RedisServer) -> None:
    each = store(server.url)
    write(each, b"x")
    session = each.begin(created_at=2.0)
    session.append([bytes(300_000)])
    (chunk,) = (key for key in server.client().keys("*:0") if server.client().ttl(key) > 0)
    assert server.client().ttl(chunk) <= 3_600  # left alone it goes by itself
    server.client().delete(chunk)
    with pytest.raises(SnapshotError, match="a chunk is gone before all were written"):
        session.commit()
    session.abort()
    assert each.read().records == [b"x"]


def test_what_redis_may_lose_is_told(server: RedisServer) -> None:
    each = store(server.url)
    server.client().config_set("maxmemory-policy", "allkeys-lru")
    warnings = each.read().warnings
    assert [warning.partition("snapshot: ")[2] for warning in warnings] == [
        "maxmemory-policy is allkeys-lru: Redis may remove parts of the snapshot",
        "appendonly is no and save is empty: a restart of Redis loses the snapshot",
    ]
    server.client().config_set("maxmemory-policy", "noeviction")
    server.client().config_set("appendonly", "yes")
    assert each.read().warnings == ()


def test_two_servers_under_one_prefix_are_told_of_each_other_and_the_last_to_write_wins(server: RedisServer) -> None:
    one, two = store(server.url, server="one"), store(server.url, server="two")
    one.read()
    two.read()
    assert write(one, b"one").rival == ""
    assert "incarnation one" in write(two, b"two").rival
    assert "incarnation two" in write(one, b"one again").rival
    assert store(server.url).read().records == [b"one again"]
    assert write(one, b"alone").rival == ""  # the other one is gone: as when one server replaces another
    assert len(server.client().keys("*")) == 4
    apart = store(server.url, server="two", prefix="q")
    apart.read()
    assert write(apart, b"two").rival == ""
    assert one.read().records == [b"alone"]


# ---------------------------------------------------------------------- a server that lives with it


def settings(url: str, **storage: Any) -> Settings:
    return Settings(
        server=ServerSettings(listen="127.0.0.1:0"),
        storage=StorageSettings(**{"state_folder": "", "snapshot_url": url, **storage}),
    )


@asynccontextmanager
async def running(url: str, **storage: Any) -> AsyncIterator[App]:
    app = App(settings(url, **storage))
    await app.start()
    try:
        yield app
    finally:
        await app.stop(0.0)


def task(task_type: str) -> Task:
    return Task("", "t", 1, task_type)


def kept(app: App) -> Any:
    assert app.stores.snapshots is not None
    return app.stores.snapshots


async def test_the_first_prediction_after_a_restart_is_the_last_before_it(server: RedisServer) -> None:
    async with running(server.unix_url) as app:
        for number in range(200):
            app.core.predictor.observe(task(f"type-{number % 7}"), 100.0 + 37 * number % 1_000)
        before = [app.core.predictor.predict(task(f"type-{number}")) for number in range(7)]
    async with running(server.unix_url) as app:
        assert [app.core.predictor.predict(task(f"type-{number}")) for number in range(7)] == before
        assert kept(app).restored_at is not None
        assert kept(app).records > 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
async def test_a_process_that_ends_is_warm_again(house: House, server: RedisServer, number: signal.Signals) -> None:
    port = free_port()
    first = await house.server(port=port, folder="a", storage_snapshot_url=server.url)
    await house.workers(first, "w", slots=20)
    before = await _learned(first, "before", lesson=0.25)
    if number is signal.SIGKILL:
        await first.client.call(first.client.admin.TakeSnapshot, admin_api.TakeSnapshotRequest())
    first.signal(number)
    await first.ended()
    # Another machine: nothing of its own folder, all that was learned.
    again = await house.server(port=port, folder="b", storage_snapshot_url=server.url)
    await again.connected("w")
    assert await _learned(again, "after") == before
    status = _snapshot_of(await again.status())
    assert (status.backend, status.state) == ("redis", admin_api.STORE_STATE_OK)
    assert status.location == f"redis://127.0.0.1:{server.port} {{scheduler-server}}:snapshot"
    assert status.records > 0
    assert status.size_bytes > 0
    assert status.HasField("restored_at")
    assert status.HasField("age")


async def _learned(server: Server, name: str, lesson: float = 0.0) -> tuple[int, float]:
    from scheduler_server.client import OutcomeStatus
    from scheduler_server.client import Task as Asked

    if lesson:
        placement = await server.client.assign(Asked(task_id=f"{name}-lesson", task_type="x"), patience=10.0)
        await server.client.report_outcome(placement.lease_id, OutcomeStatus.SUCCEEDED, duration=lesson)
    placement = await server.client.assign(Asked(task_id=name, task_type="x"), patience=10.0)
    prediction = placement.response.decision.prediction
    return prediction.sample_count, prediction.point_ms


def _snapshot_of(status: admin_api.GetStatusResponse) -> admin_api.StoreStatus:
    (found,) = (store for store in status.stores if store.name == "snapshot")
    return found


async def test_without_its_redis_a_server_serves_and_takes_over_what_it_held_once_it_is_back(
    server: RedisServer,
) -> None:
    async with running(server.unix_url) as app:
        app.core.predictor.observe(task("x"), 250.0)
        before = app.core.predictor.predict(task("x"))
    server.client().save()
    server.stop()
    async with running(server.unix_url) as app:
        assert app.core.predictor.predict(task("x")).sample_count == 0
        assert kept(app).failures == 1
        assert "it cannot be reached" in kept(app).last_error
        server.start()
        await until(lambda: kept(app).restored_at is not None, "it is tried again within seconds")
        await until(lambda: kept(app).written_at is not None, "and written")
        assert app.core.predictor.predict(task("x")) == before
        assert (kept(app).failures, kept(app).last_error) == (0, "")


async def test_what_was_learned_without_redis_wins_and_what_redis_held_is_kept(server: RedisServer) -> None:
    async with running(server.unix_url) as app:
        for number in range(50):
            app.core.predictor.observe(task(f"old-{number}"), 250.0)
    server.client().save()
    server.stop()
    async with running(server.unix_url, snapshot_interval_s=1) as app:
        app.core.predictor.observe(task("young"), 99.0)
        server.start()
        await until(lambda: kept(app).written >= 3, "three editions are written")
        assert app.core.predictor.predict(task("old-1")).sample_count == 0
        assert any("memory stays as it is" in warning for warning in kept(app).warnings)
        assert any(".kept" in warning for warning in kept(app).warnings)
    pointer = "{scheduler-server}:snapshot"
    async with running(server.unix_url) as app:
        assert app.core.predictor.predict(task("young")).sample_count == 1
        assert any("no server took over" in warning for warning in kept(app).warnings)
    server.client().rename(f"{pointer}.kept", pointer)  # as that warning says
    async with running(server.unix_url) as app:
        assert app.core.predictor.predict(task("old-1")).sample_count == 1


async def test_a_redis_that_goes_away_is_told_once_and_so_is_its_return(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(server.unix_url, snapshot_interval_s=1) as app:
        await until(lambda: kept(app).written_at is not None, "written")
        caplog.clear()
        server.stop()
        await until(lambda: kept(app).failures >= 2, "two attempts have failed")
        told = [record.getMessage() for record in caplog.records if "it cannot be reached" in record.getMessage()]
        assert len(told) == 1
        server.start()
        await until(lambda: kept(app).failures == 0, "it works again")
        assert sum("works again after" in record.getMessage() for record in caplog.records) == 1


async def test_a_redis_that_hangs_neither_delays_the_start_nor_the_exit_for_long(
    house: House, server: RedisServer
) -> None:
    server.signal(signal.SIGSTOP)
    since = time.monotonic()
    slow = await house.server(storage_snapshot_url=server.url, storage_snapshot_timeout_s=1)
    assert time.monotonic() - since < 12.0
    assert sum("it did not answer within 1 s" in line for line in slow.errors) == 1
    status = await slow.status()
    assert _snapshot_of(status).state == admin_api.STORE_STATE_UNAVAILABLE
    assert status.serving == admin_api.SERVING_STATE_SERVING
    assert "store.snapshot" in {part.name for part in status.degraded}
    since = time.monotonic()
    assert await slow.terminate() == 0
    assert time.monotonic() - since < 8.0
    assert any("the last snapshot was not written" in line for line in slow.errors)
    server.signal(signal.SIGCONT)


async def test_the_age_of_the_newest_snapshot_has_a_bound(server: RedisServer) -> None:
    async with running(server.unix_url, snapshot_interval_s=3_600, snapshot_max_age_s=0.2) as app:
        await kept(app).write()
        assert kept(app).overdue() == ""

        async def late() -> bool:
            return bool(kept(app).overdue())

        await eventually(late, "the bound is passed")
        assert "storage.snapshot_max_age_s is 0.2" in kept(app).overdue()
        await kept(app).write()
        assert kept(app).overdue() == ""


async def test_nothing_secret_is_shown_anywhere(house: House, tmp_path: Path) -> None:
    with redis_server(tmp_path / "r", "--requirepass", SECRET, password=SECRET) as server:
        url = f"redis://:{ENCODED}@127.0.0.1:{server.port}"
        shown = house.child(serve_command("--storage-snapshot-url", url, "--print-config"))
        assert await shown.ended() == 0
        assert any("snapshot_url" in line and "secret, masked" in line for line in shown.lines)
        wrong = house.child(serve_command("--storage-snapshot-url", url.replace("redis:", "radis:")))
        assert await wrong.ended() == 2
        assert "storage.snapshot_url: must begin with redis://" in wrong.errors[0]
        right = await house.server(storage_snapshot_url=url)
        await right.client.call(right.client.admin.TakeSnapshot, admin_api.TakeSnapshotRequest())
        status = await right.status()
        assert f"redis://:***@127.0.0.1:{server.port}" in _snapshot_of(status).location
        server.client(password=SECRET).config_set("requirepass", "other")
        answer = right.client.call(right.client.admin.TakeSnapshot, admin_api.TakeSnapshotRequest())
        with pytest.raises(Exception, match="user or password is wrong") as caught:
            await answer
        said = [*shown.lines, *shown.errors, *wrong.errors, *right.lines, *right.errors, str(status), str(caught.value)]
        assert not [line for line in said if "geh" in line]


async def test_a_server_is_not_serving_until_what_it_knew_is_back_and_warm(server: RedisServer) -> None:
    async with running(server.unix_url) as app:
        app.core.predictor.observe(task("x"), 250.0)
    again = App(settings(server.unix_url))
    seen: list[tuple[int, str]] = []
    predictor: Any = again.core.predictor

    def warm() -> None:
        seen.append((predictor.predict(task("x")).sample_count, again.address))

    predictor.warm = warm
    health: list[tuple[str, bool]] = []
    set_health = again._health.set

    async def watched(service: str, status: Any) -> None:
        health.append((service, status == SERVING))
        await set_health(service, status)

    again._health.set = watched  # type: ignore[method-assign] # to see the order
    await again.start()
    try:
        assert seen == [(1, "")]  # restored, and nobody can have asked yet
        assert [serving for _, serving in health] == [False] * 3 + [True] * 3
    finally:
        await again.stop(0.0)
