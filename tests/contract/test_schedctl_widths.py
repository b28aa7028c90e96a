"""What `schedctl` prints on a terminal stays within it, also where there is nothing, and with names that are long."""

import asyncio
import io

import pytest

from scheduler_server.schedctl.main import run
from scheduler_server.schedctl.text import width
from scheduler_server.schedctl.work import Surroundings
from tests.contract.server import Running
from tests.contract.test_alerts import alarmed
from tests.contract.test_schedctl import ctl, worker
from tests.contract.test_schedctl_alerts import raised
from tests.contract.test_schedctl_explain import enqueue


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def shown(server: Running, *words: str, columns: int) -> list[str]:
    """The lines of a command on a terminal of so many columns."""
    out, err = _Terminal(), io.StringIO()
    environment = {"SCHEDCTL_CONFIG": "/nowhere", "SCHEDCTL_SERVER": server.app.address, "COLUMNS": str(columns)}
    around = Surroundings(stdin=io.StringIO(), stdout=out, stderr=err, environment=environment)
    code = await asyncio.to_thread(run, [*words, "--color", "never"], around)
    assert (code, err.getvalue()) == (0, "")
    return out.getvalue().splitlines()


async def test_a_limit_is_no_trouble_where_there_is_nothing_to_list(live: Running) -> None:
    for command, said in [("workers", "no workers"), ("alerts", "no alerts"), ("queue", "nothing")]:
        ran = await ctl(live, command, "--limit", "5")
        assert (ran.code, ran.err) == (0, "")
        assert said in ran.out


@pytest.mark.parametrize("columns", [80, 160])
async def test_long_names_break_no_line_of_an_explanation(live: Running, columns: int) -> None:
    name = "工" * 100 + "x" * 100
    await worker(live, name, slots=1)
    await live.assign(name + "1")
    await enqueue(live, name + "2")
    for number in "12":
        lines = await shown(live, "explain", name + number, columns=columns)
        assert max(map(width, lines)) <= columns
        assert name + number in "".join(lines).replace(" ", "")


@pytest.mark.parametrize("columns", [80, 160])
async def test_advice_is_broken_between_words(columns: int) -> None:
    async with alarmed() as server:
        await raised(server)
        lines = await shown(server, "alerts", columns=columns)
        assert max(map(width, lines)) <= columns
        assert "add workers or slots, or send less;" in " ".join(" ".join(lines).split())
