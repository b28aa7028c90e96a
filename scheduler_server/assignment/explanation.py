"""What a decision, or a refusal, is to be explained by: collected here, told in `telling.py`."""

from collections import Counter
from collections.abc import Iterable
from math import inf, isfinite
from typing import TYPE_CHECKING

from scheduler_server.assignment import off_shift
from scheduler_server.assignment.counterfactual import Counterfactuals, by_prediction
from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.telling import counted
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Candidate, Change, Explanation, Rejection, Term
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import BlockingReason, Delivery, Task
from scheduler_server.registry import availability
from scheduler_server.registry.eligibility import EligibilityClass
from scheduler_server.registry.fleet import MAX_LABEL_KEYS, Fleet
from scheduler_server.registry.ranking import Counts, leading, rejections
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.scorer import Scorer

if TYPE_CHECKING:
    from scheduler_server.assignment.scanning import Scan

_LOOKS = 8
"""Workers without a free slot, and of each other reason, of which the best is looked for."""

_LACKING = (Rejection.CAPABILITY, Rejection.LABEL, Rejection.NOT_ACCEPTING)
"""Reasons that last: such a worker could not take the task however free it was."""

_SHORTEST_RETRY_S, _LONGEST_RETRY_S = 0.05, 60.0
"""Bounds of what a refused caller is told to wait: below, it would spin; above, it would miss a changed fleet."""


def too_late(task: Task) -> Refusal:
    """The task was to have started by now."""
    message = f"task {task.task_id!r} was to start by {task.start_by or 0.0:.3f}, which is past"
    return Refusal(Reason.START_BY_PASSED, message, (("task_id", task.task_id),))


def too_early(now: Now, task: Task) -> Refusal:
    """The task is not to start yet."""
    due = task.not_before or now.wall
    return Refusal(
        Reason.NOT_YET_DUE,
        f"task {task.task_id!r} is not to start before {due:.3f}",
        (("task_id", task.task_id),),
        BlockingReason.NOT_YET_DUE,
        retry_after_s=due - now.wall,
    )


def nobody(
    event: Submit,
    eligible: EligibilityClass,
    fleet: Fleet,
    mean_ms: float,
    refused_in_a_row: int,
    *,
    remembered: bool,
    counts: Counts | None = None,
    wall: float | None = None,
) -> Refusal:
    """Why nobody can take the task, and when to ask again.

    `mean_ms` is what tasks took lately; the k-th caller refused in a row is told the k-th slot expected to be free.
    `counts`: the rejections, where somebody has counted them. `wall`: now.
    """
    task = event.task
    if counts is None:
        counts = rejections(fleet, eligible)
    by_reason = dict(counts)
    about = [("task_id", task.task_id), ("task_type", task.task_type)]
    about += [(reason.name.lower(), str(count)) for reason, count in counts]
    able = len(fleet) - sum(by_reason.get(reason, 0) for reason in _LACKING)
    excluded = by_reason.get(Rejection.EXCLUDED, 0)
    busy = by_reason.get(Rejection.NO_FREE_SLOT, 0)
    said = counted(counts)
    if not len(fleet):
        return _later(Reason.NO_WORKERS, "no worker is registered yet", about, counts, 1.0)
    if able <= excluded:
        capabilities = sorted(
            eligible.required - frozenset().union(*(pool.profile.capabilities for pool in fleet.pools if pool.members))
        )
        # Every label that could be matched stands in some profile: a key that nobody carries is not sorted by.
        carried = {pair for pool in fleet.pools if pool.members for pair in pool.profile.labels}
        labels = sorted(f"{name}={value}" for name, value in eligible.labels - carried)
        if remembered:
            return _later(
                Reason.NO_ELIGIBLE_WORKER_NOW,
                "workers that could take it were known before the restart and are not back yet",
                about,
                counts,
                1.0,
            )
        return Refusal(
            Reason.NO_CAPABLE_WORKER,
            f"no known worker could ever take task {task.task_id!r}: {_missing(event, capabilities, labels, excluded)}"
            f" ({said})",
            tuple(about),
            BlockingReason.NO_WORKER_COULD_EVER,
            counts,
            tuple(capabilities),
            tuple(labels),
        )
    if not busy and by_reason.get(Rejection.OFF_SHIFT):
        coming = off_shift.next_shift(fleet, eligible, event.excluded)
        if coming is not None:
            about += [("next_shift", f"{coming.at:.3f}"), ("next_worker", coming.worker_id)]
        wait_s = inf if coming is None or wall is None else coming.at - wall
        return _later(Reason.NO_ELIGIBLE_WORKER_NOW, f"{off_shift.told(coming)} ({said})", about, counts, wait_s)
    if not busy:
        return _later(
            Reason.NO_ELIGIBLE_WORKER_NOW,
            f"no worker that could take it may be used now: {said}",
            about,
            counts,
            1.0,
        )
    # Of a pool's slots, the share that its busy workers have: near enough for a hint, and no look at each worker.
    slots = sum(pool.slots * pool.counts[Rejection.NO_FREE_SLOT] / max(len(pool.members), 1) for pool in eligible.pools)
    wait_s = mean_ms / 1_000.0 / max(slots, 1.0) * refused_in_a_row
    return _later(Reason.NO_FREE_SLOT, f"no free slot: {said}", about, counts, wait_s)


