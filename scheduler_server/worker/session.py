"""One stream, first heartbeat to goodbye: what to send, when, and what an answer means. No I/O, no clock.

    opening --first heartbeat--> greeting --welcome--> open --goodbye--> over

While greeting, nothing more is sent: only the welcome says under which id the worker goes on.
"""

import logging
import math
from collections.abc import Callable
from random import SystemRandom

from google.protobuf.duration_pb2 import Duration

from scheduler_api.v1.worker_pb2 import (
    Ack,
    Directives,
    Drain,
    Goodbye,
    Welcome,
    WorkerDirective,
    WorkerHeartbeat,
    WorkerIntent,
)
from scheduler_server.worker.measure import Sample
from scheduler_server.worker.profile import Profile
from scheduler_server.worker.work import Work

PROTOCOL_VERSION = 1
DEFAULT_INTERVAL_S = 5.0  # until the server says its own
MIN_INTERVAL_S = 0.01  # whatever the server says, a beat is not a busy loop
GAP_S = 0.005  # under load, news within this time after a message goes together into the next one
LOAD_S = 0.1  # there is load so long after a message of which two leases had a part; else news is sent at once
JITTER_RATIO = 0.1  # beats come up to so much early, so that a fleet started at once does not stay in step

log = logging.getLogger(__name__)


class Session:
    """Sequence numbers rise by one per message; between two there is news, or the interval has passed."""

    def __init__(
        self,
        profile: Profile,
        work: Work,
        connection: int,
        uniform: Callable[[float, float], float] | None = None,
        background: Callable[[], int] = lambda: 0,
    ) -> None:
        self._profile = profile
        self._work = work
        self._epoch = profile.epoch(connection)
        self._uniform = uniform or SystemRandom().uniform
        self._background = background
        self._interval_s = DEFAULT_INTERVAL_S
        self._sequence = 0
        self._sent_at = -math.inf
        self._beat_at = -math.inf
        self._gather_until = -math.inf
        self._timestamp_ms = 0
        self._nonce = ""
        self._registered = 0  # the profile's revision that this stream carried
        self._said: tuple[WorkerIntent.ValueType, str] | None = None
        self.welcomed_at: float | None = None
        self.goodbye: Goodbye | None = None
        work.drain_id = ""
        work.outbox.restart()
        work.withdraw()  # what was offered on another stream goes to somebody else

    def due_at(self) -> float:
        """When the next heartbeat is to be sent; infinite while there is nothing to wait for."""
        if self._sequence == 0:
            return -math.inf
        if self.welcomed_at is None or self.goodbye is not None:
            return math.inf
        if not self._has_news():
            return self._beat_at
        return min(self._beat_at, self._sent_at + (GAP_S if self._sent_at < self._gather_until else 0.0))

    def heartbeat(self, now: float, wall_ms: int, sample: Sample) -> WorkerHeartbeat:
        """The next message; what it carries counts as sent."""
        profile, work = self._profile, self._work
        if now >= self._beat_at:
            work.outbox.repeat()
        self._sequence += 1
        # A clock that is set back must not make the server drop heartbeats as old ones.
        self._timestamp_ms = max(self._timestamp_ms, wall_ms)
        reports = work.outbox.take(self._sequence)
        # One task after the other: nothing could join its outcome, as the next task comes only once that is known.
        if len(work.leases) > 1 or any(report.lease_id != reports[0].lease_id for report in reports):
            self._gather_until = now + LOAD_S
        beat = WorkerHeartbeat(
            worker_id=profile.worker_id,
            cpu_usage=sample.cpu,
            memory_usage=sample.memory,
            queue_depth=len(work.leases) + self._background(),
            timestamp_ms=self._timestamp_ms,
            registration=profile.registration() if self._registered != profile.revision else None,
            epoch=self._epoch,
            sequence=self._sequence,
            intent=work.intent,
            running=work.leases.listing(now) if profile.tracked else None,
            reports=reports,
            probe_nonce=self._nonce,
            protocol_version=PROTOCOL_VERSION,
            drain_id=work.drain_id,
        )
        self._nonce = ""
        self._registered = profile.revision
        self._said = (work.intent, work.drain_id)
        self._sent_at = now
        self._schedule(now)
        return beat

    def receive(self, directive: WorkerDirective, now: float) -> None:
        """Take a directive in. Kinds that this version does not know are ignored.

        Raises:
            ValueError: it says what cannot be, such as a span that is none. Of several only that one is left out.
        """
        match directive.WhichOneof("directive"):
            case "welcome":
                self._welcome(directive.welcome, now)
            case "ack":
                self._acknowledged(directive.ack, now)
            case "run_task":
                self._work.hand_over(directive.run_task, now)
            case "cancel":
                self._work.cancel(directive.cancel.lease_id, now)
            case "return_lease":
                self._work.give_back(directive.return_lease.lease_id)
            case "drain":
                self._drain(directive.drain)
            case "probe":
                self._nonce = directive.probe.nonce
            case "goodbye":
                self.goodbye = directive.goodbye
            case "several":
                self._several(directive.several, now)
            case _:
                pass

    def _several(self, several: Directives, now: float) -> None:
        for directive in several.directives:
            try:
                self.receive(directive, now)
            except ValueError:
                log.exception("directive ignored: %s", directive.WhichOneof("directive"))

    def _drain(self, drain: Drain) -> None:
        """The server drains this worker, for as long as it says so on this session, or does no more."""
        if drain.drain_id:
            log.info("the server drains this worker (%s): %s", drain.drain_id, drain.reason or "no reason given")
        else:
            log.info("the server does not drain this worker any more")
        self._work.drain(drain.drain_id)

    def _welcome(self, welcome: Welcome, now: float) -> None:
        if welcome.worker_id:
            self._profile.worker_id = welcome.worker_id
        self.welcomed_at = now
        self._set_interval(welcome.heartbeat_interval, now)
        self._work.judge(welcome.verdicts, now)
        # A welcome acknowledges nothing: what the first message carried goes again, and then is.
        self._work.outbox.repeat()

    def _acknowledged(self, ack: Ack, now: float) -> None:
        self._set_interval(ack.heartbeat_interval, now)
        self._work.handled(ack.sequence, ack.refused)
        self._work.judge(ack.verdicts, now)

    def _set_interval(self, interval: Duration, now: float) -> None:
        interval_s = interval.ToNanoseconds() / 1e9
        if interval_s <= 0 or interval_s == self._interval_s:
            return
        self._interval_s = max(MIN_INTERVAL_S, interval_s)
        self._schedule(now)

    def _schedule(self, now: float) -> None:
        self._beat_at = now + self._uniform(self._interval_s * (1 - JITTER_RATIO), self._interval_s)

    def _has_news(self) -> bool:
        return (
            self._work.outbox.has_news
            or bool(self._nonce)
            or self._registered != self._profile.revision
            or self._said != (self._work.intent, self._work.drain_id)
        )
