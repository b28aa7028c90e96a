"""LearnFromHistory, and a cold start from the log: each outcome counts once."""

from pathlib import Path
from typing import Any

import pytest

from scheduler_server.history.settings import HistorySettings
from scheduler_server.predictor.settings import PredictorSettings
from scheduler_server.settings import Settings
from tests.contract.history import Historian, between, historian, kept
from tests.contract.server import WALL_S, Clock, refused, span, until

EMA = PredictorSettings(strategy="ema")


def quick(**changes: Any) -> HistorySettings:
    return HistorySettings(flush_interval_s=0.01, **changes)


def configured(folder: Path, **changes: Any) -> Settings:
    return kept(folder, predictor=EMA, history=quick(learn_at_start=False, **changes))


async def ended(asked: Historian, *seconds: float, task_type: str = "resize", prefix: str = "t") -> None:
    """Tasks that succeeded after so long each, one after another."""
    await asked.server.worker(f"worker of {prefix}")
    for number, each in enumerate(seconds):
        made = (await asked.server.assign(f"{prefix}{number}", task_type=task_type)).decision
        asked.server.forward(1.0)
        await asked.server.report(made.lease_id, duration=span(each))


async def samples(asked: Historian, task_type: str = "resize") -> tuple[int, float]:
    """Outcomes behind a prediction, and its milliseconds."""
    from scheduler_server.model.task import Task

    made = asked.server.core.predictor.predict(Task("", "x", 1, task_type))
    return made.sample_count, made.point_ms


def later(seconds: float = 100.0) -> Clock:
    """Of a server that is started so much later."""
    clock = Clock()
    clock.wall += seconds
    return clock


def forget_the_snapshot(folder: Path) -> None:
    for file in folder.glob("snapshot*"):
        file.unlink()


async def test_what_this_run_heard_of_is_read_and_teaches_nothing_twice(tmp_path: Path) -> None:
    async with historian(configured(tmp_path)) as asked:
        await ended(asked, 1.0, 2.0, 3.0)
        before = await samples(asked)
        answer = await asked.ask("LearnFromHistory", reason="to be sure")
        assert (answer.outcomes_read, answer.outcomes_learned, answer.keys) == (3, 0, 0)
        assert await samples(asked) == before


async def test_without_a_snapshot_the_log_teaches_all_once_in_its_order(tmp_path: Path) -> None:
    async with historian(configured(tmp_path)) as asked:
        await ended(asked, 1.0, 2.0, 3.0)
        await ended(asked, 8.0, task_type="encode", prefix="e")
        live = [await samples(asked, kind) for kind in ("resize", "encode")]
    forget_the_snapshot(tmp_path)
    async with historian(configured(tmp_path), clock=later()) as asked:
        assert (await samples(asked))[0] == 0
        answer = await asked.ask("LearnFromHistory", task_type="resize")
        assert (answer.outcomes_read, answer.outcomes_learned, answer.keys) == (3, 3, 1)
        answer = await asked.ask("LearnFromHistory")
        assert (answer.outcomes_read, answer.outcomes_learned, answer.keys) == (4, 1, 1)
        assert [await samples(asked, kind) for kind in ("resize", "encode")] == live
        answer = await asked.ask("LearnFromHistory")
        assert (answer.outcomes_read, answer.outcomes_learned) == (4, 0)


async def test_what_the_snapshot_has_is_not_taught_again(tmp_path: Path) -> None:
    async with historian(configured(tmp_path)) as asked:
        await ended(asked, 1.0, 2.0)
        live = await samples(asked)
    async with historian(configured(tmp_path), clock=later()) as asked:
        assert await samples(asked) == live
        answer = await asked.ask("LearnFromHistory")
        assert (answer.outcomes_read, answer.outcomes_learned) == (2, 0)


async def test_what_was_learned_after_the_last_snapshot_before_a_kill_is_taught(tmp_path: Path) -> None:
    async with historian(configured(tmp_path)) as asked:
        await ended(asked, 1.0)
        await asked.ask("TakeSnapshot")
        await ended(asked, 3.0, prefix="after")
        live = await samples(asked)
        snapshot = tmp_path / "snapshot"
        then = snapshot.read_bytes()
    snapshot.write_bytes(then)  # as a kill would have left it
    async with historian(configured(tmp_path), clock=later()) as asked:
        assert (await samples(asked))[0] == 1
        answer = await asked.ask("LearnFromHistory")
        assert (answer.outcomes_read, answer.outcomes_learned) == (2, 1)
        assert await samples(asked) == live


async def test_a_range_is_all_that_is_read(tmp_path: Path) -> None:
    async with historian(configured(tmp_path)) as asked:
        await ended(asked, 1.0, 2.0, 3.0, 4.0)  # ended 1, 2, 3 and 4 s after WALL_S
    forget_the_snapshot(tmp_path)
    async with historian(configured(tmp_path), clock=later()) as asked:
        answer = await asked.ask("LearnFromHistory", range=between(WALL_S + 2.0, WALL_S + 4.0))
        assert (answer.outcomes_read, answer.outcomes_learned) == (2, 2)
        assert (await samples(asked))[0] == 2


