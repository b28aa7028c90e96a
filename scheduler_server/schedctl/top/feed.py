"""Asks the server, in threads of its own: one asks again and again, one listens to events."""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.client import SchedulerError
from scheduler_server.schedctl import fleet
from scheduler_server.schedctl.complaint import complaint
from scheduler_server.schedctl.connection import Connection, Stream
from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.top.state import MOST, State, View

EVENTS = 1_000
"""Events that are remembered while it runs; the oldest go."""
_REPLAYED = 100
_PAUSE_S = 2.0
_TYPES = 1_000  # task types of one page of GetAccuracy


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be asked for: as much as is looked at."""

    view: View = View.WORKERS
    worker_id: str | None = None
    filter: str = ""
    order_by: str = "worker_id"
    rows: int = 100

    @classmethod
    def of(cls, state: State) -> "Wish":
        """What this state looks at. `rows` goes in steps, so that moving about asks for nothing new."""
        needed = state.top + 2 * state.page + 1
        return cls(
            view=state.view,
            worker_id=state.worker_id,
            filter=state.filter,
            order_by=fleet.order_by(state.sort, backwards=state.backwards),
            rows=min(MOST, (needed // 100 + 1) * 100),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The last answers. `at`: monotonic seconds when they came, None before the first.

    `trouble`: why there are no newer ones. `rates`: decisions per second between the last two answers, by source and
    cause.
    """

    wish: Wish = field(default_factory=Wish)
    at: float | None = None
    trouble: str = ""
    status: api.GetStatusResponse = field(default_factory=api.GetStatusResponse)
    load: api.GetLoadResponse = field(default_factory=api.GetLoadResponse)
    accuracy: api.GetAccuracyResponse = field(default_factory=api.GetAccuracyResponse)
    workers: api.ListWorkersResponse = field(default_factory=api.ListWorkersResponse)
    waiting: api.ListWaitingResponse = field(default_factory=api.ListWaitingResponse)
    worker: api.Worker | None = None
    missing: str = ""
    rates: dict[tuple[int, int], float] = field(default_factory=dict)
    events: tuple[api.Event, ...] = ()


class Feed:
    """What the server says, always the newest. `told` is called from its threads when there is something new."""

    def __init__(self, connection: Connection, interval_s: float, told: Callable[[], None]) -> None:
        self._connection, self._interval_s, self._told = connection, interval_s, told
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._over = threading.Event()
        self._wish = Wish()
        self._seen = Seen()
        self._events: deque[api.Event] = deque(maxlen=EVENTS)
        self._stream: Stream | None = None
        self._threads = [
            threading.Thread(target=self._ask_on, daemon=True), threading.Thread(target=self._listen, daemon=True)
        ]  # fmt: skip

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End; threads that wait for an answer end with the connection."""
        self._over.set()
        self._wake.set()
        stream = self._stream
        if stream is not None:
            stream.end()

    def want(self, wish: Wish) -> None:
        """Ask for this from now on, and at once when it is something else than before."""
        with self._lock:
            if wish == self._wish:
                return
            self._wish = wish
        self._wake.set()

    def seen(self) -> Seen:
        """The newest answers."""
        with self._lock:
            return replace(self._seen, events=tuple(self._events))

    # ------------------------------------------------------------------ in the threads

    def _ask_on(self) -> None:
        while not self._over.is_set():
            self._wake.clear()
            with self._lock:
                wish, before = self._wish, self._seen
            try:
                seen = self._asked(wish, before)
            except SchedulerError as error:
                seen = replace(before, trouble=complaint(error, self._connection.place))
            except Asked as fault:  # a token file that has become unreadable
                seen = replace(before, trouble=str(fault))
            except ValueError:  # the connection was closed under it
                return
            with self._lock:
                self._seen = seen
            self._told()
            self._wake.wait(self._interval_s)

    def _asked(self, wish: Wish, before: Seen) -> Seen:
        ask = self._connection.ask
        status = ask("GetStatus", api.GetStatusRequest())
        load = ask("GetLoad", api.GetLoadRequest())
        by_type = wish.view is View.ACCURACY
        accuracy = ask("GetAccuracy", api.GetAccuracyRequest(by_task_type=by_type, page_size=_TYPES))
        workers, waiting, worker, missing = before.workers, before.waiting, None, ""
        if wish.worker_id is not None:
            try:
                worker = ask("GetWorker", api.GetWorkerRequest(worker_id=wish.worker_id)).worker
            except SchedulerError as error:
                if error.reason != "WORKER_UNKNOWN":
                    raise
                missing = error.message
        elif wish.view is View.WORKERS:
            request = api.ListWorkersRequest(id_contains=wish.filter, order_by=wish.order_by, page_size=wish.rows)
            workers = ask("ListWorkers", request)
        elif wish.view is View.QUEUE:
            waiting = ask("ListWaiting", api.ListWaitingRequest(page_size=wish.rows))
        now = time.monotonic()
        return Seen(
            wish=wish,
            at=now,
            status=status,
            load=load,
            accuracy=accuracy,
            workers=workers,
            waiting=waiting,
            worker=worker,
            missing=missing,
            rates=rates(before, status, now),
        )

    def _listen(self) -> None:
        token = ""
        while not self._over.is_set():
            request = api.WatchEventsRequest(resume_token=token, replay_last=0 if token else _REPLAYED)
            try:
                self._stream = self._connection.stream("WatchEvents", request)
                for message in self._stream:
                    token = message.resume_token
                    if message.HasField("event"):
                        with self._lock:
                            self._events.append(message.event)
                        self._told()
            except SchedulerError as error:
                if error.reason == "RESUME_TOKEN_EXPIRED":
                    token = ""
                    continue
            except (Asked, ValueError):  # told by the other thread; the connection was closed
                pass
            self._over.wait(_PAUSE_S)


def rates(before: Seen, status: api.GetStatusResponse, now: float) -> dict[tuple[int, int], float]:
    """Decisions per second since the answer before, by source and cause; none when that was another run's."""
    same_run = before.status.server_incarnation == status.server_incarnation
    if before.at is None or now <= before.at or not same_run:
        return {}
    earlier = {(each.source, each.cause): each.count for each in before.status.decisions}
    passed = now - before.at
    return {
        (each.source, each.cause): max(0, each.count - earlier.get((each.source, each.cause), 0)) / passed
        for each in status.decisions
    }
