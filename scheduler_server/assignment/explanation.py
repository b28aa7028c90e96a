"""The decision rendered: rejections by reason, candidates, the sentence. The decision is the record; this tells it."""

from math import isfinite

import numpy as np

from scheduler_server.assignment.events import Submit
from scheduler_server.assignment.settings import CoreSettings
from scheduler_server.fallback import least_busy
from scheduler_server.model.decision import Candidate, Cause, Decision, Explanation, Rejection, Source, Term
from scheduler_server.model.prediction import Prediction
from scheduler_server.model.refusal import Reason, Refusal
from scheduler_server.model.task import BlockingReason, Delivery, Task
from scheduler_server.registry.eligibility import EligibilityClass
from scheduler_server.registry.fleet import MAX_LABEL_KEYS, Fleet
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.scorer import Scorer

Counts = tuple[tuple[Rejection, int], ...]

_SHORTEST_RETRY_S, _LONGEST_RETRY_S = 0.05, 60.0
"""Bounds of what a refused caller is told to wait: below, it would spin; above, it would miss a changed fleet."""


def rejections(eligible: EligibilityClass, fleet: Fleet) -> Counts:
    """Workers that are no candidates, counted by the first reason that applies. Looks at pools, not at workers."""
    counts = [0] * len(Rejection)
    serving = {id(pool) for pool in eligible.pools}
    for pool in fleet.pools:
        if id(pool) in serving:
            for status, count in enumerate(pool.counts):
                counts[status] += count
        elif not eligible.required <= pool.profile.capabilities:
            counts[Rejection.CAPABILITY] += len(pool.members)
        elif not eligible.labels <= frozenset(pool.profile.labels):
            counts[Rejection.LABEL] += len(pool.members)
        else:
            counts[Rejection.NOT_ACCEPTING] += len(pool.members)
    return tuple((Rejection(at), count) for at, count in enumerate(counts) if count and at)


def nobody(
    event: Submit,
    eligible: EligibilityClass,
    fleet: Fleet,
    mean_ms: float,
    refused_in_a_row: int,
    *,
    remembered: bool,
) -> Refusal:
    """Why nobody can take the task, and when to ask again.

    `mean_ms` is what tasks took lately; the k-th caller refused in a row is told the k-th slot expected to be free.
    """
    task = event.task
    counts = rejections(eligible, fleet)
    by_reason = dict(counts)
    about = [("task_id", task.task_id), ("task_type", task.task_type)]
    about += [(reason.name.lower(), str(count)) for reason, count in counts]
    able = sum(len(pool.members) for pool in eligible.pools)
    excluded = by_reason.get(Rejection.EXCLUDED, 0)
    busy = by_reason.get(Rejection.NO_FREE_SLOT, 0)
    said = ", ".join(f"{count} {_WORDS[reason]}" for reason, count in counts)
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
    eligible: EligibilityClass,
    fleet: Fleet,
    scorer: Scorer,
    task: Task,
    prediction: Prediction | None,
    settings: CoreSettings,
    winner: WorkerRecord | None,
) -> Explanation:
    """Everything a decision looks at, before the lease is taken: the best candidates in full, the rest counted."""
    most = settings.assignment.explained
    point_ms = prediction.point_ms if prediction is not None else settings.predictor.default_ms
    found: list[Candidate] = []
    for pool in eligible.pools:
        found.extend(
            candidate(record, scorer, task, point_ms)
            for record in _leading(pool.keys[: len(pool.members)], pool.members, most + 1)
        )
    # A winner by turn need not be among the best.
    if winner is not None and all(each.worker_id != winner.worker_id for each in found):
        found.append(candidate(winner, scorer, task, point_ms))
    found.sort(key=lambda each: (-(each.score if each.score is not None else float("-inf")), each.worker_id))
    if winner is not None:
        at = next(at for at, each in enumerate(found) if each.worker_id == winner.worker_id)
        found.insert(0, found.pop(at))
    scores = [each.score for each in found[:2] if each.score is not None]
    return Explanation(
        tuple(found[:most]),
        sum(pool.counts[Rejection.CANDIDATE] for pool in eligible.pools),
        rejections(eligible, fleet),
        scores[0] - scores[1] if len(scores) > 1 else None,
    )


