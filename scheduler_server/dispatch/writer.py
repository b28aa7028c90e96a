"""The outbox as commands, and what became of each. `commands` is for the thread, the rest for the loop's."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.dispatch import Wire, scripts
from scheduler_server.dispatch.channel import Channel
from scheduler_server.dispatch.entries import Delivered
from scheduler_server.dispatch.gateway import Answer, Gateway, Order, StreamsError
from scheduler_server.dispatch.holdings import Holding, Holdings
from scheduler_server.dispatch.outbox import Outbox, Published, Settled
from scheduler_server.dispatch.settings import DispatchSettings

_AT_ONCE = 512
"""Changes sent together: Redis takes them in a millisecond or two."""


_NOT_SENT = Answer(None, "not sent")


class Batch(NamedTuple):
    """What is sent together."""

    settled: list[Settled]
    published: list[Published]
    handed: list[tuple[TaskRecord, Holding]]


class _Sent(NamedTuple):
    order: Order
    names: tuple[str, ...] = ()  # of what is settled by it
    handed: tuple[TaskRecord, Holding] | None = None


class Writer:
    """Empties the outbox.

    Two may do so at once: `send`, and `read_on`, with which acknowledgements go along. What one of them has on its way
    the other leaves alone.
    """

    def __init__(
        self,
        gateway: Gateway,
        wire: Wire,
        holdings: Holdings,
        outbox: Outbox,
        channel: Channel | None,
        settings: DispatchSettings,
    ) -> None:
        self._gateway = gateway
        self._wire = wire
        self._holdings = holdings
        self._outbox = outbox
        self._channel = channel
        self._settings = settings
        self.acknowledged = 0
        self._on_its_way: set[str] = set()  # of what is settled, by name

    def reconfigure(self, settings: DispatchSettings) -> None:
        """Go by these from now on."""
        self._settings = settings

    def waits(self, *, acks: bool = True) -> bool:
        """Is there anything to send? Without `acks`, anything but acknowledgements."""
        outbox, channel = self._outbox, self._channel
        if outbox.published or outbox.letters or (channel is not None and channel.waiting):
            return True
        return acks and len(outbox.settled) > len(self._on_its_way)

    def _oldest(self, *, letters: bool = True) -> list[Settled]:
        """The oldest that is settled; it is on its way from now on."""
        found = []
        for name, each in self._outbox.settled.items():
            if name not in self._on_its_way and (letters or each.dead is None):
                self._on_its_way.add(name)
                found.append(each)
                if len(found) >= _AT_ONCE:
                    break
        return found

    def next(self) -> Batch:
        """The oldest that waits. What is published leaves the outbox with this, what is settled when it is done."""
        settled = self._oldest()
        published = [self._outbox.published.popleft() for _ in range(min(_AT_ONCE, len(self._outbox.published)))]
        handed = []
        if self._channel is not None:
            waiting = self._channel.waiting
            handed = [waiting.popleft() for _ in range(min(_AT_ONCE, len(waiting)))]
            for record, holding in handed:
                if not record.live:
                    self._told(record, holding, _NOT_SENT)
            handed = [each for each in handed if each[0].live]
        return Batch(settled, published, handed)

    async def send(self, batch: Batch, run: Callable[..., Any]) -> None:
        """Send it, and note what became of it. Raises StreamsError: what is not done waits on."""
        try:
            sent, answers = await run(self._in_thread, batch)
        except StreamsError:
            for published in reversed(batch.published):
                self._outbox.published.appendleft(published)
            for record, holding in batch.handed:
                self._told(record, holding, _NOT_SENT)
            raise
        finally:
            self._on_its_way.difference_update(each.name for each in batch.settled)
        error = self._note(sent, answers)
        if error:
            raise StreamsError(error)

    async def read_on(
        self, gateway: Gateway, run: Callable[..., Any], streams: Sequence[str], count: int
    ) -> tuple[list[Delivered], bool]:
        """The next entries of these streams, without waiting for any; with it Redis is told what is acknowledged.

        Also whether it took all that it was told; what it did not waits on. Raises StreamsError as `Gateway.read` does.
        """
        settled = self._oldest(letters=False)
        orders = self._acknowledgements(settled)
        try:
            answers, delivered = await run(gateway.send_and_read, [each.order for each in orders], streams, count)
        finally:
            self._on_its_way.difference_update(each.name for each in settled)
        return delivered, not self._note(orders, answers)

    def _note(self, sent: Sequence[_Sent], answers: Sequence[Answer]) -> str:
        """Note what became of each; the last error."""
        error = ""
        for each, answer in zip(sent, answers, strict=True):
            if each.handed is not None:
                record, holding = each.handed
                self._told(record, holding, answer)
            elif answer.error:
                error = answer.error
            else:
                for name in each.names:
                    self._done(name)
        return error

    def _told(self, record: TaskRecord, holding: Holding, answer: Answer) -> None:
        if self._channel is not None:
            self._channel.told(record, holding, answer)

    def _done(self, name: str) -> None:
        settled = self._outbox.settled.get(name)
        if settled is not None and settled.source is not None:
            self._holdings.forget((settled.source,))
            self.acknowledged += 1
        self._outbox.done(name)

    # ------------------------------------------------------------------ in the thread

    def _in_thread(self, batch: Batch) -> tuple[list[_Sent], Sequence[Answer]]:
        sent = [_Sent(self._channel.order(record), (), (record, holding)) for record, holding in batch.handed
                if self._channel is not None]  # fmt: skip
        sent += self._acknowledgements(batch.settled)
        sent += [self._dead_letter(each) for each in batch.settled if each.dead is not None]
        most = self._settings.published_max
        for stream, fields in batch.published:
            sent.append(_Sent(("XADD", stream, "MAXLEN", "~", most, "*", *_flat(fields()))))
        return sent, self._gateway.send([each.order for each in sent])

    def _acknowledgements(self, settled: list[Settled]) -> list[_Sent]:
        by_stream: dict[str, list[Settled]] = {}
        for each in settled:
            if each.dead is None and each.source is not None:
                by_stream.setdefault(each.source.stream, []).append(each)
        return [
            _Sent(
                ("XACK", stream, self._settings.group, *(each.source.entry_id for each in them if each.source)),
                tuple(each.name for each in them),
            )
            for stream, them in by_stream.items()
        ]

    def _dead_letter(self, settled: Settled) -> _Sent:
        fields, source = dict(settled.dead or {}), settled.source
        to, most = self._settings.dead_letters, self._settings.dead_letters_max
        if source is None:
            return _Sent(("XADD", to, "MAXLEN", "~", most, "*", *_flat(fields)), (settled.name,))
        if settled.payload_left:
            entry = self._gateway.peek([source])[0]
            if entry and isinstance(task := fields.get("task"), bytes):
                fields["task"] = self._wire.refill(task, entry)
        words = ("EVAL", scripts.SET_ASIDE, 2, to, source.stream, self._settings.group, source.entry_id, most)
        return _Sent((*words, *_flat(fields)), (settled.name,))


def _flat(fields: dict[str, Any]) -> list[Any]:
    return [part for pair in fields.items() for part in pair]
