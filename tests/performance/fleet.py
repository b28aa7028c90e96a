"""The synthetic fleet and its tasks: made from a seed, so that every process knows the same without being told."""

from collections.abc import Iterator
from math import exp, log
from random import Random
from typing import Any, NamedTuple

from scheduler_api.v1 import schedule_service_pb2
from scheduler_server.assignment.events import Connect
from scheduler_server.model.worker import Epoch, Registration, Sample
from scheduler_server.registry.speed import SPEEDS

CAPABILITY_SETS = 8
TASK_TYPES = 40
MOST_SLOTS = 8
_SEED = 20_000
_SPEED_GROUPS = range(-4, 5)
"""Half octaves: speeds 1/4 to 4, as machines of one fleet differ."""

# Reciprocal of what learn_speed keeps of an estimate after 64 outcomes, so that the groups stay as they were loaded.
_UNSHRINK = (64 + 8) / 64 * log(2) / 2

CAPABILITIES = [
    tuple(sorted(("base", f"cap-{at}", f"cap-{(at + 1) % CAPABILITY_SETS}"))) for at in range(CAPABILITY_SETS)
]
"""What workers have."""

REQUIRED = [
    (f"cap-{at}",) if at % 2 else tuple(sorted((f"cap-{at}", f"cap-{(at + 1) % CAPABILITY_SETS}")))
    for at in range(CAPABILITY_SETS)
]
"""What tasks require: half of the sets are served by two kinds of worker, half by one."""

_random = Random(_SEED)
TYPE_MS: list[float] = [20.0 * 250.0 ** _random.random() for _ in range(TASK_TYPES)]
"""Duration of each task type at speed 1: 20 ms to 5 s."""

_NOISE = [exp(_random.gauss(0.0, 0.3)) for _ in range(1_021)]  # a prime: it does not fall in step with anything


class Spec(NamedTuple):
    """One worker."""

    worker_id: str
    capabilities: tuple[str, ...]
    slots: int
    group: int
    cpu: float
    memory: float


def worker_id(number: int) -> str:
    """The id of a worker by its number."""
    return f"worker-{number:06d}"


def number_of(worker: str) -> int:
    """The number of a worker by its id."""
    return int(worker[7:])


def specs(workers: int) -> Iterator[Spec]:
    """The fleet."""
    random = Random(_SEED + 1)
    for at in range(workers):
        yield Spec(
            worker_id(at),
            CAPABILITIES[at % CAPABILITY_SETS],
            random.randint(1, MOST_SLOTS),
            random.choice(_SPEED_GROUPS),
            round(random.uniform(0.0, 0.8), 6),
            round(random.uniform(0.1, 0.7), 6),
        )


def speeds(workers: int) -> list[float]:
    """The speed of each worker."""
    return [SPEEDS[spec.group] for spec in specs(workers)]


def memory(spec: Spec) -> dict[str, Any]:
    """What a snapshot would have kept of a worker: its speed, learned."""
    return {
        "worker_id": spec.worker_id,
        "completed": 100,
        "failed": 2,
        "average_ms": 500.0 / SPEEDS[spec.group],
        "log_speed": spec.group * _UNSHRINK,
        "speed_samples": 64,
        "speed_group": spec.group,
    }


def connect(spec: Spec, session: int) -> Connect:
    """A worker's first heartbeat. Sessions below 0: the shell numbers its own streams from 1."""
    registration = Registration(capabilities=spec.capabilities, slots=spec.slots, reports_outcomes=True)
    sample = Sample(spec.cpu, spec.memory, 0, 0)
    return Connect(session, spec.worker_id, Epoch(f"boot-{spec.worker_id}", 1), registration, sample)


def duration_s(task_type: int, count: int, speed: float) -> float:
    """How long a task of this type took on a worker of this speed; `count` picks its luck."""
    return TYPE_MS[task_type] * _NOISE[count % len(_NOISE)] / speed / 1_000.0


def requests() -> list[schedule_service_pb2.AssignRequest]:
    """One request per task type, each type with one of the sets of requirements; the id is set before each use."""
    made = []
    for task_type in range(TASK_TYPES):
        request = schedule_service_pb2.AssignRequest()
        task = request.task
        task.task_type = f"type-{task_type}"
        task.tenant = "tenant-a"
        task.priority = (0.25, 0.5, 0.75)[task_type % 3]
        task.required_capabilities.extend(REQUIRED[task_type % CAPABILITY_SETS])
        made.append(request)
    return made
