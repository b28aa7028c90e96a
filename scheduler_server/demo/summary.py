"""What one is told when it is over. Plain text of at most 80 columns: it is read in logs too."""

import textwrap
from collections import Counter
from collections.abc import Sequence

from scheduler_api.v1.admin_service_pb2 import Accuracy, GetShadowReportResponse
from scheduler_api.v1.decision_pb2 import Candidate, Decision
from scheduler_server.client import DecisionCause, DecisionSource, RejectionReason
from scheduler_server.demo.account import Account
from scheduler_server.demo.figures import Figures, Hits, busy_shares, figures, hits
from scheduler_server.demo.fleet import FLEET
from scheduler_server.demo.scene import seconds, words
from scheduler_server.demo.shadowed import shadowed
from scheduler_server.demo.tape import Run, Tape
from scheduler_server.demo.waits import Start, halves, starts, waits

WIDTH = 80
LEARNED = 5  # outcomes that make a prediction worth showing
REFUSED = {
    RejectionReason.CAPABILITY: "without a needed capability",
    RejectionReason.NO_FREE_SLOT: "without a free slot",
}


def summary(
    scheduled: Tape, in_turn: Tape, accuracy: Accuracy | None, shadow: GetShadowReportResponse | None = None
) -> str:
    """Everything, by paragraphs. `accuracy` and `shadow`: how the server judges itself; None where it does not."""
    runs = list(scheduled.runs.values())
    parts = [
        _decisions(runs),
        _waited(runs, accuracy),
        _predictions(runs),
        _compared(scheduled, in_turn),
        *([beside] if shadow is not None and (beside := shadowed(shadow)) else []),
        _busy(scheduled, in_turn),
    ]
    explained = choose_explained(runs)
    if explained is not None:
        parts.append(_explained(explained))
    return "\n\n".join(parts)


def summary_over_redis(tape: Tape, killed: str, account: Account, accuracy: Accuracy | None) -> str:
    """The same of one phase, and the account of what became of every task. `killed`: the worker that was."""
    runs = list(tape.runs.values())
    return "\n\n".join([_decisions(runs), _waited(runs, accuracy), _predictions(runs), _accounted(account, killed)])


def _accounted(account: Account, killed: str) -> str:
    rows = [
        ("tasks in", account.tasks, f"different ids in {account.entries} entries of the stream (XRANGE)"),
        ("ended", account.ended, "with outcome SUCCEEDED, says the server (GetTask)"),
        ("lost", len(account.lost), "all others: unknown, or not ended well (GetTask)"),
        ("placed again", account.again, "attempts beyond the first (GetTask)"),
        ("dead letters", account.dead_letters, "entries of their stream (XLEN)"),
        ("left pending", account.unacknowledged, "read and not acknowledged (XINFO GROUPS)"),
        ("left unread", account.unread, "given to no server (XINFO GROUPS, XRANGE)"),
    ]
    lines = [f"What Redis and the server say, {killed} having been killed"]
    lines += [f"  {label:14}{number:>6}  {source}" for label, number, source in rows]
    settings = f"appendonly {account.appendonly}, appendfsync {account.appendfsync}"
    lines.append(f"  Redis {account.version}: {settings} (CONFIG GET)")
    return "\n".join(lines + _wrapped(f"the server's store of tasks: {account.store} (GetStatus)"))


def _decisions(runs: Sequence[Run]) -> str:
    kinds: Counter[tuple[DecisionSource, DecisionCause]] = Counter(
        (DecisionSource(run.decision.source), DecisionCause(run.decision.cause))
        for run in runs
        if run.decision is not None
    )
    lines = [f"Decisions by source: {kinds.total()} in all"]
    for source in DecisionSource:
        of_source = {cause: number for (which, cause), number in kinds.items() if which is source}
        if of_source or source in {DecisionSource.PREDICTED, DecisionSource.FALLBACK}:
            why = ", ".join(f"{words(cause.name)} {number}" for cause, number in sorted(of_source.items()))
            lines.append(f"  {words(source.name):10} {sum(of_source.values()):5}" + (f"  ({why})" if why else ""))
    return "\n".join(lines)


def _predictions(runs: Sequence[Run]) -> str:
    everything, learned = hits(runs, learned=False), hits(runs, learned=True)
    return (
        "Predictions against actual durations\n"
        f"  all        {_hits(everything)}\n"
        f"  learned    {_hits(learned)} with an outcome to go by"
    )


def _waited(runs: Sequence[Run], accuracy: Accuracy | None) -> str:
    """What tasks were told of their start, against what happened; as measured here, and as the server counts it."""
    told = starts(runs)
    if not told:
        return "Tasks that waited: none; whenever a task came, a slot was free that could take it"
    lines = [f"Tasks that waited: {len(told)} of {len(runs)}; what the server told them, and what happened"]
    lines.append(f"{'':26}{'tasks':>5}{'by P50':>8}{'by P90':>8}{'off by':>10}{'mean wait':>11}{'longest':>10}")
    earlier, later = halves(told)
    lines += [_waits("the first half to come", earlier), _waits("the second half", later), _waits("all", told)]
    if accuracy is not None and accuracy.HasField("wait_p50_coverage") and accuracy.HasField("wait_p90_coverage"):
        counted = f"{accuracy.wait_p50_coverage:>8.0%}{accuracy.wait_p90_coverage:>8.0%}"
        lines.append(f"  {'as the server counts it':29}{counted}")
    lines.append(f"  {'what would be right':29}{0.5:>8.0%}{0.9:>8.0%}")
    lines += [
        "  (by P50, P90: share that a worker began by the expected start that the server",
        "  told when the task came, the server itself counting to the hand-over;",
        "  off by: median distance of the beginning from the P50)",
    ]
    return "\n".join(lines)


def _waits(label: str, told: Sequence[Start]) -> str:
    found = waits(told)
    if found is None:
        return f"  {label:24}{0:>5}"
    return (
        f"  {label:24}{found.count:>5}{found.by_p50:>8.0%}{found.by_p90:>8.0%}{seconds(found.median_off_s):>10}"
        f"{seconds(found.mean_wait_s):>11}{seconds(found.longest_wait_s):>10}"
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
        decision = run.decision or Decision()
        explanation = decision.explanation
        return (
            decision.prediction.sample_count >= LEARNED,
            explanation.candidate_count > 1,
            len(explanation.rejections),
            explanation.margin,
        )

    told = [run for run in runs if run.decision is not None and run.decision.HasField("explanation")]
    return max(told, key=tells, default=None)


def _explained(run: Run) -> str:
    if run.decision is None:
        return ""
    decision, explanation = run.decision, run.decision.explanation
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
    return REFUSED.get(reason) or words(reason.name)
