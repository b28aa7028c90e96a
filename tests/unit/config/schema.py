"""A schema for the tests: every type a setting may have, and none of the product's own settings."""

from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from scheduler_server.model.setting import setting

if TYPE_CHECKING:
    from collections.abc import Iterable


class Flavour(Enum):
    SWEET = "sweet"
    SOUR = "sour"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """Deeper still."""

    depth: int = setting(2, "how deep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """When is a worker unhealthy?"""

    degraded_after_s: float = setting(10.0, "silence until degraded", unit="s", above=0)
    unhealthy_after_s: float = setting(30.0, "silence until unhealthy", unit="s", minimum=1, maximum=3600)
    inner: Inner = Inner()
    strict: bool = setting(False, "refuse | everything")

    def faults(self) -> "Iterable[tuple[str, str]]":
        if self.degraded_after_s >= self.unhealthy_after_s:
            yield "degraded_after_s", "must be below unhealthy_after_s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    default_ms: int = setting(5000, "expected duration of an unknown type", unit="ms", minimum=1)
    category_defaults_ms: dict[str, float] = setting({"bug": 60.0}, "by category", unit="ms", minimum=0)
    types: dict[str, tuple[str, ...]] = setting({}, "specializations by worker type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    profile: str = setting("default", "a named set of defaults")
    listen: tuple[str, ...] = setting(("127.0.0.1:50051",), "addresses to listen on")
    state: Path | None = setting(None, "folder for what survives")
    token: str = setting("", "shared secret", secret=True)
    limit: int | None = setting(None, "most of it", minimum=1)
    level: str = setting("info", "how much to log", choices=("debug", "info", "warning"))
    flavour: Flavour = setting(Flavour.SWEET, "taste")
    folder: Path = setting(Path("/var/lib"), "a folder")
    health: Health = Health()
    predictor: Predictor = field(default_factory=Predictor)


PROFILES: dict[str, dict[str, object]] = {
    "slow": {"health.unhealthy_after_s": 900, "health.degraded_after_s": 600.0, "listen": ["a:1", "b:2"]},
}
