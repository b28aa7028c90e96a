"""Everything known of one worker."""

from math import inf
from typing import TYPE_CHECKING, Any

from scheduler_server.model.decision import Rejection
from scheduler_server.model.worker import Accounting, Epoch, Health, Intent, Registration

if TYPE_CHECKING:
    from scheduler_server.registry.pool import Pool
    from scheduler_server.registry.timetable import Timetable


class _Hot:
    """The fields that a decision reads and writes, side by side.

    CPython lays out a class's slots together, and in a large fleet each cache line of a worker that nobody has looked
    at for a while costs as much as the arithmetic on it.
    """

    __slots__ = (
        "accounting", "barred", "free", "freshness", "health", "last_used", "leads", "leases", "load", "load_now",
        "occupied", "occupied_at_sample", "pool", "pos", "prefetch", "row", "session", "slots", "speed", "status",
        "worker_id",
    )  # fmt: skip


class WorkerRecord(_Hot):
    """One worker: who it is, what it last said, what was promised of it, and where it stands in the index.

    A slotted object, not a row of arrays: an event reads and writes a dozen fields of one worker, and an attribute
    costs a quarter of an array element. What is scanned over the whole fleet (age band, key) has a numpy column
    besides, in the fleet and in the pool.

    Invariants, kept by `Fleet.refresh` and `capacity`:
      free = slots - occupied;  status is CANDIDATE exactly when its key in the pool is finite or the scorer failed;
      for a tracked worker occupied = len(leases) + background.
    """

    __slots__ = (
        "average", "background", "boots", "change_at", "completed", "connected", "cordoned", "counted_background",
        "cpu", "deaf", "degraded_by_load", "depth_area", "depth_departures", "draining", "dropped", "ejected",
        "epoch", "failed", "full_prefetch", "full_slots", "grants_since_sample", "health_score",
        "heartbeat_interval_s", "heartbeats", "intent", "last_seen", "last_seen_wall", "lateness", "leaves_at",
        "log_speed", "lost_at", "mean_depth_prior", "memory", "off_shift", "offers", "older_in_a_row", "probe",
        "probe_at", "probed_wall", "queue_depth", "recent_grants", "registered_at", "registration", "release_at",
        "release_watched", "repairs", "sampled_at", "sequence", "shift_at", "shift_over", "slot_limits",
        "specializations", "speed_group", "speed_samples", "stopping", "suspicion", "timestamp_ms", "timetable",
        "unknown_listed", "unsettled_since",
    )  # fmt: skip

    def __init__(self, worker_id: str, registration: Registration, slots: int) -> None:  # noqa: PLR0915 -- one per field
        # Who it is.
        self.worker_id = worker_id
        self.registration = registration
        self.specializations: frozenset[str] = frozenset(registration.specializations)
        self.slots = self.full_slots = slots  # that may be used now, and that it has; see allowance.py
        self.full_prefetch = 0  # likewise
        self.slot_limits: dict[str, int] = NO_LIMITS  # replaced, never changed
        self.registered_at = 0.0  # wall seconds
        # Its session. `boots` holds the boot ids that were superseded: their processes do not come back.
        self.session: int | None = None
        self.epoch = Epoch("", 0)
        self.boots: tuple[str, ...] = ()
        self.connected = False
        self.heartbeat_interval_s = 0.0
        # Its last sample.
        self.cpu = 0.0
        self.memory = 0.0
        self.load = 0.0  # of the sample
        self.queue_depth = 0
        self.timestamp_ms = 0
        self.sequence = 0
        self.intent = Intent.WORK
        self.last_seen = 0.0  # monotonic seconds
        self.last_seen_wall = 0.0
        self.heartbeats = 0
        self.dropped = 0  # heartbeats out of order
        self.older_in_a_row = 0
        # What was promised of it: leases by id, oldest first.
        self.accounting = Accounting.SAMPLED
        self.leases: dict[str, Any] = {}
        self.prefetch = 0  # tasks that it takes beyond its slots
        self.offers = 0  # leases handed over and not acknowledged
        self.unsettled_since = 0.0  # monotonic seconds; since then there may be leases of an earlier session; 0: none
        self.repairs = 0  # leases that the ledger had and the worker had not, mended
        self.lateness: Any = None  # how late its samples are, once one is in doubt; see assignment/lateness.py
        self.unknown_listed = 0  # leases that it lists and the ledger does not know, now
        self.background = 0  # what queue_depth counts beyond its running list, and `stopping`
        self.stopping = 0  # leases cancelled since its last sample, which it had and is about to stop
        self.counted_background = 0  # what the fleet's sum holds of it
        self.occupied = 0
        self.occupied_at_sample: float = 0  # what `load` goes with; an average where samples are late
        # Sampled accounting; see capacity.py.
        self.sampled_at = 0.0
        self.release_at = 0.0  # 0: nothing pending
        self.release_watched = 0.0  # when the core looks at it; never later than release_at
        self.depth_area = 0.0
        self.depth_departures = 0.0
        self.grants_since_sample = 0
        self.recent_grants: list[float] = []
        self.mean_depth_prior = 0.0
        # What it did.
        self.completed = 0
        self.failed = 0
        self.average = 0.0  # milliseconds, of successes; 0: none yet
        self.log_speed = 0.0
        self.speed_samples = 0
        self.speed_group = 0
        self.speed = 1.0
        # Where it stands.
        self.health = Health.HEALTHY
        self.leads = True  # is it in the upper tier: healthy, and not far slower than the fleet?
        self.degraded_by_load = False
        self.probe = ""  # the nonce that is under way
        self.probe_at = 0.0  # monotonic seconds, when the last was sent
        self.probed_wall = 0.0  # when one came back
        self.deaf = False  # one did not
        self.lost_at = 0.0  # the monotonic second watched, at which it is lost if it stays silent; 0: none
        self.freshness = 1.0
        self.health_score = 1.0
        self.cordoned = False
        self.ejected = False
        self.suspicion: Any = None  # what speaks against it, if anything; see ejection.py
        self.draining = False
        # Its hours; see assignment/shifts.py. Instants are wall seconds.
        self.timetable: Timetable | None = None  # None: it works always
        self.off_shift = False
        self.change_at = inf  # when its slots change next by its hours
        self.shift_at = inf  # when it is looked at for that: then, or a moment before
        self.leaves_at = inf  # when its shift ends; minus infinity while it is off
        self.shift_over = False  # it went off shift by the clock: what it has not started goes back
        self.barred = Rejection.CANDIDATE  # what keeps it out whatever its slots
        self.status = Rejection.CANDIDATE
        self.free = slots
        self.load_now = 0.0
        self.last_used = 0  # grants of the fleet at its last one; for ties
        # Where it is found.
        self.row = -1
        self.pool: Pool
        self.pos = -1

    @property
    def success_rate(self) -> float:
        """Share of its completions that succeeded; 1 while it has none."""
        ended = self.completed + self.failed
        return self.completed / ended if ended else 1.0

    @property
    def average_ms(self) -> float:
        """Average duration of its successes, milliseconds; the default of 5 s while it has none."""
        return self.average or DEFAULT_AVERAGE_MS


NO_LIMITS: dict[str, int] = {}

DEFAULT_AVERAGE_MS = 5_000.0  # the specification's duration of the unknown
