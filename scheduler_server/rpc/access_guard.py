"""May this caller call this, and has it room left? Wrappers around methods.

Methods are wrapped once, at registration, and only where there is something to hold callers to: without access control
and limits there is no wrapper, and no cost. A request is parsed after its caller was let in.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from scheduler_server.access.caller import CALLER, NOBODY, Caller
from scheduler_server.access.roles import Role, allowed
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.rpc.access_callers import Callers, insufficient
from scheduler_server.rpc.errors import UNREADABLE, Refused, abort

REASONS = (
    Reason.CREDENTIAL_MISSING,
    Reason.CREDENTIAL_UNKNOWN,
    Reason.CREDENTIAL_EXPIRED,
    Reason.ROLE_INSUFFICIENT,
    Reason.WORKER_NOT_YOURS,
)
"""Why access is refused."""

_YIELD_S = 0.001
"""Looking through what is open lets the loop do something else this often."""

Method = Callable[[Any, Any], Awaitable[Any]]
Parse = Callable[[bytes], Any] | None
OnRefused = Callable[[Caller, str, Refusal, Any], None]


class Opened:
    """A call under way: `worker_id` where it speaks for a worker; `refusal` is why it was ended.

    A task that is cancelled while gRPC writes for it cannot tell its end any more: gRPC refuses what was begun to be
    sent before. So what writes a stream ends by itself, when the message is out.
    """

    __slots__ = ("caller", "context", "method", "refusal", "worker_id", "writing")

    def __init__(self, caller: Caller, method: str, context: Any) -> None:
        self.caller = caller
        self.context = context
        self.method = method
        self.worker_id = ""
        self.writing = False
        self.refusal: Refusal | None = None

    @property
    def ends(self) -> bool:
        """Has it begun to tell its end?"""
        code = self.context.code()
        return isinstance(code, grpc.StatusCode) and code is not grpc.StatusCode.OK


class _Streaming:
    """A stream's context, that notes when it writes."""

    __slots__ = ("_context", "_opened")

    def __init__(self, context: Any, opened: Opened) -> None:
        self._context = context
        self._opened = opened

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def write(self, message: Any) -> None:
        """As the context does. Raises Refused where the call was ended meanwhile."""
        opened = self._opened
        opened.writing = True
        try:
            await self._context.write(message)
        finally:
            opened.writing = False
        if opened.refusal is not None:
            raise Refused(opened.refusal)


