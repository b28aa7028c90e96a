"""`schedctl override` against a real server."""

import pytest

from tests.contract.server import Running
from tests.contract.test_schedctl import ctl, typed, worker


async def test_an_override_is_tried_made_listed_and_ended(live: Running) -> None:
    await worker(live, "w1")
    await worker(live, "w2")
    words = ["override", "create", "--type", "resize", "--pin", "w2", "--id", "warm", "--reason", "its cache is warm"]
    tried = await ctl(live, *words, "--dry-run")
    assert tried.out == "warm: pin w2 would apply to type resize; revision 2\n"
    made = await ctl(live, *words)
    assert made.out == "warm: pin w2 applies to type resize; revision 2\n"
    assert "warning: not kept over a restart" in made.err
    assert (await live.assign("t")).decision.worker_id == "w2"
    listed = await ctl(live, "override", "list", "-o", "wide")
    head, line = listed.out.splitlines()
    assert head.split()[:5] == ["ID", "TASKS", "ACTION", "APPLIED", "BLOCKED"]
    assert line.split()[:7] == ["warm", "type", "resize", "pin", "w2", "1", "0"]
    assert "its cache is warm" in line
    found = (await ctl(live, "override", "list", "--worker", "w2", "-o", "json")).json()["overrides"]
    assert [(each["override_id"], each["applied_count"]) for each in found] == [("warm", "1")]
    ended = await ctl(live, "override", "delete", "warm", "nobody")
    assert ended.code == 1
    assert ended.out == "warm: ended; it applied 1 time; revision 3\n"
    assert "'nobody' is not known" in ended.err
    assert (await ctl(live, "override", "list")).out == "there is no override\n"
    assert (await ctl(live, "override", "list", "--type", "x")).out == "there is none like that\n"
    assert "warm" in (await ctl(live, "override", "list", "--all")).out


@pytest.mark.parametrize(
    ("words", "action", "scope"),
    [
        (["--exclude", "w1", "--label", "zone=a", "--tenant", ""], "exclude w1,zone=a", "tenant (nameless)"),
        (["--cap", "3", "--type", "a", "--tenant", "x"], "cap 3", "type a, tenant x"),
        (["--boost", "-0.5", "--task", "t"], "boost -0.5", "task t, tenant (nameless)"),
        (["--pin", "w1", "--preferred", "--type", "a"], "prefer w1", "type a"),
    ],
)
async def test_every_kind_of_override_can_be_made(live: Running, words: list[str], action: str, scope: str) -> None:
    await worker(live, "w1")
    await worker(live, "w2")
    made = await ctl(live, "override", "create", *words)
    assert made.out == f"o-2: {action} applies to {scope}; revision 2\n"


async def test_what_the_server_refuses_is_told_and_force_means_it(live: Running) -> None:
    words = ["override", "create", "--pin", "nobody", "--type", "a"]
    refused = await ctl(live, *words)
    assert refused.code == 1
    assert "worker 'nobody' is not known" in refused.err
    forced = await ctl(live, *words, "--force", "-o", "json")
    assert forced.json()["warnings"][0] == "worker 'nobody' is not known"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cap", "1"], "which tasks?"),
        (["--pin", "--type", "a"], "which workers?"),
        (["--cap", "1", "--label", "a=b", "--type", "a"], "--label goes with"),
        (["--cap", "1", "--preferred", "--type", "a"], "--preferred goes with"),
        (["--cap", "1000001", "--type", "a"], "whole number"),
        (["--boost", "0", "--type", "a"], "not 0"),
        (["--type", "a"], "required"),
    ],
)
def test_what_makes_no_sense_is_told_without_asking_a_server(words: list[str], said: str) -> None:
    ran = typed("override", "create", *words)
    assert ran.code == 2
    assert said in ran.err
