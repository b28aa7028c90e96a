"""Order fair: over a long run, slot-seconds are shared by weight, whatever the tasks' sizes and the predictions."""

from collections import defaultdict
from collections.abc import Sequence
from heapq import heappop, heappush
from random import Random

import pytest

from scheduler_server.assignment.effects import Granted
from scheduler_server.assignment.events import ReportOutcome, Submit
from scheduler_server.assignment.queue_settings import QueueSettings
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.task import Task
from scheduler_server.registry.settings import HealthSettings
from tests.unit.assignment.rig import Rig

_YEAR_S = 3e7
HEALTH = HealthSettings(healthy_within_s=_YEAR_S, unhealthy_after_s=_YEAR_S, remove_after_s=_YEAR_S)


class Shop:
    """Slots that are never idle, and what each tenant has had of them."""

    def __init__(self, weights: dict[str, float], slots: int, *, capabilities: tuple[str, ...] = ()) -> None:
        queue = QueueSettings(order="fair", tenant_weights=weights, tenant_share=1.0)
        self.rig = Rig(CoreSettings(queue=queue, health=HEALTH))
        self.rig.connect("w1", slots=slots, capabilities=capabilities)
        self.had: dict[str, float] = defaultdict(float)
        self.starts: dict[str, float] = {}
        self.lasts: dict[str, float] = {}
        self.ends: list[tuple[float, str, str, float]] = []
        self.number = 0

    def come(
        self, tenant: str, kind: str, lasts_s: float, *, priority: float = 0.5, needs: tuple[str, ...] = ()
    ) -> str:
        self.number += 1
        task = Task(tenant, f"t{self.number}", 1, kind, priority=priority, required=needs)
        self.lasts[task.task_id] = lasts_s
        self.take(self.rig.give(Submit(task, enqueue=True)))
        return task.task_id

    def take(self, out: Sequence[object]) -> None:
        for effect in out:
            if isinstance(effect, Granted):
                task = effect.record.task
                lasts = self.lasts[task.task_id]
                self.starts[task.task_id] = self.rig.t
                heappush(self.ends, (self.rig.t + lasts, effect.record.lease_id, task.tenant, lasts))

    def end_one(self) -> str:
        """Let time pass until a task ends; the tenant that it was of."""
        at, lease, tenant, lasts = heappop(self.ends)
        self.rig.tick_for(max(0.0, at - self.rig.t))
        self.had[tenant] += lasts
        self.take(self.rig.give(ReportOutcome(lease, Outcome(OutcomeStatus.SUCCEEDED, lasts * 1e3))))
        return tenant

    def waiting(self, tenant: str) -> int:
        found = self.rig.core.queue.tenants.find(tenant)
        return found.waiting if found is not None else 0


SIZES = {
    "equal": {"a": 1.0, "b": 1.0, "c": 1.0},
    "unequal": {"a": 0.2, "b": 1.0, "c": 5.0},
}


@pytest.mark.parametrize("sizes", ["equal", "unequal", "mispredicted"])
@pytest.mark.parametrize("arrive", ["at once", "as they go"])
@pytest.mark.parametrize("slots", [1, 8])
def test_slot_seconds_are_within_five_percent_of_the_weights(sizes: str, arrive: str, slots: int) -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 3.0}
    shop = Shop(weights, slots)
    chance = Random(5)

    def come(tenant: str) -> None:
        if sizes == "mispredicted":  # one name for tasks of the length of 1 and of 9
            shop.come(tenant, f"kind-{tenant}", chance.choice((0.2, 1.8)) * (3.0 if tenant == "a" else 1.0))
        else:
            shop.come(tenant, f"kind-{tenant}", SIZES[sizes][tenant] * chance.uniform(0.5, 1.5))

    for tenant in weights:
        for _ in range(3_000 if arrive == "at once" else 2 * slots + 2):
            come(tenant)
    for at in range(2_500):
        tenant = shop.end_one()
        if arrive == "as they go" and at < 10_000:
            while shop.waiting(tenant) < slots + 1:
                come(tenant)
        assert all(shop.waiting(tenant) for tenant in weights)
    whole = sum(shop.had.values())
    for tenant, weight in weights.items():
        share = shop.had[tenant] / whole
        assert share == pytest.approx(weight / 6.0, rel=0.05), (shop.had, tenant)


