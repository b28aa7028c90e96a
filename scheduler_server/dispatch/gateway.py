"""One Redis, command by command. Every method blocks and belongs in a thread; what fails raises StreamsError.

Two gateways serve one dispatcher: one waits for entries, and must not hold up what the other has to say.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from scheduler_server.dispatch import scripts
from scheduler_server.dispatch.entries import Delivered, Source
from scheduler_server.storage.redis_connect import FAILURES, Client, connect
from scheduler_server.storage.redis_errors import explain
from scheduler_server.storage.redis_url import MASK, RedisAddress

_OWN_WORDS = {
    "NOPERM": "the user may not run what task streams need; docs/dispatch.md lists the commands",
    "WRONGTYPE": "a key that dispatch.* names holds something else than a stream: choose another name",
    "NOGROUP": "the stream or its group is gone; both are made anew",
    "CROSSSLOT": "streams that belong together are in different slots of the cluster: give them one {tag}",
}


class StreamsError(Exception):
    """Redis could not be asked, or refused; one line, without secrets."""


class Names(NamedTuple):
    """Who reads: group and consumer."""

    group: str
    consumer: str


class Claim(NamedTuple):
    """What to take over: entries idle for so long, at most so many, and nothing after an instant of Redis' clock."""

    idle_ms: int
    most: int
    until_ms: int


Order = tuple[Any, ...]
"""The words of one command."""


class Answer(NamedTuple):
    """What became of an Order: its answer, or why there is none."""

    value: Any
    error: str = ""


