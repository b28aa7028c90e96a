"""What one is told when it is over. Plain text of at most 80 columns: it is read in logs too."""

import textwrap
from collections import Counter
from collections.abc import Sequence

from scheduler_api.v1.decision_pb2 import Candidate, Decision
from scheduler_server.client import DecisionCause, DecisionSource, RejectionReason
from scheduler_server.demo.figures import Figures, Hits, busy_shares, figures, hits
from scheduler_server.demo.fleet import FLEET
from scheduler_server.demo.tape import Run, Tape

WIDTH = 80
LEARNED = 5  # outcomes that make a prediction worth showing
REFUSED = {
    RejectionReason.CAPABILITY: "without a needed capability",
    RejectionReason.NO_FREE_SLOT: "without a free slot",
}


def summary(scheduled: Tape, in_turn: Tape) -> str:
    """Everything, by paragraphs."""
    runs = list(scheduled.runs.values())
    parts = [_decisions(runs), _predictions(runs), _compared(scheduled, in_turn), _busy(scheduled, in_turn)]
    explained = choose_explained(runs)
    if explained is not None:
        parts.append(_explained(explained))
    return "\n\n".join(parts)


def _decisions(runs: Sequence[Run]) -> str:
    kinds: Counter[tuple[DecisionSource, DecisionCause]] = Counter(
        (run.placement.source, run.placement.cause) for run in runs if run.placement is not None
    )
    lines = [f"Decisions by source: {kinds.total()} in all"]
    for source in DecisionSource:
        of_source = {cause: number for (which, cause), number in kinds.items() if which is source}
        if of_source or source in {DecisionSource.PREDICTED, DecisionSource.FALLBACK}:
            why = ", ".join(f"{_words(cause.name)} {number}" for cause, number in sorted(of_source.items()))
            lines.append(f"  {_words(source.name):10} {sum(of_source.values()):5}" + (f"  ({why})" if why else ""))
    return "\n".join(lines)


def _predictions(runs: Sequence[Run]) -> str:
    everything, learned = hits(runs, learned=False), hits(runs, learned=True)
    return (
        "Predictions against actual durations\n"
        f"  all        {_hits(everything)}\n"
        f"  learned    {_hits(learned)} with an outcome to go by"
    )


def _hits(found: Hits) -> str:
    if not found.count:
        return "none"
    return f"within 25 %: {found.near:4.0%}, within 2x: {found.twofold:4.0%}, of {found.count}"


def _compared(scheduled: Tape, in_turn: Tape) -> str:
    ours, theirs = figures(scheduled), figures(in_turn)
    rows: list[tuple[str, str]] = [
        ("mean wait", "mean_wait_s"),
        ("p99 wait", "p99_wait_s"),
        ("mean time to the end", "mean_finish_s"),
        ("busy-slot spread (CoV)", "spread"),
        ("last task done after", "over_after_s"),
    ]
    lines = [f"The same tasks, measured twice{'':9}{'scheduler':>12}{'round robin':>14}{'ratio':>9}"]
    lines += [_row(label, ours, theirs, name) for label, name in rows]
    lines.append("  (wait: planned arrival to start on a worker; ratio: round robin / scheduler)")
    return "\n".join(lines)


def _row(label: str, ours: Figures, theirs: Figures, name: str) -> str:
    left, right = getattr(ours, name), getattr(theirs, name)
    unit = " s" if name.endswith("_s") else "  "
    ratio = f"{right / left:.2f}" if left > 0 else "-"
    return f"  {label:37}{left:>10.3f}{unit}{right:>12.3f}{unit}{ratio:>9}"


def _busy(scheduled: Tape, in_turn: Tape) -> str:
    ours, theirs = busy_shares(scheduled), busy_shares(in_turn)
    lines = [f"Slots busy while tasks arrived{'':9}{'scheduler':>12}{'round robin':>14}"]
    for spec in FLEET:
        name = f"{spec.worker_id} ({spec.slots} slots of speed {spec.speed:g})"
        lines.append(f"  {name:37}{ours[spec.worker_id]:>10.0%}  {theirs[spec.worker_id]:>12.0%}")
    return "\n".join(lines)


def choose_explained(runs: Sequence[Run]) -> Run | None:
    """The decision that has most to tell: something had been learned, several could do it, others could not."""

    def tells(run: Run) -> tuple[bool, bool, int, float]:
        decision = run.placement.response.decision if run.placement is not None else Decision()
        explanation = decision.explanation
        return (
            decision.prediction.sample_count >= LEARNED,
            explanation.candidate_count > 1,
            len(explanation.rejections),
            explanation.margin,
        )

    told = [run for run in runs if run.placement is not None and run.placement.explanation is not None]
    return max(told, key=tells, default=None)


def _explained(run: Run) -> str:
    if run.placement is None:
        return ""
    decision, explanation = run.placement.response.decision, run.placement.response.decision.explanation
    needs = ", ".join(run.item.kind.requires)
    lines = [f"One decision explained: {run.task_id} ({run.item.kind.task_type}, needs {needs})"]
    lines += _wrapped(decision.reasoning)
    lines.append(f"  {'candidates, best first':24}{'score':>7}{'free':>6}{'load':>7}{'speed':>7}{'would take':>12}")
    lines += [_candidate(candidate, decision.worker_id) for candidate in explanation.candidates]
    refused = ", ".join(f"{each.count} {_reason(each.reason)}" for each in explanation.rejections)
    lines += _wrapped(f"not candidates: {refused or 'nobody'}")
    if explanation.HasField("margin"):
        lines += _wrapped(f"margin to the next: {explanation.margin:.3f}")
    if explanation.counterfactual:
        lines += _wrapped(explanation.counterfactual)
    if decision.HasField("prediction"):
        prediction = decision.prediction
        lines += _wrapped(
            f"prediction at speed 1: {prediction.point_ms:.0f} ms, P90 {prediction.p90_ms:.0f} ms, confidence"
            f" {prediction.confidence:.2f}, {prediction.predictor} of {prediction.sample_count} ({prediction.key});"
            f" it took {run.took_s * 1e3:.0f} ms there"
        )
    return "\n".join(lines)


def _candidate(candidate: Candidate, chosen: str) -> str:
    name = candidate.worker_id + (" (chosen)" if candidate.worker_id == chosen else "")
    score = f"{candidate.score:.3f}" if candidate.HasField("score") else "-"
    return (
        f"    {name:22}{score:>7}{candidate.free_slots:>6}{candidate.load:>7.2f}{candidate.speed:>7.2f}"
        f"{candidate.predicted_duration_ms:>9.0f} ms"
    )


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")


def _reason(number: int) -> str:
    reason = RejectionReason(number)
    return REFUSED.get(reason) or _words(reason.name)


def _words(name: str) -> str:
    return name.lower().replace("_", " ")
