"""100 certificates in turn under load: does a call fail?"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from scheduler_server.access.tokens import new_token, shown
from scheduler_server.credentials import tls
from tests.certificates import Authority, swap
from tests.performance.harness import Plan, progress, report, rounded, target
from tests.performance.processes import Child, ChildError
from tests.performance.rotations import Callers

_ROTATIONS = 100
_WITHIN_S = 30.0


def run(plan: Plan) -> dict[str, Any]:
    """Each rotation waits until the server has read the one before."""
    return asyncio.run(_run())


async def _run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder, authority, token = Path(name), Authority(), new_token()
        certificate, key = authority.server().write(folder, "server")
        swap(folder / "ca.pem", authority.pem)
        swap(folder / "access", f"token {shown(token)} identity=queue role=producer".encode())
        files = {"cert_file": str(certificate), "key_file": str(key)}
        access = {"file": str(folder / "access"), "reload_s": 0.05}
        with Child("tests.performance.access_server", workers=0, tls=files, access=access, limits={}) as server:
            address = str(server.wait_ready()["address"])
            callers = Callers(address, lambda: tls(folder / "ca.pem"), token)
            for number in range(_ROTATIONS):
                authority.server().write(folder, "server")
                until = time.monotonic() + _WITHIN_S
                while (await asyncio.to_thread(server.ask, "status"))["rotations"] < number + 2:
                    if time.monotonic() > until:
                        raise ChildError(f"rotation {number + 1} was not taken within {_WITHIN_S:g} s")
                    await asyncio.sleep(0.02)
                if number % 25 == 24:
                    progress(f"rotation: {number + 1} of {_ROTATIONS}")
            await callers.stop()
            status = await asyncio.to_thread(server.ask, "status")
    answered = callers.answers.pop("NOT_FOUND", 0)
    failed = sum(callers.answers.values())
    fields = {
        "rotations": status["rotations"] - 1,
        "calls": answered,
        "connections": callers.connections,
        "failed": failed,
        "failed_by_code": dict(callers.answers),
        "faults": status["faults"],
    }
    return report("rotation", fields, [target("failed calls", "<=", 0.0, rounded(failed))], 1, None)
