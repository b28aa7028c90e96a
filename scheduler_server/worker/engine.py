"""A worker's moving parts, put together: the lock, the link's thread, the handlers, and the way out.

Invariant: `work` and `profile` are touched only under `changed`; handlers are started and stopped only
without it.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import grpc

from scheduler_api.v1.task_pb2 import Outcome
from scheduler_api.v1.worker_pb2 import WorkerDirective
from scheduler_server.worker.backoff import Backoff
from scheduler_server.worker.ending import Stop
from scheduler_server.worker.errors import WorkerError
from scheduler_server.worker.handlers import Handlers
from scheduler_server.worker.link import Link, Metadata
from scheduler_server.worker.measure import Meter
from scheduler_server.worker.offer import AskAbout, Offer
from scheduler_server.worker.outcome import raised
from scheduler_server.worker.profile import Profile
from scheduler_server.worker.running import Leases
from scheduler_server.worker.session import Session
from scheduler_server.worker.work import Work

TELL_S = 5.0  # time for the last outcomes to be acknowledged once nothing runs any more
LEAVE_S = 2.0  # time for the server's goodbye
JOIN_S = 5.0  # time for the link's thread after its stream was cancelled

T = TypeVar("T")
log = logging.getLogger(__name__)


class Engine:
    """Runs from `start` to `ended`; `error` then says why, if it was not the program's own wish."""

    def __init__(
        self,
        profile: Profile,
        dial: Callable[[], grpc.Channel],
        metadata: Metadata,
        background: Callable[[], int],
        token: str | Callable[[], str] | None = None,
        offers: AskAbout | None = None,
    ) -> None:
        self.profile = profile
        self.clock = time.monotonic
        self.handlers = Handlers(self.clock)
        leases = Leases(profile.slots, profile.prefetch)
        self.work = Work(leases, self.handlers.__contains__, asks=offers is not None)
        self._offers = offers
        self.changed = threading.Condition()
        self.ended = threading.Event()
        self.error: WorkerError | None = None
        self._background = background
        self._stopping = threading.Lock()
        self._thread: threading.Thread | None = None
        self._link = Link(
            dial=dial,
            metadata=metadata,
            token=token,
            open_session=self._open_session,
            receive=self._receive,
            sample=Meter(time.monotonic).sample,
            changed=self.changed,
            backoff=Backoff(),
        )

    @property
    def started(self) -> bool:
        """True once the worker has begun to connect."""
        return self._thread is not None

    def start(self) -> None:
        """Begin to connect. Once only: a worker that has ended stays so."""
        with self.changed:
            if self._thread is not None:
                raise RuntimeError("a worker is started once; make a new one")
            self._thread = threading.Thread(target=self._run, name="worker-link", daemon=True)
        self._thread.start()

    def act(self, change: Callable[[float], T]) -> T:
        """Change state under the lock, wake the sender, then do what the change asks of the process."""
        with self.changed:
            result = change(time.monotonic())
            effects = self.work.take_effects()
            self.changed.notify_all()
        for lease in effects.offer:
            threading.Thread(target=self._offer, args=(Offer(lease, self),), name="worker-offer", daemon=True).start()
        for lease in effects.stop:
            self.handlers.stop(lease)
        for lease in effects.start:
            try:
                self.handlers.start(lease, self)
            except Exception as error:  # no thread to be had, for one: the task failed, the worker goes on
                log.exception("lease %s could not be started", lease.lease_id)
                self.finished(lease.lease_id, raised(error, 0.0))
        return result

    def finished(self, lease_id: str, outcome: Outcome) -> None:
        """A handler is done (any thread)."""
        self.act(lambda now: self.work.finished(lease_id, outcome, now))

    def declined(self, lease_id: str, reason: str) -> None:
        """A handler gave its task back (any thread)."""
        self.act(lambda now: self.work.declined(lease_id, reason, now))

    def _offer(self, offer: Offer) -> None:
        try:
            if self._offers is not None:
                self._offers(offer)
        except Exception:  # the program's own code; the offer lapses
            log.exception("lease %s could not be offered", offer.task.lease_id)

    def accept(self, lease_id: str) -> bool:
        """Somebody takes an offer (any thread); False: too late."""
        return self.act(lambda now: self.work.accept(lease_id, now))

    def decline(self, lease_id: str, reason: str) -> bool:
        """Somebody leaves an offer to others (any thread); False: too late."""
        return self.act(lambda _: self.work.decline_offer(lease_id, reason))

    def stop(self, drain_timeout_s: float) -> None:
        """Drain, tell the last outcomes, leave, and end. Blocks; a second caller waits for the first."""
        with self._stopping:
            if self._thread is None or self.ended.is_set():
                return
            self.act(lambda _: self.work.drain())
            if not self._wait(lambda: len(self.work.leases) == 0, drain_timeout_s):
                lost = self.act(lambda _: self.work.abandon())
                log.warning("still running after %.1f s, given up: %s", drain_timeout_s, ", ".join(lost))
            self._link.hurry()
            if not self._wait(lambda: len(self.work.outbox) == 0, TELL_S):
                log.warning("%d reports were not acknowledged within %.1f s", len(self.work.outbox), TELL_S)
            if self._link.connected:
                self.act(lambda _: self.work.leave())
                self._wait(lambda: False, LEAVE_S)
            self.abort()

    def abort(self) -> None:
        """End now: running handlers are told to stop, the server is told nothing."""
        self._link.close()
        if self._thread is not None:
            self.ended.wait(JOIN_S)

    def _run(self) -> None:
        ending = Stop(None)
        try:
            ending = self._link.run()
        except Exception as error:
            log.exception("the link failed")
            ending = Stop(WorkerError(f"the link failed: {error!r}"))
        finally:
            self.error = ending.error
            self.act(lambda _: self.work.abandon())
            self.handlers.close()
            with self.changed:
                self.ended.set()
                self.changed.notify_all()

    def _open_session(self, connection: int) -> Session:
        return Session(self.profile, self.work, connection, background=self._background_tasks)

    def _receive(self, session: Session, directive: WorkerDirective) -> None:
        try:
            self.act(lambda now: session.receive(directive, now))
        except ValueError:  # a span that is none, for one: the next directive may well be sound
            log.exception("directive ignored: %s", directive.WhichOneof("directive"))

    def _background_tasks(self) -> int:
        try:
            return max(0, self._background())
        except Exception:  # the program's own code must not silence its heartbeats
            log.exception("background_tasks failed; counted as 0")
            return 0

    def _wait(self, true: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until it is true or the link has ended; False when the time is over before."""
        with self.changed:
            return self.changed.wait_for(lambda: true() or self.ended.is_set(), timeout_s)
