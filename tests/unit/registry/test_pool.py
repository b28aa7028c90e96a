"""Keys in blocks: whatever is added, moved or removed, the best is the best and the counts are true."""

from math import inf
from random import Random

import pytest

from scheduler_server.model.decision import Rejection
from scheduler_server.model.worker import Registration
from scheduler_server.registry.pool import Bests, Pool, Profile
from scheduler_server.registry.record import WorkerRecord
from tests.unit.registry.test_against_plain import check_pool


def filled(size: int, seed: int = 1) -> tuple[Pool, list[WorkerRecord]]:
    pool = Pool(Profile(frozenset(), frozenset(), accepts_tasks=False, labels=()), 0, Bests())
    chance = Random(seed)
    records = [WorkerRecord(f"w{number}", Registration(), 1) for number in range(size)]
    for record in records:
        pool.add(record)
        pool.set_key(record.pos, float(chance.randrange(10**6)))
    return pool, records


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 255, 256, 257, 512, 513, 100_000])
def test_a_pool_of_any_size_knows_its_best(size: int) -> None:
    pool, records = filled(size)
    check_pool(pool)
    if not size:
        assert pool.best == -inf
        assert pool.next_open(0) == -1
        return
    for pos in {0, size // 2, size - 1}:
        pool.set_key(pos, 1e7 + pos)
        assert pool.top() is records[pos]
        pool.set_key(pos, -inf)
        assert size == 1 or pool.top() is not records[pos]
    check_pool(pool)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 600])
def test_a_pool_that_is_emptied_in_any_order_stays_true(size: int) -> None:
    pool, records = filled(size)
    Random(size).shuffle(records)
    for number, record in enumerate(records):
        pool.remove(record)
        if number % 50 == 0 or size - number < 5:
            check_pool(pool)
    assert (pool.best, pool.members, sum(pool.counts)) == (-inf, [], 0)


def test_the_last_member_takes_the_place_of_a_removed_one_with_its_key_and_its_flag() -> None:
    pool, records = filled(300)
    pool.set_status(records[-1], Rejection.NO_FREE_SLOT)
    key = pool.keys[299]
    pool.remove(records[3])
    assert records[-1].pos == 3
    assert pool.keys[3] == key
    assert not pool.open_flags[3]
    check_pool(pool)


def test_among_equal_keys_the_first_is_the_best() -> None:
    pool, records = filled(600)
    for record in records:
        pool.set_key(record.pos, 5.0)
    assert pool.top() is records[0]
    pool.set_key(0, 4.0)
    assert pool.top() is records[1]
    check_pool(pool)


def test_random_changes_keep_every_block_true() -> None:
    pool, records = filled(700)
    chance = Random(3)
    for number in range(5_000):
        record = chance.choice(records)
        pool.set_key(record.pos, chance.choice([-inf, 0.0, float(chance.randrange(50))]))
        if number % 500 == 0:
            check_pool(pool)
    check_pool(pool)


def test_the_next_candidate_in_turn_is_found_across_blocks() -> None:
    pool, records = filled(600)
    for record in records:
        if record.pos not in {255, 256, 599}:
            pool.set_status(record, Rejection.DRAINING)
    assert [pool.next_open(after) for after in (0, 255, 256, 257, 599, 600)] == [255, 255, 256, 599, 599, -1]
