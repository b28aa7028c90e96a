"""One drain and its workers: how far it is, and what the journal keeps of that."""

from typing import NamedTuple

import msgspec

from scheduler_server.model.drain import DrainCounts, DrainOrder, DrainState


class KeptDrain(NamedTuple):
    """A drain as the journal has it. `counts` are of the `past` workers that it has no line for.

    Once it is over these are all of them: lines that are found all the same are left from a slice that was cut short.
    """

    order: DrainOrder
    ended: float | None = None  # wall seconds
    cancelled: bool = False
    over: bool = False
    counts: DrainCounts = DrainCounts()
    past: int = 0


class KeptLine(NamedTuple):
    """How far one worker of a drain is, likewise. That it is there at all says that the drain covers this worker."""

    drain_id: str
    worker_id: str
    counts: DrainCounts = DrainCounts()


class Line:
    """How far one worker of one drain is.

    `left` is how many leases it holds, those included that are restored and wait for it. `acknowledged` is of its
    present session, or its last.
    """

    __slots__ = ("acknowledged", "counts", "drain", "left", "told_as", "told_on", "worker_id")

    def __init__(self, drain: "Drain", worker_id: str, left: int) -> None:
        self.drain = drain
        self.worker_id = worker_id
        self.left = left
        self.counts = DrainCounts()
        self.acknowledged = False
        self.told_on: int | None = None  # the session that was told of the drain
        self.told_as = 0  # numbers what was told: who echoes one has read all before it

    def kept(self) -> KeptLine:
        """What the journal keeps."""
        return KeptLine(self.drain.order.drain_id, self.worker_id, self.counts)


class Drain:
    """One drain.

    Invariants: `left` is the sum over `lines`, `holding` counts those with any, `acknowledged` those that have taken
    note; `counts` has the sum over `lines` and `past_counts`. Once `over` it covers nobody.
    """

    __slots__ = (
        "acknowledged", "cancelled", "counts", "covering", "ended", "gone", "holding", "ids", "left", "lines", "order",
        "over", "overdue", "past", "past_counts", "stop_by",
    )  # fmt: skip

    def __init__(self, order: DrainOrder) -> None:
        self.order = order
        self.ids = frozenset(order.worker_ids)
        self.lines: dict[str, Line] = {}
        self.gone: dict[str, None] = {}  # those of them that are not known any more, the longest gone first
        self.past = 0  # workers that were forgotten, or that a cancelled drain had
        self.past_counts = self.counts = DrainCounts()
        self.left = self.holding = self.acknowledged = 0
        self.ended: float | None = None  # wall seconds
        self.cancelled = False
        self.over = False
        self.overdue = False  # its deadline has passed, and what was to be done then has begun
        self.covering = False  # workers are still being looked through
        self.stop_by: float | None = None  # monotonic second at which what was told to stop is given up

    def __repr__(self) -> str:
        return f"<{self.order.drain_id} {self.state.name}, {self.left} left, {tuple(self.counts)}>"

    @property
    def state(self) -> DrainState:
        """Where it stands."""
        if self.cancelled:
            return DrainState.CANCELLED
        if not self.holding and not self.covering:
            return DrainState.COMPLETE
        return DrainState.OVERDUE if self.overdue else DrainState.ACTIVE

    @property
    def workers(self) -> int:
        """Its workers, in all: those that it covers, and has covered."""
        return len(self.lines) + self.past

    def add(self, line: Line) -> None:
        """Cover one more."""
        self.lines[line.worker_id] = line
        self.left += line.left
        self.holding += line.left > 0
        self.acknowledged += line.acknowledged
        self.counts = self.counts.plus(line.counts)

    def drop(self, line: Line) -> None:
        """Cover one less; what was counted of it stays counted."""
        del self.lines[line.worker_id]
        self.gone.pop(line.worker_id, None)
        self.left -= line.left
        self.holding -= line.left > 0
        self.acknowledged -= line.acknowledged
        self.past += 1
        self.past_counts = self.past_counts.plus(line.counts)

    def count(self, line: Line, more: DrainCounts) -> None:
        """Some of its tasks are over."""
        line.counts = line.counts.plus(more)
        self.counts = self.counts.plus(more)

    def holds(self, line: Line, left: int) -> None:
        """One of its workers holds so many now."""
        self.left += left - line.left
        self.holding += (left > 0) - (line.left > 0)
        line.left = left

    def notes(self, line: Line, acknowledged: bool) -> None:
        """One of its workers has taken note, or has to be told anew."""
        self.acknowledged += acknowledged - line.acknowledged
        line.acknowledged = acknowledged

    def kept(self) -> KeptDrain:
        """What the journal keeps."""
        counts, past = (self.counts, self.workers) if self.over else (self.past_counts, self.past)
        return KeptDrain(self.order, self.ended, self.cancelled, self.over, counts, past)


_ENCODE = msgspec.msgpack.Encoder()
_DECODE_DRAIN = msgspec.msgpack.Decoder(KeptDrain)
_DECODE_LINE = msgspec.msgpack.Decoder(KeptLine)


def to_bytes(kept: KeptDrain | KeptLine) -> bytes:
    """A drain, or a line of it, for the journal."""
    return _ENCODE.encode(kept)


def drain_of(kept: bytes) -> KeptDrain:
    """Back. ValueError where it makes no sense."""
    try:
        return _DECODE_DRAIN.decode(kept)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a drain: {error}") from error


def line_of(kept: bytes) -> KeptLine:
    """Back. ValueError where it makes no sense."""
    try:
        return _DECODE_LINE.decode(kept)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a drain's worker: {error}") from error
