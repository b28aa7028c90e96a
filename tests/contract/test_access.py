"""Workers are who they may be, streams end with their credential, certificates rotate, wrong files are refused."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc.experimental import session_cache

from scheduler_api.v1 import admin_service_pb2, admin_service_pb2_grpc, schedule_service_pb2_grpc, task_pb2, worker_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.access.caller import Caller
from scheduler_server.access.roles import Role
from scheduler_server.access.settings import AccessSettings, TlsSettings
from scheduler_server.access.tokens import digest, new_token
from scheduler_server.app import App, StartError
from scheduler_server.model.refusal import Refusal
from scheduler_server.rpc.access_callers import Callers
from scheduler_server.rpc.server import ServerSettings
from tests.certificates import Authority, Pair, swap
from tests.contract.access_house import House, ask, bearer, house, refused, token
from tests.contract.server import DEADLINE_S, Stream, item_problem, settings, task, until
from tests.performance.rotations import Callers as Callers_

SCHEDULE = "scheduler_api.v1.ScheduleService"
STATUS = "scheduler_api.v1.AdminService/GetStatus"

WORKER = token("w", Role.WORKER)
FAMILY = token("family", Role.WORKER, rest="workers=gpu-*,cpu-1")
ANY = token("any", Role.WORKER, rest="workers=*")
QUEUE = token("queue", Role.PRODUCER)
ADMIN = token("admin", Role.ADMIN)
TEXTS = {"w": WORKER.text, "family": FAMILY.text, "any": ANY.text}
LINES = [each.line for each in (WORKER, FAMILY, ANY, QUEUE, ADMIN)]


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path, *LINES) as found:
        yield found


def stream(channel: grpc.aio.Channel, text: str, worker_id: str) -> Stream:
    call = schedule_service_pb2_grpc.ScheduleServiceStub(channel).Schedule(metadata=bearer(text))
    return Stream(call, worker_id)


# ---------------------------------------------------------------------- workers


@pytest.mark.parametrize(
    ("identity", "worker_id", "may"),
    [
        ("w", "w", True),
        ("w", "w2", False),
        ("w", "W", False),
        ("family", "gpu-7", True),
        ("family", "gpu-", True),
        ("family", "gpu-a/b", False),
        ("family", "xgpu-7", False),
        ("family", "cpu-1", True),
        ("family", "cpu-10", False),
        ("any", "anything/at all", True),
    ],
)
async def test_a_worker_is_who_its_token_says_it_may_be(made: House, identity: str, worker_id: str, may: bool) -> None:
    one = stream(await made.channel(None), TEXTS[identity], worker_id)
    if may:
        assert (await one.open()).worker_id == worker_id
        return
    await one.send()
    problem = await one.problem()
    assert (problem.code, problem.reason) == ("PERMISSION_DENIED", "WORKER_NOT_YOURS")
    assert problem.metadata["worker_id"] == worker_id
    assert worker_id not in made.server.core.fleet.records


async def test_only_who_may_be_any_worker_gets_a_name_from_the_server(made: House) -> None:
    channel = await made.channel(None)
    registration = worker_pb2.WorkerRegistration()
    one = stream(channel, ANY.text, "")
    assert (await one.open(registration=registration)).worker_id.startswith("worker-")
    other = stream(channel, FAMILY.text, "")
    await other.send(registration=registration)
    assert (await other.problem()).reason == "WORKER_NOT_YOURS"


async def test_a_worker_that_may_not_be_another_takes_no_session_from_it(made: House) -> None:
    channel = await made.channel(None)
    honest = await stream(channel, WORKER.text, "w").open()
    thief = stream(channel, FAMILY.text, "w")
    await thief.send()
    assert (await thief.problem()).code == "PERMISSION_DENIED"
    assert (await honest.beat()).sequence


async def test_certificates_of_a_fleet_each_name_their_own_worker(tmp_path: Path) -> None:
    authority = Authority()
    line = "certificate spiffe://tests/worker/* role=worker workers={1},{1}-spare"
    async with house(tmp_path, line, client_certificates=True, authority=authority) as made:
        channel = await made.trusting(authority.issue("spiffe://tests/worker/w7"))
        stub = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
        for worker_id in ("w7", "w7-spare"):
            assert (await Stream(stub.Schedule(), worker_id).open()).worker_id == worker_id
        for worker_id in ("w8", "w7-other", "spiffe://tests/worker/w7", ""):
            other = Stream(stub.Schedule(), worker_id)
            await other.send(registration=worker_pb2.WorkerRegistration())
            assert (await other.problem()).reason == "WORKER_NOT_YOURS", worker_id
        for name in ("*", "w*8", ""):  # a name must not become a pattern
            star = await made.trusting(authority.issue(f"spiffe://tests/worker/{name}"))
            sly = Stream(schedule_service_pb2_grpc.ScheduleServiceStub(star).Schedule(), "w8")
            assert (await sly.problem()).reason == "ROLE_INSUFFICIENT", name  # no line grants it anything


async def test_a_worker_reports_its_own_leases_and_nobody_elses(made: House) -> None:
    channel = await made.channel(None)
    stub = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
    one = await stream(channel, WORKER.text, "w").open(registration=worker_pb2.WorkerRegistration())
    placed = await stub.Assign(api.AssignRequest(task=task()), metadata=QUEUE.metadata)
    lease = placed.decision.lease_id
    report = api.OutcomeReport(lease_id=lease, outcome=task_pb2.Outcome(status=task_pb2.OUTCOME_STATUS_SUCCEEDED))
    reports = api.ReportOutcomeRequest(reports=[report])
    result = (await stub.ReportOutcome(reports, metadata=FAMILY.metadata)).results[0]
    problem = item_problem(result.error)
    assert (problem.code, problem.reason) == ("PERMISSION_DENIED", "WORKER_NOT_YOURS")
    for metadata in (WORKER.metadata, QUEUE.metadata):
        assert not (await stub.ReportOutcome(reports, metadata=metadata)).results[0].HasField("error")
    await one.lose()


# ---------------------------------------------------------------------- streams that are open


async def test_a_stream_ends_when_its_token_is_revoked_and_others_go_on(made: House) -> None:
    channel = await made.channel(None)
    gone = await stream(channel, WORKER.text, "w").open()
    stays = await stream(channel, FAMILY.text, "gpu-1").open()
    watch: Any = admin_service_pb2_grpc.AdminServiceStub(channel).WatchEvents(
        admin_service_pb2.WatchEventsRequest(), metadata=ADMIN.metadata
    )
    assert (await watch.read()).resume_token
    made.grant(FAMILY.line)
    await made.look()
    problem = await gone.problem()
    assert (problem.code, problem.reason) == ("UNAUTHENTICATED", "CREDENTIAL_UNKNOWN")

    async def to_the_end() -> str:
        while (got := await watch.read()) is not grpc.aio.EOF:
            pass
        return str(got)

    assert (await refused(to_the_end())).reason == "CREDENTIAL_UNKNOWN"
    await until(lambda: not made.server.record("w").connected, "its worker is known to be gone")
    assert (await stays.beat()).sequence


async def test_a_stream_can_be_ended_while_something_is_written_to_it(made: House) -> None:
    """gRPC cannot tell an end while it writes for a task that was cancelled: every moment has to do."""
    channel = await made.channel(None)
    for number in range(20):
        made.grant(*LINES)
        await made.look()
        one = stream(channel, ANY.text, f"w{number}")
        await one.send()
        await until(lambda: f"w{number}" in made.server.core.fleet.records, "its welcome is on its way")  # noqa: B023
        made.grant()
        await made.look()
        assert (await one.problem()).reason == "CREDENTIAL_UNKNOWN"


async def test_a_stream_ends_when_its_token_expires(tmp_path: Path) -> None:
    short = token("w", Role.WORKER, rest="expires=2027-03-01")
    async with house(tmp_path, short.line) as made:
        one = await stream(await made.channel(None), short.text, "w").open()
        ends = datetime(2027, 3, 1, tzinfo=UTC).timestamp()
        made.server.clock.wall = ends - 1
        await made.look()
        assert (await one.beat()).sequence
        made.server.clock.wall = ends
        await made.look()
        assert (await one.problem()).reason == "CREDENTIAL_EXPIRED"


async def test_a_stream_goes_on_when_its_token_is_granted_for_longer(tmp_path: Path) -> None:
    short = token("w", Role.WORKER, rest="expires=2027-03-01")
    async with house(tmp_path, short.line) as made:
        one = await stream(await made.channel(None), short.text, "w").open()
        made.grant(short.line.replace("2027-03-01", "2027-04-01"))
        await made.look()
        made.server.clock.wall = datetime(2027, 3, 31, tzinfo=UTC).timestamp()
        await made.look()
        assert (await one.beat()).sequence
        made.server.clock.wall = datetime(2027, 4, 1, tzinfo=UTC).timestamp()
        await made.look()
        assert (await one.problem()).reason == "CREDENTIAL_EXPIRED"


@pytest.mark.parametrize(
    ("was", "becomes", "reason"),
    [
        ("role=worker", "role=viewer", "ROLE_INSUFFICIENT"),
        ("role=worker", "role=worker workers=other", "WORKER_NOT_YOURS"),
        ("identity=w", "identity=x", "CREDENTIAL_UNKNOWN"),
    ],
)
async def test_a_stream_ends_when_its_token_may_do_less(made: House, was: str, becomes: str, reason: str) -> None:
    one = await stream(await made.channel(None), WORKER.text, "w").open()
    made.grant(WORKER.line.replace(was, becomes))
    await made.look()
    assert (await one.problem()).reason == reason


async def test_a_stream_goes_on_when_its_token_may_do_more(made: House) -> None:
    one = await stream(await made.channel(None), WORKER.text, "w").open()
    made.grant(WORKER.line.replace("role=worker", "role=worker,viewer") + " workers=w,x")
    await made.look()
    assert (await one.beat()).sequence


async def test_a_call_that_waits_ends_when_its_token_is_revoked(made: House) -> None:
    channel = await made.channel(None)
    await stream(channel, WORKER.text, "w").open(registration=worker_pb2.WorkerRegistration(max_concurrent_tasks=1))
    stub = schedule_service_pb2_grpc.ScheduleServiceStub(channel)
    await stub.Assign(api.AssignRequest(task=task("t1")), metadata=QUEUE.metadata)
    request = api.AssignRequest(task=task("t2"))
    request.wait.FromSeconds(600)
    waiting = stub.Assign(request, metadata=QUEUE.metadata)
    await until(lambda: len(made.server.core.queue.waiting) == 1, "the task waits")
    made.grant(WORKER.line)
    await made.look()
    assert (await refused(waiting)).reason == "CREDENTIAL_UNKNOWN"
    await until(lambda: not len(made.server.core.queue.waiting), "its place is free")


# ---------------------------------------------------------------------- the access file while the server runs


async def status(made: House) -> admin_service_pb2.GetStatusResponse:
    stub = admin_service_pb2_grpc.AdminServiceStub(await made.channel(None))
    return await stub.GetStatus(admin_service_pb2.GetStatusRequest(), metadata=ADMIN.metadata)


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("nonsense", 0o600, "line 1: must begin with token or certificate"),
        ("", 0o604, "everybody on this machine may read it (mode 0604)"),
        ("", 0o660, "others than its owner may write it (mode 0660)"),
        (None, 0o600, "cannot be read: No such file or directory"),
    ],
)
async def test_an_access_file_that_is_wrong_now_changes_nothing_and_the_status_says_so(
    made: House, content: str | None, mode: int, said: str
) -> None:
    if content is None:
        made.access_file.unlink()
    else:
        swap(made.access_file, content.encode(), mode)
    await made.look()
    (part,) = (await status(made)).degraded
    assert part.name == "access"
    assert said in part.detail
    for each in (ADMIN, QUEUE):
        assert each.text not in part.detail
    channel = await made.channel(None)
    assert (await ask(channel, f"{SCHEDULE}/Assign", QUEUE.metadata)).reason == "REQUEST_UNREADABLE"
    swap(made.access_file, ADMIN.line.encode(), 0o640)
    await made.look()
    assert not (await status(made)).degraded
    assert (await ask(channel, f"{SCHEDULE}/Assign", QUEUE.metadata)).reason == "CREDENTIAL_UNKNOWN"


async def test_the_server_looks_at_its_files_by_itself(tmp_path: Path) -> None:
    (tmp_path / "access").write_text("\n".join(LINES))
    (tmp_path / "access").chmod(0o600)
    configured = settings(access=AccessSettings(file=str(tmp_path / "access"), reload_s=0.05))
    app = App(configured)
    await app.start()
    try:
        swap(tmp_path / "access", b"")
        grants = app.access.grants
        assert grants is not None
        await until(lambda: len(grants.value) == 0, "the empty file is read")
    finally:
        await app.stop(0.0)


# ---------------------------------------------------------------------- start


async def cannot_start(**parts: Any) -> str:
    app = App(settings(**parts))
    with pytest.raises(StartError) as raised:
        await app.start()
    return str(raised.value)


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "localhost.example:0"])
async def test_plaintext_for_everybody_has_to_be_asked_for(listen: str) -> None:
    assert "server.allow_plaintext" in await cannot_start(server=ServerSettings(listen=listen))


async def test_plaintext_for_everybody_when_it_was_asked_for() -> None:
    app = App(settings(server=ServerSettings(listen="0.0.0.0:0", allow_plaintext=True)))
    await app.start()
    assert app.address.startswith("0.0.0.0:")
    await app.stop(0.0)


def written(folder: Path, pair: Pair) -> TlsSettings:
    certificate, key = pair.write(folder, "server")
    return TlsSettings(cert_file=str(certificate), key_file=str(key))


async def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    authority = Authority()
    files = written(tmp_path, authority.server())
    swap(Path(files.key_file), authority.server().key)
    assert "is not the key of the certificate" in await cannot_start(tls=files)


async def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    files = written(tmp_path, Authority().server(ends=datetime(2021, 1, 1, tzinfo=UTC)))
    assert "expired at 2021-01-01T00:00:00Z" in await cannot_start(tls=files)


async def test_a_certificate_of_tomorrow_is_refused(tmp_path: Path) -> None:
    files = written(tmp_path, Authority().issue("localhost", begins=datetime(2048, 1, 1, tzinfo=UTC)))
    assert "is valid from 2048-01-01T00:00:00Z on" in await cannot_start(tls=files)


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o602])
async def test_a_key_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int) -> None:
    files = written(tmp_path, Authority().server())
    swap(Path(files.key_file), Path(files.key_file).read_bytes(), mode)  # noqa: ASYNC240 -- a temporary file
    assert f"(mode {mode:04o})" in await cannot_start(tls=files)


@pytest.mark.parametrize("name", ["cert_file", "key_file", "client_ca_file"])
async def test_files_that_are_not_there_or_not_pem_are_refused(tmp_path: Path, name: str) -> None:
    authority = Authority()
    good = written(tmp_path, authority.server())
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    paths = {"cert_file": good.cert_file, "key_file": good.key_file, "client_ca_file": str(tmp_path / "ca.pem")}
    swap(tmp_path / "junk", b"junk")
    for other, said in ((str(tmp_path / "missing"), "No such file"), (str(tmp_path / "junk"), "PEM")):
        message = await cannot_start(tls=TlsSettings(**{**paths, name: other}))
        assert said in message, (name, message)
        assert other in message


async def test_an_access_file_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    swap(tmp_path / "access", ADMIN.line.encode(), 0o644)
    message = await cannot_start(access=AccessSettings(file=str(tmp_path / "access")))
    assert "everybody on this machine may read it (mode 0644); chmod 600" in message


# ---------------------------------------------------------------------- certificates that rotate


async def test_new_connections_get_the_new_certificate_and_old_ones_go_on(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    async with house(tmp_path, *LINES, tls=True, authority=old) as made:
        before = await made.trusting()
        assert (await ask(before, STATUS, ADMIN.metadata)).reason == "REQUEST_UNREADABLE"
        new.server().write(tmp_path, "server")
        await made.look()
        assert (await ask(before, STATUS, ADMIN.metadata)).reason == "REQUEST_UNREADABLE"
        after = await made.channel(new.trusted())
        assert (await ask(after, STATUS, ADMIN.metadata)).reason == "REQUEST_UNREADABLE"
        assert (await ask(await made.trusting(), STATUS, ADMIN.metadata)).code == "UNAVAILABLE"


async def test_a_rotation_that_is_half_done_or_wrong_changes_nothing_and_the_status_says_so(tmp_path: Path) -> None:
    authority = Authority()
    async with house(tmp_path, *LINES, tls=True, authority=authority) as made:
        fresh = authority.server()
        swap(tmp_path / "server.pem", fresh.certificate)
        await made.look()
        stub = admin_service_pb2_grpc.AdminServiceStub(await made.trusting())
        answer = await stub.GetStatus(admin_service_pb2.GetStatusRequest(), metadata=ADMIN.metadata)
        (part,) = answer.degraded
        assert part.name == "tls"
        assert "is not the key of the certificate" in part.detail
        swap(tmp_path / "server.key", fresh.key)
        await made.look()
        stub = admin_service_pb2_grpc.AdminServiceStub(await made.trusting())
        answer = await stub.GetStatus(admin_service_pb2.GetStatusRequest(), metadata=ADMIN.metadata)
        assert not answer.degraded
        assert shown_by(made.app.address) == ssl.PEM_cert_to_DER_cert(fresh.certificate.decode())


def shown_by(address: str) -> bytes:
    """The certificate that a server shows."""
    import socket

    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host, int(port)), DEADLINE_S) as plain, context.wrap_socket(plain) as secured:
        found = secured.getpeercert(binary_form=True)
    assert found
    return found


async def test_authorities_rotate_too(tmp_path: Path) -> None:
    old, new = Authority("old"), Authority("new")
    async with house(tmp_path, "certificate a role=admin", client_certificates=True, authority=old) as made:
        theirs, ours = new.issue("a"), old.issue("a")
        both = grpc.ssl_channel_credentials(old.pem, theirs.key, theirs.certificate)
        assert (await ask(await made.channel(both), STATUS)).code == "UNAVAILABLE"
        swap(tmp_path / "ca.pem", new.pem)
        await made.look()
        assert (await ask(await made.channel(both), STATUS)).reason == "REQUEST_UNREADABLE"
        assert (await ask(await made.trusting(ours), STATUS)).code == "UNAVAILABLE"


async def test_a_session_of_an_earlier_connection_does_not_outlive_its_authority(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS can take up a session without showing a certificate again: then the old authority would still do."""
    reused: list[str] = []
    looking = Callers._names_of

    def spied(self: Callers, context: Any) -> Any:
        reused.extend(each.decode() for each in context.auth_context()["ssl_session_reused"])
        return looking(self, context)

    monkeypatch.setattr(Callers, "_names_of", spied)
    old, new = Authority("old"), Authority("new")
    cache: Any = session_cache.ssl_session_cache_lru(10)  # type: ignore[no-untyped-call]
    async with house(tmp_path, "certificate a role=admin", client_certificates=True, authority=old) as made:
        credentials = made.authority.trusted(old.issue("a"))
        options = (
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.ssl_session_cache", cache),
            ("grpc.ssl_target_name_override", "localhost"),  # sessions are kept by name
        )

        async def again() -> str:
            async with grpc.aio.secure_channel(made.app.address, credentials, options=options) as channel:
                answer = await ask(channel, STATUS)
                return answer.reason or answer.code

        assert [await again() for _ in range(3)] == ["REQUEST_UNREADABLE"] * 3
        assert "true" in reused
        made.grant()  # the session stands for who made it, and no longer
        await made.look()
        assert await again() == "ROLE_INSUFFICIENT"
        made.grant("certificate a role=admin")
        swap(tmp_path / "ca.pem", new.pem)
        await made.look()
        assert await again() == "UNAVAILABLE"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_tls_before_1_2_is_refused(tmp_path: Path) -> None:
    async with house(tmp_path, *LINES, tls=True) as made:
        host, _, port = made.app.address.rpartition(":")

        async def connects(version: ssl.TLSVersion) -> bool:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_ciphers("ALL:@SECLEVEL=0")  # or this side would refuse first
            context.minimum_version = context.maximum_version = version
            context.set_alpn_protocols(["h2"])
            opening = asyncio.open_connection(host, int(port), ssl=context)
            try:
                _, writer = await asyncio.wait_for(opening, DEADLINE_S)
            except (ssl.SSLError, ConnectionError):
                return False
            writer.transport.abort()
            return True

        versions = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1)
        assert [await connects(version) for version in versions] == [True, True, False, False]


