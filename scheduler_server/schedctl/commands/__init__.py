"""What can be typed? One file each, loaded when chosen; a new command is a file with a `COMMAND`, and a line here."""

from importlib import import_module
from typing import Final

from scheduler_server.schedctl.work import Command

COMMANDS: Final = {
    "status": "how is the server: policy, stores, workers, what is degraded",
    "workers": "who is there: sorted, filtered by capability, health and room",
    "worker": "one worker, with what it runs",
    "task": "where a task is, why there, and when it starts or ends; -f follows",
    "queue": "what waits, why, and how good the expected starts are",
    "predictions": "how good predictions are, by task type",
    "events": "what happened lately; -f follows",
    "top": "a live screen: fleet, queue, decisions, accuracy, events",
    "check": "one line for monitoring; exit codes 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN",
    "health": "does it serve? exit code 0 if so",
    "cancel": "stop a task, waiting or running",
    "remove": "forget a worker; it may register again",
    "snapshot": "write a snapshot of what was learned, now",
    "deadletters": "what was set aside: list, retry, discard",
    "context": "which server is meant: list, use, set, remove",
    "completion": "completion for bash or zsh: source <(schedctl completion bash)",
}
"""What --help says of each, looking first, then steering."""


def load(name: str) -> Command:
    """The command of this name. Half of what it imports takes longer than most of what is asked of a shell at a Tab."""
    found: Command = import_module(f"{__name__}.{name}").COMMAND
    return found
