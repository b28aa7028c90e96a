"""A server with access control, callers of every kind, and every method that there is."""

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from grpc_channelz.v1 import channelz_pb2

from scheduler_server.access.roles import OPEN, ROLES, Role
from scheduler_server.access.settings import AccessSettings, LimitSettings, TlsSettings
from scheduler_server.access.tokens import new_token, shown
from scheduler_server.rpc.channelz import CHANNELZ
from scheduler_server.rpc.server import DESCRIPTORS
from tests.certificates import Authority, Pair, swap
from tests.contract.server import Problem, Running, problem_of, running, settings
from tests.contract.server import refused as refused_by

REFLECTION = tuple(f"grpc.reflection.{each}.ServerReflection/ServerReflectionInfo" for each in ("v1", "v1alpha"))
TRANSPORT = tuple(f"{CHANNELZ}/{each.name}" for each in channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].methods)
HEALTH = tuple(sorted(OPEN))
CONTRACT = tuple(f"{service.full_name}/{method.name}" for service in DESCRIPTORS for method in service.methods)
GUARDED = (*CONTRACT, *REFLECTION, *TRANSPORT)
"""Every method that the server answers and that not everybody may call, from the descriptors."""

JUNK = b"\xff"
"""No message of any type: who is let in is told so, and nothing is done."""

NEVER_LET_IN = {"UNAUTHENTICATED", "PERMISSION_DENIED", "UNAVAILABLE"}


class Answer(NamedTuple):
    """How a call with junk ended."""

    code: str
    reason: str


class House:
    """The server, its files, and channels to it."""

    def __init__(self, server: Running, folder: Path, authority: Authority, stack: AsyncExitStack) -> None:
        self.server = server
        self.app = server.app
        self.folder = folder
        self.authority = authority
        self._stack = stack

    @property
    def access_file(self) -> Path:
        return self.folder / "access"

    def grant(self, *lines: str) -> None:
        """Write the access file anew; the server does not know yet."""
        swap(self.access_file, "\n".join(lines).encode())

    async def look(self) -> None:
        """Let the server look at its files, as it does every second."""
        await self.app.access.look()

    async def channel(self, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
        """A connection of its own."""
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
        made = (
            grpc.aio.insecure_channel(self.app.address, options=options)
            if credentials is None
            else grpc.aio.secure_channel(self.app.address, credentials, options=options)
        )
        return await self._stack.enter_async_context(made)

    async def trusting(self, own: Pair | None = None) -> grpc.aio.Channel:
        """A connection by TLS, with a certificate of its own or none."""
        return await self.channel(self.authority.trusted(own))


@asynccontextmanager
async def house(
    folder: Path,
    *lines: str,
    tls: bool = False,
    client_certificates: bool = False,
    limits: LimitSettings | None = None,
    controlled: bool = True,
    authority: Authority | None = None,
    **parts: Any,
) -> AsyncIterator[House]:
    """A server that knows these lines of an access file."""
    authority = authority or Authority()
    (folder / "ca.pem").write_bytes(authority.pem)
    swap(folder / "access", "\n".join(lines).encode())
    files = TlsSettings()
    if tls or client_certificates:
        certificate, key = authority.server().write(folder, "server")
        files = TlsSettings(cert_file=str(certificate), key_file=str(key))
    if client_certificates:
        files = replace(files, client_ca_file=str(folder / "ca.pem"))
    configured = settings(
        tls=files,
        access=AccessSettings(file=str(folder / "access") if controlled else "", reload_s=3_600),
        limits=limits or LimitSettings(),
        **parts,
    )
    async with running(configured) as server, AsyncExitStack() as stack:
        yield House(server, folder, authority, stack)


class Token(NamedTuple):
    """A token, and its line."""

    text: str
    line: str

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return bearer(self.text)


def token(identity: str, *roles: Role, rest: str = "") -> Token:
    """A token for somebody."""
    text = new_token()
    return Token(text, f"token {shown(text)} identity={identity} role={','.join(roles)} {rest}")


def bearer(text: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {text}"),)


async def ask(channel: grpc.aio.Channel, method: str, metadata: Iterable[tuple[str, str]] = ()) -> Answer:
    """Call a method with junk. Every kind of method can be called as a stream both ways."""
    call: Any = channel.stream_stream(f"/{method}")(metadata=tuple(metadata), timeout=10)
    try:
        await call.write(JUNK)
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass
        code = await call.code()
    except grpc.aio.AioRpcError as error:
        code = error.code()
    except grpc.aio.UsageError:  # it ended before all was written
        code = await call.code()
    details = dict(await call.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
    return Answer(code.name, _reason(details))


def _reason(details: Any) -> str:
    from google.rpc import status_pb2

    if not details:
        return ""
    status = status_pb2.Status.FromString(details)
    return problem_of(status.code, status.message, status.details).reason


def expected(method: str, roles: Iterable[Role]) -> bool:
    """May these roles call the method?"""
    return bool(set(roles) & (ROLES[method] | {Role.ADMIN}))


async def refused(call: Any) -> Problem:
    """The error that a call ends with."""
    return await refused_by(call)
