"""What the dispatcher keeps in mind, part by part."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from scheduler_server.dispatch.consumer import consumer_name
from scheduler_server.dispatch.entries import RAW_BYTES, DeadReason, Delivered, Source, raw_of
from scheduler_server.dispatch.gateway import Answer, StreamsError
from scheduler_server.dispatch.holdings import Holdings
from scheduler_server.dispatch.intake import Met
from scheduler_server.dispatch.link import FIRST_RETRY_S, LAST_RETRY_S, Link
from scheduler_server.dispatch.outbox import KIND, MOST_PUBLISHED, Outbox, Settled, settled_of
from scheduler_server.dispatch.settings import DispatchSettings
from scheduler_server.dispatch.writer import Writer
from scheduler_server.model.task import Task
from scheduler_server.telemetry.instruments import DEAD_REASONS, ENTRIES_MET

A, B = Source("s", "1-0"), Source("s", "2-0")


def test_metrics_name_every_event_and_every_reason() -> None:
    assert set(ENTRIES_MET) == {each.value for each in Met}
    assert tuple(DEAD_REASONS) == tuple(each.name.lower() for each in DeadReason)


# ---------------------------------------------------------------------- outbox


class Journal:
    """Takes whatever comes."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Any] = {}

    def put(self, kind: str, name: str, value: Any, *, always: bool = False) -> int:
        assert always
        self.entries[kind, name] = value
        return 1

    def delete(self, kind: str, name: str) -> int:
        return int(self.entries.pop((kind, name), None) is not None)


def test_an_acknowledgement_is_written_down_only_when_its_task_ends_before_redis_has_heard() -> None:
    journal = Journal()
    outbox = Outbox(journal, lambda: None)
    task = Task("a", "t", 1, "w")
    outbox.settle(Settled(A, None, False, ("a", "t")))
    outbox.settle(Settled(B, None, False, ("a", "u")))
    assert not journal.entries
    outbox.over(task)
    assert list(journal.entries) == [(KIND, "s 1-0")]
    outbox.done("s 1-0")
    outbox.done("s 2-0")
    assert not journal.entries
    assert not len(outbox)
    outbox.over(task)
    assert not journal.entries


def test_two_entries_of_one_task_are_both_written_down_until_both_are_heard_of() -> None:
    journal = Journal()
    outbox = Outbox(journal, lambda: None)
    for source in (A, B):
        outbox.settle(Settled(source, None, False, ("", "t")))
    outbox.done(str(A))
    outbox.over(Task("", "t", 1, "w"))
    assert list(journal.entries) == [(KIND, str(B))]


def test_what_was_written_down_is_the_same_when_it_is_read() -> None:
    fields: dict[str, bytes | str | int | float] = {"reason": "EXPIRED", "task": b"\xff\x00", "attempts": 3, "x": 0.5}
    for settled in (
        Settled(A),
        Settled(A, fields, True),
        Settled(None, fields | {"lease_id": "l"}),
        Settled(B, None, False, ("", "t")),
    ):
        assert settled_of(settled.to_bytes()) == settled
    for body in (b"", b"\xc1", b"\x91\x01"):
        with pytest.raises(ValueError, match="not an acknowledgement"):
            settled_of(body)


def test_what_a_run_left_is_told_first_and_its_entries_are_known() -> None:
    journal = Journal()
    outbox = Outbox(journal, lambda: None)
    kept = [Settled(A), Settled(None, {"task_id": "t", "tenant": "a", "attempts": 2})]
    assert outbox.restore(kept) == [A]
    assert list(outbox.settled) == ["s 1-0", "task 'a' 't' 2"]
    journal.entries[KIND, "s 1-0"] = kept[0]
    outbox.done("s 1-0")
    assert not journal.entries


def test_beyond_its_bound_the_oldest_that_is_only_published_goes_and_is_counted() -> None:
    outbox = Outbox(Journal(), lambda: None)
    for number in range(MOST_PUBLISHED + 1):
        outbox.publish(str(number), dict)
    assert (len(outbox.published), outbox.dropped, outbox.published[0].stream) == (MOST_PUBLISHED, 1, "1")


