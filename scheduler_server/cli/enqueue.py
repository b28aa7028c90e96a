"""`scheduler-server enqueue`: put tasks into the stream that servers take them from."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, TextIO

from google.protobuf import json_format

from scheduler_api.v1 import task_pb2
from scheduler_server.client.stream import DEFAULT_STREAM
from scheduler_server.config.text import printable
from scheduler_server.storage.redis_connect import FAILURES, connect
from scheduler_server.storage.redis_errors import explain
from scheduler_server.storage.redis_url import RedisAddress, RedisUrlError, parse

_URL_VARIABLE = "SCHEDULER_DISPATCH_URL"
_FAILED, _ASKED_WRONGLY = 1, 2
_TIMEOUT_S = 5.0
_AT_ONCE = 500
_LONGEST_LINE = 1024 * 1024

_ABOUT = """\
Puts one task into the stream, or many: --file reads a task per line, each a JSON object with the fields of
scheduler_api.v1.Task (payload in base64). Fields without an option of their own are given by --set NAME=VALUE, VALUE in
JSON. Prints the id of each entry. What is wrong with a task is found by the server, which sets it aside; only what
cannot be written at all is refused here.
"""


class _Wrong(Exception):
    """What was asked for cannot be done; one line."""


def main(argv: Sequence[str]) -> int:
    """0 when all are in, 1 when Redis did not take them, 2 when asked wrongly."""
    given = _parser().parse_args(argv)
    try:
        address = parse(given.url)
    except RedisUrlError as error:
        return _refuse(f"--url (or {_URL_VARIABLE}) {error}", _ASKED_WRONGLY)
    try:
        _add_all(given, address, sys.stdin, sys.stdout)
    except _Wrong as error:
        return _refuse(str(error), _ASKED_WRONGLY)
    except FAILURES as error:
        line = f"{address.shown}: {explain(error, address, _TIMEOUT_S, {'WRONGTYPE': _WRONG_TYPE})}"
        return _refuse(line, _FAILED)
    return 0


_WRONG_TYPE = "the key holds something else than a stream: is --stream right?"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scheduler-server enqueue", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    url = os.environ.get(_URL_VARIABLE, "redis://127.0.0.1:6379")
    parser.add_argument("--url", default=url, help=f"the Redis; default {_URL_VARIABLE}, or redis://127.0.0.1:6379")
    parser.add_argument("--stream", default=DEFAULT_STREAM, help="the stream (default %(default)s)")
    parser.add_argument("--task-id", help="the task's id; required without --file")
    parser.add_argument("--type", dest="task_type", help="its type; required without --file")
    parser.add_argument("--tenant")
    parser.add_argument("--priority", type=float)
    parser.add_argument("--payload", help="its payload, as text; @PATH reads a file, @- standard input")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="any other field")
    parser.add_argument("--file", metavar="PATH", help="a task per line; - reads standard input")
    return parser


def _add_all(given: argparse.Namespace, address: RedisAddress, source: TextIO, out: TextIO) -> None:
    tasks = _of_file(given, source) if given.file else iter([_of_options(given)])
    client: Any = None
    batch: list[bytes] = []
    for task in tasks:
        batch.append(task.SerializeToString())
        if len(batch) < _AT_ONCE:
            continue
        client = client or connect(address, _TIMEOUT_S)
        _add(client, given.stream, batch, out)
        batch = []
    if batch:
        client = client or connect(address, _TIMEOUT_S)
        _add(client, given.stream, batch, out)
    if client is not None:
        client.close()


def _add(client: Any, stream: str, tasks: list[bytes], out: TextIO) -> None:
    pipeline = client.pipeline(transaction=False)
    for task in tasks:
        pipeline.xadd(stream, {"task": task})
    out.writelines(f"{entry_id.decode()}\n" for entry_id in pipeline.execute())
    out.flush()


def _of_options(given: argparse.Namespace) -> task_pb2.Task:
    if not (given.task_id and given.task_type):
        raise _Wrong("--task-id and --type are required, or --file")
    told: dict[str, Any] = {"task_id": given.task_id, "task_type": given.task_type}
    if given.tenant is not None:
        told["tenant"] = given.tenant
    if given.priority is not None:
        told["priority"] = given.priority
    for word in given.set:
        name, equals, value = word.partition("=")
        if not equals:
            raise _Wrong(f"--set {word!r}: must be NAME=VALUE")
        try:
            told[name] = json.loads(value)
        except ValueError:
            told[name] = value  # a word, an instant or a span needs no quotes
    task = _task(told, "the options")
    if given.payload is not None:
        task.payload = _payload(given.payload)
    return task


def _payload(text: str) -> bytes:
    if not text.startswith("@"):
        return text.encode()
    try:
        if text == "@-":
            return sys.stdin.buffer.read()
        with open(text[1:], "rb") as file:  # noqa: PTH123 -- a path as it was given, not one of ours
            return file.read()
    except OSError as error:
        raise _Wrong(f"--payload {text}: {error.strerror}") from None


def _of_file(given: argparse.Namespace, source: TextIO) -> Iterator[task_pb2.Task]:
    path: str = given.file
    others = [option for option, value in _of_one(given) if value is not None and value != []]
    if others:
        raise _Wrong(f"--file: has whole tasks; not with {', '.join(others)}")
    try:
        file = source if path == "-" else open(path, encoding="utf-8")  # noqa: PTH123, SIM115 -- closed below
    except OSError as error:
        raise _Wrong(f"--file {path}: {error.strerror}") from None
    with closing(file):
        number = 0
        while line := _line(file, path):
            number += 1
            if len(line) > _LONGEST_LINE:
                raise _Wrong(f"{path}, line {number}: is longer than {_LONGEST_LINE:,} characters")
            if line.strip():
                try:
                    told = json.loads(line)
                except (ValueError, RecursionError):
                    raise _Wrong(f"{path}, line {number}: is no JSON") from None
                yield _task(told, f"{path}, line {number}")


def _of_one(given: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """The options that are about one task."""
    yield "--task-id", given.task_id
    yield "--type", given.task_type
    yield "--tenant", given.tenant
    yield "--priority", given.priority
    yield "--payload", given.payload
    yield "--set", given.set


def _line(file: TextIO, path: str) -> str:
    try:
        return file.readline(_LONGEST_LINE + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise _Wrong(f"--file {path}: cannot be read: {error}") from None


def _task(told: Any, where: str) -> task_pb2.Task:
    if not isinstance(told, dict):
        raise _Wrong(f"{where}: is no JSON object")
    try:
        return json_format.ParseDict(told, task_pb2.Task())
    except (json_format.ParseError, TypeError, ValueError, RecursionError) as error:
        raise _Wrong(f"{where}: {' '.join(str(error).split())[:200]}") from None


def _refuse(line: str, code: int) -> int:
    sys.stderr.write(f"scheduler-server enqueue: {printable(line)}\n")
    return code
