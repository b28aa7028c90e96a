"""What a command is given, and what a command is."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from google.protobuf.message import Message

from scheduler_server.schedctl.contexts import Place
from scheduler_server.schedctl.contexts import chosen as place_chosen
from scheduler_server.schedctl.paper import Paper

if TYPE_CHECKING:
    from scheduler_server.schedctl.connection import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where schedctl runs: its streams and its environment."""

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    environment: Mapping[str, str]


class Work:
    """One run of a command. The connection is opened when it is first asked for, so that some commands need none."""

    def __init__(self, given: argparse.Namespace, paper: Paper, surroundings: Surroundings) -> None:
        self.given, self.paper, self.surroundings = given, paper, surroundings
        self._connection: Connection | None = None
        self._place: Place | None = None

    @property
    def place(self) -> Place:
        """The server that is meant."""
        if self._place is None:
            self._place = place_chosen(vars(self.given), self.surroundings.environment)
        return self._place

    @property
    def connection(self) -> "Connection":
        """The connection to it."""
        if self._connection is None:
            from scheduler_server.schedctl.connection import Connection  # noqa: PLC0415 -- grpc is half the start-up

            self._connection = Connection(self.place)
        return self._connection

    def ask(self, method: str, request: Message) -> Any:
        """A unary method of AdminService."""
        return self.connection.ask(method, request)

    def note(self, line: str) -> None:
        """A remark beside the answer, on standard error."""
        self.surroundings.stderr.write(f"schedctl: {self.paper.safe(line)}\n")
        self.surroundings.stderr.flush()

    @property
    def json(self) -> bool:
        """Whether the answer is wanted as JSON."""
        return self.paper.form == "json"

    def close(self) -> None:
        """End what was opened."""
        if self._connection is not None:
            self._connection.close()


class Adds(Protocol):
    """Makes the parser of a step, with the options that all steps have."""

    def __call__(self, name: str, about: str) -> argparse.ArgumentParser:
        """Its name, and the line about it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command: its options, and what it does. `run` answers the exit code.

    A command with steps (`deadletters list`) adds them in `steps`; each sets `run` as a default of its parser.
    """

    run: Callable[[Work], int] | None = None
    options: Callable[[argparse.ArgumentParser], None] = lambda _: None
    steps: Callable[[Adds], None] | None = None
