"""The container image, built for real: by buildah, without a daemon and without a registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.daemon import ROOT

_TOOLS = ("buildah", "mmdebstrap", "setpriv")
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_BASE, _IMAGE = "localhost/base", "localhost/netperf-exporter"


class Image:
    """An image that was built, in a store of its own.

    config: what docker shows as Config.
    files: where its files are.
    """

    def __init__(self, store: Sequence[str], container: str) -> None:
        self._store = [*store]
        self._container = container
        described = json.loads(self._buildah("inspect", "--type", "image", _IMAGE))
        self.config: dict[str, Any] = described["Docker"]["config"]
        self.files = Path(self._buildah("mount", container).strip())

    def command(self, *command: str, options: Sequence[str] = ()) -> list[str]:
        """What runs a command in it as its user, on this machine's network."""
        run = ["run", "--isolation=chroot", "--network=host", *options]
        # What it started ends with whoever asked.
        ends = ["setpriv", "--pdeathsig", "KILL"]
        return [*ends, *self._store, *run, self._container, "--", *command]

    def _buildah(self, *arguments: str) -> str:
        return _do(*self._store, *arguments)


def missing() -> str | None:
    """Say why no image can be built here, or None."""
    if os.geteuid() != 0:
        return "only root can build an image without user namespaces"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return f"not installed: apt-get install {' '.join(absent)}" if absent else None


@contextmanager
def built() -> Iterator[Image]:
    """The image of this checkout on a minimal Debian; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        store = ["buildah", f"--root={folder}/root", f"--runroot={folder}/run"]
        store += ["--storage-driver=vfs"]
        _make_base(Path(folder), store)
        build = ["build", "--format=docker", "--isolation=chroot", "--network=host"]
        _do(*store, *build, f"--build-arg=BASE={_BASE}", f"--tag={_IMAGE}", str(ROOT))
        container = _do(*store, "from", _IMAGE).strip()
        try:
            yield Image(store, container)
        finally:
            _do(*store, "umount", container)
            _do(*store, "rm", container)


def _make_base(folder: Path, store: Sequence[str]) -> None:
    """Debian 12 with Python and venv, no more; it trusts whom this machine trusts."""
    archive = folder / "base.tar"
    packages = "--include=python3-venv,ca-certificates"
    _do("mmdebstrap", "--quiet", "--variant=essential", packages, "bookworm", str(archive))
    container = _do(*store, "from", "scratch").strip()
    _do(*store, "add", container, str(archive), "/")
    archive.unlink()
    if Path(_CERTIFICATES).exists():
        _do(*store, "copy", container, _CERTIFICATES, _CERTIFICATES)
        _do(*store, "config", "--env", f"PIP_CERT={_CERTIFICATES}", container)
    _do(*store, "commit", container, _BASE)
    _do(*store, "rm", container)


def _do(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout
