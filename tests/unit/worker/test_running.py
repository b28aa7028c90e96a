import pytest

from scheduler_server.worker.running import MAX_LISTED, Lease, Leases, duration


def leases_of(slots: int, prefetch: int, *sizes: int) -> Leases:
    leases = Leases(slots, prefetch)
    for number, size in enumerate(sizes):
        leases.add(Lease(lease_id=f"l{number}", slots=size))
    return leases


def started(leases: Leases, now: float = 0.0) -> list[str]:
    return [lease.lease_id for lease in leases.start_next(now)]


def test_as_many_start_as_there_are_slots_in_the_order_they_came() -> None:
    leases = leases_of(2, 9, 1, 1, 1)
    assert started(leases) == ["l0", "l1"]
    assert started(leases) == []
    leases.remove("l0")
    assert started(leases) == ["l2"]


def test_a_small_task_does_not_overtake_a_large_one() -> None:
    leases = leases_of(2, 9, 1, 2, 1)
    assert started(leases) == ["l0"]
    leases.remove("l0")
    assert started(leases) == ["l1"]


@pytest.mark.parametrize(("slots", "room"), [(2, True), (3, True), (4, False)])
def test_a_task_that_takes_more_slots_than_there_are_never_fits(slots: int, room: bool) -> None:
    assert (Leases(3, 9).no_room(slots) is None) == room


def test_without_prefetch_only_a_task_that_can_start_at_once_is_taken() -> None:
    leases = leases_of(2, 0, 1)
    started(leases)
    assert leases.no_room(1) is None
    assert leases.no_room(2) is not None


@pytest.mark.parametrize(("held", "room"), [(1, True), (2, False)])
def test_beyond_the_slots_tasks_are_taken_up_to_prefetch(held: int, room: bool) -> None:
    leases = leases_of(1, 2, *[1] * (1 + held))
    started(leases)
    assert (leases.no_room(1) is None) == room


def test_the_listing_tells_the_time_since_the_start_and_nothing_for_a_held_one() -> None:
    leases = leases_of(1, 1, 1, 1)
    started(leases, 10.0)
    first, second = leases.listing(12.5).leases
    assert (first.lease_id, first.elapsed.ToNanoseconds()) == ("l0", 2_500_000_000)
    assert not second.HasField("elapsed")


def test_a_lease_that_the_server_does_not_know_counts_and_is_not_listed() -> None:
    leases = leases_of(1, 0, 1)
    leases.all()[0].listed = False
    assert len(leases) == 1
    assert len(leases.listing(0.0).leases) == 0


@pytest.mark.parametrize("count", [MAX_LISTED - 1, MAX_LISTED, MAX_LISTED + 1])
def test_at_most_ten_thousand_leases_are_listed(count: int) -> None:
    leases = leases_of(1, 0, *[1] * count)
    assert len(leases.listing(0.0).leases) == min(count, MAX_LISTED)


def test_a_span_is_never_negative() -> None:
    assert duration(-1.0).ToNanoseconds() == 0
