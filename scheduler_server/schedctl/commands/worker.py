"""`schedctl worker ID`: all that is known of one worker, and what it runs."""

import argparse

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import worker_pb2
from scheduler_server.schedctl import figures, fleet, hours
from scheduler_server.schedctl.figures import counted, seconds_of
from scheduler_server.schedctl.paper import Paper
from scheduler_server.schedctl.table import Segment
from scheduler_server.schedctl.work import Command, Work


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("worker_id", metavar="ID")


def _run(work: Work) -> int:
    answer: api.GetWorkerResponse = work.ask("GetWorker", api.GetWorkerRequest(worker_id=work.given.worker_id))
    if work.json:
        work.paper.message(answer.worker)
    else:
        show(work.paper, answer.worker)
    return 0


def show(paper: Paper, worker: api.Worker) -> None:
    """All of it."""
    now = now_of(worker)
    paper.facts(facts(worker, now))
    if worker.leases:
        paper.line()
        paper.table(fleet.lease_columns(now), worker.leases)
    left = worker.running_leases - len(worker.leases)
    if left > 0:
        paper.line((f"and {counted(left, 'lease')} more", "dim"))


def now_of(worker: api.Worker) -> float:
    """The server's clock when it wrote this, as well as it tells: the last heartbeat and its age."""
    if worker.HasField("last_heartbeat"):
        return seconds_of(worker.last_heartbeat) + seconds_of(worker.heartbeat_age)
    return seconds_of(worker.estimated_available_at)


def facts(worker: api.Worker, now: float) -> list[tuple[str, str | Segment]]:
    """What is known of it; what it never said is left out."""
    sampled = worker.accounting == api.WORKER_ACCOUNTING_SAMPLED
    known = "estimated" if sampled else "exact"
    outcomes = f"{worker.completed:,} completed, {worker.failed:,} failed"
    said: list[tuple[str, str | Segment]] = [
        ("worker", (worker.worker_id, "strong")),
        ("health", fleet.health(worker)),
        ("", "since " + figures.instant_in(worker, "health_since", now) if worker.HasField("health_since") else ""),
        ("kept out", (f"{fleet.rejection(worker)}: {worker.rejection_detail}", "warn") if worker.rejection else ""),
        ("stream", "open" if worker.connected else ("none", "bad")),
        ("last heartbeat", figures.instant_in(worker, "last_heartbeat", now)),
        (
            "load",
            f"{worker.effective_load:.2f}; cpu {worker.cpu_usage:.2f}, memory {worker.memory_usage:.2f} sampled",
        ),
        ("slots", f"{fleet.slots(worker)} taken, {worker.free_slots} free ({known})"),
        ("tasks", f"{counted(worker.running_leases, 'lease')}, {worker.staged} staged, {worker.background} of others"),
        (
            "next free slot",
            "now" if worker.free_slots > 0 else figures.instant_in(worker, "estimated_available_at", now),
        ),
        ("outcomes", f"{outcomes} ({figures.share_in(worker, 'success_rate')} with success)"),
        ("mean duration", f"{figures.span_in(worker, 'average_duration')}, speed {figures.number_in(worker, 'speed')}"),
        ("node", worker.node),
        ("type", worker.worker_type),
        ("software", worker.software),
        ("capabilities", ", ".join(worker.capabilities)),
        ("specializations", ", ".join(worker.specializations)),
        ("labels", "" if not worker.labels else fleet.labels(worker)),
        (
            "takes tasks",
            f"on its stream, {worker.prefetch} beyond its slots" if worker.accepts_tasks else "from its queue service",
        ),
        (
            "offers",
            f"accepted within {figures.span_in(worker, 'accept_within')}" if worker.HasField("accept_within") else "",
        ),
        ("wants to", figures.word(worker_pb2.WorkerIntent, worker.intent)),
        ("ejected", _ejected(worker, now)),
        ("fails out of line", (worker.spared_detail, "bad") if worker.spared_detail else ""),
        ("starts slowly", f"has the use of {worker.ramp:.0%} of its slots" if worker.HasField("ramp") else ""),
        ("cordoned", (worker.cordon_reason or "yes", "warn") if worker.cordoned else ""),
        ("drains", ", ".join(worker.drain_ids)),
        ("hours", _hours(worker)),
        (
            "next shift change",
            figures.instant_in(worker, "next_shift_change", now) if worker.HasField("next_shift_change") else "",
        ),
        (
            "heartbeats",
            f"{worker.heartbeats:,} taken, {worker.dropped_heartbeats:,} dropped,"
            f" {worker.ledger_repairs:,} repairs of the ledger",
        ),
        ("round trip", figures.span_in(worker, "round_trip") if worker.HasField("round_trip") else ""),
        ("registered", figures.instant_in(worker, "registered_at", now)),
    ]
    return [(name, value) for name, value in said if value]


def _hours(worker: api.Worker) -> str:
    if not worker.HasField("calendar"):
        return ""
    return hours.calendar_text(worker.calendar) + (", set by an operator" if worker.calendar_set_by_operator else "")


def _ejected(worker: api.Worker, now: float) -> str | Segment:
    if not worker.times_ejected:
        return ""
    times = "once" if worker.times_ejected == 1 else f"{worker.times_ejected} times in a row"
    if worker.HasField("ejected_until"):
        return f"{times}; tried {figures.instant_in(worker, 'ejected_until', now)}", "warn"
    if worker.on_trial:
        return f"{times}; on trial, with one task at a time", "warn"
    return f"{times}; in again"


COMMAND = Command(options=_options, run=_run)
