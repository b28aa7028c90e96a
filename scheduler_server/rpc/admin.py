"""AdminService: what operators ask."""

from typing import Any

from scheduler_server.rpc.schedule import ScheduleCalls
from scheduler_server.rpc.shell import Shell
from scheduler_server.rpc.stores import Stores
from scheduler_server.rpc.streams import WorkerStreams


class AdminCalls:
    """Placeholder filled next."""

    def __init__(
        self, shell: Shell, calls: ScheduleCalls, streams: WorkerStreams, stores: Stores, settings: Any
    ) -> None:
        self._shell = shell
