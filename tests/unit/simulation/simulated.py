"""Small simulations as tests write them."""

from collections.abc import Sequence
from typing import Any

from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.model.task import Task
from scheduler_server.simulation.core_policy import CorePolicy
from scheduler_server.simulation.engine import BEGIN_S, World
from scheduler_server.simulation.fleet import FleetPlan, Job, Machine
from scheduler_server.simulation.names import choice
from scheduler_server.simulation.pieces import Piece


def pieces(*tasks: tuple[float, float] | tuple[float, float, str]) -> list[Piece]:
    """(instant, duration at speed 1, type)."""
    return [
        Piece(each[0], each[1], Task("", "given", 1, each[2] if len(each) > 2 else "a", user="u")) for each in tasks
    ]


class Tape:
    """Who ended where and when, by number of task: seconds since the begin."""

    def __init__(self) -> None:
        self.started: dict[int, float] = {}
        self.ended_at: dict[int, float] = {}
        self.on: dict[int, str] = {}
        self.attempts: dict[int, int] = {}
        self.jobs: dict[int, Job] = {}

    def ended(self, now: float, job: Job, machine: Machine) -> None:
        assert job.number not in self.ended_at, "a task ended twice"
        self.started[job.number] = job.started - BEGIN_S
        self.ended_at[job.number] = now - BEGIN_S
        self.on[job.number] = machine.name
        self.attempts[job.number] = job.attempt
        self.jobs[job.number] = job


def simulate(
    policy: str,
    given: Sequence[Piece],
    *,
    seed: str = "1",
    settings: CoreSettings | None = None,
    lists: bool = True,
    **plan: Any,
) -> tuple[Tape, World, Any]:
    tape = Tape()
    world = World(FleetPlan(**plan), iter(given), tape, seed)
    made = choice(policy, lists=lists).make(world, settings or CoreSettings(), seed)
    world.run(made)
    return tape, world, made


def core_of(policy: Any) -> CorePolicy:
    assert isinstance(policy, CorePolicy)
    return policy
