"""A decision in words: its sentence, and a few lines that say all that is known of it. The decision is the record.

Every text about decisions is made here, live or from the log. Names come from users: in the sentence, which is data,
they stand as they are, in the lines, which are for terminals, what a terminal would obey is escaped.
"""

from collections.abc import Iterable

from scheduler_server.fallback import least_busy
from scheduler_server.model.decision import Cause, Change, ChangeKind, Decision, Explanation, Rejection, Source, Term
from scheduler_server.model.refusal import Refusal
from scheduler_server.model.task import BlockingReason, Prospects, Task


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
    if decision.cause is Cause.REBALANCED:
        tier += f", {_CAUSES[decision.cause]}"
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


# ---------------------------------------------------------------------- in a few lines


def decision_text(decision: Decision) -> str:
    """The decision in a few lines, joined by newlines.

    Who, how it came about, on what prediction and score; who else, and what would have changed it, or that this was not
    recorded.
    """
    tenant, task_id, attempt = decision.task
    of_tenant = f", tenant {shown(tenant)}" if tenant else ""
    about = f"attempt {attempt}, type {shown(decision.task_type)}{of_tenant}"
    lines = [
        f"task {shown(task_id) or '(no id)'} ({about}) to worker {shown(decision.worker_id)}",
        f"how: {_how(decision)}",
        "start: " + (f"in about {_ms(decision.wait_ms)}, when it has a slot" if decision.wait_ms else "at once"),
        f"prediction: {_basis(decision)}",
    ]
    if decision.terms:
        sum_of_terms = _sum_of(decision.terms) % tuple([value for _, value, _ in decision.terms])
        lines.append(f"score: {decision.score:.3f} = {shown(sum_of_terms)}")
    explanation = decision.explanation
    if explanation is None:
        lines.append("other workers: not recorded for this decision")
    else:
        lines += _others(decision, explanation)
    return "\n".join(lines)


def _how(decision: Decision) -> str:
    tier = "; it is degraded, no healthy worker was free" if decision.degraded else ""
    scorer = shown(decision.scorer)
    if decision.source is Source.FALLBACK:
        turn = "the emptiest of the next in turn" if decision.scorer == least_busy.NAME else "the next in turn"
        return f"fallback ({scorer}), {turn}, {_CAUSES[decision.cause]}{tier}"
    if decision.source is Source.OVERRIDE:
        return f"override, {_CAUSES[decision.cause]}{tier}"
    of = "the only candidate" if decision.cause is Cause.ONLY_CANDIDATE else f"best of {decision.candidates} candidates"
    if decision.cause is Cause.REBALANCED:
        tier += f"; {_CAUSES[decision.cause]}"
    return f"predicted, {of} by {scorer}{tier}"


def _basis(decision: Decision) -> str:
    prediction = decision.prediction
    if prediction is None:
        return f"none was used; {_ms(decision.duration_ms)} assumed"
    told = f"{_ms(decision.duration_ms)} there; {_ms(prediction.point_ms)} at speed 1, P90 {_ms(prediction.p90_ms)}"
    if not prediction.sample_count:
        return f"{told}; assumed ({shown(prediction.key)}), nothing learned yet"
    by = f"{shown(prediction.predictor)} from {prediction.sample_count} of {shown(prediction.key)}"
    return f"{told}; {by}, confidence {prediction.confidence:.2f}"


def _others(decision: Decision, explanation: Explanation) -> list[str]:
    lines = []
    others = [each for each in explanation.candidates if each.worker_id != decision.worker_id]
    if decision.source is not Source.PREDICTED:
        lines.append(f"candidates: {explanation.candidate_count}")
    elif not others:
        lines.append("runner-up: none")
    else:
        score = "" if others[0].score is None else f" with {others[0].score:.3f}"
        behind = "" if explanation.margin is None else f", margin {explanation.margin:.3f}"
        lines.append(f"runner-up: {shown(others[0].worker_id)}{score}{behind}")
    lines.append(f"not candidates: {counted(explanation.rejections) or 'nobody'}")
    lines += [f"otherwise: {changed(each, decision)}" for each in explanation.changes]
    return lines


