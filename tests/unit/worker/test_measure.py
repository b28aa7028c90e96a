import math
from pathlib import Path

import pytest

from scheduler_server.worker.cgroup import CpuUse, MemoryUse, cpu_limits, memory_limits
from scheduler_server.worker.measure import WINDOW_S, Counters, Meter, Sample, busiest, clip, read_counters


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def v2(root: Path, own: str, files: dict[str, str]) -> Path:
    base = {"proc/self/cgroup": f"0::{own}", "sys/fs/cgroup/cgroup.controllers": "cpu memory"}
    return tree(root, base | {f"sys/fs/cgroup/{name}": text for name, text in files.items()})


def test_v2_reads_quota_and_limit_of_the_own_group_and_of_those_around_it(tmp_path: Path) -> None:
    root = v2(
        tmp_path,
        "/slice/app",
        {
            "slice/cpu.max": "400000 100000",
            "slice/cpu.stat": "usage_usec 9000000",
            "slice/app/cpu.max": "50000 100000",
            "slice/app/cpu.stat": "usage_usec 2500000\nuser_usec 1",
            "slice/app/memory.current": "700",
            "slice/app/memory.max": "1000",
            "slice/app/memory.stat": "anon 1\ninactive_file 200",
            "slice/memory.current": "700",
            "slice/memory.max": "max",
        },
    )
    assert cpu_limits(root) == {"slice/app": CpuUse(2.5, 0.5), "slice": CpuUse(9.0, 4.0)}
    assert memory_limits(root) == [MemoryUse(500, 1000)]


def test_v2_without_limits_finds_none(tmp_path: Path) -> None:
    root = v2(tmp_path, "/", {"cpu.max": "max 100000", "cpu.stat": "usage_usec 1", "memory.max": "max"})
    assert (cpu_limits(root), memory_limits(root)) == ({}, [])


def test_v1_reads_controllers_in_their_own_folders_and_passes_over_the_hosts_path(tmp_path: Path) -> None:
    cgroup = "sys/fs/cgroup"
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n1:name=systemd:/x",
            f"{cgroup}/cpu/cpu.cfs_quota_us": "200000",
            f"{cgroup}/cpu/cpu.cfs_period_us": "100000",
            f"{cgroup}/cpuacct/cpuacct.usage": "3000000000",
            f"{cgroup}/memory/memory.usage_in_bytes": "900",
            f"{cgroup}/memory/memory.limit_in_bytes": "1000",
            f"{cgroup}/memory/memory.stat": "cache 1\ntotal_inactive_file 400",
        },
    )
    assert cpu_limits(root) == {".": CpuUse(3.0, 2.0)}
    assert memory_limits(root) == [MemoryUse(500, 1000)]


def test_v1_without_a_quota_finds_none(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "1:cpu:/",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
        "sys/fs/cgroup/cpuacct/cpuacct.usage": "1",
    }
    assert cpu_limits(tree(tmp_path, files)) == {}


@pytest.mark.parametrize("text", ["", "garbage", "0::/../../etc", "0 100000"])
def test_files_that_make_no_sense_are_no_limits(tmp_path: Path, text: str) -> None:
    root = v2(tmp_path, "/", {"cpu.max": text, "cpu.stat": text, "memory.max": text, "memory.current": text})
    (root / "proc/self/cgroup").write_text(text or "0::/")
    assert (cpu_limits(root), memory_limits(root)) == ({}, [])


def test_where_there_is_no_cgroup_the_machine_is_measured(tmp_path: Path) -> None:
    counters = read_counters(tmp_path)
    assert list(counters.cpu) == ["machine"]
    assert 0 < counters.memory <= 1


def test_a_limit_above_the_machine_is_none_and_one_below_counts(tmp_path: Path) -> None:
    files = {
        "cpu.max": "100 100000",
        "cpu.stat": "usage_usec 1",
        "memory.current": "3000",
        "memory.max": "4000",
    }
    counters = read_counters(v2(tmp_path, "/", files))
    assert (list(counters.cpu), counters.memory) == (["."], 0.75)
    root = v2(tmp_path, "/", {"cpu.max": f"{10**12} 100000", "memory.max": str(10**18)})
    counters = read_counters(root)
    assert list(counters.cpu) == ["machine"]
    assert counters.memory > 1e-6  # 3000 of 10**18 bytes would be less


def test_the_tightest_level_decides_and_levels_without_a_past_do_not() -> None:
    before = {"a": CpuUse(0.0, 1.0), "b": CpuUse(0.0, 4.0)}
    after = {"a": CpuUse(1.0, 1.0), "b": CpuUse(6.0, 4.0), "new": CpuUse(99.0, 1.0)}
    assert busiest(before, after, 2.0) == 0.75


@pytest.mark.parametrize(
    ("share", "clipped"),
    [(-0.1, 0.0), (0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (1.1, 1.0), (math.nan, 0.0), (math.inf, 1.0)],
)
def test_shares_are_within_0_and_1(share: float, clipped: float) -> None:
    assert clip(share) == clipped


class FakeSystem:
    """Counters and time that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.used_s = 0.0
        self.memory = 0.25
        self.broken = False
        self.reads = 0

    def read(self) -> Counters:
        self.reads += 1
        if self.broken:
            raise OSError("gone")
        return Counters({"machine": CpuUse(self.used_s, 2.0)}, self.memory)


@pytest.fixture
def system() -> FakeSystem:
    return FakeSystem()


def test_the_share_is_that_of_the_time_since_the_last_sample(system: FakeSystem) -> None:
    meter = Meter(lambda: system.now, system.read)
    assert meter.sample() == Sample(0.0, 0.25)
    system.now, system.used_s, system.memory = 102.0, 1.0, 0.5
    assert meter.sample() == Sample(0.25, 0.5)
    system.now, system.used_s = 103.0, 3.0
    assert meter.sample() == Sample(1.0, 0.5)


@pytest.mark.parametrize(("after_s", "reads"), [(WINDOW_S - 0.01, 1), (WINDOW_S, 2), (WINDOW_S + 0.01, 2)])
def test_within_the_window_nothing_is_read_again(system: FakeSystem, after_s: float, reads: int) -> None:
    system.now = 0.0
    meter = Meter(lambda: system.now, system.read)
    system.now = after_s
    meter.sample()
    assert system.reads == reads


def test_when_nothing_can_be_read_the_last_sample_stands(system: FakeSystem) -> None:
    meter = Meter(lambda: system.now, system.read)
    system.now, system.broken = 200.0, True
    assert meter.sample() == Sample(0.0, 0.25)
