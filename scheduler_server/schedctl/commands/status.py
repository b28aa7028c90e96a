"""`schedctl status`: how is the server, and what does not work as it should?"""

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import decision_pb2
from scheduler_server.schedctl import figures
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.paper import Paper
from scheduler_server.schedctl.table import Column, Segment
from scheduler_server.schedctl.work import Command, Work

SERVING = {api.SERVING_STATE_SERVING: "good", api.SERVING_STATE_STARTING: "warn", api.SERVING_STATE_DRAINING: "warn"}
STORES = {api.STORE_STATE_OK: "good", api.STORE_STATE_DEGRADED: "warn", api.STORE_STATE_UNAVAILABLE: "bad"}
BREAKERS = {api.BREAKER_STATE_CLOSED: "good", api.BREAKER_STATE_HALF_OPEN: "warn", api.BREAKER_STATE_OPEN: "bad"}


def _run(work: Work) -> int:
    status: api.GetStatusResponse = work.ask("GetStatus", api.GetStatusRequest())
    if work.json:
        work.paper.message(status)
    else:
        show(work.paper, status, work.place.server)
    return 0


def show(paper: Paper, status: api.GetStatusResponse, server: str) -> None:
    """All of it."""
    paper.facts(
        [
            ("server", f"{server}, version {status.version or 'not said'}, run {status.server_incarnation}"),
            ("serving", (figures.word(api.ServingState, status.serving), SERVING.get(status.serving, "bad"))),
            ("up", f"{figures.span_in(status, 'uptime')}, since {figures.instant_in(status, 'started_at')}"),
            ("policy", policy(status.policy)),
            ("breaker", breaker(status)),
            ("workers", workers(status.workers)),
            ("slots", f"{counted(status.leases, 'lease')} held, {counted(status.waiting_tasks, 'task')} waiting"),
            ("decisions", decisions(status)),
            ("streams", streams(status.streams)),
            ("alerts", alerts(status)),
        ]
    )
    if status.HasField("loss_grace_left"):
        paper.facts([("just started", f"no worker is declared lost for {figures.span_in(status, 'loss_grace_left')}")])
    for part in status.degraded:
        since = figures.instant_in(part, "since")
        paper.facts([("degraded", (f"{part.name}: {part.detail} ({part.consequence}; since {since})", "warn"))])
    if not status.degraded:
        paper.facts([("degraded", ("nothing", "good"))])
    if status.peers:
        paper.line()
        paper.table(_PEERS, status.peers)
    if status.stores:
        paper.line()
        paper.table(_STORES, status.stores)
        for store in status.stores:
            for warning in store.warnings:
                paper.facts([(store.name, (warning, "warn"))])


def policy(policy: api.Policy) -> str:
    """What decides, in a line."""
    weights = ", ".join(f"{name} {weight:g}" for name, weight in sorted(policy.weights.items()))
    parts = [
        f"predictor {policy.predictor}",
        f"scorer {policy.scorer}" + (f" ({weights})" if weights else ""),
        f"fallback {policy.fallback}",
        f"order {policy.order}",
        f"objective {policy.objective}" if policy.objective else "",
        f"profile {policy.profile}",
        f"revision {policy.revision}",
    ]
    return ", ".join(part for part in parts if part)


def breaker(status: api.GetStatusResponse) -> Segment:
    """The circuit breaker, with those of task types."""
    said = figures.word(api.BreakerState, status.breaker.state) or "not said"
    if status.breaker.state != api.BREAKER_STATE_CLOSED and status.breaker.last_error:
        said += f": {status.breaker.last_error}"
    style = BREAKERS.get(status.breaker.state, "bad")
    if status.open_type_breakers:
        said += f"; not closed for {counted(status.open_type_breakers, 'task type')}: "
        said += ", ".join(each.task_type for each in status.type_breakers)
        style = "warn" if style == "good" else style
    return said, style


