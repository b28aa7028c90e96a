"""Assign with mutual TLS and roles on, against plaintext without: how much of the rate is left? And admission.

The client pays for TLS too, on the same cores, so a server of its own machine keeps more.
"""

import asyncio
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from scheduler_server.access.accounts import Accounts
from scheduler_server.access.grants import parse
from scheduler_server.access.rotation import Rotation
from scheduler_server.access.settings import LimitSettings
from scheduler_server.access.tokens import new_token, shown
from scheduler_server.rpc.access_callers import Callers
from scheduler_server.rpc.access_guard import Guard
from tests.certificates import Authority, swap
from tests.performance.bench.assign import HELD
from tests.performance.harness import Plan, progress, ratio_fields, ratio_target, report, rounded, target
from tests.performance.pairs import BASELINE, compare
from tests.performance.processes import Child
from tests.performance.servers import closed_loop
from tests.performance.stats import median_interval

_WORKERS = 10_000
_WINDOW_S = 1.5
_PAIRS = 20
_WARM_UP_S = 2.0
_ROUNDS, _CALLS = 40, 2_000
_LIMITS = {"assign_per_s": 1e8, "assign_burst": 1_000_000, "assign_in_flight": 1_000, "streams": 1_000}
"""On, and never reached."""

VARIANTS = ("token", "tls_token", "mtls")


class House:
    """A server of each kind, and what its clients need."""

    def __init__(self, stack: ExitStack) -> None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        authority, token = Authority(), new_token()
        certificate, key = authority.server().write(folder, "server")
        own, own_key = authority.issue("spiffe://bench/queue").write(folder, "queue")
        swap(folder / "ca.pem", authority.pem)
        lines = [
            f"token {shown(token)} identity=queue role=producer,viewer",
            "certificate spiffe://bench/* role=producer,viewer",
        ]
        swap(folder / "access", "\n".join(lines).encode())
        tls = {"cert_file": str(certificate), "key_file": str(key)}
        both = {**tls, "client_ca_file": str(folder / "ca.pem")}
        access = {"file": str(folder / "access")}
        trusted = {"ca_file": str(folder / "ca.pem")}
        self.secrets: dict[str, dict[str, str]] = {
            BASELINE: {},
            "token": {"token": token},
            "tls_token": {**trusted, "token": token},
            "mtls": {**trusted, "cert_file": str(own), "key_file": str(own_key)},
        }
        self.children: dict[str, Child] = {}
        for name, files, who, limits in (
            (BASELINE, {}, {}, {}),
            ("token", {}, access, _LIMITS),
            ("tls_token", tls, access, _LIMITS),
            ("mtls", both, access, _LIMITS),
        ):
            module = "tests.performance.access_server"
            child = Child(module, workers=_WORKERS, tls=files, access=who, limits=limits)
            self.children[name] = stack.enter_context(child)
        self.addresses = {name: str(child.wait_ready()["address"]) for name, child in self.children.items()}
        client = Child("tests.performance.closed_loop", targets=self.addresses, workers=_WORKERS, secrets=self.secrets)
        self.client = stack.enter_context(client)
        self.client.wait_ready()


def run(plan: Plan) -> dict[str, Any]:
    """All kinds against one baseline, in turn."""
    window_s, pairs = plan.window_s(_WINDOW_S), plan.pair_count(_PAIRS)
    costs = asyncio.run(admission())
    with ExitStack() as stack:
        house = House(stack)
        loop: Any = house  # of Servers it takes the children alone
        for each in house.children:
            closed_loop(loop, house.client, each, _WARM_UP_S, held=HELD)
        cpu_us: dict[str, list[float]] = {each: [] for each in house.children}

        def measure(each: str) -> float:
            loaded = closed_loop(loop, house.client, each, window_s, held=HELD)
            cpu_us[each].append(loaded.server_cpu_us)
            return loaded.per_s

        def tell(done: int, of: int) -> None:
            if done % 16 == 0:
                progress(f"access: window {done} of {of}")

        compared = compare(measure, pairs, VARIANTS, tell)
    by_kind = {kind: ratio_fields(compared, kind) for kind in VARIANTS}
    return report(
        "access",
        {
            **by_kind["mtls"],
            "by_kind": by_kind,
            "per_s": {each: rounded(median_interval(found).median) for each, found in compared.windows.items()},
            "server_cpu_us": {each: rounded(median(found)) for each, found in cpu_us.items()},
            **costs,
            "workers": _WORKERS,
            "in_flight": 16,
        },
        [ratio_target(">=", 0.8, by_kind["mtls"], "mtls"), target("admission us", "<=", 2.0, costs["admission_us"])],
        pairs,
        window_s,
    )


class _Context:
    """As much of a call's context as the guard asks; the real one's metadata costs what gRPC makes it cost."""

    def __init__(self, token: str) -> None:
        self._metadata = (("user-agent", "bench"), ("authorization", f"Bearer {token}"))

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata


async def admission() -> dict[str, Any]:
    """What admission of a call costs (rate, in flight, names), and the guard around it; the least of many rounds."""
    token = new_token()
    text = f"token {shown(token)} identity=queue role=producer"
    grants = Rotation("bench", lambda: 0, lambda: parse(text))
    accounts = Accounts(LimitSettings(**_LIMITS))  # type: ignore[arg-type]
    callers = Callers(grants=grants, certificates=False, accounts=accounts)
    guard = Guard(callers, roles=True)

    async def nothing(request: Any, context: Any) -> Any:
        return request

    name = "scheduler_api.v1.ScheduleService/Assign"
    guarded, context = guard.unary(nothing, name, None, lambda _: 1), _Context(token)
    account = accounts.of("queue", 0.0)

    def admit() -> None:
        now = perf_counter()
        account.admit(1, now)
        account.names("task_types", ("resize",), now)
        account.names("tenants", ("a",), now)
        account.leave()

    bare_us: list[float] = []
    guarded_us: list[float] = []
    admission_us: list[float] = []
    for _ in range(_ROUNDS):
        begun = perf_counter()
        for _ in range(_CALLS):
            await nothing(b"", context)
        middle = perf_counter()
        for _ in range(_CALLS):
            await guarded(b"", context)
        after = perf_counter()
        for _ in range(_CALLS):
            admit()
        end = perf_counter()
        bare_us.append((middle - begun) / _CALLS * 1e6)
        guarded_us.append((after - middle) / _CALLS * 1e6)
        admission_us.append((end - after) / _CALLS * 1e6)
    return {
        "admission_us": rounded(min(admission_us)),
        "guard_us": rounded(min(guarded_us) - min(bare_us)),
        "admission_typical_us": rounded(median(admission_us)),
        "guard_typical_us": rounded(median(guarded_us) - median(bare_us)),
    }
