"""What a container may use: the limits of this process's cgroup and of those around it, versions 1 and 2.

A limit may stand at any level, so every level from the own group to the mount's root is read. Inside a
container the path in /proc/self/cgroup may be the host's: levels that do not exist here are passed over.
Sources: kernel documentation, admin-guide/cgroup-v2 and cgroup-v1/{memory,cpuacct}.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

MICRO = 1e-6
NANO = 1e-9


class CpuUse(NamedTuple):
    """CPU seconds used so far by one level, and how many CPUs it may use at once."""

    used_s: float
    cores: float


class MemoryUse(NamedTuple):
    """Bytes that one level holds and cannot drop at will, and its limit."""

    used_bytes: int
    limit_bytes: int


def cpu_limits(root: Path = Path("/")) -> dict[str, CpuUse]:
    """Every level that has a CPU quota, by its path below the mount."""
    found: dict[str, CpuUse] = {}
    if _is_v2(root):
        for level, folder in _levels(root, ""):
            quota, _, period = _text(folder / "cpu.max").partition(" ")
            used = _table(folder / "cpu.stat").get("usage_usec")
            if quota.isdigit() and period.isdigit() and int(quota) > 0 and int(period) > 0 and used is not None:
                found[level] = CpuUse(used * MICRO, int(quota) / int(period))
        return found
    for level, folder in _levels(root, "cpu"):
        quota_us = _number(folder / "cpu.cfs_quota_us")
        period_us = _number(folder / "cpu.cfs_period_us")
        used_ns = _number(_mount(root) / "cpuacct" / level / "cpuacct.usage")
        if quota_us and quota_us > 0 and period_us and period_us > 0 and used_ns is not None:
            found[level] = CpuUse(used_ns * NANO, quota_us / period_us)
    return found


def memory_limits(root: Path = Path("/")) -> list[MemoryUse]:
    """Every level that has a memory limit. Cache not used lately is left out: the kernel drops it first."""
    v2 = _is_v2(root)
    used_name, limit_name, cache_name = (
        ("memory.current", "memory.max", "inactive_file")
        if v2
        else ("memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file")
    )
    found = []
    for _, folder in _levels(root, "" if v2 else "memory"):
        used, limit = _number(folder / used_name), _number(folder / limit_name)
        if used is not None and limit is not None and limit > 0:
            cache = _table(folder / "memory.stat").get(cache_name, 0)
            found.append(MemoryUse(max(0, used - cache), limit))
    return found


def _mount(root: Path) -> Path:
    return root / "sys/fs/cgroup"


def _is_v2(root: Path) -> bool:
    return (_mount(root) / "cgroup.controllers").exists()


def _levels(root: Path, controller: str) -> Iterator[tuple[str, Path]]:
    """Own group first, then the groups around it, as (path below the mount, folder)."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controller not in controllers.split(","):
            continue
        own = PurePosixPath(path.lstrip("/"))
        for level in (own, *own.parents):
            folder = _mount(root) / controller / level
            if ".." not in level.parts and folder.is_dir():
                yield str(level), folder
        return


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""  # not there, or not for us: no limit is known


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.removeprefix("-").isdigit() else None


def _table(path: Path) -> dict[str, int]:
    rows = (line.split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}  # noqa: PLR2004 - name, value
