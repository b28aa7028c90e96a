"""The bounded table of keys: who goes first."""

from scheduler_server.predictor.key_table import KeyTable
from scheduler_server.predictor.kind import Kind
from scheduler_server.predictor.known import TYPE, Key, Known

KIND = Kind("a")


def key(name: str) -> Key:
    return name, None, None, None


def table(most: int, *names: str) -> KeyTable:
    keys = KeyTable(most)
    for name in names:
        keys.put(key(name), Known(key(name), TYPE, KIND, 0.1))
    return keys


def seen(keys: KeyTable, name: str, times: int) -> None:
    known = keys.get(key(name))
    assert known is not None
    for _ in range(times):
        known.learn(100, 5.1, 164.0)
        if known.version == 2:
            keys.seen_again(key(name))


def left(keys: KeyTable) -> list[str]:
    return [str(known.key[0]) for known in keys.snapshot()]


def gone(keys: KeyTable) -> str | None:
    known = keys.evict()
    return None if known is None else known.key[0]


def test_nobody_goes_while_there_is_room() -> None:
    assert gone(table(4, "a", "b", "c")) is None
    assert gone(table(3, "a", "b", "c")) == "a"


def test_those_seen_once_go_first_and_the_oldest_of_them_before() -> None:
    keys = table(4, "a", "b", "c", "d")
    seen(keys, "a", 2)
    seen(keys, "b", 1)
    assert gone(keys) == "b"
    assert left(keys) == ["a", "c", "d"]


def test_of_those_seen_often_the_first_goes_that_has_earned_nothing_since_it_was_looked_at() -> None:
    keys = table(3, "a", "b", "c")
    for name, times in (("a", 8), ("b", 2), ("c", 4)):
        seen(keys, name, times)
    assert gone(keys) == "b"  # 8, 2, 4 -> 4, 1, 2 -> 2, 0, 1, and then b is the first with nothing
    assert left(keys) == ["a", "c"]


def test_an_eviction_looks_at_eight_keys_at_most() -> None:
    names = [str(index) for index in range(20)]
    keys = table(20, *names)
    for name in names:
        seen(keys, name, 1_000)
    assert gone(keys) == "8"
    assert left(keys) == [*names[:8], *names[9:]]


def test_of_a_thousand_a_hundred_may_be_new_before_they_push_each_other_out() -> None:
    keys = table(1_000, *map(str, range(1_000)))
    for index in range(900):
        seen(keys, str(index), 2)
    assert gone(keys) in {str(index) for index in range(900)}
    keys.put(key("new"), Known(key("new"), TYPE, KIND, 0.1))
    keys = table(1_000, *map(str, range(1_000)))
    for index in range(899):
        seen(keys, str(index), 2)
    assert gone(keys) == "899"


def test_a_key_that_is_put_again_is_one_key() -> None:
    keys = table(3, "a", "a", "b")
    assert len(keys) == 2
    seen(keys, "a", 2)
    keys.put(key("a"), Known(key("a"), TYPE, KIND, 0.1))
    assert len(keys) == 2
