"""Settings of TLS, access control and limits per identity."""

from collections.abc import Iterable
from dataclasses import dataclass

from scheduler_server.model.setting import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """TLS on the server's port. Files are read again when they change."""

    cert_file: str = setting("", "PEM file of the server's certificate, with its chain; empty: plaintext")
    key_file: str = setting("", "PEM file of its key, which not everybody may read")
    client_ca_file: str = setting(
        "",
        "PEM file of the authorities of clients' certificates; without one nobody connects then; empty: none is asked",
    )

    @property
    def on(self) -> bool:
        """Is the port TLS?"""
        return bool(self.cert_file)

    def faults(self) -> Iterable[tuple[str, str]]:
        """Files that do not come together, as (field, message)."""
        if bool(self.cert_file) != bool(self.key_file):
            yield "key_file" if self.cert_file else "cert_file", "cert_file and key_file go together"
        if self.client_ca_file and not self.cert_file:
            yield "client_ca_file", "needs cert_file and key_file: there is no TLS without them"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSettings:
    """Who may do what."""

    file: str = setting(
        "",
        "access file: tokens, by their hashes, and certificates with what they may do; not readable by everybody;"
        " empty: everybody who can connect may do everything",
    )
    reload_s: float = setting(
        1.0,
        "how often the access file and the files of TLS are looked at for changes, and open streams for credentials"
        " that are no longer good",
        unit="s",
        minimum=0.05,
        maximum=3_600,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """What one identity may ask for. 0 is no limit."""

    apply: str = setting(
        "identified",
        "to whom: identified: callers with a token or certificate; always: all, and one without either is known by its"
        " address",
        choices=("identified", "always"),
    )
    assign_per_s: float = setting(
        0.0, "tasks per second that one identity may ask to have placed, over a while", minimum=0, maximum=1e9
    )
    assign_burst: int = setting(
        1_000, "tasks that it may ask for at once after a pause", unit="tasks", minimum=1, maximum=10_000_000
    )
    assign_in_flight: int = setting(
        0, "calls of Assign and AssignBatch of one identity at once, waiting ones too", minimum=0, maximum=1_000_000
    )
    workers: int = setting(0, "workers that one identity has registered at once", minimum=0, maximum=10_000_000)
    streams: int = setting(0, "streams of one identity at once: of workers, and watches", minimum=0, maximum=10_000_000)
    task_types: int = setting(
        10_000, "different task types that one identity names within names_kept_s", minimum=0, maximum=10_000_000
    )
    tenants: int = setting(10_000, "the same of tenants", minimum=0, maximum=10_000_000)
    labels: int = setting(
        10_000, "the same of labels, key and value, of workers and in match_labels", minimum=0, maximum=10_000_000
    )
    capabilities: int = setting(
        1_000, "the same of capabilities, of workers and required", minimum=0, maximum=10_000_000
    )
    names_kept_s: float = setting(
        3_600.0, "how long a name counts at least; at most twice as long", unit="s", minimum=1, maximum=604_800
    )
    overrides: int = setting(
        1_000, "overrides in force at once, of all identities together", minimum=1, maximum=100_000
    )
    standing_orders: int = setting(
        10_000,
        "cordons, pauses, forced fallbacks, tripped breakers and workers' hours that stand at once, of all identities"
        " together",
        minimum=1,
        maximum=1_000_000,
    )
