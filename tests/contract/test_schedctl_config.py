"""`schedctl config` and `schedctl log-level` against a real server."""

import pytest

from tests.contract.server import Running
from tests.contract.test_schedctl import Ran, ctl, typed, worker


async def test_settings_are_shown_with_value_origin_and_default(live: Running) -> None:
    await ctl(live, "config", "set", "scorer.wait_weight=0.7", 'predictor.type_defaults_ms={"resize": 250}')
    ran = await ctl(live, "config", "get", "scorer.wait_weight", "predictor.type_defaults_ms", "storage.snapshot_url")
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[0] == ["SETTING", "VALUE", "ORIGIN", "DEFAULT", "LIVE"]
    assert lines[1] == ["predictor.type_defaults_ms", '{"resize":', "250.0}", "revision", "2", "{}", "yes"]
    assert lines[2] == ["scorer.wait_weight", "0.7", "revision", "2", "0.4", "yes"]
    assert lines[3] == ["storage.snapshot_url", "(secret)", "default", "-", "restart"]
    assert lines[4] == ["revision", "2"]
    wide = await ctl(live, "config", "get", "scorer.wait_weight", "-o", "wide")
    assert "weight of the wait term (number, at least 0, at most 1)" in wide.out
    found = (await ctl(live, "config", "get", "scorer", "--changed", "-o", "json")).json()
    assert [(each["name"], each["value"]) for each in found["settings"]] == [("scorer.wait_weight", 0.7)]


async def test_a_change_is_tried_made_listed_compared_and_taken_back(live: Running) -> None:
    await worker(live, "w1")
    await live.assign("t")
    words = ["config", "set", "queue.order=fifo", "scorer.strategy=earliest_finish", "--reason", "why not"]
    tried = await ctl(live, *words, "--dry-run", "--replay", "5")
    assert "nothing was done; the configuration is at revision 1" in tried.out
    assert "decided anew    1 decision" in tried.out
    made = await ctl(live, *words)
    assert made.code == 0
    assert made.out.splitlines()[-1] == "revision 2"
    assert [line.split() for line in made.out.splitlines()[:3]] == [
        ["SETTING", "BEFORE", "AFTER", "LIVE"],
        ["queue.order", '""', "fifo", "yes"],
        ["scorer.strategy", '""', "earliest_finish", "yes"],
    ]
    again = await ctl(live, *words)
    assert again.out.splitlines()[-1] == "it is so already; revision 2"
    listed = await ctl(live, "config", "history", "queue")
    assert "why not" in listed.out
    assert 'queue.order "" -> fifo' in listed.out
    differs = await ctl(live, "config", "diff", "1")
    assert [line.split()[0] for line in differs.out.splitlines()[1:]] == ["queue.order", "scorer.strategy"]
    back = await ctl(live, "config", "rollback", "1", "--reason", "worse")
    assert back.out.splitlines()[-1] == "revision 3"
    assert (await ctl(live, "config", "diff", "1")).out == "nothing differs\n"
    differs = await ctl(live, "config", "diff", "1", "2", "-o", "json")
    assert [each["name"] for each in differs.json()["changes"]] == ["queue.order", "scorer.strategy"]
    assert live.core.queue.waiting.order.name == "shortest"
    revisions = (await ctl(live, "config", "history", "-o", "json", "--limit", "1")).json()["revisions"]
    assert [(each["revision"], each["rolled_back_to"], each["reason"]) for each in revisions] == [("3", "1", "worse")]


async def test_settings_go_back_to_what_file_and_flags_say(live: Running) -> None:
    await ctl(live, "config", "set", "scorer.wait_weight=0.7", "scorer.load_weight=0.2")
    ran = await ctl(live, "config", "set", "--unset", "scorer")
    assert ran.out.splitlines()[-1] == "revision 3"
    assert live.core.settings.scorer.wait_weight == 0.4


async def test_what_is_refused_is_told_in_a_line_with_its_fields(live: Running) -> None:
    ran = await ctl(live, "config", "set", "scorer.wait_weight=2", "queue.order=fiof")
    assert (ran.code, ran.out) == (1, "")
    assert "values[scorer.wait_weight]: must be at most 1 (got 2, from update)" in ran.err
    assert "did you mean fifo?" in ran.err
    ran = await ctl(live, "config", "set", "server.listen=127.0.0.1:1")
    assert "takes effect at the next start only: server.listen" in ran.err
    ran = await ctl(live, "config", "set", "server.listen=127.0.0.1:1", "--accept-restart", "--based-on", "1")
    assert ran.code == 0
    assert "at the next start: server.listen" in (await ctl(live, "config", "get", "server.listen")).out
    ran = await ctl(live, "config", "set", "scorer.wait_weight=1", "--based-on", "1")
    assert "the configuration is at revision 2, not 1" in ran.err
    ran = await ctl(live, "config", "get", "scroer")
    assert "there is no setting 'scroer'; did you mean scorer?" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set"], "names no setting"),
        (["set", "scorer.wait_weight"], "must be NAME=VALUE"),
        (["set", "a=1", "--replay", "3"], "goes with --dry-run"),
        (["set", "a=1", "--dry-run", "--replay", "10001"], "from 1 to 10,000"),
        (["rollback"], "N"),
        (["rollback", "0"], "must be a whole number from 1"),
        (["gett"], "did you mean"),
    ],
)
def test_what_is_typed_wrongly_is_told_with_exit_code_2(words: list[str], said: str) -> None:
    ran = typed("config", *words)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


async def test_log_levels_are_set_for_a_part_and_back(live: Running) -> None:
    ran = await ctl(live, "log-level", "error", "--logger", "rpc.shell", "--for", "1h", "--reason", "calm")
    assert ran.out.startswith("rpc.shell: error for 1h00m, ")
    ran = await ctl(live, "log-level", "configured", "--logger", "rpc.shell", "-o", "json")
    assert ran.json()["previous_level"] == "LOG_LEVEL_ERROR"
    ran = await ctl(live, "log-level", "debug", "--logger", "rcp")
    assert (ran.code, "no part of the server that logs is called 'rcp'" in ran.err) == (1, True)


async def test_a_tab_offers_settings(live: Running) -> None:
    async def offered(*words: str) -> list[str]:
        return (await ctl(live, "completion", "candidates", *words)).out.split("\n")[:-1]

    assert await offered("config", "") == ["get", "set", "diff", "history", "rollback"]
    assert await offered("config", "get", "scorer.w") == ["scorer.wait_weight"]
    assert await offered("config", "set", "scorer.w") == ["scorer.wait_weight="]
    assert await offered("config", "set", "--unset", "queue.o") == ["queue.order"]
    assert await offered("log-level", "de") == ["debug"]
    assert typed("completion", "candidates", "config", "get", "", SCHEDCTL_SERVER="127.0.0.1:1") == Ran(0, "", "")
