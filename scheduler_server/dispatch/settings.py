"""Settings of tasks that come and go by streams."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from redis.crc import key_slot

from scheduler_server.model.setting import setting
from scheduler_server.storage.redis_url import Kind, RedisUrlError, parse

_LONGEST_NAME = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchSettings:
    """Tasks in and out by Redis Streams; docs/dispatch.md has the entries and the guarantees."""

    url: str = setting(
        "",
        "Redis that tasks come from, written as storage.snapshot_url is; empty: tasks come by Assign only",
        secret=True,
    )
    streams: tuple[str, ...] = setting(
        ("{scheduler-server}:tasks",), "streams that tasks are read from; of several the first is the most urgent"
    )
    group: str = setting("scheduler-server", "consumer group; servers of one group share the tasks")
    consumer: str = setting(
        "", "name of this server in the group; empty: one that its state folder keeps, or a new one without a folder"
    )
    batch: int = setting(64, "entries read at once", minimum=1, maximum=1_000)
    hand_over: str = setting(
        "stream",
        "how a task gets to its worker: on the worker's gRPC stream, or by PUBLISH on a channel of the worker's",
        choices=("stream", "publish"),
    )
    channel: str = setting(
        "{scheduler-server}:worker:", "hand_over publish: what a worker's channel begins with; its id follows"
    )
    claim_after_s: float = setting(
        60.0,
        "entries that their server has not refreshed for so long are taken over by another",
        unit="s",
        minimum=1,
        maximum=86_400,
    )
    max_deliveries: int = setting(
        100,
        "deliveries of an entry to servers, restarts included, after which it is set aside; 0: no limit",
        minimum=0,
        maximum=1_000_000,
    )
    dead_letters: str = setting("{scheduler-server}:dead-letters", "stream of what was set aside")
    dead_letters_max: int = setting(100_000, "entries kept there, about; the oldest go", minimum=1, maximum=100_000_000)
    decisions: str = setting("", "stream that every decision is published to; empty: none")
    outcomes: str = setting("", "stream that every end of a task is published to; empty: none")
    published_max: int = setting(100_000, "entries kept in these two, about", minimum=1, maximum=100_000_000)
    trim_every_s: float = setting(
        60.0,
        "how often entries that every group is done with are removed; 0: never",
        unit="s",
        minimum=0,
        maximum=86_400,
    )
    keep_s: float = setting(
        3_600.0, "entries younger than this are not removed", unit="s", minimum=0, maximum=31_536_000
    )
    timeout_s: float = setting(
        5.0,
        "time for a connection to Redis, and for each answer on it; below dispatch.claim_after_s",
        unit="s",
        minimum=0.1,
        maximum=60,
    )

    def names(self) -> Iterator[tuple[str, str]]:
        """Every stream, as (setting, name)."""
        yield from (("streams", name) for name in self.streams)
        yield "dead_letters", self.dead_letters
        for setting_name, name in (("decisions", self.decisions), ("outcomes", self.outcomes)):
            if name:
                yield setting_name, name

    def faults(self) -> Iterable[tuple[str, str]]:
        """What cannot be used, as (field, message); never with anything of the URL."""
        named = list(self.names())
        for where, name in [*named, ("group", self.group), ("channel", self.channel), ("consumer", self.consumer)]:
            if (not name and where != "consumer") or len(name) > _LONGEST_NAME or not name.isprintable():
                yield where, f"must be 1 to {_LONGEST_NAME} printable characters"
        if not self.streams:
            yield "streams", "must name at least one stream"
        if self.timeout_s >= self.claim_after_s:
            limit = f"must be below claim_after_s ({self.claim_after_s:g} s; got {self.timeout_s:g})"
            yield "timeout_s", f"{limit}: one answer that is late would cost the server its entries"
        seen: dict[str, str] = {}
        for where, name in named:
            if name in seen:
                yield where, f"{name!r} is named by dispatch.{seen[name]} already"
            seen[name] = where
        if not self.url:
            return
        try:
            kind = parse(self.url).kind
        except RedisUrlError as error:
            yield "url", str(error)
            return
        if kind is Kind.CLUSTER:
            yield from _slots(named)


def _slots(named: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What is moved from one stream to another has to be in one slot of a cluster."""
    if not named:
        return
    first, at = named[0][1], key_slot(named[0][1].encode())
    for where, name in named[1:]:
        slot = key_slot(name.encode())
        if slot != at and where in {"streams", "dead_letters"}:
            tag = "give both names the same part in braces, as in {tasks}:urgent"
            yield where, f"{name!r} is in slot {slot} of the cluster and {first!r} in slot {at}: {tag}"
