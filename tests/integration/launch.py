"""Become a command that dies with its parent: `python -S launch.py PARENT_PID [--plain] COMMAND...` (Linux).

The kernel sends SIGKILL when the parent ends in whatever way, kill -9 included; that survives exec. A process of its
own between parent and command, because a preexec_fn is unsafe once there are threads.

`--plain`: without root's right to write where the mode forbids it, so that a test of file modes means the same to
everybody.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG, PR_CAPBSET_DROP = 1, 24  # from linux/prctl.h
CAP_DAC_OVERRIDE = 1  # from linux/capability.h


def main() -> None:
    parent, *command = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(parent):  # it died before the kernel was told
        sys.exit(1)
    if command[0] == "--plain":
        del command[0]
        if os.geteuid() == 0 and libc.prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0):
            sys.exit("cannot give up CAP_DAC_OVERRIDE")
    os.execv(command[0], command)  # noqa: S606 -- the test's own command, given as a list


main()
