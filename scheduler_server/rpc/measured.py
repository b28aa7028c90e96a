"""What of the server around the core is measured: where telemetry gets its figures from."""

from collections.abc import Mapping, Sequence

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.dispatch.dispatcher import Dispatcher
from scheduler_server.rpc import status
from scheduler_server.rpc.admin import AdminCalls
from scheduler_server.rpc.connections import Connections
from scheduler_server.rpc.schedule import ScheduleCalls
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.stores import Stores
from scheduler_server.rpc.streams import WorkerStreams
from scheduler_server.telemetry.calls import Calls
from scheduler_server.telemetry.history_instruments import NOTHING, HistoryFigures
from scheduler_server.telemetry.shadow_instruments import NOTHING as NO_SHADOW
from scheduler_server.telemetry.sources import DispatchFigures, Sources, StoreFigures

_WATCH_EVENTS = "scheduler_api.v1.AdminService/WatchEvents"
_WATCH_TASKS = "scheduler_api.v1.ScheduleService/WatchTasks"
_WATCH_DRAIN = "scheduler_api.v1.AdminService/WatchDrain"


def sources(
    shell: Shell,
    schedule: ScheduleCalls,
    streams: WorkerStreams,
    admin: AdminCalls,
    stores: Stores,
    calls: Calls,
    connections: Connections,
) -> Sources:
    """The sources of all instruments; what is pushed to a collector is not among them yet."""
    event_watches, task_watches = calls.by_method[_WATCH_EVENTS], calls.by_method[_WATCH_TASKS]
    drain_watches = calls.by_method[_WATCH_DRAIN]

    def open_streams() -> Mapping[str, int]:
        return {
            "worker": len(streams),
            "event_watch": admin.event_watches,
            "task_watch": len(schedule.watchers),
            "drain_watch": admin.drain_watches,
        }

    def messages() -> Mapping[tuple[str, str], int]:
        return {
            ("worker", "received"): streams.received,
            ("worker", "sent"): streams.sent,
            ("event_watch", "received"): event_watches.started,  # each begins with its only one
            ("event_watch", "sent"): admin.event_messages,
            ("task_watch", "received"): task_watches.started,
            ("task_watch", "sent"): schedule.watchers.sent,
            ("drain_watch", "received"): drain_watches.started,
            ("drain_watch", "sent"): admin.drain_messages,
        }

    return Sources(
        core=shell.core,
        now=shell.now,
        draining=lambda: schedule.draining,
        event_counts=shell.event_counts,
        streams=open_streams,
        overflows=lambda: streams.overflowed,
        stores=lambda: store_figures(stores),
        dispatch=lambda: None if stores.tasks is None else dispatch_figures(stores.tasks),
        calls=calls,
        messages=messages,
        alerts=admin.alerts.counts,
        denied=lambda: admin.access.denied() if admin.access is not None else {},
        limits_hit=lambda: admin.access.limits_hit() if admin.access is not None else {},
        connections=lambda: connections.open,
        history=lambda: history_figures(stores),
        demand=lambda: admin.demand.demand,
        shadow=lambda: NO_SHADOW if admin.shadow is None else admin.shadow.figures(),
    )


def dispatch_figures(dispatcher: Dispatcher) -> DispatchFigures:
    """How the task streams are."""
    return DispatchFigures(
        met={each.value: count for each, count in dispatcher.intake.met.items()},
        dead={each.name.lower(): count for each, count in dispatcher.intake.dead.items()},
        held=len(dispatcher.holdings),
        unread=dispatcher.lag,
        unheard=dispatcher.channel.unheard if dispatcher.channel is not None else 0,
        unpublished=dispatcher.outbox.dropped,
    )


def history_figures(kept: Stores) -> HistoryFigures:
    """How the decision log is, and how evenly the fleet was busy by the last full minute."""
    if kept.history is None:
        return NOTHING
    hour, log = kept.history.sampler.lately, kept.history.status()
    evenness = (hour.utilization, hour.spread, hour.max_over_mean)
    if log is None:
        return NOTHING._replace(utilization=evenness[0], spread=evenness[1], max_over_mean=evenness[2])
    written, lost = (
        {table.value: count for table, count in each.items()} for each in (log.written_by_table, log.lost_by_table)
    )
    return HistoryFigures(written, lost, log.failures, log.oldest_pending_age_s, *evenness)


def store_figures(kept: Stores) -> Sequence[StoreFigures]:
    """How the stores are: what GetStatus says, so that the two cannot differ."""
    response = admin_service_pb2.GetStatusResponse()
    status.stores(response, kept)
    return [
        StoreFigures(
            name=each.name,
            state=admin_service_pb2.StoreState.Name(each.state).removeprefix("STORE_STATE_").lower(),
            pending=each.pending,
            written=each.written,
            dropped=each.dropped,
            consecutive_failures=each.consecutive_failures,
            age_s=each.age.ToNanoseconds() / 1e9 if each.HasField("age") else None,
            records=each.records if each.HasField("age") else None,
            size_bytes=each.size_bytes if each.HasField("age") else None,
        )
        for each in response.stores
    ]
