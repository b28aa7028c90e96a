"""The event log: a JSON object per line, written by every process of a campaign into one file.

Instants are CLOCK_MONOTONIC, which all processes of a machine share. A line is one write to a file that is open for
appending, so that a process killed in between leaves whole lines only.

    rules       patience_s claim_after_s restart_grace_s max_workers_lost
    worker      process worker server slots capabilities            a process of a worker starts
    serving     process                                             a server serves, perhaps again
    offered     task                                                it is about to be added to the stream, or again
    accepted    task policy required max_attempts                   Redis has answered that it has the task
    fault       number kind target                                  from here on; `lifted` where it is over by itself
    lifted      number
    killed      process                                             SIGKILL is about to be sent, or it kills itself
    stopped     process      continued  process                     SIGSTOP, SIGCONT
    removing    process      removed    process                     an operator removes it; answered; or `not_removed`
    said        server kind worker detail [task]                    an event that the server published
    handed      process lease task attempt required excluded        a worker was handed a task
    began       process lease task attempt      ended  process lease task stopped
    closed      process lease                                       the worker has let go of a lease, however
    drained     process                                             the server has acknowledged that it drains
    welcome     process                                             a session of it begins
    goodbye     process reason                                      the server's last word to it
    letter      task reason detail workers                          set aside
    left        pending unread waiting leases untold                what there was when all should have been over
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One line; `about` is everything but the instant and the kind."""

    at: float
    what: str
    about: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.about[name]

    def __str__(self) -> str:
        said = " ".join(f"{name}={value}" for name, value in self.about.items())
        return f"{self.at:.3f} {self.what} {said}"


class EventLog:
    """Writes lines. Safe for threads: a line is one write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, what: str, *, at: float | None = None, **about: Any) -> float:
        """Write an event of this moment, or of the one that is told; the moment."""
        at = time.monotonic() if at is None else at
        os.write(self._file, (json.dumps({"at": at, "what": what, **about}) + "\n").encode())
        return at

    def close(self) -> None:
        """Write nothing more."""
        os.close(self._file)


def read(path: Path) -> list[Event]:
    """Every event, by its instant; of one instant in the order of the file."""
    events = []
    with path.open() as lines:
        for line in lines:
            about = json.loads(line)
            events.append(Event(about.pop("at"), about.pop("what"), about))
    return sorted(events, key=lambda event: event.at)