def test_a_tenant_that_returns_waits_for_its_turn_and_no_longer() -> None:
    shop = Shop({}, 4)
    for tenant in ("a", "b"):
        for _ in range(1_000):
            shop.come(tenant, "kind", 1.0)
    for _ in range(800):
        shop.end_one()
    before = dict(shop.had)
    first = shop.come("c", "kind", 1.0)
    came = shop.rig.t
    for _ in range(400):
        shop.come("c", "kind", 1.0)
    for _ in range(300):
        shop.end_one()
    assert shop.starts[first] - came <= 2.0  # it does not starve: at most the others' turns
    gained = {tenant: shop.had[tenant] - before.get(tenant, 0.0) for tenant in "abc"}
    assert all(share == pytest.approx(100.0, abs=8.0) for share in gained.values()), gained  # nor do they


def test_a_tenant_that_was_away_has_saved_nothing_up_and_owes_nothing() -> None:
    shop = Shop({}, 2)
    for _ in range(50):
        shop.come("a", "kind", 1.0)
    while shop.had["a"] < 50.0:  # alone, it had everything: nobody was kept waiting
        shop.end_one()
    shop.rig.tick_for(100.0)
    for tenant in ("b", "a"):
        for _ in range(200):
            shop.come(tenant, "kind", 1.0)
    for _ in range(200):
        shop.end_one()
    assert shop.had["b"] == pytest.approx(100.0, abs=6.0)
    assert shop.had["a"] - 50.0 == pytest.approx(100.0, abs=6.0)


def test_within_a_tenant_priority_decides_across_all_that_its_tasks_need() -> None:
    shop = Shop({}, 1, capabilities=("gpu",))
    shop.come("a", "kind", 1.0)
    ids = [shop.come("a", "kind", 1.0, priority=at % 10 / 10, needs=("gpu",) if at % 2 else ()) for at in range(20)]
    shop.come("b", "kind", 1.0)
    while len(shop.starts) < 22:
        shop.end_one()
    order = sorted(ids, key=lambda task_id: shop.starts[task_id])
    assert order == sorted(ids, key=lambda task_id: (-(ids.index(task_id) % 10), ids.index(task_id)))


def test_needs_of_two_kinds_do_not_make_a_tenant_two() -> None:
    shop = Shop({}, 2, capabilities=("gpu",))
    for at in range(600):
        shop.come("a", "kind", 1.0, needs=("gpu",) if at % 2 else ())
        shop.come("b", "kind", 1.0)
    for _ in range(400):
        shop.end_one()
    assert shop.had["a"] == pytest.approx(200.0, rel=0.05)


def test_a_tenant_that_only_a_rare_worker_can_serve_does_not_make_others_wait_when_they_come_back() -> None:
    shop = Shop({}, 1, capabilities=("gpu",))
    shop.rig.connect("w2", slots=8)
    for _ in range(400):
        shop.come("rare", "kind", 1.0, needs=("gpu",))
    for _ in range(2_000):
        shop.come("many", "kind", 1.0)
    for _ in range(900):
        shop.end_one()
    came = shop.rig.t
    first = shop.come("back", "kind", 1.0, needs=("gpu",))
    other = shop.come("back", "kind", 1.0)
    for _ in range(60):
        shop.end_one()
    assert shop.starts[first] - came <= 3.0
    assert shop.starts[other] - came <= 3.0


def test_what_a_task_was_charged_too_much_is_given_back() -> None:
    shop = Shop({}, 1)
    shop.come("x", "other", 0.1)
    for _ in range(5):
        shop.come("a", "new", 0.1)  # assumed to take 5 s
        shop.come("b", "old", 0.1)
    for _ in range(11):
        shop.end_one()
    usage = shop.rig.core.queue.usage
    assert len(usage) == 0
    for name in "ab":
        tenant = shop.rig.core.queue.tenants.get(name)
        assert tenant.running == pytest.approx(0.0, abs=1e-9)
        assert tenant.used - tenant.credit == pytest.approx(0.5, abs=1e-6)
