"""The first story: the same tasks twice, by Assign through the scheduler, and then to the workers in turn."""

from scheduler_server.demo.queue_client import QueueClient
from scheduler_server.demo.round_robin import RoundRobin
from scheduler_server.demo.scene import Scene
from scheduler_server.demo.stage import Stage
from scheduler_server.demo.summary import summary
from scheduler_server.demo.taking_turns import TakingTurns
from scheduler_server.demo.tape import Tape
from scheduler_server.demo.waiting_view import WaitingView
from scheduler_server.demo.way_in import ByAssign

PHASE = 0.33  # of --seconds: arrivals of each phase; the rest is starting, the tails, and ending


async def play_against_turns(stage: Stage, turns: RoundRobin) -> None:
    """Both phases, and how they compare."""
    span_s = PHASE * stage.options.seconds
    items = await stage.plan(span_s, f"twice {stage.options.tasks} tasks, each time")
    scheduled, in_turn = Tape("scheduler", items, span_s), Tape("turn", items, span_s)
    queue = QueueClient(stage.client, ByAssign(stage.client), scheduled, stage.chunks)
    ask = WaitingView(stage.client, scheduled).ask
    await stage.phase(Scene(title="scheduler", tape=scheduled, rates=queue.rates, ask=ask), queue)
    accuracy, shadow = await stage.view.accuracy(), await stage.view.shadow()
    await stage.view.explained(run for run in scheduled.runs.values() if run.item.kind.requires)
    taking = TakingTurns(turns, in_turn, stage.chunks)
    await stage.phase(Scene(title="round robin", tape=in_turn, rates=taking.rates, ask=None), taking)
    stage.screen.say("\n" + summary(scheduled, in_turn, accuracy, shadow) + "\n")
    stage.screen.say(f"{2 * len(items)} tasks ran once each, every result was right; seed {stage.options.seed}")