def refusal_text(refusal: Refusal, task: Task) -> str:
    """Why nobody would take a task, in a few lines."""
    lines = [
        f"task {shown(task.task_id) or '(no id)'} (type {shown(task.task_type)}) to nobody",
        shown(refusal.message),
    ]
    if refusal.rejections:
        lines.append(f"not candidates: {counted(refusal.rejections)}")
    if refusal.retry_after_s is not None:
        lines.append(f"ask again in about {refusal.retry_after_s:.3g} s, or let it wait")
    elif refusal.blocking is BlockingReason.NO_WORKER_COULD_EVER:
        lines.append("it could be placed once a worker registers that has all it requires")
    return "\n".join(lines)


def waiting_text(
    task: Task, told: Prospects, waited_s: float, counts: Iterable[tuple[Rejection, int]], next_slot_s: float | None
) -> str:
    """Why a task waits and what would let it start, in a few lines.

    `next_slot_s`: seconds until a slot that it could have is expected to be free; None where nobody knows.
    """
    tenant = f", tenant {shown(task.tenant)}" if task.tenant else ""
    about = f"attempt {task.attempt}, type {shown(task.task_type)}{tenant}"
    lines = [
        f"task {shown(task.task_id)} ({about}) has waited for {waited_s:.1f} s",
        f"blocked: {_BLOCKED[told.blocking]}; {shown(told.detail)}",
    ]
    if told.blocking is not BlockingReason.NOT_YET_DUE:
        lines.append(f"ahead: {told.position} that could take the same slots")
    lines.append(f"not candidates: {counted(counts) or 'nobody'}")
    if told.start_p50 is not None and told.start_p90 is not None:
        held = "" if told.coverage is None else f", {told.coverage:.0%} of past P90s held"
        begins, later = max(0.0, told.start_p50 - told.as_of), max(0.0, told.start_p90 - told.as_of)
        basis = f"from {_starts(told.sample_count)}{held}"
        lines.append(f"expected start: in {begins:.1f} s (P90 in {later:.1f} s; {basis})")
    lines.append(f"would start: {_would_start(told, next_slot_s)}")
    return "\n".join(lines)


def _starts(count: int) -> str:
    return "1 start" if count == 1 else f"{count:,} starts"


def _would_start(told: Prospects, next_slot_s: float | None) -> str:
    if told.blocking is not BlockingReason.NO_FREE_SLOT:
        return _LETS[told.blocking]
    if not told.position:
        soon = "" if next_slot_s is None else f"; one is expected in {next_slot_s:.1f} s"
        return f"with the next slot that becomes free{soon}"
    ahead = "the task ahead has its slot" if told.position == 1 else f"the {told.position} tasks ahead have their slots"
    soon = "" if next_slot_s is None else f"; the next slot is expected in {next_slot_s:.1f} s"
    return f"once {ahead} and another becomes free{soon}; a worker more, or a higher priority, would bring that nearer"


_BLOCKED = {
    BlockingReason.NO_FREE_SLOT: "no free slot",
    BlockingReason.NO_ELIGIBLE_WORKER_NOW: "no worker that could take it may be used now",
    BlockingReason.NO_WORKER_COULD_EVER: "no known worker could ever take it",
    BlockingReason.PAUSED: "paused by an operator",
    BlockingReason.OVER_TENANT_SHARE: "its tenant has as much as it may have",
    BlockingReason.NOT_YET_DUE: "not due yet",
    BlockingReason.OVERRIDE: "held back by an override",
}

_LETS = {
    BlockingReason.NO_ELIGIBLE_WORKER_NOW: "once such a worker connects, beats again, comes on shift or is let in",
    BlockingReason.NO_WORKER_COULD_EVER: "once a worker registers that has all it requires",
    BlockingReason.PAUSED: "once the pause ends",
    BlockingReason.OVER_TENANT_SHARE: "once a task of its tenant ends",
    BlockingReason.NOT_YET_DUE: "from then on, as soon as a slot is free",
    BlockingReason.OVERRIDE: "once a task that it counts ends, such a worker comes, or the override ends",
}


