"""What a choice was predicted to lead to, and what it would have led to as things went.

Predicted: the wait until a slot is free on the chosen worker, and the predicted duration at that worker's speed.

Judged, once the live choice has succeeded: the task itself took so long at a speed that is known, so elsewhere it would
have taken that times the ratio of the speeds, as learned by then. Where the other worker had no free slot, the wait is
worked out anew from when the tasks ahead really ended. What both ways have in common (delivery, the report) cancels.
"""

from collections.abc import Sequence
from typing import NamedTuple

from scheduler_server.assignment.ledger import TaskRecord
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.registry import availability
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.shadow.seats import Seat


class Choice(NamedTuple):
    """A worker that a policy chose, with what is needed to judge that later. Seconds from the decision on.

    `ahead` are the leases that it had to wait for, `others` what else it was busy with; none where a slot was free.
    """

    worker: WorkerRecord
    wait_s: float
    lasts_s: float
    slots: int
    ahead: Sequence[TaskRecord]
    others: int
    average_s: float

    @property
    def finish_s(self) -> float:
        """When the task is predicted to end."""
        return self.wait_s + self.lasts_s


def chosen(seat: Seat, now: float, point_ms: float) -> Choice:
    """The choice of this seat by a decision at `now`; `point_ms` is the predicted duration at speed 1."""
    lasts_s = point_ms / seat.record.speed / 1_000.0
    if seat.free:
        return Choice(seat.record, 0.0, lasts_s, seat.slots, (), 0, 0.0)
    ahead = seat.ahead
    return Choice(seat.record, seat.wait_s(now, ahead), lasts_s, seat.slots, ahead, seat.others, seat.average_s)


def lived(live: TaskRecord, worker: WorkerRecord, seat: Seat | None) -> Choice:
    """The choice that was made, by the figures of its decision. `seat`: as it stood then, where that is known."""
    decision = live.decision
    wait_s = decision.wait_ms / 1_000.0
    lasts_s = decision.duration_ms / 1_000.0
    if wait_s > 0.0 and seat is not None:
        return Choice(worker, wait_s, lasts_s, seat.slots, seat.ahead, seat.others, seat.average_s)
    return Choice(worker, wait_s, lasts_s, worker.slots, (), 0, 0.0)


class Verdict(NamedTuple):
    """By how much later the task would have started and ended elsewhere, in seconds; below 0: sooner."""

    wait_s: float
    finish_s: float


def took_s(live: TaskRecord) -> float | None:
    """How long the task took where it ran; None where it did not succeed, or nobody knows."""
    outcome = live.outcome
    if outcome is None or outcome.status is not OutcomeStatus.SUCCEEDED:
        return None
    if outcome.duration_ms is not None:
        return outcome.duration_ms / 1_000.0
    since = live.started_at or (live.granted_at if not live.decision.wait_ms else 0.0)
    return live.ended_at - since if since and live.ended_at >= since else None


def judged(live: TaskRecord, lived_as: Choice, other: Choice, took: float, now: float) -> Verdict:
    """What the other choice would have changed, by what is known at `now`."""
    if other.worker is lived_as.worker:
        return Verdict(0.0, 0.0)
    since = live.granted_at
    waits_s = _waited(other, since, now) - _waited(lived_as, since, now)
    return Verdict(waits_s, waits_s + took * (lived_as.worker.speed / other.worker.speed - 1.0))


def _waited(choice: Choice, since: float, now: float) -> float:
    """Seconds from `since` until a slot was really free there."""
    if not choice.ahead:
        return choice.wait_s  # a free slot, or work of others only, of which nobody tells when it ends
    spans = [_rest(lease, since, now) for lease in choice.ahead]
    return availability.wait_s(choice.slots, spans, choice.others, choice.average_s)


def _rest(lease: TaskRecord, since: float, now: float) -> float:
    """How long a task that stood ahead really kept its slot after `since`."""
    predicted = lease.decision.duration_ms / 1_000.0
    began = lease.started_at or (lease.granted_at if not lease.decision.wait_ms else 0.0)
    begun_before = bool(began) and began <= since
    if not lease.live:
        if not began:
            return 0.0  # it went without having begun
        return max(0.0, lease.ended_at - (since if begun_before else began))
    if not began:
        return predicted
    return max(now, began + predicted) - (since if begun_before else began)