def _leading(
    keys: "np.ndarray[tuple[int], np.dtype[np.float64]]", members: list[WorkerRecord], most: int
) -> list[WorkerRecord]:
    if len(keys) > most:
        top = np.argpartition(keys, -most)[-most:]
        top = top[np.argsort(-keys[top], kind="stable")]
    else:
        top = np.argsort(-keys, kind="stable")
    return [members[at] for at in top.tolist() if isfinite(keys[at])]


def candidate(record: WorkerRecord, scorer: Scorer, task: Task, point_ms: float) -> Candidate:
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
        0.0,
        duration_ms,
    )


def sentence(decision: Decision) -> str:
    """The decision in one sentence, for people and for the audit log."""
    prediction = decision.prediction
    if prediction is None:
        basis = "no prediction"
    elif prediction.sample_count:
        basis = _LEARNED % (
            decision.duration_ms, prediction.predictor, prediction.sample_count, prediction.key
        )  # fmt: skip
    else:
        basis = _ASSUMED % (decision.duration_ms, prediction.key)
    tier = ", degraded, since no healthy worker is free" if decision.degraded else ""
    if decision.source is not Source.PREDICTED:
        how = "emptiest of the next in turn" if decision.scorer == least_busy.NAME else "next in turn"
        return f"{decision.worker_id}: {how}, {_CAUSES[decision.cause]}{tier}; {basis}"
    terms = decision.terms
    sum_of_terms = _sum_of(terms) % tuple([value for _, value, _ in terms])
    of = "the only candidate" if decision.cause is Cause.ONLY_CANDIDATE else f"best of {decision.candidates}"
    return f"{decision.worker_id}: {of} by {decision.scorer} {decision.score:.3f} = {sum_of_terms}{tier}; {basis}"


_LEARNED = "%.0f ms predicted by %s from %d of %s"
_ASSUMED = "%.0f ms assumed (%s)"


def best_of(scorer: str, terms: tuple[Term, ...]) -> tuple[str, str]:
    """The sentence for the best of several healthy workers, with holes: by what was learned, and by a default.

    The holes are: worker, number of candidates, score, each term's value, milliseconds; then predictor, samples and
    key, or the default's key alone.
    """
    start = f"%s: best of %d by {_literal(scorer)} %.3f = {_sum_of(terms)}; "
    return start + _LEARNED, start + _ASSUMED


def _sum_of(terms: tuple[Term, ...]) -> str:
    return " + ".join([_literal(f"{weight:g} x {name}") + " %.3f" for name, _, weight in terms])


def _literal(text: str) -> str:
    return text.replace("%", "%%")


_CAUSES = {
    Cause.PREDICTOR_ERROR: "because the predictor failed",
    Cause.PREDICTION_INVALID: "because the prediction was not a duration",
    Cause.PREDICTION_STALE: "because the published prediction is too old",
    Cause.OVER_BUDGET: "because predicting and scoring took too long",
    Cause.SCORER_ERROR: "because the scorer failed",
    Cause.SCORE_INVALID: "because the score was not a number",
    Cause.BREAKER_OPEN: "because the circuit breaker is open",
    Cause.TYPE_BREAKER_OPEN: "because the circuit breaker is open for this task type",
    Cause.PREDICTION_UNTRUSTED: "because predictions for this task type are too poor",
    Cause.FORCED_FALLBACK: "because an operator forced the fallback",
}

_WORDS = {
    Rejection.CAPABILITY: "without a required capability",
    Rejection.LABEL: "without a required label",
    Rejection.EXCLUDED: "excluded by the task",
    Rejection.UNHEALTHY: "silent",
    Rejection.DISCONNECTED: "disconnected",
    Rejection.NO_FREE_SLOT: "with all slots taken",
    Rejection.CORDONED: "cordoned",
    Rejection.DRAINING: "draining",
    Rejection.UNRECONCILED: "not reconciled yet",
    Rejection.NOT_ACCEPTING: "not taking tasks from the stream",
    Rejection.OUTBOUND_FULL: "with a full outbound queue",
    Rejection.OFF_SHIFT: "off shift",
    Rejection.EJECTED: "ejected",
    Rejection.OVERRIDE: "kept out by an override",
    Rejection.HEALTH_SCORE: "with too low a health score",
    Rejection.NOT_RECEIVING: "not answering probes",
    Rejection.TOO_FEW_SLOTS: "with too few slots",
}
