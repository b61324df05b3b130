"""Room for an answer that may turn out longer than was agreed."""

from __future__ import annotations

import ctypes
import mmap
import os

_PROT_NONE = 0
_LIBC = ctypes.CDLL(None, use_errno=True)


class GuardedRoom:
    """Memory with a page after it that cannot be written.

    Up to 2025 the kernel wrote as many strings and statistics as the driver had by then, however
    many were asked for (ethtool_get_stats() in net/ethtool/ioctl.c of 5.10). Before an
    inaccessible page it has to stop: copy_to_user() stores a contiguous part from the beginning
    and nothing behind it (include/linux/uaccess.h), and the caller gets EFAULT. So however much a
    driver has, no other memory of this process is written.

    size: how much room there is at least.
    """

    def __init__(self, size: int) -> None:
        self.size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        whole = mmap.mmap(-1, self.size + mmap.PAGESIZE, flags=flags)
        # Views keep the mapping from being unmapped for as long as they live.
        self.view = memoryview(whole)[: self.size]
        self._first = ctypes.c_char.from_buffer(self.view)
        self.address = ctypes.addressof(self._first)
        guard = ctypes.c_void_p(self.address + self.size)
        if _LIBC.mprotect(guard, ctypes.c_size_t(mmap.PAGESIZE), _PROT_NONE):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), "mprotect")
