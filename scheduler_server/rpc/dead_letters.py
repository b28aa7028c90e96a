"""AdminService's dead letters: what was set aside, in a stream of Redis."""

import logging
from collections.abc import Callable
from typing import Any, NoReturn

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.dispatch.entries import RAW_BYTES, DeadReason
from scheduler_server.dispatch.gateway import StreamsError
from scheduler_server.dispatch.letters import PAGE, Kept
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import TaskState
from scheduler_server.rpc import checks, encode, paging
from scheduler_server.rpc.checks import Checker
from scheduler_server.rpc.entry import Entries
from scheduler_server.rpc.errors import Refused
from scheduler_server.rpc.paging import Position
from scheduler_server.rpc.stores import Stores

_LOG = logging.getLogger(__name__)

_REASONS = frozenset(each.value for each in DeadReason)


class DeadLetterCalls:
    """Each method: check the message, ask Redis in its thread, encode the answer.

    Without task streams nothing is set aside anywhere, so there is nothing to list.
    """

    def __init__(self, stores: Stores, incarnation: str, refuse_when_draining: Callable[[], None]) -> None:
        self._stores = stores
        self._incarnation = incarnation
        self._refuse_when_draining = refuse_when_draining
        self._entries = Entries()

    async def ListDeadLetters(
        self, request: admin_service_pb2.ListDeadLettersRequest, context: Any
    ) -> admin_service_pb2.ListDeadLettersResponse:
        """What was set aside, newest first."""
        checker = Checker()
        wanted = _Wanted(request, checker)
        size = paging.size(checker, request.page_size)
        checker.done()
        bound_to = paging.scope(self._incarnation, request)
        after = paging.read_token(bound_to, request.page_token)
        response = admin_service_pb2.ListDeadLettersResponse()
        dispatcher = self._stores.tasks
        if dispatcher is None:
            return response
        before = after.worker_id if after is not None else ""
        written = 0
        while True:
            letters = await self._asked(dispatcher.dead_letters(before))
            for letter in letters:
                if not wanted.matches(letter):
                    before = letter.letter_id
                    continue
                if len(response.dead_letters) >= size or written > paging.MAX_PAGE_BYTES:
                    response.next_page_token = paging.write_token(bound_to, Position(0, 0.0, before))
                    return response
                before = letter.letter_id
                message = response.dead_letters.add()
                _fill(message, letter)
                written += message.ByteSize()
            if len(letters) < PAGE:
                return response

    async def RetryDeadLetter(
        self, request: admin_service_pb2.RetryDeadLetterRequest, context: Any
    ) -> admin_service_pb2.RetryDeadLetterResponse:
        """Let a task come again, as its next attempt."""
        letter_id = self._letter_id(request)
        dispatcher = self._stores.tasks
        letter = None if dispatcher is None else await self._asked(dispatcher.dead_letter(letter_id))
        if dispatcher is None or letter is None:
            raise _unknown(letter_id)
        attempt = letter.attempts + 1
        task = self._entries.again(letter.task, attempt)
        if not letter.task or task is None:
            message = f"dead letter {letter_id} cannot be read as a task: {letter.detail}"
            raise Refused(Refusal(Reason.UNDECODABLE, message, (("dead_letter_id", letter_id),)))
        if not await self._asked(dispatcher.put_back(letter, task)):
            raise _unknown(letter_id)
        _LOG.info("dead letter %s is put back: %s", letter_id, request.reason or "no reason given")
        response = admin_service_pb2.RetryDeadLetterResponse()
        response.task.task.task_id = letter.task_id
        response.task.task.tenant = letter.tenant
        response.task.task.attempt = attempt
        response.task.task_type = letter.task_type
        response.task.state = TaskState.WAITING.value  # type: ignore[assignment] # the contract's number
        return response

    async def DiscardDeadLetter(
        self, request: admin_service_pb2.DiscardDeadLetterRequest, context: Any
    ) -> admin_service_pb2.DiscardDeadLetterResponse:
        """Throw one away."""
        letter_id = self._letter_id(request)
        dispatcher = self._stores.tasks
        letter = None if dispatcher is None else await self._asked(dispatcher.dead_letter(letter_id))
        if dispatcher is None or letter is None or not await self._asked(dispatcher.discard(letter_id)):
            raise _unknown(letter_id)
        what = f"task {letter.task_id!r} of tenant {letter.tenant!r}" if letter.task_id else "an entry"
        why = letter.reason.name if letter.reason is not None else ""
        given = request.reason or "no reason given"
        _LOG.info("dead letter %s is thrown away, %s, %s: %s", letter_id, what, why, given)
        return admin_service_pb2.DiscardDeadLetterResponse()

    # ------------------------------------------------------------------ shared

    def _letter_id(self, request: Any) -> str:
        checker = Checker()
        checker.text("dead_letter_id", request.dead_letter_id, required=True)
        checker.text("reason", request.reason, limit=checks.MAX_DETAIL)
        checker.done()
        self._refuse_when_draining()
        found: str = request.dead_letter_id
        return found

    @staticmethod
    async def _asked(answer: Any) -> Any:
        try:
            return await answer
        except StreamsError as error:
            _unavailable(error)


def _unavailable(error: StreamsError) -> NoReturn:
    raise Refused(Refusal(Reason.STORE_UNAVAILABLE, str(error), (("store", "tasks"),))) from None


def _unknown(letter_id: str) -> Refused:
    message = f"dead letter {letter_id!r} is not known, or no longer kept"
    return Refused(Refusal(Reason.DEAD_LETTER_UNKNOWN, message, (("dead_letter_id", letter_id),)))


class _Wanted:
    """Which dead letters are asked for."""

    def __init__(self, request: admin_service_pb2.ListDeadLettersRequest, checker: Checker) -> None:
        self._tenant = request.tenant if request.HasField("tenant") else None
        self._task_type = request.task_type
        self._reasons = frozenset(request.reasons)
        self._start = self._end = None
        checker.text("tenant", request.tenant)
        checker.text("task_type", request.task_type)
        for at, reason in enumerate(request.reasons):
            checker.choice(f"reasons[{at}]", reason, _REASONS, "DeadLetterReason")
        start, end = request.range.start, request.range.end
        if request.range.HasField("start"):
            self._start = checker.instant_s("range.start", start.seconds, start.nanos)
        if request.range.HasField("end"):
            self._end = checker.instant_s("range.end", end.seconds, end.nanos)
        if self._start is not None and self._end is not None and self._end <= self._start:
            checker.fault("range.end", "must be after range.start")

    def matches(self, letter: Kept) -> bool:
        """Is this one of them?"""
        at = letter.at_ms / 1_000.0
        return (
            (self._tenant is None or (letter.tenant == self._tenant and bool(letter.task_id)))
            and (not self._task_type or letter.task_type == self._task_type)
            and (not self._reasons or (letter.reason is not None and letter.reason.value in self._reasons))
            and (self._start is None or at >= self._start)
            and (self._end is None or at < self._end)
        )


def _fill(message: Any, letter: Kept) -> None:
    message.dead_letter_id = letter.letter_id
    if letter.task_id:
        message.task.task_id = letter.task_id
        message.task.tenant = letter.tenant
        message.task.attempt = letter.attempts
        message.task_type = letter.task_type
        message.attempts = letter.attempts
    if letter.reason is not None:
        message.reason = letter.reason.value
    message.detail = letter.detail[: checks.MAX_DETAIL]
    encode.set_instant(message.at, letter.at_ms / 1_000.0)
    message.worker_ids.extend(letter.workers)
    message.source = letter.source
    message.raw = letter.raw[:RAW_BYTES]
