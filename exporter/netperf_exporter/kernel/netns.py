"""Which network namespaces the processes of a host live in. No privilege is needed for it.

/proc/PID/ns/net is closed to whoever may not trace the process. /proc/PID/net is not, and its
files differ by namespace: proc_tgid_net_lookup() in fs/proc/proc_net.c looks them up in the
namespace of the process. Each namespace registers a file ``dev`` of its own (dev_proc_net_init()
in net/core/net-procfs.c), whose inode number proc_register() in fs/proc/generic.c takes from one
allocator of the whole kernel; pde_put() gives it back when the file is gone. So two processes
have the same number exactly if they have the same namespace. A number may be given out again
afterwards: numbers of one walk are comparable, those of two are not.

What is not found this way: a namespace without a process, which a mount (``ip netns add``), a
descriptor or a socket keeps; its nsfs inode can be seen below /run/netns, but which of the
numbers here belongs to it only who may trace its processes can tell. And one that only threads
moved to, because /proc/PID/net follows the thread that the process began with.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from typing import NamedTuple

REMEMBERED_SECONDS = 60.0
"""How old an answer may be. A process costs 7 µs, so 2,000 of them cost 14 ms once a minute, not
in every scrape. Looking at new processes only would miss those that move after they began, as
every ``ip netns exec`` does. A walk that outlasts its scrape is remembered for the next."""


class NetworkNamespaces(NamedTuple):
    """Network namespaces, each by an inode number that no other has.

    observed: the one that the host's files below /proc/net are of.
    others: those of its processes that are not in it.
    """

    observed: int
    others: frozenset[int]


class Walk:
    """Looks at every process, at most once in REMEMBERED_SECONDS.

    procfs: where /proc is mounted.
    net: the folder below it that has the files of the observed namespace.
    """

    def __init__(self, procfs: str, net: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._procfs = procfs
        self._net = net
        self._clock = clock
        self._found: NetworkNamespaces | None = None
        self._found_at = 0.0

    def namespaces(self) -> NetworkNamespaces:
        """What the last walk found. Raises OSError, with ENOENT where processes are hidden."""
        now = self._clock()
        if self._found is None or now - self._found_at >= REMEMBERED_SECONDS:
            self._found = self._walk()
            self._found_at = now
        return self._found

    def _walk(self) -> NetworkNamespaces:
        if not _shows_the_host(self._procfs):
            raise _hidden()
        try:
            observed = os.stat(f"{self._procfs}/{self._net}/dev").st_ino
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"/proc/{self._net}/dev") from None
        found = set()
        for name in os.listdir(self._procfs):
            if name.isdecimal():
                try:
                    found.add(os.stat(f"{self._procfs}/{name}/net/dev").st_ino)
                except (FileNotFoundError, ProcessLookupError):
                    continue  # ended since, or a zombie: get_proc_task_net() in fs/proc/proc_net.c
                except PermissionError:
                    raise _hidden() from None
        return NetworkNamespaces(observed, frozenset(found - {observed}))


def _shows_the_host(procfs: str) -> bool:
    """Whether procfs shows the processes of the whole host, and of every user.

    Process 2 of the first PID namespace, and of no other, is kthreadd (rest_init() in
    init/main.c). It belongs to root, so the mount option hidepid, ProtectProc= in systemd's words,
    hides it from whoever it hides others from (proc_pid_permission() in fs/proc/base.c). Not so
    from a root without CAP_SYS_PTRACE, who will not see the other users; not looked into so far,
    because nothing is to be gained by running the exporter like that.
    """
    try:
        with open(f"{procfs}/2/comm", "rb") as comm:
            return comm.read() == b"kthreadd\n"
    except (FileNotFoundError, NotADirectoryError, PermissionError, ProcessLookupError):
        return False


def _hidden() -> OSError:
    # Rather nothing than too few: a zero would say that all is observed.
    return OSError(errno.ENOENT, "processes of the host are hidden", "/proc")
