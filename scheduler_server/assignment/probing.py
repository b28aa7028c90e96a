"""Does a worker receive what it is sent? Heartbeats prove only the other direction.

Now and then a nonce goes the way that tasks go, and is to come back in a heartbeat. A worker that beats and does not
send it back in time gets no tasks until it does.
"""

from math import inf

from scheduler_server.assignment.effects import Effect, ProbeSent, Published
from scheduler_server.assignment.vitals import Vitals
from scheduler_server.model.clock import Now
from scheduler_server.model.fleet_event import FleetEventKind, MakeEvent
from scheduler_server.registry.record import WorkerRecord
from scheduler_server.registry.settings import WorkerSettings


class Probing:
    """One nonce under way per worker at most. Only workers that take tasks from their stream are asked."""

    def __init__(self, settings: WorkerSettings, vitals: Vitals, incarnation: str, make_event: MakeEvent) -> None:
        self.reconfigure(settings)
        self._vitals = vitals
        self._prefix = f"p-{incarnation}-"
        self._make_event = make_event
        self.sent = 0
        self.failed = 0  # times that a worker was found not to receive

    def reconfigure(self, settings: WorkerSettings) -> None:
        """Ask so often from now on."""
        self._interval_s = settings.probe_interval_s
        self._within_s = settings.probe_within_s

    def connected(self, now: Now, record: WorkerRecord) -> None:
        """A new stream: what was under way on the former is void, and the welcome is on its way."""
        record.probe = ""
        record.probe_at = -inf if record.deaf else now.monotonic  # who was not receiving is asked at once

    def heard(self, now: Now, record: WorkerRecord, nonce: str, out: list[Effect]) -> None:
        """A heartbeat, with the nonce that it sends back."""
        if not record.registration.accepts_tasks:
            if record.deaf:
                self._found(now, record, False, "it takes no tasks from its stream", out)
            return
        if record.probe:
            if nonce == record.probe:
                record.probe = ""
                record.probed_wall = now.wall
                if record.deaf:
                    self._found(now, record, False, "a probe came back", out)
            elif now.monotonic - record.probe_at > self._within_s:
                record.probe = ""
                if not record.deaf:
                    why = f"a probe was not sent back within {self._within_s:g} s"
                    self._found(now, record, True, why, out)
        if self._interval_s is not None and not record.probe and now.monotonic - record.probe_at >= self._interval_s:
            self.sent += 1
            record.probe = f"{self._prefix}{self.sent}"
            record.probe_at = now.monotonic
            if record.session is not None:
                out.append(ProbeSent(record.session, record.probe))

    def _found(self, now: Now, record: WorkerRecord, deaf: bool, detail: str, out: list[Effect]) -> None:
        record.deaf = deaf
        if deaf:
            self.failed += 1
        before, after = ("receiving", "not receiving") if deaf else ("not receiving", "receiving")
        kind = FleetEventKind.WORKER_NOT_RECEIVING
        out.append(Published(self._make_event(now, kind, record.worker_id, detail, before, after)))
        self._vitals.age(record, now, out)
