"""When predictor and scorer are not even asked."""

from collections import OrderedDict
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

from scheduler_server.fallback.settings import FallbackSettings
from scheduler_server.model.decision import Cause

_MAX_TYPES = 1_024
"""Task types with failures remembered: one that fails is rare, and the least recently failed goes first."""

ALL = ""
"""The circuit of the whole server, among those by task type."""


class BreakerState(IntEnum):
    """CLOSED asks, OPEN does not, HALF_OPEN has its one trial under way."""

    CLOSED = 1
    OPEN = 2
    HALF_OPEN = 3


class Transition(NamedTuple):
    """A circuit changed its state; `circuit` is a task type, or ALL. `by_hand`: an operator did it."""

    circuit: str
    before: BreakerState
    after: BreakerState
    failures: int
    by_hand: bool = False


class Trip(NamedTuple):
    """A circuit that an operator opened: since when, and until when (monotonic seconds; infinity for good)."""

    opened_at: float
    until: float


class _Circuit:
    __slots__ = ("failures", "opened_at", "state")

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.failures = 0  # in a row
        self.opened_at = 0.0


class CircuitBreaker:
    """Consecutive failures, counted for the whole server and per task type; any success resets both.

    Operators open circuits too, and force the fallback, for all tasks or one type; both stand above what was counted
    and leave it as it is.

    Invariant: `calm` is True exactly when no circuit has a failure on record and no operator has a hand in it, which is
    the one thing that the hot path has to look at.
    """

    def __init__(self, settings: FallbackSettings) -> None:
        self.reconfigure(settings)
        self._circuits: OrderedDict[str, _Circuit] = OrderedDict()
        self.calm = True
        self.transitions: list[Transition] = []  # since they were last taken
        self.trips: dict[str, Trip] = {}
        self.forced: set[str] = set()

    def reconfigure(self, settings: FallbackSettings) -> None:
        """Open and try again by these limits from now on; what is open stays so until its trial."""
        self._threshold = settings.failure_threshold
        self._retry_after_s = settings.retry_after_s

    # ------------------------------------------------------------------ by hand

    def force(self, name: str, *, on: bool) -> None:
        """Let the fallback place all tasks, or those of a type; or no longer."""
        if on:
            self.forced.add(name)
        else:
            self.forced.discard(name)
        self._calm()

    def trip(self, name: str, opened_at: float, until: float) -> None:
        """Open a circuit by hand: it makes no trial until then. One that is tripped stays open, until then."""
        if name not in self.trips:
            self._tell_hand(name, self._state(name), BreakerState.OPEN)
        self.trips[name] = Trip(opened_at, until)
        self.calm = False

    def untrip(self, name: str) -> None:
        """Let a circuit that was tripped be what it was, or has become."""
        if self.trips.pop(name, None) is not None:
            self._tell_hand(name, BreakerState.OPEN, self._state(name))
            self._calm()

    def reset(self, name: str) -> bool:
        """Close a circuit that failures opened, and forget them; was it not closed? A trip is not ended by this."""
        circuit = self._circuits.pop(name, None)
        self._calm()
        if circuit is None or circuit.state == BreakerState.CLOSED:
            return False
        if name not in self.trips:
            self._tell_hand(name, circuit.state, BreakerState.CLOSED)
        return True

    def circuits(self) -> list[str]:
        """Those with a failure on record, or tripped."""
        return list({**dict.fromkeys(self._circuits), **dict.fromkeys(self.trips)})

    def _state(self, name: str) -> BreakerState:
        circuit = self._circuits.get(name)
        return BreakerState.CLOSED if circuit is None else circuit.state

    def _tell_hand(self, name: str, before: BreakerState, after: BreakerState) -> None:
        if before is not after:
            self.transitions.append(Transition(name, before, after, self._failures(name), by_hand=True))

    def _failures(self, name: str) -> int:
        circuit = self._circuits.get(name)
        return 0 if circuit is None else circuit.failures

    def _calm(self) -> None:
        self.calm = not (self._circuits or self.trips or self.forced)

    # ------------------------------------------------------------------ whether to ask

    def keeps_out(self, task_type: str, now: float) -> Cause | None:
        """Why predictor and scorer are not to be asked for such a task; None: they are, as a trial if need be."""
        forced = self.forced
        if forced and (ALL in forced or task_type in forced):
            return Cause.FORCED_FALLBACK
        return _cause(self.blocks(task_type, now))

    def would_keep_out(self, task_type: str, now: float) -> Cause | None:
        """The same answer, and no trial begins."""
        forced = self.forced
        if forced and (ALL in forced or task_type in forced):
            return Cause.FORCED_FALLBACK
        return _cause(self.would_block(task_type, now))

    def blocks(self, task_type: str, now: float) -> str | None:
        """The circuit that keeps predictor and scorer from being asked, or None when they are to be asked.

        A circuit that has been open for long enough lets this one ask through, as its trial; the caller must answer
        with `succeeded` or `failed` before it asks again (decisions are synchronous, so it always does).
        """
        trials = []
        trips = self.trips
        for name in (ALL, task_type):
            if trips and name in trips and now < trips[name].until:
                return name
            circuit = self._circuits.get(name)
            if circuit is None or circuit.state == BreakerState.CLOSED:
                continue
            if circuit.state == BreakerState.OPEN and now - circuit.opened_at < self._retry_after_s:
                return name
            trials.append((name, circuit))
        for name, circuit in trials:
            if circuit.state == BreakerState.OPEN:
                self._move(name, circuit, BreakerState.HALF_OPEN)
        return None

    def would_block(self, task_type: str, now: float) -> str | None:
        """The same answer, and no trial begins."""
        for name in (ALL, task_type):
            if self.trial_in_s(name, now) > 0.0:
                return name
        return None

    def trial_in_s(self, name: str, now: float) -> float:
        """Seconds until a circuit that is open lets one through; 0 where it is not open, or does now.

        Infinity while it is tripped for good: it makes no trial.
        """
        trip = self.trips.get(name)
        if trip is not None and now < trip.until:
            return trip.until - now
        circuit = self._circuits.get(name)
        if circuit is None or circuit.state != BreakerState.OPEN:
            return 0.0
        open_for = now - circuit.opened_at
        return self._retry_after_s - open_for if open_for < self._retry_after_s else 0.0

    def succeeded(self, task_type: str) -> None:
        """Predictor and scorer answered well: close and forget."""
        for name in (ALL, task_type):
            circuit = self._circuits.pop(name, None)
            if circuit is not None and circuit.state != BreakerState.CLOSED:
                self._move(name, circuit, BreakerState.CLOSED)
        self._calm()

    def failed(self, task_type: str, now: float) -> None:
        """Predictor or scorer failed."""
        self.calm = False
        for name in (ALL, task_type):
            circuit = self._circuits.get(name)
            if circuit is None:
                circuit = self._circuits[name] = _Circuit()
                if len(self._circuits) > _MAX_TYPES:
                    self._forget_one()
            circuit.failures += 1
            self._circuits.move_to_end(name)
            if circuit.state == BreakerState.HALF_OPEN or (
                circuit.state == BreakerState.CLOSED and circuit.failures >= self._threshold
            ):
                circuit.opened_at = now
                self._move(name, circuit, BreakerState.OPEN)

    def _forget_one(self) -> None:
        for name in self._circuits:
            if name != ALL:
                del self._circuits[name]
                return

    def _move(self, name: str, circuit: _Circuit, after: BreakerState) -> None:
        self.transitions.append(Transition(name, circuit.state, after, circuit.failures))
        circuit.state = after

    def take_transitions(self) -> list[Transition]:
        """Changes since this was last asked."""
        taken, self.transitions = self.transitions, []
        return taken

    def states(self, now: float) -> list[tuple[str, BreakerState, int, float]]:
        """Each circuit that is not as new: name, state, failures in a row, seconds to its trial.

        One that is tripped is open, and has no trial: 0.
        """
        trips = self.trips
        if trips:
            counted = [each for each in self._counted(now) if each[0] not in trips]
            return [*((name, BreakerState.OPEN, self._failures(name), 0.0) for name in trips), *counted]
        return self._counted(now)

    def _counted(self, now: float) -> list[tuple[str, BreakerState, int, float]]:
        return [
            (
                name,
                circuit.state,
                circuit.failures,
                max(0.0, circuit.opened_at + self._retry_after_s - now) if circuit.state == BreakerState.OPEN else 0.0,
            )
            for name, circuit in self._circuits.items()
        ]

    def state(self, now: float) -> Iterator[dict[str, Any]]:
        """What is to survive a restart: ages, not instants, because the monotonic clock starts anew."""
        for name, circuit in list(self._circuits.items()):
            yield {
                "circuit": name,
                "state": int(circuit.state),
                "failures": circuit.failures,
                "open_for_s": now - circuit.opened_at if circuit.state != BreakerState.CLOSED else 0.0,
            }

    def restore(self, record: dict[str, Any], now: float) -> None:
        """Take one circuit back; ValueError where it is none. A trial that was under way is open again."""
        name, state, failures, open_for = (
            record.get("circuit"), record.get("state"), record.get("failures"), record.get("open_for_s")
        )  # fmt: skip
        if not (
            isinstance(name, str)
            and isinstance(state, int)
            and state in set(BreakerState)
            and isinstance(failures, int)
            and failures > 0
            and isinstance(open_for, (int, float))
            and open_for >= 0
        ):
            raise ValueError(f"not a breaker record: {record!r}")
        circuit = _Circuit()
        circuit.failures = failures
        if state != BreakerState.CLOSED:
            circuit.state = BreakerState.OPEN
            circuit.opened_at = now - open_for
        self._circuits[name] = circuit
        self.calm = False


def _cause(circuit: str | None) -> Cause | None:
    """What a decision says of a circuit that is open."""
    if circuit is None:
        return None
    return Cause.BREAKER_OPEN if circuit == ALL else Cause.TYPE_BREAKER_OPEN