# ---------------------------------------------------------------------- writer


class Told:
    """A Redis that has two entries, and answers when it is let."""

    def __init__(self) -> None:
        self.orders: list[Any] = []
        self.answers: Callable[[Any], Answer] = lambda _order: Answer(1)
        self.may = asyncio.Event()
        self.may.set()

    async def run(self, what: Callable[..., Any], *arguments: Any) -> Any:
        await self.may.wait()
        return what(*arguments)

    def send(self, orders: list[Any]) -> list[Answer]:
        self.orders += orders
        return [self.answers(order) for order in orders]

    def send_and_read(self, orders: list[Any], *_: Any) -> tuple[list[Answer], list[Delivered]]:
        return self.send(orders), [Delivered(B, {b"task_id": b"u"})]


@pytest.fixture
def writer() -> Writer:
    wire: Any = None
    outbox = Outbox(Journal(), lambda: None)
    gateway: Any = Told()
    return Writer(gateway, wire, Holdings(), outbox, None, DispatchSettings(group="g"))


async def test_with_a_read_go_the_acknowledgements_that_wait_and_nothing_else(writer: Writer) -> None:
    redis = writer._gateway
    assert isinstance(redis, Told)
    writer._outbox.settle(Settled(A))
    writer._outbox.settle(Settled(B, {"reason": "EXPIRED"}))
    writer._outbox.publish("decided", dict)
    delivered, well = await writer.read_on(redis, redis.run, ("s",), 1)
    assert (delivered, well) == ([Delivered(B, {b"task_id": b"u"})], True)
    assert redis.orders == [("XACK", "s", "g", "1-0")]
    assert list(writer._outbox.settled) == [str(B)]
    assert writer.waits(acks=False)


async def test_what_one_has_on_its_way_the_other_leaves_alone(writer: Writer) -> None:
    redis = writer._gateway
    assert isinstance(redis, Told)
    writer._outbox.settle(Settled(A))
    redis.may.clear()
    reading = asyncio.create_task(writer.read_on(redis, redis.run, ("s",), 1))
    await asyncio.sleep(0)
    assert not writer.waits()
    assert not writer.next().settled
    redis.may.set()
    await reading
    assert not len(writer._outbox)


async def test_what_redis_did_not_take_with_a_read_is_told_again(writer: Writer) -> None:
    redis = writer._gateway
    assert isinstance(redis, Told)
    writer._outbox.settle(Settled(A))
    redis.answers = lambda _order: Answer(None, "not now")
    delivered, well = await writer.read_on(redis, redis.run, ("s",), 1)
    assert (len(delivered), well) == (1, False)
    assert writer.waits()
    assert [each.source for each in writer.next().settled] == [A]


async def test_a_read_that_fails_or_is_given_up_leaves_its_acknowledgements_to_the_next(writer: Writer) -> None:
    redis = writer._gateway
    assert isinstance(redis, Told)
    writer._outbox.settle(Settled(A))
    redis.may.clear()
    reading = asyncio.create_task(writer.read_on(redis, redis.run, ("s",), 1))
    await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert [each.source for each in writer.next().settled] == [A]


def test_an_outbox_counts_what_it_has_to_set_aside() -> None:
    outbox = Outbox(Journal(), lambda: None)
    outbox.restore([Settled(A, {"reason": "EXPIRED"})])
    outbox.settle(Settled(B))
    outbox.settle(Settled(B, {"reason": "EXPIRED"}))  # the same entry, told otherwise
    assert outbox.letters == 2
    for source in (A, B, B):
        outbox.done(str(source))
    assert outbox.letters == 0


# ---------------------------------------------------------------------- the rest


