"""A log of events makes the same log of effects again, byte for byte, in any process."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from scheduler_server.assignment.events import Connect, Submit
from scheduler_server.assignment.recording import (
    RecordedStopwatch,
    ReplayedStopwatch,
    effect_lines,
    event_line,
    read_line,
    replay,
)
from scheduler_server.model.task import Task
from scheduler_server.model.worker import Registration
from tests.scenarios.story import CAPABILITIES, events, make_core
from tests.unit.assignment.rig import make_sample

SCORERS = ["weighted", "capability", "specialist", "earliest_finish"]


def record(length: int, seed: int, scorer: str) -> tuple[list[str], list[str]]:
    """A run on a stopwatch that is now and then too slow: its event lines and effect lines."""
    chance = Random(seed)
    reads = [0.0]

    def uneven() -> float:
        reads[0] += 0.06 if chance.random() < 0.05 else 1e-5
        return reads[0]

    stopwatch = RecordedStopwatch(uneven)
    core = make_core(stopwatch, scorer)
    told: list[str] = []
    done: list[str] = []
    for now, event in events(core, length, seed):
        effects = core.handle(now, event)
        done += effect_lines(effects)
        told.append(event_line(now, event, stopwatch.take()))
    return told, done


@pytest.mark.parametrize("scorer", SCORERS)
def test_the_same_events_make_the_same_effects_in_a_fresh_core(scorer: str) -> None:
    told, done = record(5_000, seed=11, scorer=scorer)
    stopwatch = ReplayedStopwatch()
    assert list(replay(make_core(stopwatch, scorer), stopwatch, told)) == done


def test_the_same_events_make_the_same_bytes_in_another_process_whose_hashes_differ(tmp_path: Path) -> None:
    told, done = record(5_000, seed=15, scorer="weighted")
    source = tmp_path / "events"
    source.write_text("\n".join(told) + "\n")
    root = Path(__file__).parents[2]
    for hash_seed in ("1", "2"):
        target = tmp_path / hash_seed
        subprocess.run(
            [sys.executable, "-m", "tests.scenarios.story", "weighted", str(source), str(target)],
            cwd=root, env={**os.environ, "PYTHONHASHSEED": hash_seed}, check=True, timeout=60,
        )  # fmt: skip
        assert target.read_text() == "\n".join(done) + "\n"


def test_the_run_that_is_replayed_is_a_rich_one() -> None:
    told, done = record(5_000, seed=15, scorer="weighted")
    assert len({read_line(line)[1].__class__ for line in told}) == 13
    text = "\n".join(done)
    for word in ("PREDICTED", "FALLBACK", "OVER_BUDGET", "BREAKER_OPENED", "BREAKER_CLOSED", "HandOver", "Recall",
                 "SUPERSEDED", "FENCED", "WORKER_LEDGER_REPAIRED", "WORKER_REMOVED", "NO_FREE_SLOT", "DUPLICATE",
                 "LATE", "TASK_REQUEUED", "TASK_SET_ASIDE", "ATTEMPT_LOST", "Queued(", "Unqueued(", "Resolved(",
                 "WAIT_OVER", "EXPIRED", "NOT_YET_DUE",
                 "SESSION_SUPERSEDED", "Explanation(", "WORKER_DRAINED", "STOP"):  # fmt: skip
        assert word in text, word


def test_a_log_that_does_not_fit_the_core_is_noticed() -> None:
    now, _, _ = next(entry for entry in map(read_line, record(200, 12, "weighted")[0]) if entry[2])
    stopwatch = ReplayedStopwatch()
    core = make_core(stopwatch, "weighted")
    core.handle(now, Connect(1, "w", None, Registration(capabilities=CAPABILITIES), make_sample()))
    with pytest.raises(ValueError, match="other than what was recorded"):
        list(replay(core, stopwatch, [event_line(now, Submit(Task("", "t", 1, "a")), [])]))


@pytest.mark.parametrize("line", ["", "{}", "[1]", '[1,2,"Nothing",[],[]]', '[1,2,"Disconnect",["x"],[]]', "not json"])
def test_a_line_that_is_no_event_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not an event"):
        read_line(line)
