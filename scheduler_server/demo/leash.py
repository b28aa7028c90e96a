"""Start a command that dies with its parent: `python -m scheduler_server.demo.leash PARENT_PID COMMAND...`.

The kernel sends SIGKILL when the parent ends in whatever way, kill -9 included (PR_SET_PDEATHSIG, Linux; it survives
exec). A process of its own between parent and command, because a preexec_fn is unsafe once there are threads. On
other systems workers still notice that their stdin has ended.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG = 1  # from linux/prctl.h


def leashed(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` on a leash held by this process."""
    return [sys.executable, "-m", "scheduler_server.demo.leash", str(os.getpid()), *command]


def _main() -> None:
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):  # it died before the kernel was told
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - the demo's own command, given as a list


if __name__ == "__main__":
    _main()
