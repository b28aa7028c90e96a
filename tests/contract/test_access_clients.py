"""Clients of every kind reach a server with TLS and access control, and say plainly why they do not."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from scheduler_api.v1 import admin_service_pb2
from scheduler_server import credentials
from scheduler_server.access.grants import parse
from scheduler_server.access.roles import Role
from scheduler_server.access.settings import LimitSettings
from scheduler_server.access.tokens import digest
from scheduler_server.cli.health import main as health
from scheduler_server.cli.token import main as new_token
from scheduler_server.client import AccessDenied, AsyncSchedulerClient, RateLimited, TokenFile, tls
from scheduler_server.client import Task as ClientTask
from scheduler_server.credentials import CredentialError
from scheduler_server.worker import Worker, WorkerRefused
from tests.certificates import Authority, swap
from tests.contract.access_house import House, house, token
from tests.contract.server import DEADLINE_S, until
from tests.contract.test_schedctl import Ran, typed

WORKER = token("w", Role.WORKER)
QUEUE = token("queue", Role.PRODUCER)
VIEWER = token("viewer", Role.VIEWER)


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[House]:
    limits = LimitSettings(assign_per_s=10, assign_burst=1)
    async with house(tmp_path, WORKER.line, QUEUE.line, VIEWER.line, tls=True, limits=limits) as found:
        for each, name in ((WORKER, "worker"), (QUEUE, "queue"), (VIEWER, "viewer")):
            swap(tmp_path / f"{name}.token", f"{each.text}\n".encode())
        yield found


# ---------------------------------------------------------------------- the SDKs


async def test_a_queue_service_and_a_worker_by_tls_and_token_files(made: House, tmp_path: Path) -> None:
    worker = Worker(
        made.app.address,
        worker_id="w",
        credentials=lambda: tls(tmp_path / "ca.pem"),
        token=TokenFile(tmp_path / "worker.token"),
        drain_timeout=1.0,
    )
    worker.start()
    try:
        await until(lambda: "w" in made.server.core.fleet.records, "the worker is there")
        async with AsyncSchedulerClient(
            made.app.address, credentials=tls(tmp_path / "ca.pem"), token=TokenFile(tmp_path / "queue.token")
        ) as client:
            assert (await client.assign(ClientTask(task_id="t1", task_type="resize"))).worker_id == "w"
            with pytest.raises(RateLimited) as limited:
                await client.assign(ClientTask(task_id="t2", task_type="resize"))
            assert limited.value.retry_after == timedelta(seconds=0.1)
            with pytest.raises(AccessDenied, match="GetStatus needs the role viewer or admin; 'queue' has producer"):
                await client.call(client.admin.GetStatus, admin_service_pb2.GetStatusRequest())
    finally:
        await asyncio.to_thread(worker.stop)


async def test_a_worker_with_a_fixed_token_stops_when_it_is_refused(made: House, tmp_path: Path) -> None:
    worker = Worker(made.app.address, worker_id="w", credentials=tls(tmp_path / "ca.pem"), token=QUEUE.text)
    with pytest.raises(WorkerRefused, match="Schedule needs the role worker or admin; 'queue' has producer"):
        await asyncio.wait_for(asyncio.to_thread(worker.run), DEADLINE_S)


async def test_a_worker_with_a_token_file_tries_again_when_its_token_is_revoked(
    made: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker = Worker(
        made.app.address,
        worker_id="w",
        credentials=tls(tmp_path / "ca.pem"),
        token=TokenFile(tmp_path / "worker.token"),
        drain_timeout=1.0,
    )
    worker.start()
    try:
        await until(lambda: "w" in made.server.core.fleet.records, "the worker is there")
        with caplog.at_level(logging.ERROR, "scheduler_server.worker"):
            made.grant(VIEWER.line)
            await made.look()
            await until(lambda: "UNAUTHENTICATED: the credential was revoked" in caplog.text, "it says so")
        assert WORKER.text not in caplog.text
    finally:
        await asyncio.to_thread(worker.stop)


@pytest.mark.parametrize("name", ["token", "key"])
def test_files_that_everybody_may_read_are_refused(tmp_path: Path, name: str) -> None:
    pair = Authority().issue("a")
    certificate, key = pair.write(tmp_path, "a")
    swap(tmp_path / "token", b"sst_x")
    swap(tmp_path / "open", (tmp_path / "token").read_bytes() if name == "token" else key.read_bytes(), 0o644)
    assert TokenFile(tmp_path / "token")() == "sst_x"
    tls(None, certificate, key)
    with pytest.raises(CredentialError, match=r"open: everybody on this machine may read it \(mode 0644\); chmod 600"):
        TokenFile(tmp_path / "open")() if name == "token" else tls(None, certificate, tmp_path / "open")


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"\xff", b"a\nb", b"x" * 65_537])
def test_what_is_no_token(tmp_path: Path, content: bytes) -> None:
    swap(tmp_path / "token", content)
    with pytest.raises(CredentialError, match="holds no token"):
        TokenFile(tmp_path / "token")()


def test_a_certificate_needs_its_key() -> None:
    with pytest.raises(CredentialError, match="go together"):
        credentials.tls(cert_file="/cert")


# ---------------------------------------------------------------------- schedctl, health


async def ctl(made: House, *words: str) -> Ran:
    typing = asyncio.to_thread(typed, *words, SCHEDCTL_SERVER=made.app.address)
    return await asyncio.wait_for(typing, DEADLINE_S)


async def test_schedctl_with_authorities_and_a_token_file(made: House, tmp_path: Path) -> None:
    ran = await ctl(made, "status", "--ca-file", f"{tmp_path}/ca.pem", "--token-file", f"{tmp_path}/viewer.token")
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["snapshot", "--ca-file", "ca.pem", "--token-file", "viewer.token"], "TakeSnapshot needs the role admin"),
        (["status", "--ca-file", "ca.pem"], "does not know who you are: access control is on"),
        (["status", "--ca-file", "ca.pem", "--token-file", "old.token"], "nobody has this token"),
        (["status"], "do both sides use TLS, or neither?"),
        (["status", "--ca-file", "other.pem", "--token-file", "viewer.token"], "is --ca-file the one that signed it?"),
        (["status", "--ca-file", "ca.pem", "--token-file", "open.token"], "everybody on this machine may read it"),
    ],
)  # fmt: skip
async def test_schedctl_says_why_it_is_not_let_in(made: House, tmp_path: Path, words: list[str], said: str) -> None:
    swap(tmp_path / "old.token", b"sst_old")
    swap(tmp_path / "open.token", VIEWER.text.encode(), 0o644)
    swap(tmp_path / "other.pem", Authority("other").pem)
    ran = await ctl(made, *(f"{tmp_path}/{word}" if "." in word else word for word in words))
    assert ran.code != 0
    assert said in ran.err
    assert VIEWER.text not in ran.err
    assert len(ran.err.splitlines()) == 1


async def test_schedctl_with_a_certificate(tmp_path: Path) -> None:
    authority = Authority()
    authority.issue("ops").write(tmp_path, "ops")
    async with house(tmp_path, "certificate ops role=viewer", client_certificates=True, authority=authority) as made:
        files = (
            "--ca-file",
            f"{tmp_path}/ca.pem",
            "--cert-file",
            f"{tmp_path}/ops.pem",
            "--key-file",
            f"{tmp_path}/ops.key",
        )
        assert (await ctl(made, "status", *files)).code == 0
        assert "--cert-file, --key-file" in (await ctl(made, "status", *files[:2])).err


async def test_health_by_tls(made: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--address", made.app.address]
    assert await asyncio.to_thread(health, [*words, "--ca-file", f"{tmp_path}/ca.pem"]) == 0
    assert capsys.readouterr().out == "SERVING\n"
    assert await asyncio.to_thread(health, words) == 1
    assert await asyncio.to_thread(health, [*words, "--ca-file", "/nowhere"]) == 2
    assert "/nowhere: cannot be read" in capsys.readouterr().err


# ---------------------------------------------------------------------- scheduler-server token new


def test_a_new_token_is_printed_with_a_line_that_grants_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        new_token(["new", "--identity", "gpu-7", "--role", "worker", "--workers", "gpu-7,gpu-7-*", "--expires", "90d"])
        == 0
    )
    said = capsys.readouterr().out.splitlines()
    grant = parse(said[4]).of_token(digest(said[1]))
    assert grant is not None
    assert (grant.identity, grant.roles, grant.workers) == ("gpu-7", (Role.WORKER,), ("gpu-7", "gpu-7-*"))
    assert grant.expires_at < float("inf")
    assert said[1] not in said[4]


def test_a_new_token_is_added_to_a_file_that_only_its_owner_may_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "access"
    tokens = []
    for number in range(2):
        assert new_token(["new", "--identity", f"q{number}", "--role", "producer", "--append", str(file)]) == 0
        tokens.append(capsys.readouterr().out.strip())
        file.write_text(file.read_text().rstrip("\n"))  # as an editor may leave it
    assert file.stat().st_mode & 0o777 == 0o600
    grants = parse(file.read_text())
    assert [grant.identity for each in tokens if (grant := grants.of_token(digest(each)))] == ["q0", "q1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--identity", "a", "--role", "root"], "role= must be one or more of"),
        (["--identity", "a b", "--role", "admin"], "may have identity="),
        (["--identity", "a#", "--role", "admin"], "no value may have a line break or a #"),
        (["--identity", "a\nb", "--role", "admin"], "no value may have a line break or a #"),
        (["--identity", "a", "--role", "admin", "--expires", "soon"], "expires= must be an instant"),
        (["--identity", "a", "--role", "worker", "--workers", "***"], "workers= has more than two stars"),
    ],
)
def test_a_token_that_could_never_be_granted_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new_token(["new", *words]) == 2
    got = capsys.readouterr()
    assert (got.out, said in got.err) == ("", True)
