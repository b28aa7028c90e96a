"""Settings of the demand signal."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from scheduler_server.model.setting import setting

ANY, OTHER = "any", "other"
"""Names that classes have by themselves: tasks that need nothing, and those that no name covers."""

MOST_NAMED = 8
"""Names at most: each is five series of metrics, for ever."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandSettings:
    """What autoscalers are told."""

    target_wait_s: float = setting(
        30.0, "wait that tasks should have at most: what the slots that are asked for would hold", unit="s", above=0,
        maximum=86_400,
    )  # fmt: skip
    interval_s: float = setting(
        5.0, "how often the demand is worked out for the metrics; 0: never", unit="s", minimum=0, maximum=3_600
    )
    smooth_s: float = setting(
        30.0, "memory of the growth of waiting work, and of slots that were in use and are free now", unit="s",
        minimum=1, maximum=3_600,
    )  # fmt: skip
    classes: dict[str, tuple[str, ...]] = setting(
        {},
        "names for metrics, each with the capabilities that its tasks require: a task counts under the name with most"
        " of its own; `any` are tasks that require nothing, `other` the rest",
    )

    def faults(self) -> Iterable[tuple[str, str]]:
        """Names that cannot be labels, as (field, message)."""
        if len(self.classes) > MOST_NAMED:
            yield "classes", f"has {len(self.classes)} names; the limit is {MOST_NAMED}"
        for name, required in self.classes.items():
            if not _NAME.fullmatch(name) or name in (ANY, OTHER):
                yield "classes", f"{name!r} must be a word of a-z, 0-9 and _ up to 32 long, and not {ANY} or {OTHER}"
            elif not required:
                yield "classes", f"{name!r} names no capability; tasks that require none count as {ANY}"

    def name_of(self, required: Iterable[str], *, labelled: bool = False) -> str:
        """Under which name a task with these needs counts; `labelled`: it asks for labels, too."""
        has = frozenset(required)
        if not has and not labelled:
            return ANY
        named = [(len(wants), name) for name, wants in self.classes.items() if has.issuperset(wants)]
        return max(named, key=lambda each: (each[0], each[1]))[1] if named else OTHER
