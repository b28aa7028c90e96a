"""Assign's bytes, in and out, without a message in between. For the usual request and answer only.

A message of protobuf's C implementation costs little in a loop and several times that between two calls, when the
transport has emptied the caches: every field is a call into it. So what comes by the thousand is read and written as
bytes. Everything unusual goes through `decode` and `encode`, which are the specification of both; tests hold this
module to them, message by message.

In: requests of one kind of task differ in nothing but the task's id, which serializers write first. What follows it is
looked up; if it was seen before, so was what it means. Out: protobuf's wire format is simple to write, and a parser
takes zeros that a serializer would have left out.
"""

from collections.abc import Callable
from struct import Struct
from typing import Any

from google.protobuf.message import DecodeError

from scheduler_api.v1 import schedule_service_pb2
from scheduler_server.assignment.effects import Reply
from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.telling import best_of
from scheduler_server.model.decision import Cause, Decision, Source, Term
from scheduler_server.model.making import make
from scheduler_server.model.task import Task
from scheduler_server.rpc import decode, encode
from scheduler_server.rpc.errors import UNREADABLE, Refused

_KINDS = 4_096
_LONGEST_KIND = 512
"""Kinds of requests remembered, and bytes of one: together at most about 8 MiB. When full all are forgotten: where
every request is of a kind of its own, nothing that keeps the order of their use would help."""

_LENGTH = 0x0A  # of field 1, the tag of task in AssignRequest and of task_id in Task
_ONE_BYTE = 0x80  # lengths below it take one byte

_PARSE = schedule_service_pb2.AssignRequest.FromString


