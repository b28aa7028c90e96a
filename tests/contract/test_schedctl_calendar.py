"""schedctl calendar, against a real server."""

import json
from pathlib import Path

import pytest

from scheduler_api.v1 import worker_pb2
from scheduler_server.schedctl.hours import hours_of, hours_text
from tests.contract.server import Running
from tests.contract.test_calendars import OFFICE, registration, worker
from tests.contract.test_schedctl import ctl


async def test_hours_are_set_shown_and_given_up(live: Running) -> None:
    await live.worker("w1", registration=registration(OFFICE))
    shown = (await ctl(live, "calendar", "show", "w1")).out
    assert "its registration" in shown
    assert "mon-fri 9:00-17:00" in shown
    assert "2027-01-15 16:00:00.000Z (in 8h00m)" in shown
    ran = await ctl(
        live, "calendar", "set", "w1", "--zone", "America/New_York", "--hours", "mon-thu,sat 22:00-6:00 slots 1",
        "--hours", "sun 0-24", "--absent", "2027-02-01..2027-02-05 leave", "--reason", "night shift",
    )  # fmt: skip
    assert ran.code == 0
    assert ran.out.startswith("worker w1 has these hours now\n")
    told = (await worker(live)).calendar
    assert [(list(each.days), each.start_minute, each.end_minute, each.slots) for each in told.hours] == [
        ([1, 2, 3, 4, 6], 1_320, 360, 1), ([7], 0, 1_440, 0),
    ]  # fmt: skip
    (away,) = told.absences
    assert (away.start.ToJsonString(), away.end.ToJsonString()) == ("2027-02-01T05:00:00Z", "2027-02-06T05:00:00Z")
    shown = (await ctl(live, "calendar", "show", "w1")).out
    assert "an operator" in shown
    assert "mon-thu,sat 22:00-6:00 slots 1" in shown
    assert "2027-02-01 00:00 EST to 2027-02-06 00:00 EST: leave" in shown
    everything = (await ctl(live, "worker", "w1")).out
    assert "America/New_York; 1 absence, set by an operator" in everything
    assert (await ctl(live, "calendar", "clear", "w1")).out.startswith("worker w1 goes by its own hours again\n")
    assert (await worker(live)).calendar == OFFICE


async def test_a_dry_run_says_what_would_go_on_beyond_the_shift(live: Running) -> None:
    await live.worker("w1", registration=registration())
    await live.assign("t")
    ran = await ctl(live, "calendar", "set", "w1", "--zone", "UTC", "--hours", "weekends 10-16", "--dry-run")
    assert "worker w1 would have these hours" in ran.out
    assert "1 lease goes on beyond its shift" in ran.out
    assert (await ctl(live, "calendar", "show", "w1")).out == "worker w1 works always: it has no calendar\n"


async def test_what_is_shown_as_json_can_be_set_from_a_file(live: Running, tmp_path: Path) -> None:
    for worker_id in ("w1", "w2"):
        await live.worker(worker_id, registration=registration(OFFICE if worker_id == "w1" else None))
    shown = json.loads((await ctl(live, "calendar", "show", "w1", "-o", "json")).out)
    file = tmp_path / "calendar.json"
    file.write_text(json.dumps(shown["calendar"]))
    assert (await ctl(live, "calendar", "set", "w2", "--file", str(file))).code == 0
    assert (await worker(live, "w2")).calendar == OFFICE


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--zone is needed"),
        (["--zone", "UTC", "--hours", "mon 9"], "'mon 9' are no hours"),
        (["--zone", "UTC", "--hours", "day 9-17"], "'day 9-17' are no hours"),
        (["--zone", "UTC", "--hours", "mon 9-25"], "'mon 9-25' are no hours"),
        (["--zone", "UTC", "--hours", "mon 9:60-17"], "'mon 9:60-17' are no hours"),
        (["--zone", "UTC", "--hours", "mon 9-17 slots x"], "are no hours"),
        (["--zone", "UTC", "--absent", "tomorrow"], "'tomorrow' is no absence"),
        (["--zone", "Mars/Base", "--absent", "2027-01-01"], "unknown time zone 'Mars/Base'"),
        (["--zone", "UTC", "--file", "x"], "--file has all of it"),
        (["--file", "/no/such/file"], "cannot be read"),
    ],
)
async def test_what_is_typed_wrong_is_told(live: Running, words: list[str], said: str) -> None:
    ran = await ctl(live, "calendar", "set", "w1", *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


async def test_what_the_server_refuses_is_told(live: Running) -> None:
    await live.worker("w1", registration=registration())
    ran = await ctl(live, "calendar", "set", "w1", "--zone", "Europe/Berln")
    assert ran.code != 0
    assert "calendar.time_zone" in ran.err
    assert "Europe/Berlin" in ran.err
    assert not (await worker(live)).HasField("calendar")


def test_a_weekend_may_be_gone_over() -> None:
    assert list(hours_of("fri-mon 22-6").days) == [1, 5, 6, 7]
    for said in ("daily 0:00-24:00", "mon,tue 9:05-17:00 slots 3", "mon-wed,fri,sun 22:00-6:00"):
        assert hours_text(hours_of(said)) == said
    assert hours_text(worker_pb2.WorkingHours(days=[2, 9], end_minute=1)) == "tue 0:00-0:01"
