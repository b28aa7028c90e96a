"""Access control as a whole: the files it reads, the guard, the port's credentials, and what the status says of it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from pathlib import Path

import grpc

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.access import certificates, grants, secret_file
from scheduler_server.access.accounts import LIMITS, Accounts
from scheduler_server.access.certificates import Certificates
from scheduler_server.access.grants import Grants, GrantsError
from scheduler_server.access.rotation import Rotation
from scheduler_server.access.secret_file import FileError
from scheduler_server.access.settings import AccessSettings, LimitSettings, TlsSettings
from scheduler_server.rpc.access_callers import Callers
from scheduler_server.rpc.access_guard import REASONS, Guard
from scheduler_server.rpc.access_names import Names
from scheduler_server.rpc.access_tls import server_credentials
from scheduler_server.rpc.schedule import ScheduleCalls
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.streams import WorkerStreams

_LOG = logging.getLogger(__name__)

_FILE = "access.file"
_OLD_STAY = "what was read before stays in use"
_EXPIRED = "clients that look at it, as all should, do not connect any more"


_OPEN, _PLAIN, _NO_LIMITS = AccessSettings(), TlsSettings(), LimitSettings()


class AccessError(Exception):
    """The server cannot start so; one line that says why."""


class Access:
    """Made before the server listens. `guard` is None where nobody is held to anything: methods stay unwrapped."""

    def __init__(
        self,
        access: AccessSettings = _OPEN,
        tls: TlsSettings = _PLAIN,
        limits: LimitSettings = _NO_LIMITS,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read all files. Raises AccessError."""
        self._wall, self._monotonic = wall, monotonic
        self._reload_s = access.reload_s
        self.grants: Rotation[Grants] | None = None
        self.certificates: Rotation[Certificates] | None = None
        try:
            if tls.on:
                self.certificates = Rotation(
                    "TLS", lambda: certificates.versions(tls), lambda: certificates.load(tls, wall())
                )
            if access.file:
                path = Path(access.file)
                self.grants = Rotation(_FILE, lambda: secret_file.version(path), lambda: _read_grants(path))
        except FileError as error:
            raise AccessError(str(error)) from None
        known = self.grants is not None or bool(tls.client_ca_file)
        self.accounts = Accounts(limits) if known or limits.apply == "always" else None
        self.guard: Guard | None = None
        if known or self.accounts is not None:
            self.callers = Callers(
                grants=self.grants,
                certificates=bool(tls.client_ca_file),
                accounts=self.accounts,
                wall=wall,
                monotonic=monotonic,
            )
            self.guard = Guard(self.callers, roles=self.grants is not None, monotonic=monotonic)
        self._watching: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()  # how long it rests has changed

    def attach(self, shell: Shell, calls: ScheduleCalls, streams: WorkerStreams) -> None:
        """Let the parts ask about names and workers, and begin to look for changes of files."""
        if self.grants is not None or self.certificates is not None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        if self.guard is None:
            return
        names = Names(shell.core, self.guard, self.accounts, self._monotonic)
        calls.names = streams.names = names
        shell.listeners.append(names.heard)

    def bind(self, server: "grpc.aio.Server", listen: str, *, allow_plaintext: bool) -> int:
        """Open the port; 0 where it is taken. Raises AccessError for plaintext that everybody could read."""
        if self.certificates is not None:
            return server.add_secure_port(listen, server_credentials(self.certificates))
        if not (allow_plaintext or is_loopback(listen.rpartition(":")[0])):
            raise AccessError(
                f"server.listen: {listen} is not this machine alone, and without TLS everybody on the way could read"
                " and change what is said: set tls.cert_file and tls.key_file, or server.allow_plaintext where the"
                " network is trusted"
            )
        return server.add_insecure_port(listen)

    # ------------------------------------------------------------------ while it runs

    def reconfigure(self, access: AccessSettings, limits: LimitSettings) -> None:
        """These hold from now on, as far as they can be changed while the server runs."""
        if self.accounts is not None:
            self.accounts.reconfigure(limits)
        if access.reload_s != self._reload_s:
            self._reload_s = access.reload_s
            self._hurry.set()

    async def close(self) -> None:
        """Look no more."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching

    async def look(self) -> None:
        """Read what has changed, and end what is not allowed any more."""
        for files in (self.certificates, self.grants):
            if files is not None:
                await asyncio.to_thread(files.look)  # a disk may hang
        if self.guard is not None:
            await self.guard.end_what_is_not_allowed()

    async def _watch(self) -> None:
        while True:
            self._hurry.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._reload_s):
                    await self._hurry.wait()
            try:
                await self.look()
            except Exception:  # noqa: BLE001 -- the last stop: who revokes a token must not find that nobody looks
                _LOG.exception("looking for changes of the files of TLS and access control failed")

    # ------------------------------------------------------------------ what is told of it

    def fill_status(self, response: admin_service_pb2.GetStatusResponse) -> None:
        """Add what is degraded: files that are wrong now, a certificate that has expired."""
        if self.certificates is not None:
            if self.certificates.fault:
                response.degraded.add(name="tls", detail=self.certificates.fault, consequence=_OLD_STAY)
            if self._wall() > self.certificates.value.valid.ends:
                response.degraded.add(
                    name="tls.certificate", detail="the server's certificate has expired", consequence=_EXPIRED
                )
        if self.grants is not None and self.grants.fault:
            response.degraded.add(name="access", detail=self.grants.fault, consequence=_OLD_STAY)

    def limits_hit(self) -> Mapping[str, int]:
        """Calls, tasks and streams refused by a limit of their identity, by its name."""
        return self.accounts.refused if self.accounts is not None else dict.fromkeys(LIMITS, 0)

    def denied(self) -> Mapping[str, int]:
        """Calls refused for want of a credential, role or worker id, by reason."""
        if self.guard is None:
            return {reason.value.lower(): 0 for reason in REASONS}
        return {reason.value.lower(): count for reason, count in self.guard.refused.items()}


def is_loopback(host: str) -> bool:
    """Is it an address that only this machine reaches?"""
    name = host.strip("[]").partition("%")[0]
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _read_grants(path: Path) -> Grants:
    data = secret_file.read(path, secret=True, what=_FILE)
    try:
        return grants.parse(data.decode())
    except UnicodeDecodeError:
        raise FileError(f"{_FILE} {path}: is not UTF-8") from None
    except GrantsError as error:
        raise FileError(f"{_FILE} {path}: {error}") from None
