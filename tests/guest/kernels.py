"""Debian kernels by name, fetched as packages and unpacked without being installed.

Real kernels of several ages are what the parsers have to survive, and Debian keeps one per release.
Its packages are only unpacked into the cache: installing them would touch the boot loader and pull
in an initramfs generator. Each suite gets package lists of its own: the machine's stay as they are.
"""

from __future__ import annotations

import fcntl
import lzma
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "guest"

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# What carries files: the image; from 7.2 on that package is empty and needs binary and modules.
_CARRIES_FILES = re.compile(r"linux-(?:image|binary|modules)-\d\S*")


class KernelUnavailableError(Exception):
    """The package cannot be had here; the text is apt's own."""


@dataclass(frozen=True)
class Kernel:
    """A kernel series, and the image package that is it or depends on it."""

    name: str
    suite: str
    package: str = "linux-image-amd64"


@dataclass(frozen=True)
class Unpacked:
    """Where an unpacked kernel lies."""

    release: str
    image: Path
    modules: Path


# By code name, never "stable" or "testing": a suite then keeps its series for life.
KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("5.10", "bullseye"),
        Kernel("6.1", "bookworm"),
        Kernel("6.12", "trixie"),
        Kernel("7", "forky"),
    )
}


def fetch(kernel: Kernel) -> Unpacked:
    """Give the unpacked kernel, downloading it the first time only.

    To get a suite's newer kernel, delete its folder in the cache.
    """
    folder = CACHE / f"{kernel.suite}-{kernel.package}"
    with _locked(CACHE):
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            _download(kernel, partial)
            _prepare_modules(partial)
            partial.rename(folder)
    found = _find(folder)
    if not found.release.startswith(f"{kernel.name}."):
        raise KernelUnavailableError(
            f"{kernel.package} of {kernel.suite} is {found.release}, not {kernel.name}"
        )
    return found


def _download(kernel: Kernel, folder: Path) -> None:
    suite = _suite_options(kernel.suite)
    _apt("apt-get", *suite, "-o", "APT::Update::Error-Mode=any", "--quiet", "update")
    graph = _apt("apt-cache", *suite, "depends", "--recurse", "--important", kernel.package)
    names = sorted({name for name in graph.splitlines() if _CARRIES_FILES.fullmatch(name)})
    if not names:
        raise KernelUnavailableError(f"{kernel.package} of {kernel.suite} leads to no kernel")
    folder.mkdir()
    _apt("apt-get", *suite, "--quiet", "download", *names, folder=folder)
    for archive in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", archive, folder], check=True)
        archive.unlink()


def _prepare_modules(folder: Path) -> None:
    """Write modules.dep and modules.alias, which a package leaves to its installation.

    Uncompressed, since the guest's modprobe first offers a compressed file to the kernel as it is,
    and each such try is an error on the console.
    """
    unpacked = _find(folder)
    for compressed in unpacked.modules.rglob("*.ko.xz"):
        compressed.with_suffix("").write_bytes(lzma.decompress(compressed.read_bytes()))
        compressed.unlink()
    base = unpacked.modules.parents[2]
    subprocess.run(["busybox", "depmod", "-b", base, unpacked.release], check=True)


def _find(folder: Path) -> Unpacked:
    """Locate image and modules: Debian moved both (merged /usr, then image beside modules)."""
    modules = next(
        path for lib in ("usr/lib", "lib") for path in folder.glob(f"{lib}/modules/[0-9]*")
    )
    images = (folder / "boot" / f"vmlinuz-{modules.name}", modules / "vmlinuz")
    return Unpacked(modules.name, next(path for path in images if path.exists()), modules)


def _suite_options(suite: str) -> list[str]:
    """Options under which apt sees nothing but this suite, from the mirror this machine uses."""
    folder = CACHE / "apt" / suite
    (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    sources = folder / "sources.list"
    sources.write_text(f"deb [signed-by={_KEYRING}] {_mirror()} {suite} main\n")
    settings = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": "/dev/null",
        "Dir::Cache": folder,
        # The cache may lie where apt's own user cannot go.
        "APT::Sandbox::User": "root",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _mirror() -> str:
    """Address of the mirror that serves this machine's own Debian release."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    template = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    for line in _apt("apt-get", "indextargets", "--format", template).splitlines():
        address, *place = line.split()
        if place == [codename, "main"]:
            return address
    raise KernelUnavailableError(f"no package source of this machine serves {codename!r} main")


def _apt(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelUnavailableError(done.stderr.strip())
    return done.stdout


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time fill the cache."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
