"""Calls that end before their method begins are counted, and those that begin are not."""

from scheduler_server.telemetry.arriving import Arriving
from scheduler_server.telemetry.calls import METHODS, Calls


class Call:
    """What answers a call."""

    def __init__(self) -> None:
        self.over = False

    def done(self) -> bool:
        return self.over


def test_who_begins_is_not_lost_and_who_ends_before_is() -> None:
    arriving = Arriving()
    begun, waiting, gone = Call(), Call(), Call()
    for each in (begun, waiting, gone):
        arriving.come(each)
    del arriving.calls[begun]
    begun.over = gone.over = True
    assert (arriving.lost, list(arriving.calls)) == (1, [waiting])
    waiting.over = True
    assert (arriving.lost, arriving.lost, list(arriving.calls)) == (2, 2, [])


def test_those_that_have_ended_do_not_pile_up_while_nobody_asks() -> None:
    arriving = Arriving()
    for _ in range(10_000):
        call = Call()
        arriving.come(call)
        call.over = True
        assert len(arriving.calls) <= 1_024
    assert arriving.lost == 10_000


def test_many_that_are_on_their_way_are_not_looked_at_each_time() -> None:
    looked = 0

    class Slow(Call):
        def done(self) -> bool:
            nonlocal looked
            looked += 1
            return False

    arriving = Arriving()
    for _ in range(20_000):
        arriving.come(Slow())
    assert looked <= 2 * 20_000
    assert (arriving.lost, len(arriving.calls)) == (0, 20_000)


def test_all_methods_have_one_set_in_common() -> None:
    calls = Calls()
    assert all(calls.by_method[name].arriving is calls.arriving.calls for name in METHODS)