@pytest.mark.parametrize("strategy", ["ema", "median", "last_two", "adaptive"])
async def test_forgetting_first_learns_anew_what_is_asked_for_and_leaves_the_rest(
    tmp_path: Path, strategy: str
) -> None:
    made = kept(tmp_path, predictor=PredictorSettings(strategy=strategy), history=quick(learn_at_start=False))
    async with historian(made) as asked:
        await ended(asked, 100.0, 100.0, 100.0)
        await ended(asked, 7.0, 7.0, task_type="encode", prefix="e")
        asked.server.forward(1.0)
        other = await samples(asked, "encode")
        since = between(WALL_S + 2.5)  # the last of the three only
        answer = await asked.ask("LearnFromHistory", task_type="resize", forget_first=True, range=since)
        assert (answer.outcomes_read, answer.outcomes_learned) == (1, 1)
        assert (await samples(asked))[0] == 1
        assert await samples(asked, "encode") == other
        answer = await asked.ask("LearnFromHistory", forget_first=True)
        assert (answer.outcomes_read, answer.outcomes_learned) == (5, 5)
        assert [(await samples(asked, kind))[0] for kind in ("resize", "encode")] == [3, 2]


async def test_a_log_that_cannot_be_read_is_not_worth_forgetting_for(tmp_path: Path) -> None:
    async with historian(configured(tmp_path)) as asked:
        await ended(asked, 1.0, 2.0)
        await asked.written()
        asked.server.forward(1.0)
        before = await samples(asked)

        def broken(*_: object, **__: object) -> None:
            from scheduler_server.storage.decision_log import LogError, LogFault

            raise LogError(LogFault.IO, "decision log: the disk is gone")

        log: Any = asked.history.log
        log.lessons = broken
        problem = await refused(asked.call("LearnFromHistory", forget_first=True))
        assert (problem.code, problem.reason) == ("UNAVAILABLE", "STORE_UNAVAILABLE")
        assert "the disk is gone" in problem.message
        assert await samples(asked) == before
        del log.lessons
        assert (await asked.ask("LearnFromHistory", forget_first=True)).outcomes_learned == 2


async def test_one_at_a_time(tmp_path: Path) -> None:
    async with historian(configured(tmp_path)) as asked:
        asked.history.teacher.busy = True
        problem = await refused(asked.call("LearnFromHistory"))
        assert (problem.code, problem.reason) == ("ABORTED", "LEARNING_IN_PROGRESS")
        asked.history.teacher.busy = False
        assert (await asked.ask("LearnFromHistory")).outcomes_read == 0


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"range": between(2.0, 2.0)}, "range.end"),
        ({"task_type": "x" * 257}, "task_type"),
        ({"reason": "x" * 4_097}, "reason"),
    ],
)
async def test_a_malformed_request_is_refused_by_its_field(
    tmp_path: Path, fields: dict[str, object], field: str
) -> None:
    async with historian(configured(tmp_path)) as asked:
        assert (await refused(asked.call("LearnFromHistory", **fields))).fields == [field]


# ------------------------------------------------------------------ cold starts


async def test_a_server_without_a_snapshot_learns_from_its_log_beside_all_else(tmp_path: Path) -> None:
    async with historian(configured(tmp_path)) as asked:
        await ended(asked, 1.0, 2.0, 3.0)
        live = await samples(asked)
    forget_the_snapshot(tmp_path)
    async with historian(kept(tmp_path, predictor=EMA, history=quick()), clock=later()) as asked:
        await until(lambda: asked.history.learned_at_start is not None, "it has learned")
        assert await samples(asked) == live
        store = await asked.store()
        assert list(store.warnings) == ["learned from 3 of 3 outcomes of the log, since there was no snapshot"]
        assert store.restored_at.seconds == int(WALL_S + 3.0)


async def test_a_server_with_a_snapshot_does_not(tmp_path: Path) -> None:
    async with historian(configured(tmp_path)) as asked:
        await ended(asked, 1.0)
    async with historian(kept(tmp_path, predictor=EMA, history=quick()), clock=later()) as asked:
        await asked.written()
        assert (await samples(asked))[0] == 1
        assert asked.history.teacher.read == 0
        assert not (await asked.store()).warnings


async def test_of_more_than_there_may_be_the_newest_are_learned(tmp_path: Path) -> None:
    async with historian(configured(tmp_path)) as asked:
        await ended(asked, 1.0, 1.0, 1.0)
        asked.server.clock.wall += 7_200.0  # hours later
        await ended(asked, 9.0, 9.0, prefix="late")
    forget_the_snapshot(tmp_path)
    async with historian(
        kept(tmp_path, predictor=EMA, history=quick(learn_at_start_most=3)), clock=later(7_300.0)
    ) as asked:
        await until(lambda: asked.history.learned_at_start is not None, "it has learned")
        count, milliseconds = await samples(asked)
        assert count == 2
        assert milliseconds > 5_000.0