class Gateway:
    """Connects when it is first used, and anew after each failure: by then another server may be the one to ask."""

    def __init__(
        self,
        address: RedisAddress,
        names: Names,
        timeout_s: float,
        *,
        waits_s: float = 0.0,
        connect: Callable[[RedisAddress, float], Client] = connect,
    ) -> None:
        self.names = names
        self._address = address
        self._timeout_s = timeout_s
        self._waits_s = waits_s
        self._connect = connect
        self._client: Any = None

    @property
    def location(self) -> str:
        """For status and logs, without secrets."""
        return self._address.shown

    def close(self) -> None:
        """Drop the connection; the next use makes another."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*FAILURES):
                client.close()

    @contextlib.contextmanager
    def client(self, what: str) -> Iterator[Any]:
        """The connection; what fails in the block becomes a StreamsError that says what could not be done."""
        try:
            if self._client is None:
                self._client = self._connect(self._address, self._timeout_s + self._waits_s)
            yield self._client
        except FAILURES as error:
            self.close()
            raise self.failure(what, error) from None

    def failure(self, what: str, error: BaseException) -> StreamsError:
        """The one line for a failure."""
        line = f"streams of {self.location}: {what}: {self._explained(error)}"
        return StreamsError(self._masked(line))

    def _explained(self, error: BaseException) -> str:
        return explain(error, self._address, self._timeout_s, _OWN_WORDS)

    def _masked(self, line: str) -> str:
        for secret in (self._address.password, self._address.sentinel_password):
            line = line.replace(secret, MASK) if secret else line
        return line

    # ------------------------------------------------------------------ entries in

    def read(self, streams: Sequence[str], count: int, block_ms: int) -> list[Delivered]:
        """Entries that no consumer of the group has had, at most so many of each stream.

        Waits up to `block_ms` where there are none; 0: does not wait.
        """
        group, consumer = self.names
        with self.client("cannot be read") as client:
            asked = dict.fromkeys(streams, ">")
            return _entries(client.xreadgroup(group, consumer, asked, count=count, block=block_ms or None))

    def send_and_read(
        self, orders: Sequence[Order], streams: Sequence[str], count: int
    ) -> tuple[list[Answer], list[Delivered]]:
        """`send`, and `read` without waiting, in one go: one round trip, and for Redis one sync of its file."""
        group, consumer = self.names
        with self.client("cannot be read") as client:
            pipeline = client.pipeline(transaction=False)
            for order in orders:
                pipeline.execute_command(*order)
            pipeline.xreadgroup(group, consumer, dict.fromkeys(streams, ">"), count=count)
            *answers, got = pipeline.execute(raise_on_error=False)
            if isinstance(got, Exception):
                raise got
            return self._told(answers), _entries(got)

    def own(self, stream: str, after: str, count: int) -> list[tuple[str, int]]:
        """Entries that are this consumer's, by id after this one, with their deliveries; they count as fresh again."""
        group, consumer = self.names
        with self.client("cannot be refreshed") as client:
            got = client.eval(scripts.OWN, 1, stream, group, consumer, f"({after}" if after else "-", count)
            return [(_text(got[at]), int(got[at + 1])) for at in range(0, len(got), 2)]

    def fetch(self, stream: str, ids: Sequence[str]) -> list[Delivered]:
        """What those of these entries hold that are still this consumer's; counts as a delivery. No fields: gone."""
        group, consumer = self.names
        with self.client("cannot be read") as client:
            rows = client.eval(scripts.FETCH, 1, stream, group, consumer, *ids)
            return [
                Delivered(Source(stream, _text(entry_id)), dict(zip(flat[::2], flat[1::2], strict=True)))
                for entry_id, flat in rows
            ]

    def peek(self, sources: Sequence[Source]) -> list[dict[bytes, bytes]]:
        """What entries hold, whoever has them, without a delivery. Empty where an entry is gone."""
        found = []
        with self.client("cannot be read") as client:
            for stream, entry_id in sources:
                rows = client.xrange(stream, entry_id, entry_id)
                found.append(dict(rows[0][1] or {}) if rows else {})
        return found

    def whose(self, stream: str, ids: Sequence[str]) -> list[str]:
        """Which consumer has each of these; "-": none, and the entry is there; "": it is not even there."""
        with self.client("cannot be asked") as client:
            return [_text(each) for each in client.eval(scripts.WHOSE, 1, stream, self.names.group, *ids)]

    def take_over(self, stream: str, cursor: str, claim: Claim) -> tuple[str, int]:
        """Claim entries that their consumer has not refreshed for so long: the next cursor, and how many they were.

        Only their ids: what they hold is fetched when there is room for it.
        """
        group, consumer = self.names
        with self.client("cannot be claimed from") as client:
            got = client.eval(scripts.TAKE_OVER, 1, stream, group, consumer, claim.idle_ms, cursor, claim.most,
                              claim.until_ms)  # fmt: skip
            return _text(got[0]), int(got[1])

    # ------------------------------------------------------------------ anything out

    def send(self, orders: Sequence[Order]) -> list[Answer]:
        """Many commands in one go, each with its answer. Raises StreamsError where Redis could not be asked at all."""
        with self.client("cannot be written") as client:
            pipeline = client.pipeline(transaction=False)
            for order in orders:
                pipeline.execute_command(*order)
            return self._told(pipeline.execute(raise_on_error=False))

    def _told(self, answers: Iterable[Any]) -> list[Answer]:
        return [
            Answer(None, str(self.failure("cannot be written", answer)))
            if isinstance(answer, Exception)
            else Answer(answer)
            for answer in answers
        ]

    def trim(self, stream: str, least_id: str) -> int:
        """Remove entries below this id that all groups are done with; how many."""
        with self.client("cannot be trimmed") as client:
            return int(client.eval(scripts.TRIM, 1, stream, least_id))

    def forget_consumers(self, stream: str, idle_ms: int) -> int:
        """Forget consumers that hold nothing and have done nothing for so long; how many."""
        group, consumer = self.names
        with self.client("cannot be tidied") as client:
            return int(client.eval(scripts.FORGET_CONSUMERS, 1, stream, group, consumer, idle_ms))

    def now_ms(self) -> int:
        """Redis' own clock, which ids of entries are made of."""
        with self.client("cannot be asked") as client:
            seconds, micros = client.time()
            return int(seconds) * 1_000 + int(micros) // 1_000

    def lag(self, streams: Iterable[str]) -> int | None:
        """Entries that the group has not been given yet; None where this Redis cannot tell (before 7.0)."""
        total = 0
        with self.client("cannot be asked") as client:
            for stream in streams:
                for row in client.xinfo_groups(stream):
                    if _text(row["name"]) == self.names.group:
                        if row.get("lag") is None:
                            return None
                        total += int(row["lag"])
        return total


def _by_stream(got: Any) -> Iterator[tuple[str, Any]]:
    """Of one answer, whichever protocol it came by: a list of pairs, or a map with lists of lists of rows."""
    if not got:
        return
    if isinstance(got, dict):
        for name, rows in got.items():
            yield _text(name), rows[0] if rows else []
        return
    for name, rows in got:
        yield _text(name), rows


def _entries(got: Any) -> list[Delivered]:
    """What XREADGROUP answered."""
    return [
        Delivered(Source(stream, _text(entry_id)), fields or {})
        for stream, rows in _by_stream(got)
        for entry_id, fields in rows
    ]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
