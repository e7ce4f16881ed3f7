"""How many CPUs this process may use, and how much memory it has held."""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path


def allowed_cpus() -> int:
    """CPUs this process may use: affinity, cgroup quota and Slurm's allocation, whichever is least."""
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    limits += _cgroup_cpus()
    slurm = os.environ.get("SLURM_CPUS_PER_TASK") or os.environ.get("SLURM_CPUS_ON_NODE") or ""
    if slurm.isdigit():
        limits.append(int(slurm))
    return max(1, min(limits))


def _cgroup_cpus(own: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """CPU quotas, rounded up, of this process's cgroup and of all that enclose it (v1 and v2)."""
    quotas = []
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            mount = root / "cpu" if controllers else root
            if not controllers or "cpu" in controllers.split(","):
                folder = mount / group.lstrip("/")
                quotas += [
                    _quota(place) for place in (folder, *folder.parents) if place.is_relative_to(mount)
                ]
    return [quota for quota in quotas if quota > 0]


def _quota(folder: Path) -> int:
    for names in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        with contextlib.suppress(OSError, ValueError):  # absent, or "max"
            quota, period = (int(word) for name in names for word in (folder / name).read_text().split())
            return -(-quota // period)
    return 0


def peak_bytes() -> int:
    """The most memory that this process has held."""
    try:  # what getrusage says may be the parent's
        status = Path("/proc/self/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
