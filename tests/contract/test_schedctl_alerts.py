"""`schedctl alerts`, and alerts in `status`, `check` and `top`, against the real server."""

import re
from pathlib import Path

import pytest

from scheduler_api.v1 import admin_service_pb2 as admin
from scheduler_server.alerts.rules import RULES
from scheduler_server.alerts.settings import AlertSettings
from scheduler_server.schedctl.main import parser
from scheduler_server.schedctl.top.feed import Seen
from scheduler_server.schedctl.top.frame import frame
from scheduler_server.schedctl.top.state import State
from tests.contract.server import Running, running, settings
from tests.contract.test_alerts import QUIET, alarmed, loaded, look, many
from tests.contract.test_schedctl import ctl, typed

ROOT = Path(__file__).resolve().parents[2]


async def raised(server: Running) -> None:
    await loaded(server)
    await look(server)
    await look(server, after=20.0)


async def test_alerts_are_told_in_words_when_there_are_none() -> None:
    async with alarmed() as server:
        assert (await ctl(server, "alerts")).out == "no alerts\n"
        assert (await ctl(server, "alerts", "--state", "cleared")).out == "no such alerts\n"
        assert "none raised" in (await ctl(server, "status")).out


async def test_alerts_are_shown_with_their_figures_and_advice() -> None:
    async with alarmed() as server:
        await raised(server)
        shown = (await ctl(server, "alerts")).out
        head, first, *_ = shown.splitlines()
        assert " ".join(head.split()) == "SEVERITY STATE RULE ABOUT FOR VALUE RAISES/CLEARS AT DETAIL"
        for said in ("warning", "raised", "sustained_high_load", "20s", "100%", "90%/80%", "1 of 1 slots"):
            assert said in first
        assert "add workers or slots" in shown
        wide = (await ctl(server, "alerts", "-o", "wide")).out
        assert server.app.alerts.raised()[0].alert_id in wide
        [told] = (await ctl(server, "alerts", "-o", "json")).json()["alerts"]
        assert (told["rule"], told["state"], told["value"]) == ("sustained_high_load", "ALERT_STATE_RAISED", 1.0)
        assert "1 alert raised (schedctl alerts)" in (await ctl(server, "status")).out


async def test_alerts_are_filtered_by_state_severity_rule_and_time() -> None:
    async with alarmed(AlertSettings(interval_s=0, for_s={"worker_overloaded": 0.0})) as server:
        await many(server, 3)

        async def listed(*words: str) -> int:
            return len((await ctl(server, "alerts", "-o", "json", *words)).json()["alerts"])

        assert await listed() == 3
        assert await listed("--limit", "2") == 2
        assert "the first 2; --limit shows more" in (await ctl(server, "alerts", "--limit", "2")).out
        assert await listed("--state", "pending") == 0
        assert await listed("--state", "pending", "--state", "raised") == 3
        assert await listed("--severity", "critical") == 0
        assert await listed("--severity", "warning") == 3
        assert await listed("--rule", "drift") == 0
        assert await listed("--last", "1m") == 3
        server.clock.wall += 61.0
        assert await listed("--last", "1m") == 0
        assert await listed("--last", "62s") == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--state", "risen"), "did you mean raised?"),
        (("--severity", "bad"), "unknown 'bad'"),
        (("--last", "soon"), "must be a span such as 90s"),
        (("--limit", "0"), "must be a whole number from 1"),
    ],
)
def test_what_is_typed_wrongly_is_told_with_what_is_near(words: tuple[str, ...], said: str) -> None:
    ran = typed("alerts", *words, "--server", "127.0.0.1:1")
    assert ran.code == 2
    assert said in ran.err


async def test_a_rule_that_does_not_exist_is_told_with_those_that_are_near() -> None:
    async with alarmed() as server:
        ran = await ctl(server, "alerts", "--rule", "waiting")
        assert ran.code == 1
        assert "waiting_age" in ran.err


async def test_names_of_workers_cannot_move_the_cursor() -> None:
    async with alarmed(AlertSettings(interval_s=0, for_s={"worker_overloaded": 0.0})) as server:
        await server.worker("w\u202e\u4e2d" + "x" * 200, cpu_usage=1.0, memory_usage=1.0)
        await look(server)
        shown = (await ctl(server, "alerts")).out
        assert "\u202e" not in shown
        assert "worker_overloaded" in shown


async def test_check_counts_what_is_raised_by_its_severity() -> None:
    async with alarmed() as server:
        await loaded(server)
        await look(server)
        assert (await ctl(server, "check")).code == 0
        await look(server, after=20.0)
        warned = await ctl(server, "check")
        assert warned.code == 1
        assert warned.out.count("1 of 1 slots of active workers are taken") == 1
        assert "sustained_high_load: 1 of 1 slots" in warned.out
        assert (await ctl(server, "check", "--alerts-ok")).code == 0
        for _ in range(3):
            server.core.breaker.failed("resize", server.clock.monotonic)
        await look(server)
        assert (await ctl(server, "check")).code == 2
        assert (await ctl(server, "check", "--alerts-ok")).code == 1  # degraded: the breaker


async def test_check_sees_what_is_critical_behind_a_hundred_warnings_and_says_each_rule_once() -> None:
    async with alarmed(AlertSettings(interval_s=0, for_s={"worker_overloaded": 0.0})) as server:
        for _ in range(3):
            server.core.breaker.failed("resize", server.clock.monotonic)
        await look(server)
        await look(server, after=1.0)
        await many(server, 101)  # newer than the breaker's, so listed before it; a page has a hundred
        told = await ctl(server, "check")
        assert told.code == 2
        assert "breaker_open: " in told.out
        assert told.out.count("worker_overloaded") == 1
        assert "(and 99 more)" in told.out


def test_the_live_screen_says_how_many_are_raised() -> None:
    status = admin.GetStatusResponse(raised_alerts=2, serving=admin.SERVING_STATE_SERVING)
    lines = frame(State(), Seen(at=0.0, status=status), wide=160, high=40, now=0.0, server="here")
    assert "2 alerts" in "".join(said for said, _ in lines[0])
    lines = frame(State(), Seen(at=0.0), wide=160, high=40, now=0.0, server="here")
    assert "alert" not in "".join(said for said, _ in lines[0])


def test_every_command_that_advice_and_rules_name_can_be_typed() -> None:
    texts = [rule.advice for rule in RULES]
    texts += [
        (ROOT / name).read_text() for name in ("deploy/rules/scheduler.yml", "deploy/README.md", "docs/alerts.md")
    ]
    named = [each for text in texts for each in re.findall(r"`schedctl ([^`]*)`", text)]
    assert len(named) > 20
    for words in {each.replace("{{ $labels.rule }}", "drift") for each in named}:
        parser(words.split()).parse_args(words.split())


async def test_a_server_that_looks_by_itself_is_asked_the_same_way() -> None:
    async with running(settings()) as server:
        assert server.app.settings.alerts.interval_s != QUIET.interval_s
        assert (await ctl(server, "alerts")).code == 0
