"""Keys in, frames out."""

import time

from scheduler_server.schedctl.top.feed import Feed, Wish
from scheduler_server.schedctl.top.frame import frame
from scheduler_server.schedctl.top.keys import Keys
from scheduler_server.schedctl.top.state import State
from scheduler_server.schedctl.top.terminal import Terminal
from scheduler_server.schedctl.top.views import chosen_worker
from scheduler_server.schedctl.work import Work

_BY_SIGNAL = 128  # what shells add to a signal's number
_REDRAW_S = 1.0  # ages go on while nothing comes


def run(work: Work, state: State, interval_s: float) -> int:
    """Until it is ended; answers the exit code."""
    around, server = work.surroundings, work.place.server
    keys = Keys()
    connection = work.connection  # a context that cannot work is told before the screen is taken
    with Terminal(around.stdin, around.stdout, colour=work.paper.colour) as terminal:
        feed = Feed(connection, interval_s, terminal.wake)
        feed.want(Wish.of(state))
        feed.start()
        try:
            while not state.over and not terminal.ended_by:
                seen = feed.seen()
                wide, high = terminal.size()
                terminal.draw(frame(state, seen, wide=wide, high=high, now=time.monotonic(), server=server))
                typed = terminal.typed(_REDRAW_S)
                if typed is None:
                    break
                for key in keys.read(typed):
                    state.press(key, chosen_worker(state, seen))
                feed.want(Wish.of(state))
        finally:
            feed.stop()
    return _BY_SIGNAL + terminal.ended_by if terminal.ended_by else 0
