"""What one identity may ask for: at the limit, one beyond, and again after a while."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_server.access.accounts import LIMITS, Account, Accounts
from scheduler_server.access.bucket import Bucket
from scheduler_server.access.distinct import Distinct
from scheduler_server.access.settings import LimitSettings
from scheduler_server.model.refusal import Reason


def account(**limits: float) -> Account:
    return Accounts(LimitSettings(**limits)).of("a", 0.0)  # type: ignore[arg-type]


def test_a_burst_then_the_rate() -> None:
    bucket = Bucket(8.0, 3, 100.0)
    assert [bucket.take(1, 100.0) for _ in range(3)] == [0.0] * 3
    assert bucket.take(1, 100.0) == 0.125
    assert bucket.take(1, 100.0625) == 0.0625
    assert bucket.take(1, 100.125) == 0.0
    assert [bucket.take(1, 200.0) for _ in range(3)] == [0.0] * 3  # never more than the burst
    assert bucket.take(1, 200.0) == 0.125


def test_a_batch_is_let_in_whole_and_paid_for_afterwards() -> None:
    bucket = Bucket(10.0, 3, 0.0)
    assert bucket.take(1_000, 0.0) == 0.0
    assert bucket.take(1, 0.0) == pytest.approx(99.8)
    assert bucket.take(1, 99.8 + 1e-9) == 0.0


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 2)), max_size=60))
def test_over_any_while_no_more_than_the_rate_the_burst_and_one_batch(asked: list[tuple[int, float]]) -> None:
    bucket, now, taken = Bucket(5.0, 10, 0.0), 0.0, 0
    for count, pause_s in asked:
        now += pause_s
        if not bucket.take(count, now):
            taken += count
    assert taken <= 5.0 * now + 10 + 50 + 1e-6


def test_in_flight() -> None:
    one = account(assign_in_flight=2)
    assert one.admit(1, 0.0) is None
    assert one.admit(1, 0.0) is None
    no = one.admit(1, 0.0)
    assert no is not None
    assert (no.reason, dict(no.metadata)) == (Reason.RATE_LIMITED, {"limit": "limits.assign_in_flight", "value": "2"})
    assert no.retry_after_s
    one.leave()
    assert one.admit(1, 0.0) is None


def test_a_call_over_the_rate_is_not_in_flight() -> None:
    one = account(assign_per_s=1, assign_burst=1)
    assert one.admit(1, 0.0) is None
    assert one.admit(1, 0.0) is not None
    assert one.in_flight == 1


def test_streams() -> None:
    one = account(streams=1)
    assert one.open_stream() is None
    no = one.open_stream()
    assert no is not None
    assert no.reason is Reason.TOO_MANY_STREAMS
    one.close_stream()
    assert one.open_stream() is None


def test_workers_are_whose_who_registered_them_first() -> None:
    accounts = Accounts(LimitSettings(workers=2))
    one, other = accounts.of("a", 0.0), accounts.of("b", 0.0)
    for worker in ("w1", "w2", "w1"):
        accounts.registered(worker, one)
    accounts.registered("w1", other)
    assert (one.workers, other.workers) == (2, 0)
    no = one.room_for_worker()
    assert no is not None
    assert no.reason is Reason.TOO_MANY_WORKERS
    accounts.removed("w1")
    accounts.removed("nobody's")
    assert one.room_for_worker() is None


@pytest.mark.parametrize("kind", ["task_types", "tenants", "labels", "capabilities"])
def test_names(kind: str) -> None:
    accounts = Accounts(LimitSettings(**{kind: 3}))  # type: ignore[arg-type]
    one = accounts.of("a", 0.0)
    assert one.names(kind, ["x", "y", "z", "x"], 0.0) is None
    no = one.names(kind, ["x", "new"], 0.0)
    assert no is not None
    assert (no.reason, dict(no.metadata)["limit"]) == (Reason.TOO_MANY_NAMES, f"limits.{kind}")
    assert accounts.refused[kind] == 1
    assert accounts.of("b", 0.0).names(kind, ["new"], 0.0) is None


def test_no_limit_is_no_limit() -> None:
    one = account(**dict.fromkeys(LIMITS, 0))
    for number in range(2_000):
        assert one.admit(1, 0.0) is None
        assert one.open_stream() is None
        assert one.room_for_worker() is None
        assert one.names("task_types", [str(number)], 0.0) is None


def test_another_rate_holds_from_the_next_call_on_and_what_is_owed_stays() -> None:
    accounts = Accounts(LimitSettings(assign_per_s=1, assign_burst=10))
    one = accounts.of("a", 0.0)
    assert one.admit(14, 0.0) is None  # owes four
    accounts.reconfigure(LimitSettings(assign_per_s=10, assign_burst=2))
    no = one.admit(1, 1.0)  # at the old rate one has come, and it owes three
    assert no is not None
    assert no.retry_after_s == pytest.approx(0.4)
    assert dict(no.metadata)["value"] == "10"
    assert [one.admit(1, 9.0) is None for _ in range(3)] == [True, True, False]  # the new burst
    accounts.reconfigure(LimitSettings())
    assert one.admit(1_000_000, 9.0) is None
    accounts.reconfigure(LimitSettings(assign_per_s=1, assign_burst=1))
    assert [one.admit(1, 9.0) is None for _ in range(2)] == [True, False]


def test_a_smaller_burst_cuts_what_was_saved_up() -> None:
    bucket = Bucket(1.0, 100, 0.0)
    bucket.change(1.0, 2, 0.0)
    assert [bucket.take(1, 0.0) for _ in range(3)] == [0.0, 0.0, 1.0]


def test_lower_limits_leave_what_is_open_and_let_nothing_more_in() -> None:
    accounts = Accounts(LimitSettings(task_types=5))
    one = accounts.of("a", 0.0)
    for worker in ("w1", "w2"):
        accounts.registered(worker, one)
        assert one.open_stream() is None
        assert one.admit(1, 0.0) is None
    assert one.names("task_types", "abc", 0.0) is None
    accounts.reconfigure(LimitSettings(workers=2, streams=2, assign_in_flight=2, task_types=2))
    assert (one.workers, one.streams, one.in_flight) == (2, 2, 2)
    refused = (one.room_for_worker(), one.open_stream(), one.admit(1, 0.0), one.names("task_types", "d", 0.0))
    assert [dict(no.metadata)["value"] for no in refused if no is not None] == ["2"] * 4
    assert one.names("task_types", "abc", 0.0) is None  # those that were counted
    accounts.removed("w1")
    one.close_stream()
    one.leave()
    assert one.room_for_worker() is None
    assert one.open_stream() is None
    assert one.admit(1, 0.0) is None


def test_a_limit_that_is_told_is_the_one_in_force() -> None:
    accounts = Accounts(LimitSettings(tenants=1))
    one = accounts.of("a", 0.0)
    for most in (1, 2, 3):
        accounts.reconfigure(LimitSettings(tenants=most))
        assert one.names("tenants", "xyz"[:most], 0.0) is None
        no = one.names("tenants", "n", 0.0)
        assert no is not None
        assert dict(no.metadata)["value"] == f"{most}"
        assert f"has used {most} different" in no.message


def test_names_are_kept_for_as_long_as_is_said_now() -> None:
    names = Distinct(1, 3_600.0, 0.0)
    assert names.take("a", 0.0)
    assert not names.take("b", 20.0)
    names.change(1, 10.0)
    assert names.take("b", 20.0)


def test_names_are_forgotten_after_one_to_two_stretches() -> None:
    names = Distinct(2, 10.0, 0.0)
    assert names.take("a", 0.0)
    assert names.take("b", 9.0)
    assert not names.take("c", 10.0)
    assert names.take("a", 10.0)  # used again: it counts anew
    assert not names.take("c", 19.9)
    assert names.take("c", 20.0)
    assert not names.take("b", 20.0)
    assert names.take("b", 1_000.0)


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 5)), max_size=200))
def test_names_never_take_more_room_than_the_limit(asked: list[tuple[int, float]]) -> None:
    names, now = Distinct(7, 10.0, 0.0), 0.0
    for name, pause_s in asked:
        now += pause_s
        if str(name) not in names.known:
            names.take(str(name), now)
        assert len(names) <= 7


def test_an_account_is_forgotten_when_nobody_holds_it() -> None:
    accounts = Accounts(LimitSettings())
    for number in range(1_000):
        accounts.of(str(number), 0.0)
    kept = accounts.of("kept", 0.0)
    accounts.registered("w", accounts.of("owner", 0.0))
    gc.collect()
    assert len(accounts) == 2
    assert accounts.of("kept", 0.0) is kept
