"""The families process_* and python_gc_* that every exporter has, about this very process.

Names, types and help are prometheus_client's, and so are the values (a test compares them). Its
own collectors read three files and build forty objects for them, which was a fifth of the cost
of a scrape of an ordinary host.
"""

from __future__ import annotations

import gc
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

from netperf_exporter.metric import UNLABELLED, Block, Family, Rows

VIRTUAL_MEMORY = Family("process_virtual_memory_bytes", "gauge", "Virtual memory size in bytes.")
RESIDENT_MEMORY = Family("process_resident_memory_bytes", "gauge", "Resident memory size in bytes.")
START_TIME = Family(
    "process_start_time_seconds",
    "gauge",
    "Start time of the process since unix epoch in seconds.",
    scale=-2,
)
CPU = Family(
    "process_cpu_seconds_total",
    "counter",
    "Total user and system CPU time spent in seconds.",
    scale=-6,
)
OPEN_FDS = Family("process_open_fds", "gauge", "Number of open file descriptors.")
MAX_FDS = Family("process_max_fds", "gauge", "Maximum number of open file descriptors.")
COLLECTED = Family(
    "python_gc_objects_collected_total",
    "counter",
    "Objects collected during gc",
    ("generation",),
)
UNCOLLECTABLE = Family(
    "python_gc_objects_uncollectable_total",
    "counter",
    "Uncollectable objects found during GC",
    ("generation",),
)
COLLECTIONS = Family(
    "python_gc_collections_total",
    "counter",
    "Number of times this generation was collected",
    ("generation",),
)

_PROCESS = (VIRTUAL_MEMORY, RESIDENT_MEMORY, START_TIME, CPU, OPEN_FDS, MAX_FDS)
_GC = (COLLECTED, UNCOLLECTABLE, COLLECTIONS)
FAMILIES = (*_PROCESS, *_GC)

_GENERATIONS: Rows = (("0",), ("1",), ("2",))
_PAGE = resource.getpagesize()


class OwnProcess:
    """Reads this process's figures. Make it after the last fork."""

    def __init__(self) -> None:
        self._memory = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._start_time = _start_time()

    def blocks(self) -> Iterator[Block]:
        """All families."""
        # proc_pid_statm() in fs/proc/array.c: pages in all, pages resident.
        size, resident = os.pread(self._memory, 256, 0).split()[:2]
        values = (
            int(size) * _PAGE,
            int(resident) * _PAGE,
            self._start_time,
            time.process_time_ns() // 1000,
            _open_descriptors(),
            resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        )
        yield Block(_PROCESS, UNLABELLED, values)
        stats = gc.get_stats()
        kinds = ("collected", "uncollectable", "collections")
        yield Block(_GC, _GENERATIONS, [generation[kind] for kind in kinds for generation in stats])

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._memory)


def _open_descriptors() -> int:
    # The size of the folder is their number since v6.2 (proc_fd_getattr() in fs/proc/fd.c), and
    # 0 before. Listing it opens one for as long as it takes.
    return os.stat("/proc/self/fd").st_size or len(os.listdir("/proc/self/fd")) - 1


def _start_time() -> int:
    """Hundredths of a second since the epoch: boot time, and ticks since then (fs/proc/array.c)."""
    boot = Path("/proc/stat").read_bytes().partition(b"\nbtime ")[2].split()[0]
    ticks = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()[19]
    return int(boot) * 100 + int(ticks)
