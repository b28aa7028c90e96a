"""A real core with a shadow beside it, on a hand-moved clock."""

from random import Random
from typing import Any

from scheduler_server.assignment.effects import Effect, Ended, Granted
from scheduler_server.assignment.events import Event
from scheduler_server.model.clock import Now
from scheduler_server.model.decision import Decision
from scheduler_server.shadow.comparing import Comparison, compare
from scheduler_server.shadow.observing import Shadow
from scheduler_server.shadow.settings import ShadowSettings
from tests.unit.assignment.rig import Rig


class House(Rig):
    """A rig whose effects are carried to whoever follows, as the shell does."""

    def __init__(self, *policies: str, kept: int = 20_000, seed: int = 1, **rig: Any) -> None:
        super().__init__(**rig)
        self.changes: list[Any] = []
        self.entries: list[Any] = []
        self.reads = 0.0
        self.read_s = 0.0
        self.shell: Any = _Shell(self)
        self.settings_of = ShadowSettings(policies=policies, kept=kept)
        self.shadow = Shadow(
            self.shell, self.settings_of, put=self._put, random=Random(seed), stopwatch=self._stopwatch
        )

    def _put(self, entry: Any) -> bool:
        self.entries.append(entry)
        return True

    def _stopwatch(self) -> float:
        self.reads += self.read_s
        return self.reads

    def give(self, event: Event) -> list[Effect]:
        """One event, and its leases told."""
        out = super().give(event)
        for effect in out:
            if isinstance(effect, (Granted, Ended)):
                for changes in list(self.changes):
                    changes.of_lease(effect.record)
        return out

    def look(self) -> None:
        """Let the shadow look at all that waits."""
        self.shadow.look(1e9)

    def placed(self, task_id: str | None = None, **task: Any) -> Decision:
        """A task that is placed, and looked at."""
        decision = self.place(task_id, **task)
        self.look()
        return decision

    def figures(self, policy: str) -> Comparison:
        """What is known of a policy."""
        self.look()
        return compare(policy, self.shadow.rows(policy))


class _Shell:
    def __init__(self, house: House) -> None:
        self.core = house.core
        self.changes = house.changes
        self._house = house

    def now(self) -> Now:
        return self._house.now
