"""Who this worker is: its name, what it registers, and which process and connection speaks."""

import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version

from scheduler_api.v1.worker_pb2 import SessionEpoch, WorkerRegistration
from scheduler_server.worker.calendar import Calendar
from scheduler_server.worker.running import duration

MAX_NAME_CHARS = 256
MAX_NAMES = 64
MAX_TASKS = 10_000
MAX_ACCEPT_S = 365 * 86_400


def software() -> str:
    """The name and version that operators see."""
    try:
        return f"scheduler-server-python/{version('scheduler-server')}"
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "scheduler-server-python/unknown"


def machine() -> str:
    """The name of the machine that this runs on."""
    return socket.gethostname()[:MAX_NAME_CHARS]


@dataclass(slots=True, kw_only=True)
class Profile:
    """What is registered. A change raises `revision`, and the next message carries the whole again."""

    worker_id: str = ""
    node: str = ""
    capabilities: Sequence[str] = ()
    specializations: Sequence[str] = ()
    worker_type: str = ""
    slots: int = 1
    prefetch: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    reports_outcomes: bool = True
    accepts_tasks: bool = False
    calendar: Calendar | None = None
    accept_within_s: float | None = None
    boot_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    revision: int = 1

    def __post_init__(self) -> None:
        self.check()

    @property
    def tracked(self) -> bool:
        """True when the server may count on hearing of every lease, so the running list is sent."""
        return self.accepts_tasks or self.reports_outcomes

    def change(
        self,
        *,
        capabilities: Sequence[str] | None = None,
        specializations: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        slots: int | None = None,
        accepts_tasks: bool | None = None,
        calendar: Calendar | None = None,
    ) -> None:
        """Replace what is given. A fault leaves everything as it was.

        Raises:
            ValueError: a value is outside of the contract's limits.
        """
        before = (
            self.capabilities, self.specializations, self.labels, self.slots, self.accepts_tasks, self.calendar
        )  # fmt: skip
        self.capabilities = self.capabilities if capabilities is None else capabilities
        self.specializations = self.specializations if specializations is None else specializations
        self.labels = self.labels if labels is None else labels
        self.slots = self.slots if slots is None else slots
        self.accepts_tasks = self.accepts_tasks if accepts_tasks is None else accepts_tasks
        self.calendar = self.calendar if calendar is None else calendar
        try:
            self.check()
        except ValueError:
            (
                self.capabilities, self.specializations, self.labels, self.slots, self.accepts_tasks, self.calendar
            ) = before  # fmt: skip
            raise
        self.revision += 1

    def registration(self) -> WorkerRegistration:
        """The whole of it, as the wire has it."""
        return WorkerRegistration(
            node=self.node,
            capabilities=self.capabilities,
            specializations=self.specializations,
            worker_type=self.worker_type,
            max_concurrent_tasks=self.slots,
            labels=self.labels,
            accepts_tasks=self.accepts_tasks,
            reports_outcomes=self.reports_outcomes,
            prefetch=self.prefetch,
            software=software(),
            takes_several=True,
            calendar=None if self.calendar is None else self.calendar.message(),
            accept_within=None if self.accept_within_s is None else duration(self.accept_within_s),
        )

    def epoch(self, connection: int) -> SessionEpoch:
        """Names the connection with that number."""
        return SessionEpoch(boot_id=self.boot_id, connection=connection)

    def check(self) -> None:
        """Find what the server would refuse while the program that wrote it is still on the screen."""
        for name in ("worker_id", "node", "worker_type"):
            if text := getattr(self, name):
                check_name(name, text)
        for name, values in (("capabilities", self.capabilities), ("specializations", self.specializations)):
            if isinstance(values, str):
                text = f"{name}: a list of names is needed, not one string ({values!r})"
                raise ValueError(text)  # noqa: TRY004 - one kind of error for whatever the server would refuse
            if len(values) > MAX_NAMES:
                raise ValueError(f"{name}: {len(values)} of them, the limit is {MAX_NAMES}")
            for value in values:
                check_name(name, value)
        if len(self.labels) > MAX_NAMES:
            raise ValueError(f"labels: {len(self.labels)} of them, the limit is {MAX_NAMES}")
        for key, value in self.labels.items():
            check_name("labels", key)
            check_name(f"labels[{key}]", value)
        if not 1 <= self.slots <= MAX_TASKS:
            raise ValueError(f"slots: {self.slots} is not within 1 to {MAX_TASKS}")
        if not 0 <= self.prefetch <= MAX_TASKS:
            raise ValueError(f"prefetch: {self.prefetch} is not within 0 to {MAX_TASKS}")
        if self.accept_within_s is not None and not 0 < self.accept_within_s <= MAX_ACCEPT_S:
            raise ValueError(f"accept_within: {self.accept_within_s} is not above 0 and at most a year, {MAX_ACCEPT_S}")
        if self.calendar is not None:
            for nth, hours in enumerate(self.calendar.message().hours):
                if hours.slots > self.slots:
                    raise ValueError(
                        f"calendar.hours[{nth}].slots: {hours.slots} is more than the {self.slots} there are"
                    )


def check_name(field_name: str, value: str) -> None:
    """Ids, names and labels are 1 to 256 characters without control characters.

    Raises:
        ValueError: this one is not.
    """
    if not 1 <= len(value) <= MAX_NAME_CHARS:
        raise ValueError(f"{field_name}: {len(value)} characters, 1 to {MAX_NAME_CHARS} are allowed")
    if any(ord(char) < 32 or 127 <= ord(char) < 160 for char in value):  # noqa: PLR2004 - C0, DEL, C1
        raise ValueError(f"{field_name}: {value!r} has a control character")
    if any(0xD800 <= ord(char) < 0xE000 for char in value):  # noqa: PLR2004 - surrogates
        raise ValueError(f"{field_name}: {value!r} is not Unicode text")
