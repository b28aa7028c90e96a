"""Which workers may a caller be, and how many different names may it use? Asked where a message has been read."""

import asyncio
import time
from collections.abc import Callable

from scheduler_server.access.accounts import Accounts
from scheduler_server.access.caller import CALLER, Caller
from scheduler_server.access.roles import Role
from scheduler_server.assignment.core import Scheduler
from scheduler_server.assignment.events import Connect, Submit
from scheduler_server.model.fleet_event import FleetEvent, FleetEventKind
from scheduler_server.model.refusal import Refusal
from scheduler_server.model.worker import Registration
from scheduler_server.rpc.access_callers import not_yours
from scheduler_server.rpc.access_guard import Guard
from scheduler_server.rpc.errors import Refused

_SCHEDULE = "scheduler_api.v1.ScheduleService/Schedule"
_REPORT = "scheduler_api.v1.ScheduleService/ReportOutcome"


class Names:
    """For the event loop's thread. Everything is about the caller of the running task (`CALLER`)."""

    def __init__(
        self,
        core: Scheduler,
        guard: Guard,
        accounts: Accounts | None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._core = core
        self._guard = guard
        self._accounts = accounts
        self._monotonic = monotonic

    # ------------------------------------------------------------------ tasks

    def submit(self, event: Submit) -> Refusal | None:
        """Why the task's names are too many for its caller; None: they are not."""
        account = CALLER.get().account
        if account is None:
            return None
        task, now = event.task, self._monotonic()
        no = account.names("task_types", (task.task_type,), now)
        if no is None and task.tenant:
            no = account.names("tenants", (task.tenant,), now)
        if no is None and task.required:
            no = account.names("capabilities", task.required, now)
        if no is None and task.labels:
            no = account.names("labels", [f"{key}={value}" for key, value in task.labels], now)
        return no

    def report(self, lease_id: str) -> Refusal | None:
        """Why the caller may not say how this lease ended; None: it may. A worker speaks for itself only."""
        caller = CALLER.get()
        roles = caller.roles
        if Role.WORKER not in roles or Role.PRODUCER in roles or Role.ADMIN in roles:
            return None
        record = self._core.ledger.leases.get(lease_id)
        if record is None or caller.may_be(record.decision.worker_id):
            return None
        no = not_yours(caller, record.decision.worker_id)
        self._guard.tell(caller, _REPORT, no, None)
        return no

    # ------------------------------------------------------------------ workers

    def connect(self, event: Connect, handler: "asyncio.Task[object]") -> None:
        """Before a worker's stream is welcomed. Raises Refused where the caller may not be this worker."""
        caller = CALLER.get()
        if not (caller.may_be(event.worker_id) if event.worker_id else caller.may_be_any()):
            no = not_yours(caller, event.worker_id)
            self._guard.tell(caller, _SCHEDULE, no, None)
            raise Refused(no)
        if caller.account is not None and event.worker_id not in self._core.fleet.records:
            full = caller.account.room_for_worker()
            if full is not None:
                raise Refused(full)
        opened = self._guard.opened(handler)
        if opened is not None:
            opened.worker_id = event.worker_id
        if event.registration is not None:
            self.registration(event.registration)

    def registration(self, registration: Registration) -> None:
        """Before a registration counts. Raises Refused where it has too many names."""
        caller = CALLER.get()
        if caller.account is None:
            return
        now = self._monotonic()
        no = caller.account.names("capabilities", registration.capabilities, now)
        if no is None:
            no = caller.account.names("labels", [f"{key}={value}" for key, value in registration.labels], now)
        if no is not None:
            raise Refused(no)

    def heard(self, event: FleetEvent) -> None:
        """A listener of the fleet's events: whose worker is it? A stream's are made while its caller is known."""
        if self._accounts is None:
            return
        if event.kind is FleetEventKind.WORKER_REGISTERED:
            caller: Caller = CALLER.get()
            if caller.account is not None:
                self._accounts.registered(event.worker_id, caller.account)
        elif event.kind is FleetEventKind.WORKER_REMOVED:
            self._accounts.removed(event.worker_id)
