"""`schedctl calendar show | set | clear ID`: when a worker works."""

from pathlib import Path

from google.protobuf.json_format import Parse, ParseError

from scheduler_api.v1 import admin_service_pb2 as api
from scheduler_api.v1 import worker_pb2
from scheduler_server.schedctl import figures, hours, options
from scheduler_server.schedctl.commands.worker import now_of
from scheduler_server.schedctl.fault import Asked
from scheduler_server.schedctl.figures import counted
from scheduler_server.schedctl.paper import Paper, as_json
from scheduler_server.schedctl.table import Segment
from scheduler_server.schedctl.work import Adds, Command, Work


def _steps(add: Adds) -> None:
    shown = add("show", "a worker's hours and absences, and when its shift ends or begins")
    shown.add_argument("worker_id", metavar="ID")
    shown.set_defaults(run=_show)
    made = add("set", "set its hours and absences, in place of those that it registered")
    made.add_argument("worker_id", metavar="ID")
    made.add_argument("--zone", default="", metavar="ZONE", help="the time zone, by its IANA name: Europe/Berlin")
    made.add_argument(
        "--hours", action="append", default=[], metavar="HOURS",
        help=f"a weekly stretch: {hours.WORDS}; again for more. None: round the clock",
    )  # fmt: skip
    made.add_argument(
        "--absent", action="append", default=[], metavar="DAYS",
        help='a day or days off by that clock: "2026-12-24", "2026-07-06..2026-07-26 leave"; again for more',
    )  # fmt: skip
    made.add_argument("--file", default="", metavar="JSON", help="all of it as a Calendar in JSON instead; - is stdin")
    made.add_argument("--dry-run", action="store_true", help="check it and show what would be, nothing else")
    options.add_reason(made)
    made.set_defaults(run=_set)
    cleared = add("clear", "go back to the hours that it registered")
    cleared.add_argument("worker_id", metavar="ID")
    cleared.add_argument("--dry-run", action="store_true", help="show what would be, nothing else")
    options.add_reason(cleared)
    cleared.set_defaults(run=_clear)


def _show(work: Work) -> int:
    answer: api.GetWorkerResponse = work.ask("GetWorker", api.GetWorkerRequest(worker_id=work.given.worker_id))
    worker = answer.worker
    if work.json:
        told = {"worker_id": worker.worker_id, "set_by_operator": worker.calendar_set_by_operator}
        calendar = {"calendar": as_json(worker.calendar)} if worker.HasField("calendar") else {}
        work.paper.json({**told, **calendar})
    else:
        show(work.paper, worker)
    return 0


def _set(work: Work) -> int:
    given = work.given
    request = api.SetWorkerCalendarRequest(
        worker_id=given.worker_id, calendar=_calendar(work), dry_run=given.dry_run, reason=given.reason
    )
    return _told(work, request, "would have these hours" if given.dry_run else "has these hours now")


def _calendar(work: Work) -> worker_pb2.Calendar:
    given = work.given
    if given.file:
        if given.zone or given.hours or given.absent:
            raise Asked("calendar set: --file has all of it; it does not go with --zone, --hours or --absent")
        return _from_file(work, given.file)
    if not given.zone:
        raise Asked("calendar set: --zone is needed: hours go by a local clock, such as that of Europe/Berlin")
    return worker_pb2.Calendar(
        time_zone=given.zone,
        hours=[hours.hours_of(each) for each in given.hours],
        absences=[hours.absence_of(each, given.zone) for each in given.absent],
    )


def _from_file(work: Work, file: str) -> worker_pb2.Calendar:
    try:
        said = work.surroundings.stdin.read() if file == "-" else Path(file).expanduser().read_text("utf-8")
        return Parse(said, worker_pb2.Calendar())
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Asked(f"calendar set: {file}: cannot be read: {why}") from None
    except ParseError as error:
        raise Asked(f"calendar set: {file}: is no Calendar in JSON: {error}") from None


def _clear(work: Work) -> int:
    given = work.given
    request = api.SetWorkerCalendarRequest(worker_id=given.worker_id, dry_run=given.dry_run, reason=given.reason)
    return _told(work, request, "would go by its own hours" if given.dry_run else "goes by its own hours again")


def _told(work: Work, request: api.SetWorkerCalendarRequest, what: str) -> int:
    answer: api.SetWorkerCalendarResponse = work.ask("SetWorkerCalendar", request)
    if work.json:
        work.paper.message(answer)
        return 0
    work.paper.line(f"worker {request.worker_id} {what}")
    if answer.HasField("worker"):
        show(work.paper, answer.worker)
        if answer.leases_beyond_shift:
            goes = "goes" if answer.leases_beyond_shift == 1 else "go"
            beyond = counted(answer.leases_beyond_shift, "lease")
            work.paper.line((f"{beyond} {goes} on beyond its shift, as predicted", "warn"))
    return 0


def show(paper: Paper, worker: api.Worker) -> None:
    """A worker's hours."""
    now = now_of(worker)
    calendar = worker.calendar
    if not worker.HasField("calendar"):
        paper.line(f"worker {worker.worker_id} works always: it has no calendar")
        return
    said: list[tuple[str, str | Segment]] = [
        ("worker", (worker.worker_id, "strong")),
        ("set by", "an operator" if worker.calendar_set_by_operator else "its registration"),
        ("time zone", calendar.time_zone),
    ]
    stretches = [hours.hours_text(each) for each in calendar.hours] or ["round the clock"]
    said += [("hours" if not nth else "", text) for nth, text in enumerate(stretches)]
    away = [hours.absence_text(each, calendar.time_zone) for each in calendar.absences]
    said += [("absent" if not nth else "", text) for nth, text in enumerate(away)]
    change = figures.instant_in(worker, "next_shift_change", now) if worker.HasField("next_shift_change") else "never"
    said.append(("next change", change))
    paper.facts(said)


COMMAND = Command(steps=_steps)
