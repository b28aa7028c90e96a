"""What can be typed? One file each, loaded when chosen; a new command is a file with a `COMMAND`, and a line here."""

from importlib import import_module
from typing import Final

from scheduler_server.schedctl.work import Command

COMMANDS: Final = {
    "status": "how is the server: policy, stores, workers, what is degraded",
    "workers": "who is there: sorted, filtered by capability, health and room",
    "worker": "one worker, with what it runs",
    "drains": "which workers are to be emptied, by whose wish, and how far that is",
    "task": "where a task is, why there, and when it starts or ends; -f follows",
    "explain": "why is a task there, why does it wait, or where would one go",
    "decisions": "which task went where, why, and what came of it; -f follows",
    "queue": "what waits, why, in which order, and how good the expected starts are",
    "demand": "how many slots would serve what waits within a target wait",
    "predictions": "how good predictions are, by task type",
    "shadow": "how other policies would have done beside the live one",
    "alerts": "what is wrong, since when, and what to do",
    "events": "what happened lately; -f follows",
    "top": "a live screen: fleet, queue, decisions, accuracy, events",
    "check": "one line for monitoring; exit codes 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN",
    "health": "does it serve? exit code 0 if so",
    "bench": "how much does the server take: real Assign calls for a while, beside calls that do nothing",
    "cancel": "stop a task, waiting or running",
    "cordon": "give a worker no new tasks; what it has goes on",
    "uncordon": "let a cordoned worker have tasks again",
    "calendar": "when a worker works: show, set, clear",
    "worker drain": "empty workers: no new tasks, what is not started goes back, what runs finishes",
    "drain": "one drain: show, watch, cancel",
    "reinstate": "let a worker in that was ejected for failing",
    "remove": "forget a worker; it may register again",
    "priority": "give a waiting task another priority",
    "rebalance": "offer free slots to what waits, and move staged tasks that would start sooner elsewhere",
    "pauses": "start no waiting tasks of a scope: list, add, end",
    "breaker": "circuit breakers by hand: trip, reset",
    "fallback": "place without prediction and score: force, release",
    "learned": "what the predictor knows, by key: list, forget",
    "snapshot": "write a snapshot of what was learned, now",
    "deadletters": "what was set aside: list, retry, discard",
    "override": "exceptions to the policy: create (pin, exclude, cap, boost), list, delete",
    "config": "settings: get, set, diff, history, rollback",
    "log-level": "log more, or less, for a while",
    "audit": "who changed what, from where, and why",
    "context": "which server is meant: list, use, set, remove",
    "completion": "completion for bash or zsh: source <(schedctl completion bash)",
}
"""What --help says of each, looking first, then steering."""


_MODULE: Final = str.maketrans("- ", "__")


def load(name: str) -> Command:
    """The command of this name. Half of what it imports takes longer than most of what is asked of a shell at a Tab."""
    found: Command = import_module(f"{__name__}.{name.translate(_MODULE)}").COMMAND
    return found
