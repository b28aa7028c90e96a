"""The state of things in lines of at most 80 columns, for logs and pipes."""

from scheduler_server.demo.scene import Scene, count, name, until, words
from scheduler_server.demo.tape import Run
from scheduler_server.demo.waiting_view import waiting

WIDTH = 80


def plain_lines(scene: Scene, now: float) -> list[str]:
    """A line for all; where the server tells of tasks that wait, one for the next and one for the last of them."""
    lines = [_all(scene, now)]
    waiters = waiting(scene.tape)
    if waiters:
        lines.append(_one("next", waiters[0], now))
    if len(waiters) > 1:
        lines.append(_one("last", waiters[-1], now))
    return [line[:WIDTH] for line in lines]


def _all(scene: Scene, now: float) -> str:
    counts = count(scene.tape, now)
    rates = " ".join(f"{who} {rate:.0f}/s" for who, rate in sorted(scene.rates(now).items())) or "nobody 0/s"
    return (
        f"{scene.title:11} {now - scene.tape.started:5.1f} s {rates:14} sent {counts.sent:4}"
        f" waiting {counts.waiting:3} running {counts.running_on.total():2} done {counts.done:4}"
    )


def _one(which: str, run: Run, now: float) -> str:
    said = run.prospect
    if said is None:
        return ""
    return (
        f"  {which} {name(run)}: {said.ahead} ahead, {words(said.blocking.name)},"
        f" start in {until(said.p50, now)}, P90 {until(said.p90, now)}"
    )
