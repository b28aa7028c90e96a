"""`schedctl log-level LEVEL`: log more, or less, for a while."""

import argparse

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_server.schedctl import figures, options
from scheduler_server.schedctl.work import Command, Work

_LEVELS = {
    "configured": api.LOG_LEVEL_UNSPECIFIED,
    "debug": api.LOG_LEVEL_DEBUG,
    "info": api.LOG_LEVEL_INFO,
    "warning": api.LOG_LEVEL_WARNING,
    "error": api.LOG_LEVEL_ERROR,
}


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("level", choices=tuple(_LEVELS), help="configured: back to what the configuration says")
    parser.add_argument("--logger", default="", metavar="PART", help="only this part, such as rpc or storage")
    parser.add_argument(
        "--for", dest="expires_s", type=options.span, metavar="SPAN", help="goes back by itself after this time"
    )
    options.add_reason(parser)


def _run(work: Work) -> int:
    given = work.given
    request = api.SetLogLevelRequest(level=_LEVELS[given.level], logger=given.logger, reason=given.reason)
    if given.expires_s is not None:
        request.expires_after.FromNanoseconds(round(given.expires_s * 1e9))
    answer: api.SetLogLevelResponse = work.ask("SetLogLevel", request)
    if work.json:
        work.paper.message(answer)
        return 0
    part = given.logger or "everything"
    before, after = (figures.word(api.LogLevel, each) for each in (answer.previous_level, answer.level))
    until = f" for {figures.span(given.expires_s)}" if given.expires_s is not None else ""
    work.paper.line(f"{part}: {after}{until}, {before} before")
    return 0


COMMAND = Command(options=_options, run=_run)
