"""What the machine has, and a container or batch system allows this process: cores and memory, as Linux tells them."""

import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath


@lru_cache(maxsize=1)
def cpu_quota() -> float | None:
    """Processors' worth of time that the process may use, 1.5 say; None where there is no such limit."""
    return _tightest("cpu", _cpu_quota)


@lru_cache(maxsize=1)
def memory() -> int | None:
    """Bytes of memory that this process can use: the machine's, or less where a control group limits it. None if unknown."""
    known = [limit for limit in (_physical_memory(), _tightest("memory", _memory_limit)) if limit is not None]
    return int(min(known)) if known else None


@lru_cache(maxsize=8)
def physical_cores(processors: frozenset[int], root: Path = Path("/")) -> int:
    """Of so many of the system's processors, those that are cores of their own and not another one's second thread.

    Where the system does not tell, all of them.
    """
    return len({_siblings(root / f"sys/devices/system/cpu/cpu{processor}/topology", processor) for processor in processors})


def _siblings(topology: Path, processor: int) -> str:
    """What the processors of one core have in common, and no other."""
    for name in ("core_cpus_list", "thread_siblings_list"):  # the second one is the older name
        try:
            text = (topology / name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text:
            return text
    return f"{processor} alone"


def _physical_memory() -> int | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return size if size > 0 else None


def _cpu_quota(folder: Path) -> float | None:
    try:
        quota, period = _numbers(folder / "cpu.max")  # version 2
    except OSError:
        quota, period = _numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us")
    return quota / period if quota > 0 and period > 0 else None


def _memory_limit(folder: Path) -> float:
    try:
        (limit,) = _numbers(folder / "memory.max")
    except OSError:
        (limit,) = _numbers(folder / "memory.limit_in_bytes")
    return limit


def _numbers(file: Path) -> list[float]:
    return [float(word) for word in file.read_text(encoding="ascii").replace("max", "inf").split()]


def _tightest(controller: str, read: Callable[[Path], float | None], root: Path = Path("/")) -> float | None:
    """The smallest limit of a controller in the process's groups and all that they are in; None where nothing is limited."""
    limits = []
    for folder in _groups(controller, root):
        try:
            limit = read(folder)
        except (OSError, ValueError):  # no such file here, or not the numbers that belong there
            continue
        if limit is not None and 0.0 < limit < float("inf"):
            limits.append(limit)
    return min(limits, default=None)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of the groups that limit the process, in version 2 and in version 1, which has a hierarchy per controller.

    In a container the path may be that of the host, while what is mounted begins at the process's own group: both are tried.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    mounts = root / "sys/fs/cgroup"
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            tops = [mounts, mounts / "unified"]
        elif controller in controllers.split(","):
            tops = [mounts / controllers, mounts / controller]
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        for top in tops:
            yield from (top / part for part in (group, *group.parents))
