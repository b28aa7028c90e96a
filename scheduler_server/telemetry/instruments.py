"""Every instrument: its name, unit and meaning.

The manual is written from this table, and a test compares it with what a running server exports.

Names are OpenTelemetry's (lower case, dots, the unit apart). What adds up over time is a counter, what adds up over
servers an up-down counter, the rest a gauge. All of them are observable: they are read from what the server keeps
anyway, when somebody asks, so a decision pays nothing for them; a histogram is kept by the core or its shell, for
0.3 us a value. Labels have closed sets of values: never a task type, a tenant or an id.
"""

from scheduler_server.assignment.losses import Loss
from scheduler_server.fallback.breaker import BreakerState
from scheduler_server.model.decision import Cause, Source
from scheduler_server.model.drain import DrainCounts, DrainState
from scheduler_server.model.fleet_event import FleetEventKind
from scheduler_server.model.outcome import OutcomeStatus
from scheduler_server.model.refusal import Reason
from scheduler_server.model.worker import Health
from scheduler_server.telemetry import (
    access_instruments,
    alert_instruments,
    demand_instruments,
    history_instruments,
    push_instruments,
    rpc_instruments,
    shadow_instruments,
    steering_instruments,
)
from scheduler_server.telemetry.instrument import Instrument, Kind, Label, label, name_of

__all__ = ["INSTRUMENTS", "SECTIONS", "Instrument", "Kind", "Label", "name_of"]

PLACEMENT_REFUSALS = (
    Reason.NO_FREE_SLOT,
    Reason.NO_WORKERS,
    Reason.NO_ELIGIBLE_WORKER_NOW,
    Reason.NO_CAPABLE_WORKER,
    Reason.START_BY_PASSED,
    Reason.NOT_YET_DUE,
    Reason.QUEUE_FULL,
    Reason.WAIT_OVER,
    Reason.INVALID_ARGUMENT,
)
"""Why a task that was understood gets no worker. A reason that is missing here counts as `other`."""

OTHER = "other"
STREAM_KINDS = ("worker", "event_watch", "task_watch", "drain_watch")
STORES = ("journal", "snapshot", "tasks", "decision_log")
STORE_STATES = ("ok", "degraded", "unavailable", "disabled")
BOUNDS = ("p50", "p90")
ENTRIES_MET = ("read", "duplicate", "vanished", "acknowledged", "claimed", "yielded")
DEAD_REASONS = ("undecodable", "invalid", "attempts_exhausted", "poisonous", "expired", "deliveries_exhausted")
DIRECTIONS = ("longer", "shorter")
MOMENTS = ("before", "after")
SIDES = ("later", "earlier")

_STORE = Label("store", STORES)
_NO_OUTCOME = "no outcome was judged yet"
_NO_START = "no expected start was judged yet"
_NO_STREAMS = "`dispatch.url` is empty"
_NO_SNAPSHOT = "there is no snapshot yet"

_COUNTER, _UP_DOWN, _GAUGE, _HISTOGRAM = Kind.COUNTER, Kind.UP_DOWN_COUNTER, Kind.GAUGE, Kind.HISTOGRAM

