"""When predictor and scorer are not even asked."""

from collections import OrderedDict
from collections.abc import Iterator
from enum import IntEnum
from typing import Any, NamedTuple

from scheduler_server.fallback.settings import FallbackSettings

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
    """A circuit changed its state; `circuit` is a task type, or ALL."""

    circuit: str
    before: BreakerState
    after: BreakerState
    failures: int


class _Circuit:
    __slots__ = ("failures", "opened_at", "state")

    def __init__(self) -> None:
        self.state = BreakerState.CLOSED
        self.failures = 0  # in a row
        self.opened_at = 0.0


class CircuitBreaker:
    """Consecutive failures, counted for the whole server and per task type; any success resets both.

    Invariant: `calm` is True exactly when no circuit has a failure on record, which is the one thing that the hot path
    has to look at.
    """

    def __init__(self, settings: FallbackSettings) -> None:
        self._threshold = settings.failure_threshold
        self._retry_after_s = settings.retry_after_s
        self._circuits: OrderedDict[str, _Circuit] = OrderedDict()
        self.calm = True
        self.transitions: list[Transition] = []  # since they were last taken

    def blocks(self, task_type: str, now: float) -> str | None:
        """The circuit that keeps predictor and scorer from being asked, or None when they are to be asked.

        A circuit that has been open for long enough lets this one ask through, as its trial; the caller must answer
        with `succeeded` or `failed` before it asks again (decisions are synchronous, so it always does).
        """
        trials = []
        for name in (ALL, task_type):
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

    def succeeded(self, task_type: str) -> None:
        """Predictor and scorer answered well: close and forget."""
        for name in (ALL, task_type):
            circuit = self._circuits.pop(name, None)
            if circuit is not None and circuit.state != BreakerState.CLOSED:
                self._move(name, circuit, BreakerState.CLOSED)
        self.calm = not self._circuits

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
        """Each circuit with a failure on record: name, state, failures in a row, seconds to its trial."""
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
