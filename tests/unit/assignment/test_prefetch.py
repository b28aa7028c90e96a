"""Tasks staged on a worker beyond its slots."""

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Delivery, Task
from scheduler_server.model.worker import Health, Registration
from scheduler_server.registry.settings import WorkerSettings
from tests.fakes.predictor import KnowsNothing
from tests.unit.assignment.rig import Rig, make_sample

STREAM = Delivery.STREAM


class Silent(KnowsNothing):
    """Has no answer, so workers are chosen in turn."""

    def predict(self, task: Task) -> Prediction:
        raise RuntimeError


def worker(rig: Rig, name: str, slots: int = 1, prefetch: int | None = 1, load: float = 0.0) -> None:
    """A worker that takes tasks from its stream."""
    registration = Registration(slots=slots, accepts_tasks=True, reports_outcomes=True, prefetch=prefetch)
    rig.connect(name, registration=registration, sample=make_sample(cpu=load, memory=load, running=()))


def test_a_worker_takes_as_many_tasks_beyond_its_slots_as_it_says() -> None:
    rig = Rig()
    worker(rig, "w1", slots=2, prefetch=3)
    assert [rig.place(delivery=STREAM).worker_id for _ in range(5)] == ["w1"] * 5
    assert rig.refuse(delivery=STREAM).reason == "NO_FREE_SLOT"


def test_nobody_is_staged_where_somebody_has_a_free_slot_however_loaded() -> None:
    rig = Rig()
    worker(rig, "idle but full", prefetch=5)
    rig.place(delivery=STREAM)
    worker(rig, "degraded", prefetch=0, load=0.95)
    assert rig.worker("degraded").health is Health.DEGRADED
    assert rig.place(delivery=STREAM).worker_id == "degraded"
    assert rig.place(delivery=STREAM).worker_id == "idle but full"


def test_staged_tasks_are_spread_by_the_room_that_is_left() -> None:
    rig = Rig()
    worker(rig, "a", prefetch=2)
    worker(rig, "b", prefetch=2)
    for _ in range(2):
        rig.place(delivery=STREAM)
    chosen = [rig.place(delivery=STREAM).worker_id for _ in range(4)]
    assert sorted(chosen[:2]) == sorted(chosen[2:]) == ["a", "b"]


def test_a_staged_task_is_told_when_it_will_start() -> None:
    rig = Rig()
    worker(rig, "w1", prefetch=2)
    assert rig.place(delivery=STREAM).wait_ms == 0.0
    rig.go(1)
    assert rig.place(delivery=STREAM).wait_ms == 4_000.0  # the rest of the unknown's 5 s
    assert rig.place(delivery=STREAM).wait_ms == 9_000.0


def test_by_default_nothing_is_staged_and_the_default_can_be_set() -> None:
    rig = Rig()
    worker(rig, "w1", prefetch=None)
    rig.place(delivery=STREAM)
    assert rig.refuse(delivery=STREAM).reason == "NO_FREE_SLOT"
    rig = Rig(CoreSettings(worker=WorkerSettings(default_prefetch=1)))
    worker(rig, "w1", prefetch=None)
    rig.place(delivery=STREAM)
    assert rig.place(delivery=STREAM).worker_id == "w1"


def test_a_worker_that_takes_nothing_from_its_stream_has_nothing_staged() -> None:
    rig = Rig()
    rig.connect("w1", slots=1, prefetch=5)
    rig.place()
    assert rig.refuse().reason == "NO_FREE_SLOT"


def test_free_slots_and_slots_in_use_do_not_count_what_is_staged() -> None:
    rig = Rig()
    worker(rig, "w1", slots=2, prefetch=2)
    for _ in range(3):
        rig.place(delivery=STREAM)
    assert rig.worker().free == 0
    assert rig.core.fleet.slots == 2


def test_nobody_is_staged_where_somebody_has_a_free_slot_whatever_chooses() -> None:
    rig = Rig(predictor=Silent())
    for name in ("a", "b", "c"):
        worker(rig, name, prefetch=2)
    first = [rig.place(delivery=STREAM) for _ in range(3)]
    assert {each.worker_id for each in first} == {"a", "b", "c"}
    rig.end(first[1].lease_id)
    assert rig.place(delivery=STREAM).worker_id == first[1].worker_id
    assert rig.place(delivery=STREAM).worker_id in {"a", "b", "c"}, "then it is staged on somebody"
