"""How many slots are taken: tracked (exact) and sampled (estimated).

A **tracked** worker sends outcomes or its running list, or its queue service reports outcomes: its leases are exact,
and what its queue_depth counts beyond the running list of the same message is background work.

A **sampled** worker sends five fields and nobody reports outcomes. Its occupancy is the last queue_depth plus the
grants since, released at the rate at which busy slots finish: one per duration and busy slot. A sample below that count
corrects it except for grants that may still be on their way. The duration comes from Little's law: the integral of
running tasks over time, divided by departures, which are the grants minus the change of depth. (Simulated at 80 % load,
a fixed expiry of 60 s would carry 2 % of the capacity of workers with short tasks; this carries what an exact ledger
does.)
"""

from scheduler_server.model.worker import Accounting, Sample
from scheduler_server.registry.record import WorkerRecord

_FORGET = 0.9
"""Weight that past samples keep at each new one: a memory of about ten, short enough to follow a change of load within
two minutes at the longest interval, long enough that one odd sample moves the estimate by a tenth."""

_UNSEEN = 0.5
"""Depth added for one interval: what samples that all happened to read 0 still allow (Jeffreys' prior of a rate). It
makes the estimate an upper one while little is known, so that grants grow about tenfold per sample, never without
bound."""

_HALF_GAP = 0.5
"""Share of a gap between releases that passes before the first one after a sample. With whole gaps from each sample on,
tasks longer than slots times the heartbeat interval would only ever be released by samples, half an interval late."""

_SHORTEST_S = 1e-3
"""No task is taken to last less: an estimate of 0 would release slots as fast as they are granted."""


def sampled_duration_s(record: WorkerRecord, prior_s: float) -> float:
    """Estimated duration of a sampled worker's tasks, in seconds; `prior_s` while it has let nothing go."""
    if record.depth_departures < 1.0:
        return max(prior_s, _SHORTEST_S)
    return max((record.depth_area + record.mean_depth_prior) / record.depth_departures, _SHORTEST_S)


def granted(record: WorkerRecord, now: float, prior_s: float) -> bool:
    """Take a slot. True when a sampled worker's next release is to be watched (`record.release_at` was moved)."""
    record.occupied += 1
    if record.accounting is Accounting.TRACKED:
        return False
    record.grants_since_sample += 1
    record.recent_grants.append(now)
    busy = min(record.occupied, record.full_slots)
    if not record.release_at:
        record.release_at = now + sampled_duration_s(record, prior_s) / busy
    elif record.occupied <= record.full_slots:  # one more task at work: what is left of the gap passes faster
        record.release_at = now + max(0.0, record.release_at - now) * (busy - 1) / busy
    else:
        return False
    return True


def release_due(record: WorkerRecord, now: float, prior_s: float) -> int:
    """Slots that a sampled worker is taken to have freed by now; moves `release_at` on (0 when none is pending)."""
    freed = 0
    while record.release_at and record.release_at <= now:
        at = record.release_at
        if record.occupied > 0:
            record.occupied -= 1
            freed += 1
        busy = min(record.occupied, record.full_slots)
        record.release_at = at + sampled_duration_s(record, prior_s) / busy if busy else 0.0
    return freed


def sampled(record: WorkerRecord, sample: Sample, now: float, hand_over_s: float, prior_s: float) -> None:
    """Take in a sampled worker's new queue_depth."""
    depth, before = sample.queue_depth, record.queue_depth
    elapsed = now - record.sampled_at
    if record.sampled_at and elapsed > 0:
        # Only what runs: a queue in the worker makes tasks late, not long.
        running = (min(depth, record.full_slots) + min(before, record.full_slots)) / 2
        record.depth_area = record.depth_area * _FORGET + running * elapsed
        gone = record.grants_since_sample - (depth - before)
        record.depth_departures = record.depth_departures * _FORGET + max(gone, 0)
        record.mean_depth_prior = _UNSEEN * elapsed
    record.sampled_at = now
    record.grants_since_sample = 0
    # What was granted just now may still be on its way; what is older than a task lasts is in the sample or done.
    duration_s = sampled_duration_s(record, prior_s)
    record.recent_grants = [at for at in record.recent_grants if at > now - min(hand_over_s, duration_s)]
    # They excuse a sample below our own count; they are no reason to count them twice.
    record.occupied = max(depth, min(record.occupied, depth + len(record.recent_grants)))
    record.occupied_at_sample = depth
    busy = min(record.occupied, record.full_slots)
    # Half a gap to the first release, whole ones after it: the expected number by any instant, rounded.
    record.release_at = now + _HALF_GAP * duration_s / busy if busy else 0.0


def tracked(record: WorkerRecord, listed: int | None, queue_depth: int) -> None:
    """Take in a tracked worker's sample; `listed` is how many leases of ours its running list names, None without one.

    Background work is measured within one message, never against the ledger at receipt: messages cross.
    """
    if listed is not None:
        record.background = max(0, queue_depth - listed)
        record.occupied_at_sample = listed + record.background
    else:
        record.background -= record.stopping
    record.stopping = 0
    record.occupied = len(record.leases) + record.background
    if listed is None:
        record.occupied_at_sample = record.occupied


def stopping(record: WorkerRecord) -> None:
    """A lease that a tracked worker has is about to be ended by others: its slot is taken until the worker has spoken.

    Call before the lease is ended. The next sample counts the task as background for as long as the worker is busy
    with it; a sample without a running list says nothing of that, and frees the slot. So no worker that is a candidate
    keeps a slot for longer than it takes to its next heartbeat by our own count.
    """
    record.stopping += 1
    record.background += 1
    record.occupied += 1


def become_tracked(record: WorkerRecord) -> bool:
    """Switch to exact accounting; True when it was estimated before."""
    if record.accounting is Accounting.TRACKED:
        return False
    record.accounting = Accounting.TRACKED
    record.release_at = 0.0
    record.recent_grants = []
    record.background = 0
    record.occupied = len(record.leases)
    record.occupied_at_sample = min(record.occupied_at_sample, record.occupied)
    return True