def workers(counts: api.WorkerCounts) -> Segment:
    """Workers by what is to be said of them; what is 0 is left out."""
    parts = [
        (counts.healthy, "healthy"),
        (counts.degraded, "degraded"),
        (counts.unhealthy, "unhealthy"),
        (counts.total - counts.connected, "without a stream"),
        (counts.cordoned, "cordoned"),
        (counts.draining, "draining"),
        (counts.ejected, "ejected"),
        (counts.off_shift, "off shift"),
        (counts.unreconciled, "not yet reconciled"),
        (counts.sampled, "estimated"),
    ]
    told = ", ".join(f"{number:,} {what}" for number, what in parts if number > 0)
    if not counts.total:
        return "none", "warn"
    style = "bad" if not counts.healthy + counts.degraded else "warn" if counts.unhealthy or counts.degraded else "good"
    return f"{counts.total:,}: {told}", style


def decisions(status: api.GetStatusResponse) -> str:
    """Decisions of this run by how they came about."""
    total = sum(each.count for each in status.decisions)
    if not total:
        return "none in this run"
    kinds = sorted(status.decisions, key=lambda each: (-each.count, each.source, each.cause))
    said = ", ".join(
        f"{each.count:,} {figures.word(decision_pb2.DecisionSource, each.source)}"
        f" ({figures.word(decision_pb2.DecisionCause, each.cause)})"
        for each in kinds
    )
    return f"{total:,} in this run: {said}"


def streams(counts: api.StreamCounts) -> str:
    """Open streams."""
    watches = counts.task_watches + counts.event_watches + counts.drain_watches
    return f"{counted(counts.workers, 'worker')}, {watches:,} watching"


def alerts(status: api.GetStatusResponse) -> Segment:
    """How many are raised; which, `schedctl alerts` says."""
    if not status.raised_alerts:
        return "none raised", "good"
    return f"{counted(status.raised_alerts, 'alert')} raised (schedctl alerts)", "warn"


def _store_state(store: api.StoreStatus) -> Segment:
    return figures.word(api.StoreState, store.state), STORES.get(store.state, "dim")


_STORES: list[Column[api.StoreStatus]] = [
    Column(title="STORE", cell=lambda store: store.name),
    Column(title="BACKEND", cell=lambda store: store.backend or figures.ABSENT, spare=1),
    Column(title="STATE", cell=_store_state),
    Column(title="AGE", cell=lambda store: figures.span_in(store, "age"), right=True, spare=2),
    Column(title="RECORDS", cell=lambda store: figures.count(store.records), right=True, spare=4),
    Column(title="SIZE", cell=lambda store: figures.size(store.size_bytes), right=True, spare=5),
    Column(title="WRITTEN", cell=lambda store: figures.count(store.written), right=True, spare=6),
    Column(title="PENDING", cell=lambda store: figures.count(store.pending), right=True, spare=3),
    Column(title="DROPPED", cell=lambda store: figures.count(store.dropped), right=True, spare=2),
    Column(title="LAST ERROR", cell=lambda store: store.last_error or figures.ABSENT, cuts=True, spare=1),
    Column(title="LOCATION", cell=lambda store: store.location or figures.ABSENT, cuts=True, spare=7),
]

_PEERS: list[Column[api.PeerStatus]] = [
    Column(title="PEER", cell=lambda peer: peer.server_id, cuts=True),
    Column(title="REACHABLE", cell=lambda peer: ("yes", "good") if peer.reachable else ("no", "bad")),
    Column(title="WORKERS", cell=lambda peer: figures.count(peer.workers), right=True, spare=2),
    Column(title="FREE", cell=lambda peer: figures.count(peer.free_slots), right=True, spare=2),
    Column(title="AGE", cell=lambda peer: figures.span_in(peer, "age"), right=True, spare=1),
    Column(title="ADDRESS", cell=lambda peer: peer.address, cuts=True, spare=3),
]

COMMAND = Command(run=_run)
