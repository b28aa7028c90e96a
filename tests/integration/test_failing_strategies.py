"""Predictors and scorers that fail, behind the real wire: every Assign is answered, and the breaker does its work."""

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from scheduler_api.v1 import admin_service_pb2 as admin_api
from scheduler_api.v1 import admin_service_pb2_grpc, decision_pb2
from scheduler_api.v1 import schedule_service_pb2 as api
from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.events import Publish
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Cause, Score, Source
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Task
from scheduler_server.model.worker import WorkerView
from scheduler_server.predictor import Predictor
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.predictor.published import PublishedPredictor
from scheduler_server.scorer import Scorer
from scheduler_server.scorer.weighted import WeightedScorer
from tests.contract.server import WALL_S, Running, running, settings, task
from tests.fakes.predictor import KnowsNothing

ASKED = 1_000
SETTINGS = CoreSettings()
THRESHOLD = SETTINGS.fallback.failure_threshold
RETRY_S = SETTINGS.fallback.retry_after_s


@dataclass
class Trouble:
    """What goes wrong, for as long as it is `on`, and how often predictor and scorer were asked."""

    on: bool = True
    predicted: int = 0
    scored: int = 0
    late_s: float = 0.0
    elapsed: float = field(default=0.0, init=False)

    def stopwatch(self) -> float:
        """Every second reading is late."""
        self.elapsed += self.late_s if self.on else 0.0
        return self.elapsed


class TroubledPredictor(KnowsNothing):
    """The built-in one, asked through something that may fail."""

    def __init__(self, trouble: Trouble, fail: Callable[[Prediction], Prediction]) -> None:
        self.name = "troubled"
        self._behind = EmaPredictor(SETTINGS.predictor)
        self._trouble = trouble
        self._fail = fail

    def predict(self, task: Task) -> Prediction:
        self._trouble.predicted += 1
        good = self._behind.predict(task)
        return self._fail(good) if self._trouble.on else good

    def observe(self, task: Task, duration_ms: float) -> None:
        self._behind.observe(task, duration_ms)

    def state(self) -> Iterator[dict[str, Any]]:
        return self._behind.state()

    def restore(self, record: dict[str, Any]) -> None:
        self._behind.restore(record)


class TroubledScorer(WeightedScorer):
    def __init__(self, trouble: Trouble, fail: Callable[[Score], Score]) -> None:
        super().__init__(SETTINGS.scorer)
        self._trouble = trouble
        self._fail = fail

    def score(self, worker: WorkerView, task: Task, wait_ms: float, duration_ms: float) -> Score:
        self._trouble.scored += 1
        good = super().score(worker, task, wait_ms, duration_ms)
        return self._fail(good) if self._trouble.on else good


def broken(_good: Any) -> Any:
    raise ZeroDivisionError("a plug-in's own fault")


def predictor(fail: Callable[[Prediction], Prediction]) -> Callable[[Trouble], tuple[Predictor, Scorer]]:
    return lambda trouble: (TroubledPredictor(trouble, fail), WeightedScorer(SETTINGS.scorer))


def scorer(fail: Callable[[Score], Score]) -> Callable[[Trouble], tuple[Predictor, Scorer]]:
    return lambda trouble: (EmaPredictor(SETTINGS.predictor), TroubledScorer(trouble, fail))


def late(trouble: Trouble) -> tuple[Predictor, Scorer]:
    trouble.late_s = SETTINGS.predictor.budget_ms / 1_000.0 * 1.001
    return TroubledPredictor(trouble, lambda good: good), WeightedScorer(SETTINGS.scorer)


KINDS: dict[str, tuple[Callable[[Trouble], tuple[Predictor, Scorer]], Cause]] = {
    "predictor raises": (predictor(broken), Cause.PREDICTOR_ERROR),
    "prediction is NaN": (predictor(lambda good: good._replace(point_ms=math.nan)), Cause.PREDICTION_INVALID),
    "prediction is negative": (predictor(lambda good: good._replace(point_ms=-1.0)), Cause.PREDICTION_INVALID),
    "prediction is infinite": (predictor(lambda good: good._replace(point_ms=math.inf)), Cause.PREDICTION_INVALID),
    "scorer raises": (scorer(broken), Cause.SCORER_ERROR),
    "score is NaN": (scorer(lambda good: good._replace(value=math.nan)), Cause.SCORE_INVALID),
    "answers are late": (late, Cause.OVER_BUDGET),
}


def core_of(trouble: Trouble, strategies: tuple[Predictor, Scorer]) -> Scheduler:
    return Scheduler(SETTINGS, *strategies, trouble.stopwatch, "test", Now(1_000.0, WALL_S))


async def ask(server: Running, count: int, name: str) -> list[Any]:
    """So many Assign calls over the wire, 50 at a time, and their decisions; an error fails the test."""
    decisions: list[Any] = []

    async def some(first: int) -> None:
        for number in range(first, count, 50):
            request = api.AssignRequest(task=task(f"{name}-{number}"))
            decisions.append((await server.stub.Assign(request)).decision)

    await asyncio.gather(*(some(first) for first in range(min(50, count))))
    return decisions


async def status(server: Running) -> admin_api.GetStatusResponse:
    stub = admin_service_pb2_grpc.AdminServiceStub(server.channel)
    return await stub.GetStatus(admin_api.GetStatusRequest())


