"""What follows from a tape: waits, spread, how good predictions were."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from scheduler_server.demo.fleet import FLEET, Spec
from scheduler_server.demo.tape import Run, Tape

NEAR = 0.25  # "within 25 %" of the actual duration


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One phase in numbers. `spread` is standard deviation over mean of the workers' busy shares of slots."""

    mean_wait_s: float
    p99_wait_s: float
    mean_finish_s: float
    spread: float
    over_after_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """Of `count` predictions, the shares within 25 % of the actual duration and within a factor of 2. NaN for none."""

    count: int
    near: float
    twofold: float


def percentile(values: Iterable[float], share: float) -> float:
    """Nearest rank: the smallest value that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def figures(tape: Tape) -> Figures:
    """The phase in numbers; every run has ended."""
    runs = list(tape.runs.values())
    ended = [run.ended or run.due for run in runs]
    return Figures(
        mean_wait_s=fmean(run.wait_s for run in runs),
        p99_wait_s=percentile((run.wait_s for run in runs), 0.99),
        mean_finish_s=fmean(end - run.due for run, end in zip(runs, ended, strict=True)),
        spread=spread(busy_shares(tape).values()),
        over_after_s=max(ended) - tape.started,
    )


def busy_shares(tape: Tape, fleet: Sequence[Spec] = FLEET) -> dict[str, float]:
    """By worker, the share of its slots' time that was busy while tasks arrived. What comes after is only the tail."""
    start, end = tape.started, tape.started + tape.span_s
    busy = {spec.worker_id: 0.0 for spec in fleet}
    for run in tape.runs.values():
        if run.began is not None and run.worker_id in busy:
            busy[run.worker_id] += max(0.0, min(run.ended or end, end) - max(run.began, start))
    return {spec.worker_id: busy[spec.worker_id] / (spec.slots * tape.span_s) for spec in fleet}


def spread(shares: Iterable[float]) -> float:
    """Coefficient of variation; 0 is even, also where nobody was busy."""
    values = list(shares)
    mean = fmean(values)
    return pstdev(values) / mean if mean > 0 else 0.0


def hits(runs: Iterable[Run], *, learned: bool) -> Hits:
    """How near predictions were; with `learned` only those made after an outcome of the type had been seen."""
    ratios = []
    for run in runs:
        if run.decision is None or run.ended is None or not run.decision.predicted_duration_ms:
            continue
        if learned and not run.decision.prediction.sample_count:
            continue
        predicted_s = run.decision.predicted_duration_ms / 1e3
        ratios.append(predicted_s / run.took_s if run.took_s > 0 else math.inf)
    if not ratios:
        return Hits(count=0, near=math.nan, twofold=math.nan)
    return Hits(
        count=len(ratios),
        near=fmean(abs(ratio - 1) <= NEAR for ratio in ratios),
        twofold=fmean(0.5 <= ratio <= 2 for ratio in ratios),
    )