class Requests:
    """Reads AssignRequests."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[bytes, int], Submit] = {}

    def submit(self, data: bytes, number: int | None = None) -> Submit:
        """As `decode.submit` of the parsed message, item `number` of a batch; bytes that do not parse are refused."""
        at = begin = end = length = 0
        if len(data) > 5 and data[0] == _LENGTH:  # noqa: PLR2004 -- two tags, two lengths, an id, at the least
            at, length = 2, data[1]
            if length >= _ONE_BYTE and data[2] < _ONE_BYTE:
                at, length = 3, length - _ONE_BYTE + data[2] * _ONE_BYTE
            begin = at + 2
            if data[at] == _LENGTH and data[at + 1] < _ONE_BYTE:
                end = begin + data[at + 1]
        kind = None
        if begin < end <= at + length <= len(data):
            kind = (data[end:], at + length - end)
            known = self._kinds.get(kind)
            if (
                known is not None
                and (task_id := data[begin:end]).isascii()
                and (name := task_id.decode()).isprintable()
            ):
                task = known[0]
                same: Submit = make(Submit, (make(Task, (task[0], name, *task[2:])), *known[1:]))
                return same
        try:
            request = _PARSE(data)
        except DecodeError:
            raise Refused(UNREADABLE) from None
        asked = decode.submit(request, "" if number is None else f"requests[{number}].")
        # A second task_id further on would win over the first: then nothing may be concluded from what follows it.
        # And a request that names its trace is of a kind of its own: it would only push out the others.
        if (
            kind is not None
            and len(kind[0]) <= _LONGEST_KIND
            and asked.task.trace is None
            and asked.task.task_id.encode() == data[begin:end]
        ):
            if len(self._kinds) >= _KINDS:
                self._kinds.clear()
            self._kinds[kind] = asked
        return asked


def items(data: bytes) -> list[bytes] | None:
    """The parts of a message that holds nothing but field 1, any number of times; None where it holds anything else."""
    found = []
    at, size = 0, len(data)
    while at < size:
        if data[at] != _LENGTH:
            return None
        length = shift = 0
        while True:
            at += 1
            if at >= size or shift > 28:  # noqa: PLR2004 -- five bytes carry more than any message may have
                return None
            byte = data[at]
            length |= (byte & 0x7F) << shift
            if byte < _ONE_BYTE:
                break
            shift += 7
        at += 1
        if at + length > size:
            return None
        found.append(data[at : at + length])
        at += length
    return found


# ---------------------------------------------------------------------- answers


def assigned(reply: Reply) -> bytes:
    """As `encode.assigned`, serialized."""
    state, made, outcome, replayed, _, waiting = reply
    if made is not None and outcome is None and waiting is None and not replayed and made.explanation is None:
        decision = _decision(made)
        if decision is not None:
            return b"\x08%c\x12%b%b" % (state or 0, _varint(len(decision)), decision)
    return encode.assigned(reply).SerializeToString()


def batched(answers: list[bytes]) -> bytes:
    """An AssignBatchResponse of AssignBatchResults, each serialized."""
    return b"".join([b"\x0a%b%b" % (_varint(len(answer)), answer) for answer in answers])


def batch_item(answer: bytes) -> bytes:
    """An AssignBatchResult that holds an AssignResponse."""
    return b"\x0a%b%b" % (_varint(len(answer)), answer)


def _decision(made: Decision) -> bytes | None:
    """A Decision of predictor and scorer, in healthy company; None for any other."""
    (
        decision_id, (tenant, task_id, attempt), _, lease_id, worker_id, wait_ms, duration_ms, score, terms,
        source, cause, scorer, revision, incarnation, decided_at, prediction, candidates, degraded, _,
    ) = made  # fmt: skip
    if cause is not _BEST_SCORE or prediction is None or degraded or attempt >= _ONE_BYTE:
        return None
    form = _FORMS.get(scorer)
    if form is None or form.incarnation != incarnation or form.revision != revision or not form.fits(terms):
        if len(_FORMS) >= _MOST_FORMS:
            _FORMS.clear()
        form = _FORMS[scorer] = _Form(scorer, terms, source, cause, revision, incarnation)
    values = [value for _, value, _ in terms]
    parts = form.parts.copy()
    parts[1::2] = values
    worker, name, task = worker_id.encode(), decision_id.encode(), task_id.encode()
    lease = lease_id.encode()
    point, mean, p50, p90, confidence, count, key, predictor, _ = prediction
    learned_of, learned_by = key.encode(), predictor.encode()
    if count:
        reasoning = form.learned % (worker, candidates, score, *values, duration_ms, learned_by, count, learned_of)
    else:
        reasoning = form.assumed % (worker, candidates, score, *values, duration_ms, learned_of)
    samples = _varint(count)
    whole = int(decided_at)
    nanos = int((decided_at - whole) * 1e9)
    second = _varint(whole)
    of_tenant = tenant.encode()
    if (
        len(worker) | len(name) | len(lease) | len(learned_of) | len(learned_by) >= _ONE_BYTE
        or len(task) + len(of_tenant) > _ONE_BYTE - 8  # with their tags, lengths and the attempt
    ):
        return None  # a length would take two bytes
    if tenant:
        task = b"\x0a%c%b\x12%c%b\x18%c" % (len(of_tenant), of_tenant, len(task), task, attempt)
    else:
        task = b"\x12%c%b\x18%c" % (len(task), task, attempt)
    # A Timestamp's nanoseconds take up to five bytes; filled up to five, which parsers take, they need no loop.
    return (
        b"\x0a%c%b\x12%c%b\x1a%c%b\x22%c%b%b%b%b\x72%b%b"
        b"\x7a%c\x08%b\x10%c%c%c%c%c\x82\x01%b%b\x30%b\x3a%c%b\x42%c%b"
    ) % (
        len(name), name, len(task), task, len(lease), lease, len(worker), worker,
        _THREE(0x29, wait_ms, 0x31, duration_ms, 0x39, score), form.pack(*parts), form.constant,
        _varint(len(reasoning)), reasoning,
        len(second) + 7, second, nanos & 0x7F | 0x80, nanos >> 7 & 0x7F | 0x80, nanos >> 14 & 0x7F | 0x80,
        nanos >> 21 & 0x7F | 0x80, nanos >> 28,
        _varint(50 + len(samples) + len(learned_of) + len(learned_by)),
        _FIVE(0x09, point, 0x11, mean, 0x19, p50, 0x21, p90, 0x29, confidence),
        samples, len(learned_of), learned_of, len(learned_by), learned_by,
    )  # fmt: skip


class _Form:
    """What all decisions of one scorer have in common, ready to be filled in."""

    __slots__ = ("_names", "_weights", "assumed", "constant", "incarnation", "learned", "pack", "parts", "revision")

    def __init__(
        self, scorer: str, terms: tuple[Term, ...], source: Source, cause: Cause, revision: int, incarnation: str
    ) -> None:
        self.revision, self.incarnation = revision, incarnation
        self._names = [name for name, _, _ in terms]
        self._weights = [weight for _, _, weight in terms]
        # Constant bytes and holes for the values, in turns.
        self.parts: list[Any] = []
        left = b""  # of the term before
        for name, _, weight in terms:
            named = _text(0x0A, name)
            self.parts += [b"%b\x42%b%b\x11" % (left, _varint(len(named) + 18), named), 0.0]  # two tagged doubles
            left = b"\x19" + _DOUBLE(weight)
        self.parts.append(left)
        self.pack: Callable[..., bytes] = Struct("<" + "d".join([f"{len(part)}s" for part in self.parts[::2]])).pack
        self.constant = b"\x48%b\x50%b%b\x60%b%b" % (
            _varint(source), _varint(cause), _text(0x5A, scorer), _varint(revision), _text(0x6A, incarnation)
        )  # fmt: skip
        learned, assumed = best_of(scorer, terms)
        self.learned, self.assumed = learned.encode(), assumed.encode()

    def fits(self, terms: tuple[Term, ...]) -> bool:
        """Are these terms, apart from their values, those of the form?"""
        return [weight for _, _, weight in terms] == self._weights and [name for name, _, _ in terms] == self._names


_FORMS: dict[str, _Form] = {}
_MOST_FORMS = 64

_BEST_SCORE = Cause.BEST_SCORE
_DOUBLE = Struct("<d").pack
_THREE = Struct("<BdBdBd").pack
_FIVE = Struct("<BdBdBdBdBd").pack


def _text(tag: int, text: str) -> bytes:
    written = text.encode()
    return b"%c%b%b" % (tag, _varint(len(written)), written)


def _varint(value: int) -> bytes:
    if value < _ONE_BYTE:
        return b"%c" % value
    if value < 0x4000:  # noqa: PLR2004 -- two bytes carry 14 bits
        return b"%c%c" % (value & 0x7F | 0x80, value >> 7)
    out = bytearray()
    while value >= _ONE_BYTE:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
