"""Probes: does a worker receive what it is sent?"""

from scheduler_server.assignment.effects import ProbeSent
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.worker import Health, Registration
from scheduler_server.registry.settings import WorkerSettings
from tests.unit.assignment.rig import Rig


def beats(rig: Rig, seconds: int) -> list[ProbeSent]:
    """A heartbeat each second; the probes sent meanwhile."""
    sent: list[ProbeSent] = []
    for _ in range(seconds):
        rig.tick_for(1)
        rig.beat(running=())
        sent += rig.find(ProbeSent)
    return sent


def test_a_worker_that_takes_tasks_is_probed_at_the_interval_and_stays_a_candidate() -> None:
    rig = Rig()
    rig.connect(accepts_tasks=True)
    assert len(beats(rig, 100)) == 3
    assert rig.worker().health is Health.HEALTHY
    assert rig.worker().probed_wall > 0
    assert rig.place().worker_id == "w1"


def test_a_worker_that_does_not_take_tasks_is_not_probed() -> None:
    rig = Rig()
    rig.connect()
    assert beats(rig, 100) == []


def test_a_worker_that_beats_and_sends_no_probe_back_in_time_gets_no_tasks_until_one_comes_back() -> None:
    rig = Rig()
    rig.echoes = False
    rig.connect(accepts_tasks=True)
    assert len(beats(rig, 60)) == 1
    assert rig.worker().health is Health.HEALTHY, "30 s are not over"
    assert len(beats(rig, 1)) == 1
    assert FleetEventKind.WORKER_NOT_RECEIVING in rig.events()
    assert rig.worker().health is Health.UNHEALTHY
    refusal = rig.refuse()
    assert {reason.name for reason, _ in refusal.rejections} == {"NOT_RECEIVING"}
    rig.echoes = True
    beats(rig, 1)
    assert rig.worker().health is Health.HEALTHY
    assert rig.place().worker_id == "w1"


def test_an_old_nonce_proves_nothing() -> None:
    rig = Rig()
    rig.echoes = False
    rig.connect(accepts_tasks=True)
    (probe,) = beats(rig, 30)
    beats(rig, 31)
    assert rig.worker().deaf
    rig.beat(running=(), probe_nonce=probe.nonce)
    assert rig.worker().deaf


def test_a_new_stream_is_probed_anew_and_the_nonce_of_the_former_is_void() -> None:
    rig = Rig()
    rig.echoes = False
    rig.connect(accepts_tasks=True, epoch=("boot", 1))
    beats(rig, 40)
    rig.connect(accepts_tasks=True, epoch=("boot", 2))
    beats(rig, 29)
    assert not rig.worker().deaf
    assert not rig.worker().probe


def test_probes_can_be_switched_off() -> None:
    rig = Rig(CoreSettings(worker=WorkerSettings(probe_interval_s=None)))
    rig.connect(accepts_tasks=True)
    assert beats(rig, 100) == []


def test_a_worker_that_was_not_receiving_is_asked_at_once_on_its_new_stream() -> None:
    rig = Rig()
    rig.echoes = False
    rig.connect(accepts_tasks=True, epoch=("boot", 1))
    beats(rig, 61)
    assert rig.worker().deaf
    rig.echoes = True
    rig.connect(accepts_tasks=True, epoch=("boot", 2))
    beats(rig, 2)
    assert not rig.worker().deaf


def test_a_worker_that_takes_no_tasks_from_its_stream_any_more_need_not_prove_that_it_could() -> None:
    rig = Rig()
    rig.echoes = False
    rig.connect(accepts_tasks=True)
    beats(rig, 61)
    assert rig.worker().deaf
    rig.beat(registration=Registration(slots=2, reports_outcomes=True), running=())
    assert rig.place().worker_id == "w1"
