"""Reading the files the kernel makes up when they are read: /proc and /sys."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import threading
import weakref
from collections.abc import Iterable
from types import TracebackType

# seq_file hands out about one page per read whatever is asked (seq_read_iter() in
# fs/seq_file.c), so every file is read until it ends. A buffer up to this size costs nothing.
_CHUNK = 64 * 1024

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_KEPT_SHARE = 4  # one in so many of the descriptors that this process may have


class Files:
    """Reads files below one folder, and keeps their descriptors open.

    known_as: what the folder is called in errors: /proc, wherever it is mounted or replayed.

    A kept descriptor is read with pread, which makes the kernel render the file anew: 0.5 µs
    instead of 3 µs for open, read and close. A descriptor is given up when reading fails or
    when its file was unlinked or replaced, so that what a module took away or a test rewrote
    is seen.

    Keep it to files whose path names the same thing for as long as the process lives: a
    descriptor below /sys/class/net goes on answering after its device was renamed.
    """

    def __init__(self, root: str, known_as: str) -> None:
        self._root = root
        self._known_as = known_as
        self._kept: dict[str, int] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _close, self._kept)  # whoever drops it drops hundreds

    def read(self, name: str) -> bytes:
        """The whole content of a file. Raises OSError as the kernel does."""
        descriptor = self._kept.get(name)
        if descriptor is not None:
            try:
                if os.fstat(descriptor).st_nlink:
                    return _read_to_end(descriptor)
            except OSError:
                pass
            self._forget(name, descriptor)
        return self._open_and_read(name)

    def read_once(self, name: str) -> bytes:
        """The same for a file whose path may come to mean something else: nothing is kept."""
        try:
            descriptor = os.open(f"{self._root}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._named(error, name) from None
        try:
            return _read_to_end(descriptor)
        except OSError as error:
            raise self._named(error, name) from None
        finally:
            os.close(descriptor)

    def read_each(self, names: Iterable[str]) -> list[bytes | None]:
        """Many small files, in less than half of the time. None for those that are not there.

        For files whose content the kernel writes in one piece (single_open() in fs/seq_file.c),
        so that one pread has all of it. Nor is it asked whether the file is still there: a
        descriptor of a file that was taken out of /proc answers EIO (proc_reg_read_iter() in
        fs/proc/inode.c). One that was replaced by another in an ordinary folder is not noticed.
        """
        contents: list[bytes | None] = []
        for name in names:
            descriptor = self._kept.get(name)
            if descriptor is not None:
                try:
                    contents.append(os.pread(descriptor, _CHUNK, 0))
                    continue
                except OSError:
                    self._forget(name, descriptor)
            try:
                contents.append(self._open_and_read(name))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EIO):
                    raise
                contents.append(None)
        return contents

    def folder(self, name: str) -> Folder:
        """Open a folder. Raises OSError as the kernel does."""
        try:
            descriptor = os.open(f"{self._root}/{name}", _DIRECTORY)
        except OSError as error:
            raise self._named(error, name) from None
        return Folder(descriptor, f"{self._known_as}/{name}")

    def resolve(self, name: str) -> str:
        """Where a link leads, as a name below the folder, or the name itself."""
        root = os.path.realpath(self._root)
        return os.path.relpath(os.path.realpath(f"{root}/{name}"), root)

    def listdir(self, name: str) -> list[str]:
        """The names in a folder, sorted."""
        try:
            return sorted(os.listdir(f"{self._root}/{name}"))
        except OSError as error:
            raise self._named(error, name) from None

    def close(self) -> None:
        """Close every kept descriptor."""
        for name, descriptor in list(self._kept.items()):
            self._forget(name, descriptor)

    def _open_and_read(self, name: str) -> bytes:
        # Opening blocks on a FIFO, and it may: the lanes of the exposition are there for that.
        try:
            descriptor = os.open(f"{self._root}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise self._named(error, name) from None
        try:
            content = _read_to_end(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise self._named(error, name) from None
        except BaseException:
            os.close(descriptor)
            raise
        with self._lock:
            # Whoever was overtaken while it opened the same file must not leave two.
            spare: int | None = descriptor
            if name in self._kept or len(self._kept) < _most_kept():
                spare = self._kept.get(name)
                self._kept[name] = descriptor
        if spare is not None:
            os.close(spare)
        return content

    def _named(self, error: OSError, name: str) -> OSError:
        return OSError(error.errno, error.strerror, f"{self._known_as}/{name}")

    def _forget(self, name: str, descriptor: int) -> None:
        with self._lock:
            if self._kept.get(name) != descriptor:
                return
            del self._kept[name]
        with contextlib.suppress(OSError):
            os.close(descriptor)


class Folder:
    """A folder that was opened: it stays the same one, whatever its path comes to mean.

    A folder of /sys/class/net is that of one device, also after the device was renamed and
    another one took its name; and what is in it is found in half of the time.
    """

    def __init__(self, descriptor: int, known_as: str) -> None:
        self._descriptor = descriptor
        self._known_as = known_as
        self._finalizer = weakref.finalize(self, os.close, descriptor)

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the descriptor back; once, or not at all."""
        if self._finalizer.detach():
            os.close(self._descriptor)

    def read(self, name: str) -> bytes:
        """The whole content of an attribute of sysfs; its descriptor is not kept.

        That is a page at most, and comes in one piece (sysfs_kf_seq_show() in fs/sysfs/file.c).
        """
        descriptor = self._open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, _CHUNK)
        except OSError as error:
            raise self._named(error, name) from None
        finally:
            os.close(descriptor)

    def listdir(self, name: str) -> list[str]:
        """The names in a folder in it, sorted."""
        descriptor = self._open(name, _DIRECTORY)
        try:
            return sorted(os.listdir(descriptor))
        except OSError as error:
            raise self._named(error, name) from None
        finally:
            os.close(descriptor)

    def _open(self, name: str, flags: int) -> int:
        try:
            return os.open(name, flags, dir_fd=self._descriptor)
        except OSError as error:
            raise self._named(error, name) from None

    def _named(self, error: OSError, name: str) -> OSError:
        return OSError(error.errno, error.strerror, f"{self._known_as}/{name}")


def _close(kept: dict[str, int]) -> None:
    while kept:
        with contextlib.suppress(OSError):
            os.close(kept.popitem()[1])


def _most_kept() -> int:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most // _KEPT_SHARE if most != resource.RLIM_INFINITY else 1 << 20


def _read_to_end(descriptor: int) -> bytes:
    content = os.pread(descriptor, _CHUNK, 0)
    if not content:
        return content
    pieces = [content]
    offset = len(content)
    while piece := os.pread(descriptor, _CHUNK, offset):
        pieces.append(piece)
        offset += len(piece)
    return b"".join(pieces) if len(pieces) > 1 else content
