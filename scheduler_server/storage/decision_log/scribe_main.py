"""The process that writes the decision log, so that the server's interpreter does not: `python -m` this module.

The server starts it, and it ends with the server: when its standard input ends, which a kill -9 of the server does too,
after writing what it had received in whole. Signals that mean the whole group or container are the server's to answer:
its drain ends this process when all is written. It comes after the server wherever both want a processor.
"""

import contextlib
import gc
import importlib
import os
import signal
from typing import Any, BinaryIO

from scheduler_server.storage.decision_log.frames import receive, receive_bytes, send
from scheduler_server.storage.decision_log.packing import Parcel
from scheduler_server.storage.decision_log.port import DecisionLog, LogError, LogFault
from scheduler_server.storage.decision_log.scribe import Scribe

NICE = 5
"""A quarter of a processor beside one busy thread, which is what 10,000 entries a second need, and all of it where
nobody else wants it. With 10 it would be a tenth, and a server that is saturated for long would lose history."""

_BACKENDS = {
    "sqlite": ("scheduler_server.storage.decision_log.sqlite_log", "SqliteLog"),
    "clickhouse": ("scheduler_server.storage.decision_log.clickhouse_log", "ClickHouseLog"),
}


def main() -> None:
    """Obey until the server's side ends."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    _come_second()
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever prints must not land in an answer
    with os.fdopen(os.dup(0), "rb", buffering=1 << 16) as questions:
        hello = receive(questions)
        if hello is None:
            return
        log = _log(*hello)
        gc.disable()  # rows are no cycles, and looking for some costs as much as making them
        gc.freeze()
        _say(answers, (False, "ready"))
        with contextlib.suppress(OSError):  # the server went without having read an answer
            _obey(questions, answers, Scribe(log, alone=True))
        log.close()


def _come_second() -> None:
    with contextlib.suppress(OSError):
        os.nice(NICE)
    with contextlib.suppress(OSError, AttributeError):  # waking up, it does not interrupt the server (Linux)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _log(backend: str, recipe: bytes) -> DecisionLog:
    module, name = _BACKENDS[backend]
    made: DecisionLog = getattr(importlib.import_module(module), name).of_recipe(recipe)
    return made


def _obey(questions: BinaryIO, answers: int, scribe: Scribe) -> None:
    while (question := receive(questions)) is not None:
        verb, *given = question
        if verb == "write":
            slices = [receive_bytes(questions) for _ in range(given.pop())]
            if None in slices:
                return  # the server ended while it sent: the parcel is not whole
            given.append(slices)
        try:
            answer: tuple[Any, ...] = (False, _answer(scribe, verb, given))
        except Exception as error:  # noqa: BLE001 -- the server decides what becomes of it
            fault = error.reason if isinstance(error, LogError) else LogFault.IO
            answer = (True, fault.value, _text(str(error) or type(error).__name__))
        _say(answers, answer)


def _say(answers: int, answer: tuple[Any, ...]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more; what was asked before is done all the same
        send(answers, answer)


def _answer(scribe: Scribe, verb: str, given: list[Any]) -> Any:
    if verb == "write":
        told, refused, why = scribe.write(Parcel(*given))
        return (list(map(_text, told)), list(refused.items()), _text(why))
    if verb == "prepare":
        return (list(map(_text, scribe.prepare())),)
    more = scribe.tidy(*given)
    gc.collect()  # a driver's errors may be cycles
    return more


def _text(told: str) -> str:
    """What can be sent: the name of a file may have what is no text."""
    return told.encode(errors="backslashreplace").decode()


if __name__ == "__main__":
    main()
