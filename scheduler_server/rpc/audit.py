"""Who changed what: every call that changes something goes into the decision log, also one that was refused.

One wrapper around each method that `audited.py` lists, at registration. It looks at what the call is about before and
after it, so no method says anything of itself, and none can forget to.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any

from google.protobuf import json_format
from google.rpc import code_pb2

from scheduler_server.access.bucket import Bucket
from scheduler_server.access.caller import Caller
from scheduler_server.access.roles import Role
from scheduler_server.model.clock import Now
from scheduler_server.model.refusal import Refusal
from scheduler_server.rpc.access_callers import peer_of
from scheduler_server.rpc.audited import AUDITED, Sight, Spec
from scheduler_server.rpc.checks import Faults
from scheduler_server.rpc.errors import CODES, NotSupported, Refused
from scheduler_server.storage.decision_log import Audited

_LOG = logging.getLogger(__name__)

MOST_TEXT = 4_096
"""Characters of each text of an entry, as the contract has it."""

_STRANGERS_PER_S, _STRANGERS_BURST = 10.0, 100.0
"""Entries of callers who did not prove who they are: enough to see that somebody tries, and no way to flood the log."""

Method = Callable[[Any, Any], Awaitable[Any]]
Put = Callable[[Audited], object]


class Audit:
    """Writes entries down by `put`; None: no history is kept, and nothing is written."""

    def __init__(self, sight: Sight, now: Callable[[], Now], put: Put | None) -> None:
        self._sight = sight
        self._now = now
        self._put = put
        self._written = 0
        self._strangers = Bucket(_STRANGERS_PER_S, _STRANGERS_BURST, now().monotonic)

    def wrap(self, method: Method, full_name: str) -> Method:
        """The method, audited where the table says so."""
        name = full_name.rpartition("/")[2]
        spec = AUDITED.get(name)
        if spec is None or self._put is None:
            return method

        async def call(request: Any, context: Any) -> Any:
            if request is None or spec.skips(request) or (spec.only_admins and not _by_an_admin(context, full_name)):
                return await method(request, context)
            before = await self._look(spec, request)
            answer = None
            code: int = code_pb2.CANCELLED
            try:
                answer = await method(request, context)
                code = code_pb2.OK
                return answer
            except (Faults, NotSupported, Refused) as error:
                code = _code_of(error)
                raise
            except asyncio.CancelledError:
                raise
            except Exception:
                code = code_pb2.INTERNAL
                raise
            finally:
                # A call that was cancelled may have been carried out, and says so by what is there now.
                after = await self._look(spec, request) if code != code_pb2.CANCELLED else self._glance(spec, request)
                subject = spec.subject(request)
                if answer is not None and spec.answered is not None:
                    subject, made = spec.answered(answer)
                    after = as_json(made)
                told = self._told(spec, request)
                self._write(context, full_name, subject, spec.reason(request), code, (before, after), told)

        return call

    def refused(self, caller: Caller, full_name: str, refusal: Refusal, context: Any) -> None:
        """Access was refused: what for is known, and who asked as far as it was proven. See `Guard.on_refused`."""
        spec = AUDITED.get(full_name.rpartition("/")[2])
        if spec is None or spec.only_admins or context is None or self._put is None:
            return
        if not caller.roles and self._strangers.take(1.0, self._now().monotonic):
            return
        self._write(context, full_name, "", "", CODES[refusal.reason], ("", ""), "")

    def _write(
        self, context: Any, full_name: str, subject: str, reason: str, code: int, states: tuple[str, str], told: str
    ) -> None:
        peer = peer_of(context, full_name)
        name, at = full_name.rpartition("/")[2], self._now().wall
        self._written += 1
        entry_id = f"a-{self._sight.core.incarnation}-{self._written}"
        said = subject[:MOST_TEXT], reason[:MOST_TEXT], *states
        if self._put is not None:
            self._put(Audited(at, entry_id, peer.identity, peer.role, peer.address, name, *said, code, told))

    def _told(self, spec: Spec, request: Any) -> str:
        """The request as JSON, without its reason, which stands beside it, and without what is secret."""
        try:
            said = json_format.MessageToDict(request, preserving_proto_field_name=True)
        except (ValueError, json_format.Error) as error:  # infinity, or an instant of the year 10000: JSON has neither
            return as_json({"not_json": str(error)})
        said.pop("reason", None)
        return as_json(spec.without_secrets(self._sight, said))

    async def _look(self, spec: Spec, request: Any) -> str:
        """What the call is about, as it is now."""
        try:
            found = spec.look(self._sight, request)
            return as_json(await found if isawaitable(found) else found)
        except Exception as error:  # noqa: BLE001 -- whatever cannot be looked at, the call goes on and is recorded
            _LOG.warning("the audit entry lacks what %s is about: %s", type(request).__name__, error)
            return ""

    def _glance(self, spec: Spec, request: Any) -> str:
        """The same where there is no time to wait."""
        try:
            found = spec.look(self._sight, request)
        except Exception:  # noqa: BLE001 -- likewise
            return ""
        if isawaitable(found):
            close = getattr(found, "close", None)
            if close is not None:
                close()
            return ""
        return as_json(found)


def _by_an_admin(context: Any, full_name: str) -> bool:
    return peer_of(context, full_name).role == Role.ADMIN


def _code_of(error: Faults | NotSupported | Refused) -> int:
    if isinstance(error, Refused):
        return CODES[error.refusal.reason]
    code: int = code_pb2.INVALID_ARGUMENT if isinstance(error, Faults) else code_pb2.UNIMPLEMENTED
    return code


def as_json(value: object) -> str:
    """A value as JSON of at most 4,096 characters: a longer one is cut, and stands in {"cut": "..."}; None is ""."""
    if value is None:
        return ""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True)
    if len(text) <= MOST_TEXT:
        return text
    kept = MOST_TEXT
    while len(cut := json.dumps({"cut": text[:kept]}, ensure_ascii=False)) > MOST_TEXT:
        kept -= (len(cut) - MOST_TEXT + 1) // 2  # a character takes one or two, so this is never too much
    return cut