def never(event: Submit, eligible: EligibilityClass | None, fleet: Fleet) -> str:
    """What no known worker has, in words."""
    if eligible is None:
        return "it asks for more label keys than can be sorted by"
    if not len(fleet):
        return "no worker is registered yet"
    return nobody(event, eligible, fleet, 0.0, 1, remembered=False).message


def _later(reason: Reason, message: str, about: list[tuple[str, str]], counts: Counts, retry_after_s: float) -> Refusal:
    blocking = BlockingReason.NO_FREE_SLOT if reason is Reason.NO_FREE_SLOT else BlockingReason.NO_ELIGIBLE_WORKER_NOW
    retry = max(_SHORTEST_RETRY_S, min(_LONGEST_RETRY_S, retry_after_s))
    return Refusal(reason, message, tuple(about), blocking, counts, retry_after_s=retry)


def _missing(event: Submit, capabilities: list[str], labels: list[str], excluded: int) -> str:
    task = event.task
    if capabilities:
        return f"nobody has {', '.join(map(repr, capabilities))}"
    if labels:
        return f"nobody is labelled {', '.join(map(repr, labels))}"
    if excluded:
        return "every worker that could is excluded by the task"
    if event.delivery is Delivery.STREAM:
        return "nobody who could takes tasks from its stream"
    needs = [*task.required, *(f"{name}={value}" for name, value in task.labels)]
    return f"nobody has all of {', '.join(map(repr, needs))} at once"


def too_many_label_keys(task: Task, fleet: Fleet) -> Refusal:
    """The index is sorted by a bounded number of label keys."""
    known = ", ".join(sorted(fleet.eligibility.label_keys))
    return Refusal(
        Reason.INVALID_ARGUMENT,
        f"match_labels: tasks may match on at most {MAX_LABEL_KEYS} different label keys in all; in use: {known}",
        (("task_id", task.task_id), ("field", "task.match_labels")),
    )


def explain(
    now: Now,
    eligible: EligibilityClass,
    fleet: Fleet,
    scorer: Scorer,
    task: Task,
    point_ms: float,
    winner: WorkerRecord,
    *,
    most: int,
    instead: Change | None = None,
    scan: "Scan | None" = None,
) -> Explanation:
    """Everything a decision looks at, before the lease is taken: the best candidates in full, the rest counted.

    `most` candidates, the winner included. `instead`, of a fallback: what would have made it a prediction. `scan`: who
    was found by looking at every worker. Without it the work is bounded however large the fleet, apart from some
    microseconds per thousand workers or pools.
    """
    if scan is None:
        ranked = leading(fleet, eligible, task.category, scorer.specialization_bonus, most + 1)
        count, counts = candidate_count(fleet, eligible), rejections(fleet, eligible)
    else:
        ranked, count, counts = scan.ranked[: most + 1], scan.candidates, scan.rejections
    listed = [winner, *(record for _, record in ranked if record is not winner)]
    candidates = [candidate(now, record, scorer, task, point_ms) for record in listed]
    first, second = candidates[0].score, candidates[1].score if len(candidates) > 1 else None
    if instead is not None:
        changes = [by_prediction(instead, ranked, winner)]
    else:
        key = None if scan is None else ranked[0][0]
        supposing = Counterfactuals(fleet, eligible, scorer, task, point_ms, winner, key)
        changes = supposing.kept_out(_LOOKS)
        if len(listed) > 1:
            changes.insert(0, supposing.runner_up(candidates[0], listed[1], candidates[1]))
    margin = first - second if first is not None and second is not None else None
    return Explanation(tuple(candidates[:most]), count, counts, margin, tuple(changes))


def candidate_count(fleet: Fleet, eligible: EligibilityClass) -> int:
    """Workers that could be given such a task now."""
    return int(fleet.bests.candidates.take(eligible.positions).sum())


def rejections_but(fleet: Fleet, eligible: EligibilityClass, excluded: Iterable[str]) -> Counts:
    """The rejections, and among them those that the task excludes; outside of a decision, which sets these aside."""
    counts = Counter(dict(rejections(fleet, eligible)))
    for worker_id in set(excluded):
        record = fleet.records.get(worker_id)
        if record is not None and not eligible.lacking(record.pool):
            counts[record.status] -= 1
            counts[Rejection.EXCLUDED] += 1
    return tuple((reason, count) for reason, count in sorted(counts.items()) if reason and count > 0)


def candidate(now: Now, record: WorkerRecord, scorer: Scorer, task: Task, point_ms: float) -> Candidate:
    """One worker as an explanation shows it."""
    duration_ms = point_ms / record.speed
    value: float | None = None
    terms: tuple[Term, ...] = ()
    try:
        value, terms = scorer.score(record, task, 0.0, duration_ms)
    except Exception:  # noqa: BLE001 -- an explanation must not fail because a plug-in does
        value = None
    if value is not None and not isfinite(value):
        value = None
    return Candidate(
        record.worker_id,
        value,
        terms,
        record.status,
        record.free,
        record.load_now,
        record.speed,
        0.0 if record.free > 0 else availability.of_leases(record, now.monotonic) * 1_000.0,
        duration_ms,
    )
