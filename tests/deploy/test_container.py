"""What the Dockerfile promises, and the image that it makes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from netperf_exporter.config import Config
from tests.daemon import ROOT
from tests.deploy.image import Image, built, missing

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PORT = Config.listen_addresses[0].rpartition(":")[2]


# The Dockerfile


def stages(dockerfile: str) -> list[list[tuple[str, str]]]:
    """The instructions of each stage; what comes before the first is left out."""
    text = re.sub(r"(?m)^\s*#.*\n", "", dockerfile).replace("\\\n", "")
    split: list[list[tuple[str, str]]] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            split.append([])
        if split:
            split[-1].append((name, rest))
    return split


def is_exec_form(text: str) -> bool:
    try:
        words = json.loads(text)
    except ValueError:
        return False
    return isinstance(words, list) and all(isinstance(word, str) for word in words)


def findings(dockerfile: str) -> Iterator[str]:
    """What is wrong with a Dockerfile of ours."""
    *_, last = split = stages(dockerfile)
    given = dict(last)
    if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", given.get("USER", "")):
        yield "kubelet's runAsNonRoot needs a numeric USER that is not root"
    if not is_exec_form(given.get("ENTRYPOINT", "")):
        yield "a shell would be process 1, and get the SIGTERM"
    if not is_exec_form(given.get("HEALTHCHECK", "").partition("CMD ")[2]):
        yield "the health check needs a shell"
    if given.get("EXPOSE") != PORT or f"HEALTH_ADDRESS=localhost:{PORT}" not in dockerfile:
        yield "another port than the exporter's"
    for name, rest in (instruction for stage in split for instruction in stage):
        for command in rest.split("&&") if name == "RUN" else []:
            if "pip" in command and not re.search("--require-hashes|--no-index|-m venv", command):
                yield f"takes whatever the index has: {command}"
        if name == "FROM" and not rest.startswith("${BASE}"):
            yield f"not on the base that was asked for: {rest}"
        if name == "ADD":
            yield "ADD may fetch and unpack"
    if any(name == "RUN" for name, _ in last):
        yield "the shipped stage builds something"


def test_nothing_is_wrong_with_the_dockerfile() -> None:
    assert list(findings(DOCKERFILE)) == []


@pytest.mark.parametrize(
    ("line", "instead", "said"),
    [
        ("USER 65534:65534\n", "", "USER"),
        ("USER 65534:65534", "USER nobody", "USER"),
        ("USER 65534:65534", "USER 0:0", "USER"),
        ('ENTRYPOINT ["netperf-exporter"]', "ENTRYPOINT netperf-exporter", "SIGTERM"),
        ('CMD ["python3"', "CMD python3", "health"),
        ("EXPOSE 19100", "EXPOSE 9100", "port"),
        ("--require-hashes -r requirements.txt", "-r requirements.txt", "whatever the index"),
        ("--require-hashes -r requirements-build.txt", "hatchling", "whatever the index"),
        ("FROM ${BASE}\n", "FROM python:3.11\n", "base"),
        ("USER 65534:65534", "RUN apt-get install curl\nUSER 65534:65534", "shipped"),
    ],
)
def test_what_would_be_wrong_is_found(line: str, instead: str, said: str) -> None:
    assert DOCKERFILE.count(line) == 1

    assert any(said in finding for finding in findings(DOCKERFILE.replace(line, instead)))


def pins(lock: str) -> dict[str, bool]:
    """The names in a lock, and whether each has a version and a hash."""
    entries = re.findall(r"(?m)^(\S.*(?:\n +.*)*)", (ROOT / lock).read_text())
    return {
        re.split("[=<>!~;@ ]", entry)[0]: "==" in entry and "--hash=sha256:" in entry
        for entry in entries
        if not entry.startswith("#")
    }


@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-build.txt"])
def test_what_is_installed_is_pinned_with_hashes(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = {
        "requirements.txt": project["project"]["dependencies"],
        "requirements-build.txt": project["build-system"]["requires"],
    }[lock]
    pinned = pins(lock)

    assert {re.split("[=<>!~; ]", name)[0] for name in wanted} <= set(pinned)
    assert all(pinned.values()), pinned


def test_the_context_has_what_is_copied_and_nothing_else() -> None:
    copied = {
        source
        for stage in stages(DOCKERFILE)
        for name, rest in stage
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    lines = (ROOT / ".dockerignore").read_text().splitlines()

    assert {line[1:] for line in lines if line.startswith("!")} == copied
    assert "*" in lines
    assert all((ROOT / source).exists() for source in copied)


# The image


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    if reason := missing():
        pytest.skip(reason)
    with built() as image:
        yield image


@pytest.mark.guest
def test_the_image_says_what_it_is(image: Image) -> None:
    config = image.config

    assert config["User"] == "65534:65534"
    assert config["Entrypoint"] == ["netperf-exporter"]
    assert list(config["ExposedPorts"]) == [f"{PORT}/tcp"]
    assert config["Healthcheck"]["Test"][:3] == ["CMD", "python3", "-c"]
    labels = {name.rpartition(".")[2]: text for name, text in config["Labels"].items()}
    assert labels["title"] == "netperf-exporter"
    assert labels["licenses"] == "Apache-2.0"


@pytest.mark.guest
def test_the_image_has_the_exporter_and_its_licence_only(image: Image) -> None:
    licence = image.files / "usr/share/doc/netperf-exporter/LICENSE"
    assert licence.read_text() == (ROOT / "LICENSE").read_text()
    (packages,) = image.files.glob("opt/netperf-exporter/lib/python3*/site-packages")
    found = {path.name.partition("-")[0] for path in packages.glob("*.dist-info")}
    assert found == {"netperf_exporter", "prometheus_client", "h11", "isal", "pyudev"}
    assert [path.name for path in (image.files / "opt").iterdir()] == ["netperf-exporter"]
    assert not (image.files / "src").exists()
    assert not (image.files / "build").exists()


@pytest.mark.guest
def test_the_image_watches_its_host(image: Image) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    listen = f"--web.listen-address={address}"
    host = ["--volume=/proc:/host/proc:ro", "--volume=/sys:/host/sys:ro"]
    flags = ["--path.procfs=/host/proc", "--path.sysfs=/host/sys", listen]
    health = image.command(
        *image.config["Healthcheck"]["Test"][1:], options=[f"--env=HEALTH_ADDRESS={address}"]
    )
    command = image.command(*image.config["Entrypoint"], *flags, options=host)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            metrics = scrape(f"http://{address}/metrics")
            pid = process_with(listen)
            status = Path(f"/proc/{pid}/status").read_text()
            healthy = subprocess.run(health, check=False).returncode
            os.kill(pid, signal.SIGTERM)
            ended = running.wait(20)
        finally:
            running.kill()
        assert running.stderr is not None
        log = running.stderr.read()
    unhealthy = subprocess.run(health, capture_output=True, check=False).returncode

    assert re.search(r"(?m)^Uid:\t65534\t65534\t65534\t65534$", status)
    assert re.search(r"(?m)^CapEff:\t0+$", status)
    for name in Config.collectors:
        assert f'netperf_scrape_collector_success{{collector="{name}"}} 1\n' in metrics
        assert f'netperf_collector_available{{collector="{name}",reason=""}} 1\n' in metrics
    assert (healthy, unhealthy) == (0, 1)
    assert ended == 0
    assert "msg=stopping" in log


def scrape(url: str, seconds: float = 20) -> str:
    """The metrics, as soon as there are any."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def process_with(argument: str) -> int:
    """The exporter's process, known by an argument that only it was given."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            words = path.read_bytes().split(b"\0")
            if argument.encode() in words and words[0].endswith(b"/python3"):
                found.append(int(path.parent.name))
    (pid,) = found
    return pid
