"""Which faults, in which order, with which numbers: all drawn from a seed."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """A fault; its value is its name in the table."""

    WORKER_KILL = "worker kill -9"
    WORKER_STOP = "worker SIGSTOP"
    WORKER_DRAIN = "worker drains"
    WORKER_REMOVE = "worker removed"
    POISON = "poison task"
    SERVER_KILL = "server kill -9"
    REDIS_KILL = "redis kill -9"
    REDIS_STALL = "redis stalls"
    REDIS_READ_ONLY = "redis read-only"
    REDIS_MEMORY = "redis out of memory"
    REDIS_UNANSWERED = "redis executes, no answer"
    FIGHT_STOP = "two servers, one stopped"
    FIGHT_KILL = "two servers, one killed"
    FIGHT_STALL = "two servers, redis stalls"


FIGHTS = (Kind.FIGHT_STOP, Kind.FIGHT_KILL, Kind.FIGHT_STALL)
"""They need a second server, so they come last."""

FULL: Mapping[Kind, int] = {
    Kind.WORKER_KILL: 60,
    Kind.WORKER_STOP: 40,
    Kind.WORKER_DRAIN: 5,
    Kind.WORKER_REMOVE: 5,
    Kind.POISON: 5,
    Kind.SERVER_KILL: 20,
    Kind.REDIS_KILL: 5,
    Kind.REDIS_STALL: 5,
    Kind.REDIS_READ_ONLY: 5,
    Kind.REDIS_MEMORY: 5,
    Kind.REDIS_UNANSWERED: 5,
    Kind.FIGHT_STOP: 5,
    Kind.FIGHT_KILL: 5,
    Kind.FIGHT_STALL: 5,
}

SHORT: Mapping[Kind, int] = dict.fromkeys(FULL, 1) | {Kind.WORKER_KILL: 3, Kind.WORKER_STOP: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One of them. `pick` is a share of whatever there is to choose from, 0 to 1; `lasts_s` is for how long."""

    number: int
    kind: Kind
    after_s: float  # from the fault before
    pick: float
    lasts_s: float
    variant: float  # 0 to 1: each kind divides it as it likes


def draw(seed: int, counts: Mapping[Kind, int], limit: int | None = None) -> list[Fault]:
    """A plan. The first `limit` faults of it; None: all."""
    chance = random.Random(seed)
    single = [kind for kind in counts if kind not in FIGHTS for _ in range(counts[kind])]
    fights = [kind for kind in counts if kind in FIGHTS for _ in range(counts[kind])]
    chance.shuffle(single)
    chance.shuffle(fights)
    faults = [
        Fault(
            number=number,
            kind=kind,
            after_s=chance.uniform(0.3, 1.6),
            pick=chance.random(),
            lasts_s=chance.uniform(0.2, 1.0),
            variant=chance.random(),
        )
        for number, kind in enumerate([*single, *fights], 1)
    ]
    return faults[:limit]
