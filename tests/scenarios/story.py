"""A long random run: the events, and the core that they are given to. As a program, it replays a log of them.

python -m tests.scenarios.story SCORER EVENTS EFFECTS
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.events import (
    Abandon,
    Cancel,
    CloseQueue,
    Connect,
    Disconnect,
    Event,
    Heartbeat,
    Publish,
    RemoveWorker,
    ReportOutcome,
    Shutdown,
    Submit,
    Tick,
    Withdraw,
)
from scheduler_server.assignment.recording import ReplayedStopwatch, replay
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.clock import Now, Stopwatch
from scheduler_server.model.outcome import Outcome, OutcomeStatus
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.task import Delivery, Hints, Task
from scheduler_server.model.worker import Epoch, Intent, LeaseReport, Registration, ReportKind, RunningLease
from scheduler_server.predictor.ema import EmaPredictor
from scheduler_server.predictor.published import PublishedPredictor
from tests.unit.assignment.rig import START_S, WALL_S, make_sample, scorers

NOT_BEFORE = {3: WALL_S + 900.0}
START_BY = {2: WALL_S + 1_500.0, 4: WALL_S + 1e9}

CAPABILITIES = ("cpu", "gpu", "net", "ssd")


def make_core(stopwatch: Stopwatch, scorer: str) -> Scheduler:
    settings = CoreSettings()
    table = PublishedPredictor("table", EmaPredictor(settings.predictor))
    return Scheduler(settings, table, scorers(settings)[scorer], stopwatch, "r", Now(START_S, WALL_S))


def events(core: Scheduler, length: int, seed: int) -> Iterator[tuple[Now, Event]]:
    """Random events, some of them nonsense, chosen with a look at the core that they are for."""
    chance = Random(seed)
    at, sessions, tasks, tickets = START_S, 0, 0, 0

    def some(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(sorted(chance.sample(names, chance.randrange(3))))

    for _ in range(length):
        at += chance.expovariate(2.0) if chance.random() < 0.995 else chance.choice([20.0, 40.0, 400.0])
        now = Now(at, WALL_S + at - START_S)
        leases = list(core.ledger.leases) or ["l-none"]
        ids = [f"w{number}" for number in range(24)]
        kind = chance.random()
        if kind < 0.06 or not core.link.sessions:
            sessions += 1
            registration = Registration(
                capabilities=some(CAPABILITIES), specializations=some(("bug", "feature")), slots=chance.randrange(1, 5),
                labels=(("zone", chance.choice("ab")),), accepts_tasks=chance.random() < 0.5,
                reports_outcomes=chance.random() < 0.5,
            )  # fmt: skip
            epoch = Epoch(f"boot-{chance.randrange(3)}", chance.randrange(1, 50)) if chance.random() < 0.5 else None
            bare = chance.random() < 0.3
            yield now, Connect(sessions, chance.choice(ids), epoch, None if bare else registration, make_sample())
        elif kind < 0.45:
            session = chance.choice(list(core.link.sessions))
            held = core.link.sessions[session].leases
            running = tuple(
                RunningLease(lease, chance.choice([None, 5.0])) for lease in held if int(lease.split("-")[2]) % 7
            )
            report = LeaseReport(
                chance.choice(list(held) or leases), chance.choice(list(ReportKind)),
                Outcome(OutcomeStatus.SUCCEEDED, chance.uniform(1.0, 9_000.0), result=b"\x00\xff"),
            )  # fmt: skip
            listed = chance.random() < 0.5
            yield now, Heartbeat(session, make_sample(
                cpu=chance.random(), memory=chance.random(), queue_depth=len(held) + chance.randrange(2),
                timestamp_ms=int(at * 1_000), running=running if listed else None,
                reports=(report,) if listed and chance.random() < 0.5 else (),
                intent=chance.choices(list(Intent), (30, 2, 1))[0],
            ))  # fmt: skip
        elif kind < 0.75:
            tasks += chance.random() < 0.9
            tickets += 1
            number = max(0, tasks - chance.choice([0, 0, 0, 0, 5, 20]))
            body = Random(number)  # so that asking again asks for the same
            yield now, Submit(
                Task(
                    "", f"t{number}", chance.choice([1, 1, 1, 2]), f"type-{body.randrange(5)}",
                    body.choice(["", "bug"]),
                    body.random(), tuple(sorted(body.sample(CAPABILITIES, body.randrange(3)))),
                    tuple(sorted(body.sample(ids, body.randrange(3)))), (("zone", "a"),) if body.random() < 0.3 else (),
                    (("bytes", 1e9),), hints=Hints(dependencies=2),
                    start_by=now.wall if chance.random() < 0.02 else START_BY.get(number % 7),
                    not_before=NOT_BEFORE.get(number % 11),
                ),
                chance.choice(list(Delivery)), chance.random() < 0.2,
                chance.choice([None, None, 0.0, 3.0, 60.0]), chance.random() < 0.3, tickets,
            )  # fmt: skip
        elif kind < 0.93:
            status = chance.choices([OutcomeStatus.SUCCEEDED, OutcomeStatus.FAILED], (9, 1))[0]
            yield now, ReportOutcome(chance.choice(leases), Outcome(status, chance.choice([None, 700.0, 1e5])))
        elif kind < 0.95:
            yield now, Cancel("", f"t{tasks - chance.randrange(4)}", chance.randrange(3))
        elif kind < 0.97:
            yield now, Disconnect(chance.choice(list(core.link.sessions)))
        elif kind < 0.975:
            yield now, RemoveWorker(chance.choice(ids), "chance")
        elif kind < 0.985:
            value = chance.choice([700.0, 700.0, float("nan"), -1.0])
            entry = Prediction(value, value, value, value, 0.5, 9, "type=type-1", "table", at)
            yield now, Publish(((f"type-{chance.randrange(5)}", entry),))
        elif kind < 0.986:
            yield now, Shutdown()
        elif kind < 0.992:
            yield now, Abandon(max(1, tickets - chance.randrange(4)))
        elif kind < 0.996:
            yield now, Withdraw("", f"t{tasks - chance.randrange(4)}", 1)
        else:
            yield now, Tick()
    yield Now(at, WALL_S + at - START_S), CloseQueue()


def main(scorer: str, source: str, target: str) -> None:
    stopwatch = ReplayedStopwatch()
    core = make_core(stopwatch, scorer)
    lines = replay(core, stopwatch, Path(source).read_text().splitlines())
    Path(target).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