def test_an_entry_stands_for_its_task_until_it_is_let_go() -> None:
    holdings = Holdings()
    holding = holdings.hold(("", "t"), A)
    assert holdings.hold(("", "t"), B) is holding
    assert holding.sources == [A, B]
    holdings.drop(holding, A)
    assert holdings.by_task == {("", "t"): holding}
    assert holdings.let_go(holding) == [B]
    assert not holdings.by_task
    assert set(holdings.known) == {A, B}, "until Redis has heard of it"


def test_retries_come_less_and_less_often_and_the_log_tells_each_trouble_once(caplog: pytest.LogCaptureFixture) -> None:
    link = Link("redis://h", wall=lambda: 1.0, random=Random(1))
    waits = [link.failed(StreamsError("no")) for _ in range(20)]
    assert all(FIRST_RETRY_S <= wait <= LAST_RETRY_S for wait in waits)
    assert max(waits[:3]) <= 4.0
    assert min(waits[10:]) >= LAST_RETRY_S / 2
    assert len(caplog.records) == 1
    link.failed(StreamsError("another"))
    assert len(caplog.records) == 2
    soon = Link("redis://h", wall=lambda: 1.0, random=Random(1), last_retry_s=2.0)
    assert max(soon.failed(StreamsError("no")) for _ in range(20)) <= 2.0, "or others take over meanwhile"
    link.well()
    assert (link.failures, link.last_error, link.failed_since) == (0, "", None)


def test_a_caution_that_was_mended_is_told_no_more() -> None:
    link = Link("redis://h", wall=lambda: 1.0, random=Random(1))
    link.warn("entries vanished")
    link.set_cautions(("no aof", "evicts"))
    link.set_cautions(("evicts",))
    assert link.warnings == ["entries vanished", "evicts"]


@pytest.mark.parametrize(
    ("fields", "raw"),
    [
        ({}, b""),
        ({b"a": b"b", b"c": b""}, b"a=b\nc=\n"),
        ({b"a": bytes(10 * RAW_BYTES), b"b": b"x"}, (b"a=" + bytes(RAW_BYTES))[:RAW_BYTES]),
        ({b"a" * 2 * RAW_BYTES: b"x"}, b"a" * RAW_BYTES),
    ],
)
def test_of_an_entry_so_much_is_kept(fields: dict[bytes, bytes], raw: bytes) -> None:
    assert raw_of(fields) == raw


def test_a_folder_keeps_the_name_and_a_configured_one_wins(tmp_path: Any) -> None:
    made = consumer_name("", tmp_path)
    assert made.startswith("server-")
    assert consumer_name("", tmp_path) == made
    assert consumer_name("mine", tmp_path) == "mine"
    (tmp_path / "consumer").write_bytes(b"\xff\xff")
    assert consumer_name("", tmp_path) != made
    assert consumer_name("", None) != consumer_name("", None)
    assert consumer_name("", tmp_path / "missing").startswith("server-")


def test_names_are_checked_and_urls_never_repeated() -> None:
    def faults(**given: Any) -> list[str]:
        return [f"{where}: {what}" for where, what in DispatchSettings(**given).faults()]

    assert not faults()
    assert faults(group="") == ["group: must be 1 to 256 printable characters"]
    assert not faults(group="g" * 256)
    assert faults(group="g" * 257)
    assert faults(streams=("a\n",), dead_letters="d") == ["streams: must be 1 to 256 printable characters"]
    assert faults(outcomes="x", decisions="x") == ["outcomes: 'x' is named by dispatch.decisions already"]
    for timeout_s, is_fault in ((4.9, False), (5.0, True), (5.1, True)):
        told = faults(timeout_s=timeout_s, claim_after_s=5.0)
        assert [each.partition(" s; ")[0] for each in told] == (
            ["timeout_s: must be below claim_after_s (5"] if is_fault else []
        )
    (fault,) = faults(url="redis://:geheim@h:x")
    assert fault.startswith("url: ")
    assert "geheim" not in fault
    assert not faults(url="redis+cluster://h", decisions="d")
