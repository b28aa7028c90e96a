"""Settings of what is kept of decisions, and for how long."""

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler_server.model.setting import setting
from scheduler_server.storage.decision_log import Retention
from scheduler_server.storage.decision_log.clickhouse_url import ClickHouseUrlError, parse

_MIB = 1 << 20
_LEAST_MIB = 64
"""Below that the sums of a year and an hour of rows of a busy server have no room beside each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySettings:
    """The decision log: decisions, candidates, outcomes, samples, events; docs/history.md has the tables."""

    enabled: bool = setting(True, "whether decisions and what came of them are kept at all")
    url: str = setting(
        "",
        "ClickHouse that they go to: clickhouse://user:password@host:9000/database, or clickhouses:// for TLS; empty:"
        " a SQLite file in the state folder, and nothing where there is no state folder",
        secret=True,
    )
    keep_days: float = setting(
        30.0, "how long decisions, outcomes, samples and events are kept", unit="d", minimum=1, maximum=36_500
    )
    figures_keep_days: float = setting(
        400.0,
        "the same for the sums by minute that figures over time are read from",
        unit="d",
        minimum=1,
        maximum=36_500,
    )
    audit_keep_days: float = setting(400.0, "the same for audit entries", unit="d", minimum=1, maximum=36_500)
    most_mib: int = setting(
        4_096,
        "size at which the oldest rows of the SQLite file go before their time; 0: no bound",
        unit="MiB",
        minimum=0,
        maximum=1 << 30,
    )
    max_pending: int = setting(
        100_000,
        "entries that may wait to be written, about a kilobyte each; beyond that the newest are dropped and counted",
        minimum=1_000,
        maximum=10_000_000,
    )
    flush_interval_s: float = setting(
        0.25, "how long entries collect; a kill costs so much history", unit="s", minimum=0.01, maximum=60
    )
    timeout_s: float = setting(
        30.0, "time for a question, and for writing a batch to ClickHouse", unit="s", minimum=0.1, maximum=600
    )
    sample_interval_s: float = setting(
        60.0, "how often the fleet and its workers are sampled for the log", unit="s", minimum=1, maximum=3_600
    )
    sampled_workers: int = setting(
        10_000, "workers sampled each time, in turn; 0: none, only the fleet", minimum=0, maximum=1_000_000
    )
    learn_at_start: bool = setting(
        True, "whether a server that finds no snapshot learns durations from the log before it has its own"
    )
    learn_at_start_most: int = setting(
        200_000, "outcomes learned then at most, the newest", minimum=1, maximum=100_000_000
    )
    learn_at_start_s: float = setting(
        60.0, "time that may take; the server serves meanwhile", unit="s", minimum=0.1, maximum=86_400
    )

    def faults(self) -> Iterable[tuple[str, str]]:
        """A URL or size that cannot be used, as (field, message); never with anything of the URL."""
        if self.url:
            try:
                parse(self.url)
            except ClickHouseUrlError as error:
                yield "url", str(error)
        if 0 < self.most_mib < _LEAST_MIB:
            yield "most_mib", f"must be 0 or at least {_LEAST_MIB} (got {self.most_mib})"

    @property
    def retention(self) -> Retention:
        """The same in the log's words."""
        return Retention(self.keep_days, self.figures_keep_days, self.audit_keep_days, self.most_mib * _MIB)
