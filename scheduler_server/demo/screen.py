"""What one sees while it runs: a live picture on a terminal, otherwise plain lines every two seconds."""

import asyncio
import time

from rich.console import Console
from rich.live import Live

from scheduler_server.demo.picture import picture
from scheduler_server.demo.plain import plain_lines
from scheduler_server.demo.scene import Scene
from scheduler_server.demo.server_view import ServerView

LIVE_S = 0.25
PLAIN_S = 2.0


class Terminal(Console):
    """Where the demo is shown. When nobody reads any more that is an error like others, and the demo ends in order."""

    def on_broken_pipe(self) -> None:
        """Called while a BrokenPipeError is handled; Rich would leave by SystemExit, past everything that is to end."""
        raise  # noqa: PLE0704 - called from where it is handled


class Screen:
    """Shows scenes until it is cancelled."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.live = console.is_terminal and not console.is_dumb_terminal

    def say(self, line: str) -> None:
        """One line of its own."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    async def show(self, scene: Scene, view: ServerView) -> None:
        """Show this scene from now on."""
        if not self.live:
            while True:
                await asyncio.sleep(PLAIN_S)
                await _ask(scene)
                for line in plain_lines(scene, time.monotonic()):
                    self.say(line)
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                await _ask(scene)
                live.update(picture(scene, view, time.monotonic()), refresh=True)
                await asyncio.sleep(LIVE_S)


async def _ask(scene: Scene) -> None:
    if scene.ask is not None:
        await scene.ask()