class Guard:
    """Lets calls in, and ends those whose credential is no longer good.

    `refused` counts by reason; each of `on_refused` hears of every refusal: caller, method, refusal, context.
    """

    def __init__(self, callers: Callers, *, roles: bool, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._callers = callers
        self._roles = roles
        self._monotonic = monotonic
        self._open: dict[asyncio.Task[Any], Opened] = {}
        self._revision = callers.revision  # of the access file, when what is open was last held against it
        self.refused: dict[Reason, int] = dict.fromkeys(REASONS, 0)
        self.on_refused: list[OnRefused] = []

    # ------------------------------------------------------------------ methods

    def unary(self, method: Method, name: str, parse: Parse, tasks: Callable[[bytes], int] | None = None) -> Method:
        """A unary method behind the guard. `tasks`: how many a request asks to have placed."""
        enter, monotonic, opened = self._enter, self._monotonic, self._open
        may: dict[tuple[Role, ...], bool] = {}

        async def call(request: Any, context: Any) -> Any:
            caller = enter(context, name, may)
            account = None
            if tasks is not None:
                account = caller.account
                if account is not None and (no := account.admit(tasks(request), monotonic())) is not None:
                    raise Refused(no)
            task = _running()
            opened[task] = entry = Opened(caller, name, context)
            try:
                return await method(_parsed(parse, request), context)
            except asyncio.CancelledError:
                _ended(task, entry)
                raise
            finally:
                del opened[task]
                if account is not None:
                    account.leave()

        return call

    def watch(self, method: Method, name: str, parse: Parse) -> Method:
        """A method with one request and a stream of answers."""
        may: dict[tuple[Role, ...], bool] = {}

        async def call(request: Any, context: Any) -> None:
            caller = self._enter(context, name, may)
            await self._streaming(caller, name, context, lambda own: method(_parsed(parse, request), own))

        return call

    def stream(self, method: Method, name: str) -> Method:
        """A method that streams both ways, and maps its errors itself."""
        may: dict[tuple[Role, ...], bool] = {}

        async def call(requests: Any, context: Any) -> None:
            try:
                caller = self._enter(context, name, may)
                await self._streaming(caller, name, context, lambda own: method(requests, own))
            except Refused as refused:
                await abort(context, refused)

        return call

    def generated(self, method: Callable[[Any, Any], AsyncIterator[Any]], name: str) -> Method:
        """The same for a method that yields its answers."""

        async def written(requests: Any, context: Any) -> None:
            async for answer in method(requests, context):
                await context.write(answer)

        return self.stream(written, name)

    async def _streaming(
        self, caller: Caller, name: str, context: Any, answering: Callable[[Any], Awaitable[Any]]
    ) -> None:
        account = caller.account
        if account is not None and (no := account.open_stream()) is not None:
            raise Refused(no)
        task = _running()
        self._open[task] = entry = Opened(caller, name, context)
        try:
            await answering(_Streaming(context, entry))
        except asyncio.CancelledError:
            _ended(task, entry)
            raise
        finally:
            del self._open[task]
            if account is not None:
                account.close_stream()

    def _enter(self, context: Any, name: str, may: dict[tuple[Role, ...], bool]) -> Caller:
        """The caller, who may call the method. Raises Refused."""
        try:
            caller = self._callers.of(context)
        except Refused as refused:
            self.tell(NOBODY, name, refused.refusal, context)
            raise
        CALLER.set(caller)
        if self._roles:
            roles = caller.roles
            allows = may.get(roles)
            if allows is None:
                allows = may[roles] = allowed(roles, name) is not None
            if not allows:
                no = insufficient(caller, name)
                self.tell(caller, name, no, context)
                raise Refused(no)
        return caller

    def tell(self, caller: Caller, name: str, no: Refusal, context: Any) -> None:
        """Count a refusal, and let others hear of it."""
        if no.reason in self.refused:
            self.refused[no.reason] += 1
        for hear in self.on_refused:
            hear(caller, name, no, context)

    # ------------------------------------------------------------------ what is open

    def opened(self, task: "asyncio.Task[Any]") -> Opened | None:
        """The call that this task answers."""
        return self._open.get(task)

    async def end_what_is_not_allowed(self) -> int:
        """End what is open with credentials that expired, were revoked or may do less now; how many calls that were."""
        ended = 0
        revision = self._callers.revision
        changed, self._revision = revision != self._revision, revision
        still: dict[tuple[Caller, str, str], Refusal | None] = {}
        until = self._monotonic() + _YIELD_S
        for task, entry in list(self._open.items()):
            key = (entry.caller, entry.method, entry.worker_id)
            if key not in still:
                still[key] = self._callers.still(*key) if changed else self._callers.expired(entry.caller)
            no = still[key]
            if no is not None and entry.refusal is None and task in self._open and not entry.ends:
                entry.refusal = no
                if not entry.writing:
                    task.cancel()
                self.tell(entry.caller, entry.method, no, None)
                ended += 1
            if self._monotonic() > until:
                await asyncio.sleep(0)
                until = self._monotonic() + _YIELD_S
        return ended


def _running() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 -- grpc.aio runs every handler as a task
    return task


def _ended(task: "asyncio.Task[Any]", entry: Opened) -> None:
    """Of a cancelled call: was it the guard that ended it? Raises Refused then."""
    if entry.refusal is not None:
        task.uncancel()
        raise Refused(entry.refusal) from None


def _parsed(parse: Parse, request: Any) -> Any:
    if parse is None:
        return request
    message = parse(request)
    if message is None:
        raise Refused(UNREADABLE)
    return message