def tried_with(predictor: str, taught: int, task: Task) -> str:
    """What a predictor knew that is not in force."""
    outcomes = "no outcome is" if not taught else f"{taught} outcomes are" if taught > 1 else "1 outcome is"
    of_type = shown(task.task_type)
    return f"predictor {shown(predictor)} is not in force: {outcomes} remembered of type {of_type} to teach it"


def counterfactual(decision: Decision) -> str:
    """What would have changed the answer, in sentences; empty where that was not worked out."""
    explanation = decision.explanation
    return "" if explanation is None else "; ".join(changed(each, decision) for each in explanation.changes)


def changed(change: Change, decision: Decision) -> str:
    """One of them."""
    who = shown(change.worker_id)
    wins = "would have been chosen" if change.wins else "would still not have been chosen"
    if change.kind is ChangeKind.TERM:
        term = f"the {shown(change.name)} term of {who}"
        if change.needed is None:
            return f"{term} alone, {change.actual:.3f}, could not have been high enough"
        return f"had {term} been {change.needed:.6f} instead of {change.actual:.6f}, {who} {wins}"
    if change.kind is ChangeKind.HEALTHY:
        return f"had {who} been healthy instead of degraded, it {wins}"
    if change.kind is ChangeKind.FREE_SLOT:
        return f"had {who} had a free slot, it {wins}"
    if change.kind is ChangeKind.ADMITTED:
        score = "" if change.score is None else f" with {change.score:.3f}"
        return f"{who} was kept out ({_WORDS[change.rejection]}); as a candidate it {wins}{score}"
    limits = _limits(change, decision.cause)
    if not who:
        return limits
    chosen = f"{who} had been chosen" if change.wins else f"{who} had been chosen all the same"
    return f"{limits}; by score {chosen}"


def _limits(change: Change, cause: Cause) -> str:
    text = _REMEDIES[cause]
    if change.actual is None or change.needed is None:
        return text.partition(":")[0]
    return text.format(actual=change.actual, needed=change.needed)


def counted(rejections: Iterable[tuple[Rejection, int]]) -> str:
    """Workers by what kept them out."""
    return ", ".join(f"{count} {_WORDS[reason]}" for reason, count in rejections)


def shown(text: str) -> str:
    """`text` on one line, with what a terminal would obey or hide as escapes."""
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() else each.encode("unicode_escape").decode() for each in text])


def _ms(value: float) -> str:
    return f"{value:.0f} ms"


_CLOSED = "a closed breaker would have made it a prediction: its next trial was {actual:.1f} s away"

_REMEDIES = {
    Cause.PREDICTOR_ERROR: "a predictor that answers would have made it a prediction",
    Cause.PREDICTION_INVALID: "a prediction that is a duration would have been used",
    Cause.PREDICTION_STALE: "a younger prediction would have been used: it was {actual:.1f} s old, the limit is"
    " {needed:g} s",
    Cause.OVER_BUDGET: "a quicker answer would have been used: it took {actual:.1f} ms, the budget is {needed:g} ms",
    Cause.SCORER_ERROR: "a scorer that answers would have made it a prediction",
    Cause.SCORE_INVALID: "a score that is a number would have made it a prediction",
    Cause.BREAKER_OPEN: _CLOSED,
    Cause.TYPE_BREAKER_OPEN: _CLOSED,
    Cause.PREDICTION_UNTRUSTED: "better predictions of this task type would have been used",
    Cause.FORCED_FALLBACK: "without the operator's order to fall back it would have been a prediction",
}
"""What would have made a fallback a prediction; after the colon by how much, where that was measured."""

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
    Cause.OVERRIDE_PIN: "because an operator's override names it",
    Cause.REBALANCED: "moved because it starts sooner here than where it was staged",
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
