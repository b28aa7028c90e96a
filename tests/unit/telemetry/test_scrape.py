"""The small HTTP server, over real sockets: what it answers, and that no client can hold it up."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from scheduler_server.telemetry.scrape import MAX_CONNECTIONS, MAX_REQUEST_BYTES, MetricsServer

DEADLINE_S = 10.0
TEXT = b"# TYPE up gauge\nup 1.0\n"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def serving(text: bytes = TEXT, within_s: float = DEADLINE_S) -> AsyncIterator[MetricsServer]:
    async def make() -> bytes:
        return text

    server = MetricsServer(make, exchange_within_s=within_s)
    await server.open("127.0.0.1", 0)
    try:
        yield server
    finally:
        await server.close()


def port_of(server: MetricsServer) -> int:
    return int(server.url.rpartition(":")[2].partition("/")[0])


async def ask(server: MetricsServer, request: bytes) -> Answer:
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(request)
        got = await reader.read()  # to the end: the server closes
        writer.close()
        await writer.wait_closed()
    return parsed(got)


def parsed(got: bytes) -> Answer:
    head, _, body = got.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    assert first.startswith("HTTP/1.1 ")
    headers = dict(line.lower().split(": ", 1) for line in rest)
    assert headers["connection"] == "close"
    return Answer(int(first.split()[1]), headers, body)


def request(method: str = "GET", target: str = "/metrics", headers: str = "Host: x\r\n") -> bytes:
    return f"{method} {target} HTTP/1.1\r\n{headers}\r\n".encode()


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not true():  # noqa: ASYNC110 -- what is waited for is the server's own state
            await asyncio.sleep(0.001)


# ---------------------------------------------------------------------- what is answered


@pytest.mark.parametrize("target", ["/metrics", "/metrics?", "/metrics?name[]=up"])
async def test_get_answers_the_text_with_its_type_and_length(target: str) -> None:
    async with serving() as server:
        answer = await ask(server, request(target=target))
    assert (answer.status, answer.body) == (200, TEXT)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["content-length"] == str(len(TEXT))


async def test_head_answers_the_same_without_a_body() -> None:
    async with serving() as server:
        answer = await ask(server, request("HEAD"))
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(TEXT))


async def test_the_root_points_to_the_metrics() -> None:
    async with serving() as server:
        answer = await ask(server, request(target="/"))
        head = await ask(server, request("HEAD", "/"))
    assert answer.status == 200
    assert b"/metrics" in answer.body
    assert head.headers == answer.headers
    assert head.body == b""


@pytest.mark.parametrize(
    ("method", "target"),
    [("GET", "/metrics/"), ("GET", "/x"), ("GET", "*"), ("GET", "//metrics"), ("GET", "/Metrics"),
     ("GET", "/../metrics"), ("GET", "http://127.0.0.1/metrics"), ("POST", "/metrics"), ("PUT", "/"),
     ("DELETE", "/metrics"), ("OPTIONS", "*"), ("get", "/metrics"), ("", "/metrics")],
)  # fmt: skip
async def test_anything_else_is_not_found(method: str, target: str) -> None:
    async with serving() as server:
        assert (await ask(server, request(method, target))).status == 404


@pytest.mark.parametrize(
    "line",
    [b"GET /metrics", b"GET /metrics HTTP/2.0", b"GET  /metrics HTTP/1.1", b"\x16\x03\x01\x02\x00", b"\xff\xfe\x00",
     b"PRI * HTTP/2.0", b""],
)  # fmt: skip
async def test_what_is_no_request_is_a_bad_one(line: bytes) -> None:
    async with serving() as server:
        assert (await ask(server, line + b"\r\n\r\n")).status == 400
        assert (await ask(server, request())).status == 200


async def test_an_old_client_is_served() -> None:
    async with serving() as server:
        assert (await ask(server, b"GET /metrics HTTP/1.0\r\n\r\n")).body == TEXT


async def test_a_failure_is_told_to_the_log_and_not_to_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> bytes:
        raise RuntimeError("a secret")

    server = MetricsServer(fail)
    await server.open("127.0.0.1", 0)
    with caplog.at_level(logging.ERROR):
        answer = await ask(server, request())
    assert (await ask(server, request(target="/"))).status == 200
    await server.close()
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "a secret" in caplog.text


# ---------------------------------------------------------------------- what clients cannot do


@pytest.mark.parametrize(("extra", "status"), [(-1, 200), (0, 200), (1, 431)])
async def test_a_request_is_bounded(extra: int, status: int) -> None:
    room = MAX_REQUEST_BYTES + extra - len(request(headers="X: \r\n")) + len(b"\r\n\r\n")
    # The limit is on what stands before the blank line.
    filled = request(headers=f"X: {'a' * room}\r\n")
    assert len(filled) - len(b"\r\n\r\n") == MAX_REQUEST_BYTES + extra
    async with serving() as server:
        assert (await ask(server, filled)).status == status
        assert (await ask(server, request())).status == 200


async def test_a_client_that_says_nothing_is_ended_at_the_deadline() -> None:
    async with serving(within_s=0.05) as server:
        assert await silence(server, b"GET /metrics HTTP/1.1\r\nHost: x\r\n") == b""
        assert await silence(server, b"") == b""


async def silence(server: MetricsServer, said: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
    writer.write(said)
    async with asyncio.timeout(DEADLINE_S):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


async def test_a_client_that_does_not_read_is_cut_off_and_holds_nobody_up() -> None:
    big = b"x" * 50_000_000  # more than the kernel takes
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    slow.setblocking(False)
    loop = asyncio.get_running_loop()
    async with serving(big, within_s=0.2) as server:
        await loop.sock_connect(slow, ("127.0.0.1", port_of(server)))
        await loop.sock_sendall(slow, request())
        await until(lambda: server.open_connections == 1)
        assert (await ask(server, request(target="/"))).status == 200  # meanwhile
        await until(lambda: server.open_connections == 0)
    slow.close()


async def test_as_many_are_served_at_once_as_the_limit_says_and_the_next_is_told() -> None:
    async with serving() as server:
        writers: list[asyncio.StreamWriter] = []

        async def crowd(size: int) -> None:
            while len(writers) < size:
                writers.append((await asyncio.open_connection("127.0.0.1", port_of(server)))[1])
            await until(lambda: server.open_connections == size)

        await crowd(MAX_CONNECTIONS - 1)
        assert (await ask(server, request())).status == 200
        await crowd(MAX_CONNECTIONS)
        assert (await ask(server, request())).status == 503
        await crowd(2 * MAX_CONNECTIONS - 1)
        assert (await ask(server, request())).status == 503
        await crowd(2 * MAX_CONNECTIONS)
        assert await silence(server, request()) == b""
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        await until(lambda: server.open_connections == 0)
        assert (await ask(server, request())).status == 200


async def test_clients_that_go_away_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server:
        for said in (b"", b"GET /met", request()):
            one = socket.create_connection(("127.0.0.1", port_of(server)))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # ends by a reset
            one.sendall(said)
            one.close()
        assert (await ask(server, request())).status == 200
        await until(lambda: server.open_connections == 0)
    assert caplog.text == ""


# ---------------------------------------------------------------------- open and close


async def test_close_ends_what_is_under_way_and_frees_the_port() -> None:
    async with serving() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        await until(lambda: server.open_connections == 1)
        port = port_of(server)
        async with asyncio.timeout(DEADLINE_S):
            await server.close()
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        again = MetricsServer(server._text)
        await again.open("127.0.0.1", port)
        assert again.url == f"http://127.0.0.1:{port}/metrics"
        await again.close()
        await again.close()


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with serving() as server:
        with pytest.raises(OSError, match="in use"):
            await MetricsServer(server._text).open("127.0.0.1", port_of(server))


async def test_an_address_of_version_6_is_written_in_brackets() -> None:
    if not socket.has_ipv6 or not scrape_v6():
        pytest.skip("no IPv6 here")
    server = MetricsServer(lambda: asyncio.sleep(0, TEXT))
    await server.open("::1", 0)
    await server.close()
    assert server.url.startswith("http://[::1]:")


def scrape_v6() -> bool:
    with socket.socket(socket.AF_INET6) as tried:
        try:
            tried.bind(("::1", 0))
        except OSError:
            return False
    return True