# ---------------------------------------------------------------------- who calls, for others to record


async def test_every_call_knows_who_makes_it(made: House) -> None:
    seen: list[Any] = []

    def hear(caller: Caller, method: str, refusal: Refusal, _: Any) -> None:
        seen.append((caller.identity, method, refusal.reason.value))

    assert made.app.access.guard is not None
    made.app.access.guard.on_refused.append(hear)
    channel = await made.channel(None)
    await ask(channel, STATUS, QUEUE.metadata)
    await ask(channel, STATUS)
    assert seen == [
        ("queue", STATUS, "ROLE_INSUFFICIENT"),
        ("anonymous", STATUS, "CREDENTIAL_MISSING"),
    ]


async def test_ten_rotations_under_load_fail_no_call(tmp_path: Path) -> None:
    """BENCH=rotation is the whole: a hundred."""
    async with house(tmp_path, *LINES, tls=True) as made:
        callers = Callers_(made.app.address, made.authority.trusted, QUEUE.text)
        seen = set()
        for _ in range(10):
            made.authority.server().write(tmp_path, "server")
            await made.look()
            connected = callers.connections
            await until(lambda: callers.connections >= connected + 4, "each has connected again")  # noqa: B023 -- awaited here
            seen.add(await asyncio.to_thread(shown_by, made.app.address))
        await callers.stop()
        assert set(callers.answers) == {"NOT_FOUND"}  # what they ask for
        assert len(seen) == 10


async def test_nothing_secret_is_logged_or_told(
    made: House, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = new_token()
    with caplog.at_level(logging.DEBUG):
        channel = await made.channel(None)
        for text in (ADMIN.text, QUEUE.text, unknown):
            call: Any = channel.stream_stream(f"/{STATUS}")(metadata=bearer(text))
            with contextlib.suppress(grpc.aio.AioRpcError):  # it may be refused before it is written
                await call.write(b"\xff")
                await call.done_writing()
            assert text not in f"{await call.details()} {await call.trailing_metadata()}"
        made.grant(*LINES, f"token {unknown} identity=leak role=admin")  # a token in place of its hash
        await made.look()
        told = str(await status(made))
    found = f"{caplog.text} {told} {capsys.readouterr()}"
    for text in (ADMIN.text, QUEUE.text, unknown):
        assert text not in found
        assert digest(text).hex() not in found