def counted(said: admin_api.GetStatusResponse) -> dict[str, int]:
    return {decision_pb2.DecisionCause.Name(each.cause)[15:]: each.count for each in said.decisions}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_thousand_of_a_thousand_are_answered_and_the_breaker_opens_and_closes(kind: str) -> None:
    make, cause = KINDS[kind]
    trouble = Trouble()
    async with running(settings(), core=core_of(trouble, make(trouble))) as server:
        await server.sdk_worker("a", slots=2_000)
        await server.sdk_worker("b", slots=2_000)
        decisions = await ask(server, ASKED, "t")
        assert len(decisions) == ASKED
        assert {each.worker_id for each in decisions} == {"a", "b"}
        assert {each.source for each in decisions} == {Source.FALLBACK.value}
        said = await status(server)
        assert counted(said) == {cause.name: THRESHOLD, "BREAKER_OPEN": ASKED - THRESHOLD}
        assert (said.breaker.state, said.breaker.consecutive_failures) == (admin_api.BREAKER_STATE_OPEN, THRESHOLD)
        assert said.breaker.threshold == THRESHOLD
        assert "breaker" in {part.name for part in said.degraded}
        # In turn, so evenly.
        assert sum(each.worker_id == "a" for each in decisions) == ASKED / 2
        asked = trouble.predicted + trouble.scored

        # Just before its time nobody is asked; at its time one is, and a failure opens it again.
        server.forward(RETRY_S - 0.001)
        await ask(server, 10, "early")
        assert trouble.predicted + trouble.scored == asked
        server.forward(0.001)
        await ask(server, 10, "trial")
        assert counted(await status(server))[cause.name] == THRESHOLD + 1
        assert (await status(server)).breaker.state == admin_api.BREAKER_STATE_OPEN

        # All is well again: the trial closes it.
        trouble.on = False
        server.forward(RETRY_S)
        healed = await ask(server, 10, "healed")
        assert {each.source for each in healed} == {Source.PREDICTED.value}
        said = await status(server)
        assert (said.breaker.state, said.breaker.consecutive_failures) == (admin_api.BREAKER_STATE_CLOSED, 0)
        assert "breaker" not in {part.name for part in said.degraded}
        moves = server.told(
            FleetEventKind.BREAKER_OPENED, FleetEventKind.BREAKER_HALF_OPEN, FleetEventKind.BREAKER_CLOSED
        )
        # Each twice: the circuit of all task types, and that of this one.
        names = ["OPENED", "HALF_OPEN", "OPENED", "HALF_OPEN", "CLOSED"]
        assert [move[0] for move in moves] == [f"BREAKER_{name}" for name in names for _ in range(2)]


async def test_two_failures_and_a_success_leave_the_breaker_closed() -> None:
    trouble = Trouble()
    make, cause = KINDS["predictor raises"]
    async with running(settings(), core=core_of(trouble, make(trouble))) as server:
        await server.sdk_worker("a", slots=100)
        for round_ in range(5):
            trouble.on = True
            failed = await ask(server, THRESHOLD - 1, f"bad-{round_}")
            assert {each.cause for each in failed} == {cause.value}
            trouble.on = False
            (good,) = await ask(server, 1, f"good-{round_}")
            assert good.source == Source.PREDICTED.value
        assert (await status(server)).breaker.state == admin_api.BREAKER_STATE_CLOSED
        assert not server.told(FleetEventKind.BREAKER_OPENED)


async def test_a_published_table_that_nobody_renews_is_used_until_it_is_stale_and_again_once_renewed() -> None:
    published = PublishedPredictor("foreign", EmaPredictor(SETTINGS.predictor))
    core = core_of(Trouble(), (published, WeightedScorer(SETTINGS.scorer)))
    stale_s = SETTINGS.predictor.stale_after_s
    async with running(settings(), core=core) as server:
        await server.sdk_worker("a", slots=2_000)

        def publish(at: float) -> None:
            entry = Prediction(120.0, 120.0, 110.0, 200.0, 0.9, 7, "type=resize", "foreign", at)
            server.app.shell.handle(Publish((("resize", entry),)))

        async def renewed(name: str) -> Any:
            await streams.beat()  # minutes pass: the worker lives on, and sends its probes back
            if streams.probes:
                await streams.beat(probe_nonce=streams.probes.pop())
            (decision,) = await ask(server, 1, name)
            return decision

        streams = await server.sdk_worker("b", slots=2_000)
        publish(server.clock.monotonic)
        fresh = await renewed("fresh")
        assert (fresh.source, fresh.prediction.point_ms) == (Source.PREDICTED.value, 120.0)
        server.forward(stale_s / 2)
        await renewed("half")
        server.forward(stale_s / 2)
        assert (await renewed("just-in-time")).source == Source.PREDICTED.value
        server.forward(0.001)
        await streams.beat()
        stale = await ask(server, ASKED, "stale")
        assert len(stale) == ASKED
        assert {each.source for each in stale} == {Source.FALLBACK.value}
        said = counted(await status(server))
        assert (said["PREDICTION_STALE"], said["BREAKER_OPEN"]) == (THRESHOLD, ASKED - THRESHOLD)
        publish(server.clock.monotonic)
        server.forward(RETRY_S)
        again = await renewed("again")
        assert (again.source, again.prediction.point_ms) == (Source.PREDICTED.value, 120.0)
        assert (await status(server)).breaker.state == admin_api.BREAKER_STATE_CLOSED


async def test_a_predictor_that_cannot_learn_costs_no_outcome() -> None:
    class Forgetful(TroubledPredictor):
        def observe(self, task: Task, duration_ms: float) -> None:
            raise MemoryError

    trouble = Trouble(on=False)
    strategies = (Forgetful(trouble, broken), WeightedScorer(SETTINGS.scorer))
    async with running(settings(), core=core_of(trouble, strategies)) as server:
        await server.sdk_worker("a", slots=100)
        for decision in await ask(server, 20, "t"):
            result = await server.report(decision.lease_id)
            assert result.result == api.OUTCOME_RESULT_ACCEPTED
        assert (await status(server)).leases == 0
        assert (await server.assign("after")).decision.source == Source.PREDICTED.value
