"""Wheel, sdist and editable install carry the code and its data, and the command runs."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from netperf_exporter import __version__
from tests.daemon import ROOT

PACKAGE = ROOT / "exporter" / "netperf_exporter"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of this checkout, and the wheel that was built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def package_files() -> set[str]:
    """Every file of the package but what Python writes beside it."""
    return {
        str(path.relative_to(PACKAGE.parent))
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_has_the_whole_package_and_nothing_else(built: Path) -> None:
    """Built from the sdist, so the sdist has it too."""
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"netperf_exporter-{__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licence = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]

    assert names == package_files()
    assert licence


def test_the_sdist_has_what_a_distributor_needs(built: Path) -> None:
    """Tests, documentation, unit, image, locks."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    for wanted in (
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Makefile",
        "Dockerfile",
        "netperf-exporter.service",
        "requirements.txt",
        "requirements-dev.txt",
        "docs/METRICS.md",
        "docs/ARCHITECTURE.md",
        "docs/DRIVERS.md",
        "docs/BENCHMARKS.md",
        "tests/hosts/linux-6.18/metrics.txt",
    ):
        assert wanted in names, wanted
    assert {f"exporter/{name}" for name in package_files()} <= names


OURS = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p.endswith("site-packages"))}
"""Lets another environment import what is installed in this one."""


def installed_at(folder: Path, *what: str, pip_needs: dict[str, str]) -> Path:
    """Install into a new environment, run the command there, and say where its code is."""
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"

    def run(*command: str, environment: dict[str, str]) -> str:
        variables = {**os.environ, **environment}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=folder, env=variables
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pip = (str(python), "-m", "pip", "--disable-pip-version-check", "install", "--no-deps")
    run(*pip, *what, environment=pip_needs)
    command = str(folder / "bin" / "netperf-exporter")
    assert run(command, "--version", environment=OURS) == f"netperf-exporter {__version__}\n"
    code = "import netperf_exporter; print(netperf_exporter.__file__)"
    return Path(run(str(python), "-c", code, environment=OURS).strip())


def test_the_wheel_installs_and_runs(built: Path, tmp_path: Path) -> None:
    """From the environment's own site-packages."""
    (wheel,) = built.glob("*.whl")

    assert installed_at(tmp_path, str(wheel), pip_needs={}).is_relative_to(tmp_path)


def test_the_checkout_installs_editable(tmp_path: Path) -> None:
    """What is run is the checkout's file."""
    where = installed_at(tmp_path, "--no-build-isolation", "-e", str(ROOT), pip_needs=OURS)

    assert where == PACKAGE / "__init__.py"
