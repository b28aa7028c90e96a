"""What of the server around the core is measured: where telemetry gets its figures from."""

from collections.abc import Mapping, Sequence

from scheduler_api.v1 import admin_service_pb2
from scheduler_server.dispatch.dispatcher import Dispatcher
from scheduler_server.rpc import status
from scheduler_server.rpc.admin import AdminCalls
from scheduler_server.rpc.schedule import ScheduleCalls
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.stores import Stores
from scheduler_server.rpc.streams import WorkerStreams
from scheduler_server.telemetry.sources import DispatchFigures, Sources, StoreFigures


def sources(shell: Shell, calls: ScheduleCalls, streams: WorkerStreams, admin: AdminCalls, stores: Stores) -> Sources:
    """The sources of all instruments."""

    def open_streams() -> Mapping[str, int]:
        return {"worker": len(streams), "event_watch": admin.event_watches, "task_watch": len(calls.watchers)}

    return Sources(
        core=shell.core,
        now=shell.now,
        draining=lambda: calls.draining,
        event_counts=shell.event_counts,
        streams=open_streams,
        overflows=lambda: streams.overflowed,
        stores=lambda: store_figures(stores),
        dispatch=lambda: None if stores.tasks is None else dispatch_figures(stores.tasks),
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