SECTIONS: dict[str, tuple[Instrument, ...]] = {
    "Server": (
        Instrument("scheduler.uptime", _GAUGE, "s", "time since this run of the server began"),
        Instrument(
            "scheduler.draining", _GAUGE, "1", "1 while the server finishes what is in flight and takes nothing new"
        ),
        Instrument("scheduler.policy.revision", _GAUGE, "1", "revision of the policy that decisions name"),
        Instrument("scheduler.streams", _UP_DOWN, "{stream}", "streams that are open", (label("kind", STREAM_KINDS),)),
        Instrument(
            "scheduler.streams.overflowed",
            _COUNTER,
            "{stream}",
            "workers' streams ended because what they were sent was not read",
        ),
        Instrument(
            "scheduler.streams.messages",
            _COUNTER,
            "{message}",
            "messages on streams of each kind; over the open ones, messages per stream",
            (label("kind", STREAM_KINDS), label("direction", ("received", "sent"))),
        ),
        Instrument(
            "scheduler.events",
            _COUNTER,
            "{event}",
            "events of the fleet and of the scheduler itself, as WatchEvents streams them",
            (label("kind", FleetEventKind),),
        ),
    ),
    "Calls": rpc_instruments.ROWS,
    "Decisions": (
        Instrument(
            "scheduler.decisions",
            _COUNTER,
            "{decision}",
            "decisions made: each one a lease",
            (label("source", Source), label("cause", Cause)),
        ),
        Instrument(
            "scheduler.decision.duration",
            _HISTOGRAM,
            "s",
            "how long the core takes for a decision, from the task to its lease; those of waiting tasks too",
        ),
        Instrument(
            "scheduler.refusals",
            _COUNTER,
            "{refusal}",
            "tasks that got no worker when they were asked for",
            (label("reason", [*(reason.value.lower() for reason in PLACEMENT_REFUSALS), OTHER]),),
        ),
        Instrument(
            "scheduler.breaker.state",
            _GAUGE,
            "1",
            "1 for the state that the circuit breaker of all task types is in, 0 for the others",
            (label("state", BreakerState),),
        ),
        Instrument(
            "scheduler.breaker.consecutive_failures",
            _GAUGE,
            "{failure}",
            "failures of predictor or scorer in a row, over all task types",
        ),
        Instrument(
            "scheduler.breaker.open_types",
            _UP_DOWN,
            "{task_type}",
            "task types whose own circuit breaker is not closed",
        ),
        Instrument(
            "scheduler.scorer.failures",
            _COUNTER,
            "{failure}",
            "workers left without a score because the scorer failed; each stays placeable in turn",
        ),
    ),
    "Workers and slots": (
        Instrument("scheduler.workers.lost", _COUNTER, "{worker}", "workers lost with leases: silent for too long"),
        Instrument("scheduler.probes", _COUNTER, "{probe}", "probes sent down the streams of workers that take tasks"),
        Instrument(
            "scheduler.probes.failed", _COUNTER, "{probe}", "of these, not sent back in time by a worker that beats"
        ),
        Instrument("scheduler.workers", _UP_DOWN, "{worker}", "workers known", (label("health", Health),)),
        Instrument(
            "scheduler.workers.ejected",
            _UP_DOWN,
            "{worker}",
            "workers given no tasks because theirs failed out of line; those that are kept out for that alone",
        ),
        Instrument(
            "scheduler.ejections",
            _COUNTER,
            "{ejection}",
            "workers found to fail out of line: ejected, or capped, since the fleet could not do without them",
            (label("result", ("ejected", "capped")),),
        ),
        Instrument("scheduler.workers.off_shift", _UP_DOWN, "{worker}", "workers outside of their hours"),
        Instrument(
            "scheduler.shifts.handed_over",
            _COUNTER,
            "{task}",
            "tasks not started when their worker's shift ended: taken back, or asked back",
        ),
        Instrument(
            "scheduler.workers.draining", _UP_DOWN, "{worker}", "workers that drain, by an order or their own wish"
        ),
        Instrument(
            "scheduler.drains",
            _UP_DOWN,
            "{drain}",
            "drains that hold, by where they stand; a complete one keeps its workers out until it is cancelled",
            (label("state", [each for each in DrainState if each is not DrainState.CANCELLED]),),
        ),
        Instrument(
            "scheduler.drains.tasks",
            _COUNTER,
            "{task}",
            "tasks of draining workers: handed back and confirmed, finished, or stopped or given up at a deadline",
            (Label("end", DrainCounts._fields),),
        ),
        Instrument("scheduler.workers.available", _UP_DOWN, "{worker}", "workers that could be given a task now"),
        Instrument(
            "scheduler.workers.pools", _UP_DOWN, "{pool}", "sets of workers that can do the same tasks equally well"
        ),
        Instrument("scheduler.slots", _UP_DOWN, "{slot}", "slots of all workers known, healthy or not"),
        Instrument(
            "scheduler.slots.used",
            _UP_DOWN,
            "{slot}",
            "slots taken on all workers known: leases, and background work that heartbeats tell of; estimated for"
            " sampled workers, and more than the slots where a worker took on more",
        ),
    ),
    "Waiting tasks": (
        Instrument("scheduler.tasks.waiting", _UP_DOWN, "{task}", "tasks that wait for a slot"),
        Instrument(
            "scheduler.tasks.waiting.oldest",
            _GAUGE,
            "s",
            "how long the task that came first of those that wait has waited",
            absent="no task waits",
        ),
        Instrument("scheduler.tasks.waiting.payload", _UP_DOWN, "By", "payload of the tasks that wait"),
        Instrument(
            "scheduler.tasks.wait",
            _HISTOGRAM,
            "s",
            "how long tasks waited that were then placed, since they came or were due; not those placed at once",
        ),
        Instrument(
            "scheduler.expected_start.error",
            _HISTOGRAM,
            "s",
            "how far they started from the median expected start that they were told when they came",
            (label("direction", SIDES),),
        ),
        Instrument(
            "scheduler.expected_start.judged",
            _COUNTER,
            "{start}",
            "expected starts compared with what happened: the task started, or waits on though its P90 has passed",
        ),
        Instrument(
            "scheduler.expected_start.coverage",
            _GAUGE,
            "1",
            "share of the last 500 of them that came no later than expected; 0.5 and 0.9 are right",
            (label("bound", BOUNDS),),
            absent=_NO_START,
        ),
    ),
    "Overrides and orders": steering_instruments.ROWS,
    "Rebalancing": demand_instruments.REBALANCING,
    "Demand": demand_instruments.DEMAND,
    "Leases and outcomes": (
        Instrument("scheduler.leases", _UP_DOWN, "{lease}", "leases that hold a slot"),
        Instrument(
            "scheduler.leases.orphaned",
            _UP_DOWN,
            "{lease}",
            "leases from before a restart whose worker has not come back",
        ),
        Instrument(
            "scheduler.outcomes",
            _COUNTER,
            "{task}",
            "tasks ended, by how; those of a sampled worker end without a word and are not counted",
            (label("status", OutcomeStatus),),
        ),
        Instrument(
            "scheduler.leases.lost",
            _COUNTER,
            "{lease}",
            "leases that their workers did not end, by why, and by what became of the task",
            (label("why", Loss), Label("then", ("requeued", "reported"))),
        ),
        Instrument("scheduler.tasks.set_aside", _COUNTER, "{task}", "tasks set aside: lost too often, or a danger"),
        Instrument(
            "scheduler.ledger.repairs",
            _COUNTER,
            "{lease}",
            "leases that the ledger had and their workers' lists had not, for longer than the grace",
        ),
        Instrument(
            "scheduler.ledger.unknown",
            _COUNTER,
            "{lease}",
            "leases that workers listed and the ledger did not know",
        ),
        Instrument(
            "scheduler.tasks.remembered",
            _UP_DOWN,
            "{task}",
            "tasks that have ended and are still known, for repeated requests and late outcomes",
        ),
    ),
    "Predictions": (
        Instrument(
            "scheduler.prediction.judged", _COUNTER, "{outcome}", "outcomes that predictions were compared with, ever"
        ),
        Instrument(
            "scheduler.prediction.within_25_percent",
            _GAUGE,
            "1",
            "share of the last 1,000 outcomes whose duration was predicted to within 25 %",
            absent=_NO_OUTCOME,
        ),
        Instrument(
            "scheduler.prediction.within_factor_2",
            _GAUGE,
            "1",
            "share of the last 1,000 outcomes whose duration was predicted to within a factor of two",
            absent=_NO_OUTCOME,
        ),
        Instrument(
            "scheduler.prediction.median_relative_error",
            _GAUGE,
            "1",
            "median error of the last 1,000 predictions, relative to what they took, without sign: 0.1 is 10 %",
            absent=_NO_OUTCOME,
        ),
        Instrument(
            "scheduler.prediction.mean_relative_bias",
            _GAUGE,
            "1",
            "mean error of the last 1,000 predictions, relative to what they took: above 0, predictions are too long",
            absent=_NO_OUTCOME,
        ),
        Instrument(
            "scheduler.prediction.coverage",
            _GAUGE,
            "1",
            "share of the last 1,000 outcomes that took no longer than the predicted bound; 0.5 and 0.9 are right",
            (label("bound", BOUNDS),),
            absent=_NO_OUTCOME,
        ),
        Instrument(
            "scheduler.prediction.untrusted_types",
            _UP_DOWN,
            "{task_type}",
            "task types placed by counts, because their predictions are too poor",
        ),
        Instrument(
            "scheduler.prediction.keys",
            _UP_DOWN,
            "{key}",
            "keys that the predictor has learned something for",
            absent="the predictor does not say",
        ),
        Instrument(
            "scheduler.prediction.evictions",
            _COUNTER,
            "{key}",
            "keys that the predictor has forgotten for want of room",
        ),
        Instrument(
            "scheduler.prediction.drifts",
            _COUNTER,
            "{drift}",
            "times that the durations of a key had changed and were learned anew",
            (label("direction", DIRECTIONS),),
        ),
        Instrument(
            "scheduler.prediction.latest_drift",
            _GAUGE,
            "s",
            "predicted duration of a key before and after the latest drift",
            (label("when", MOMENTS),),
            absent="no drift was detected yet",
        ),
        Instrument(
            "scheduler.prediction.learn_failures",
            _COUNTER,
            "{outcome}",
            "outcomes that taught nothing because the predictor failed",
        ),
    ),
    "Tasks by streams": (
        Instrument(
            "scheduler.dispatch.entries",
            _COUNTER,
            "{entry}",
            "entries of task streams: read, known already, removed unread, acknowledged, taken over from another"
            " server, left to another server",
            (label("event", ENTRIES_MET),),
            absent=_NO_STREAMS,
        ),
        Instrument(
            "scheduler.dispatch.dead_letters",
            _COUNTER,
            "{task}",
            "entries and tasks set aside for people to look at",
            (label("reason", DEAD_REASONS),),
            absent=_NO_STREAMS,
        ),
        Instrument(
            "scheduler.dispatch.held",
            _UP_DOWN,
            "{entry}",
            "entries that this server has and has not acknowledged",
            absent=_NO_STREAMS,
        ),
        Instrument(
            "scheduler.dispatch.unread",
            _GAUGE,
            "{entry}",
            "entries that no server of the group has read yet",
            absent=f"{_NO_STREAMS}, or Redis cannot tell (before 7.0)",
        ),
        Instrument(
            "scheduler.dispatch.unheard",
            _COUNTER,
            "{task}",
            "tasks published to a channel that nobody listened to, and placed again",
            absent=_NO_STREAMS,
        ),
        Instrument(
            "scheduler.dispatch.unpublished",
            _COUNTER,
            "{entry}",
            "decisions and outcomes that were not published for want of room",
            absent=_NO_STREAMS,
        ),
    ),
    "Stores": (
        Instrument(
            "scheduler.store.state",
            _GAUGE,
            "1",
            "1 for the state that a store is in, 0 for the others; GetStatus says why",
            (_STORE, label("state", STORE_STATES)),
        ),
        Instrument("scheduler.store.written", _COUNTER, "{entry}", "entries written since the start", (_STORE,)),
        Instrument(
            "scheduler.store.dropped",
            _COUNTER,
            "{entry}",
            "entries lost since the start: no room, or not to be encoded or decoded",
            (_STORE,),
        ),
        Instrument("scheduler.store.pending", _UP_DOWN, "{entry}", "entries that wait to be written", (_STORE,)),
        Instrument(
            "scheduler.store.consecutive_failures",
            _GAUGE,
            "{failure}",
            "failures in a row; 0 while the store works",
            (_STORE,),
        ),
        Instrument(
            "scheduler.snapshot.age", _GAUGE, "s", "age of the newest snapshot that is known", absent=_NO_SNAPSHOT
        ),
        Instrument(
            "scheduler.snapshot.records", _UP_DOWN, "{record}", "records in the newest snapshot", absent=_NO_SNAPSHOT
        ),
        Instrument("scheduler.snapshot.size", _UP_DOWN, "By", "size of the newest snapshot", absent=_NO_SNAPSHOT),
    ),
    "The last hour": history_instruments.LAST_HOUR,
    "Decision log": history_instruments.LOG,
    "Shadow policies": shadow_instruments.ROWS,
    "Alerts": alert_instruments.ROWS,
    "Access": access_instruments.ROWS,
    "Telemetry itself": push_instruments.ROWS,
}

INSTRUMENTS: tuple[Instrument, ...] = tuple(row for rows in SECTIONS.values() for row in rows)
