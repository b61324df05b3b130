"""The unit, and the exporter under systemd: a stand-in for it, and a real one that boots."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from netperf_exporter.collectors import COLLECTORS
from netperf_exporter.config import Config
from tests.daemon import ROOT, exporter
from tests.deploy.machine import Machine, booted, missing
from tests.deploy.notify import NotifySocket

UNIT = ROOT / "netperf-exporter.service"
NAME = UNIT.stem
PYTHON = "/usr/bin/python3"
IN_MACHINE = f"/opt/{NAME}"

needs_systemd_python = pytest.mark.skipif(
    importlib.util.find_spec("systemd") is None,
    reason="no systemd-python: apt-get install libsystemd-dev pkg-config gcc, then make",
)


# The unit


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with another command, as ours is not where systemd looks for it."""
    text, count = re.subn(rf"(?m)^ExecStart={NAME} ", "ExecStart=/bin/true ", UNIT.read_text())
    assert count == 1
    unit = tmp_path / UNIT.name
    unit.write_text(text)
    return unit


def test_nothing_in_the_unit_is_doubtful(unit: Path) -> None:
    verified = analyze("verify", str(unit))

    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("NoNewPrivileges=yes", "NoNewPrivileges=maybe"),
        ("WatchdogSec=60", "WatchdogSecs=60"),
        ("[Unit]", "[Unit]\nDocumentation=man:no-such-page(8)"),
    ],
)
def test_what_is_doubtful_is_found(unit: Path, line: str, instead: str) -> None:
    """Or the test above would prove nothing: verify warns of some with success."""
    text = unit.read_text()
    assert text.count(line) == 1
    unit.write_text(text.replace(line, instead))

    assert analyze("verify", str(unit)).stderr


def test_the_protections_are_worth_something(unit: Path) -> None:
    """3.2 at systemd 252, where 10 is the worst."""
    rated = analyze("security", "--offline=true", "--no-pager", "--threshold=35", str(unit))

    assert rated.returncode == 0, rated.stdout[-200:] + rated.stderr


# The process


@needs_systemd_python
def test_systemd_hears_when_we_begin_live_and_end(tmp_path: Path) -> None:
    with NotifySocket(tmp_path / "notify") as systemd:
        environment = [f"NOTIFY_SOCKET={systemd.path}", "WATCHDOG_USEC=1000000"]
        with exporter(prefix=["env", *environment]) as daemon:
            systemd.wait_for("^READY=1$")
            assert daemon.get("/-/ready") == b"Ready.\n"
            for _ in range(5):
                systemd.wait_for("^WATCHDOG=1$")
            daemon.process.terminate()
            systemd.wait_for("^STOPPING=1$")
            assert daemon.process.wait(20) == 0

    fed = [when for when, what in systemd.heard if what == "WATCHDOG=1"][:5]
    assert 0.45 < (fed[4] - fed[0]) / 4 < 0.75
    assert systemd.heard[0][1] == "READY=1"
    assert systemd.heard[-1][1] == "STOPPING=1"


@needs_systemd_python
@pytest.mark.parametrize("environment", ["WATCHDOG_PID=1", "WATCHDOG_USEC="])
def test_a_watchdog_that_is_not_for_us_is_not_fed(tmp_path: Path, environment: str) -> None:
    with NotifySocket(tmp_path / "notify") as systemd:
        given = [f"NOTIFY_SOCKET={systemd.path}", "WATCHDOG_USEC=100000", environment]
        with exporter(prefix=["env", *given]) as daemon:
            systemd.wait_for("^READY=1$")
            time.sleep(0.3)
            daemon.process.terminate()
            systemd.wait_for("^STOPPING=1$")

    assert [what for _, what in systemd.heard] == ["READY=1", "STOPPING=1"]


@needs_systemd_python
def test_a_notify_socket_that_is_gone_costs_a_warning(tmp_path: Path) -> None:
    with exporter(prefix=["env", f"NOTIFY_SOCKET={tmp_path}/gone"]) as daemon:
        daemon.wait_for("level=warn .*READY=1.*No such file")
        assert b"netperf_" in daemon.get()
        assert daemon.stop() == 0


@pytest.fixture
def hidden(tmp_path: Path) -> str:
    """What to add to the environment so that systemd-python is not there."""
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "__init__.py").write_text("raise ImportError('hidden')\n")
    return f"PYTHONPATH={tmp_path}"


def test_without_systemd_python_one_line_says_what_to_do(tmp_path: Path, hidden: str) -> None:
    with NotifySocket(tmp_path / "notify") as systemd:
        given = [f"NOTIFY_SOCKET={systemd.path}", "WATCHDOG_USEC=100000", hidden]
        with exporter(prefix=["env", *given]) as daemon:
            assert b"netperf_" in daemon.get()
            assert daemon.stop() == 0

    complaints = [line for line in daemon.log if "level=info" not in line]
    assert len(complaints) == 1
    assert "level=error" in complaints[0]
    assert "systemd-python is not installed" in complaints[0]
    assert "netperf-exporter[systemd]" in complaints[0]


def test_without_systemd_nobody_misses_systemd_python(hidden: str) -> None:
    with exporter(prefix=["env", hidden]) as daemon:
        assert daemon.stop() == 0

    assert all("level=info" in line for line in daemon.log)


def test_another_stream_of_the_journal_leaves_the_log_on_stderr() -> None:
    """A shell that systemd started hands its JOURNAL_STREAM down, and has redirected stderr."""
    with exporter(prefix=["env", "JOURNAL_STREAM=1:2"]) as daemon:
        assert daemon.stop() == 0

    assert [line for line in daemon.log if line.startswith("time=") and "msg=stopping" in line]


def test_without_systemd_python_the_journal_gets_stderr(hidden: str) -> None:
    matching = 'JOURNAL_STREAM=$(stat -L -c %d:%i /dev/stderr) exec env "$@"'
    with exporter(prefix=["sh", "-c", matching, "sh", hidden]) as daemon:
        assert daemon.stop() == 0

    assert all(line.startswith("time=") for line in daemon.log)


# A real systemd


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A booted machine with the exporter installed as the README says, and the unit."""
    if reason := missing():
        pytest.skip(reason)
    able = "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"
    if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", able], check=False).returncode:
        pytest.skip(f"{PYTHON} is not Python 3.11 with venv: apt-get install python3-venv")
    wheels = tmp_path_factory.mktemp("wheels")
    build(wheels)
    with booted(wheels) as machine:
        machine.do(PYTHON, "-m", "venv", IN_MACHINE)
        install = f"{IN_MACHINE}/bin/pip install --no-index /given/*.whl"
        machine.do("sh", "-c", f"{install} && ln -s {IN_MACHINE}/bin/{NAME} /usr/local/bin/")
        machine.write(f"/etc/systemd/system/{UNIT.name}", UNIT.read_text())
        yield machine


def build(wheels: Path) -> None:
    """Wheels of what is pinned, for the machine's Python, and of this checkout."""
    pip = [sys.executable, "-m", "pip", "--python", PYTHON, "wheel", f"--wheel-dir={wheels}"]
    locks = [f"--requirement={ROOT / f'requirements{which}.txt'}" for which in ("", "-systemd")]
    ours = [sys.executable, "-m", "build", "--wheel", "--no-isolation", f"--outdir={wheels}"]
    for command in ([*pip, "--require-hashes", *locks], [*ours, str(ROOT)]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    """The service, not started; what a test set is forgotten after it."""
    service = Service(machine)
    service.set("")
    yield service
    machine.run("systemctl", "kill", "--signal=KILL", NAME)
    machine.run("systemctl", "stop", NAME)
    machine.run("systemctl", "reset-failed", NAME)
    machine.do("rm", "-f", f"/etc/default/{NAME}")


class Service:
    """The exporter's service in the machine."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._started = ""

    def set(self, lines: str) -> None:
        """Write a drop-in with these lines of [Service]."""
        self.machine.write(f"/etc/systemd/system/{UNIT.name}.d/test.conf", f"[Service]\n{lines}\n")
        self.machine.do("systemctl", "daemon-reload")

    def start(self) -> int:
        """Start it, and the id of its process."""
        self.machine.do("systemctl", "start", NAME)
        self._started = self.show("InvocationID")
        return self.pid()

    def pid(self) -> int:
        return int(self.show("MainPID"))

    def show(self, what: str) -> str:
        return self.machine.do("systemctl", "show", "--property", what, "--value", NAME).strip()

    def scrape(self, port: int = 19100) -> str:
        url = f"http://localhost:{port}/metrics"
        ask = f"import urllib.request as u; print(u.urlopen({url!r}, timeout=10).read().decode())"
        return self.machine.do(PYTHON, "-c", ask)

    def journal(self) -> list[dict[str, str]]:
        """What the process that was started last wrote; one whose start failed, if it did."""
        self.machine.do("journalctl", "--sync")
        # systemd forgets it when the unit stops, unless that is a failure.
        invocation = self.show("InvocationID") or self._started
        lines = self.machine.do("journalctl", f"_SYSTEMD_INVOCATION_ID={invocation}", "-o", "json")
        return [json.loads(line) for line in lines.splitlines()]


@needs_systemd_python
def test_it_starts_without_privilege_and_sees_everything(service: Service) -> None:
    pid = service.start()

    assert service.show("ActiveState") == "active"
    status = dict(
        line.split(":\t", 1)
        for line in service.machine.do("cat", f"/proc/{pid}/status").splitlines()
        if ":\t" in line
    )
    assert "0" not in status["Uid"].split()
    assert {int(status[f"Cap{of}"], 16) for of in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert status["NoNewPrivs"] == "1"
    metrics = service.scrape()
    for name in Config.collectors:
        assert f'netperf_scrape_collector_success{{collector="{name}"}} 1\n' in metrics
        # The machine is a container, which hides the host's processes.
        reason = "processes of the host are hidden: /proc" if name == "namespaces" else ""
        there = int(not reason)
        assert (
            f'netperf_collector_available{{collector="{name}",reason="{reason}"}} {there}\n'
            in metrics
        )


@needs_systemd_python
def test_the_journal_has_text_and_fields(service: Service) -> None:
    service.start()

    (entry,) = [e for e in service.journal() if "metrics at" in e["MESSAGE"]]
    assert entry["MESSAGE"] == "metrics at http://localhost:19100/metrics"
    assert entry["SYSLOG_IDENTIFIER"] == NAME
    assert entry["PRIORITY"] == "6"
    assert entry["LOGGER"] == "netperf_exporter.daemon"
    assert entry["CODE_FILE"].endswith("/netperf_exporter/daemon.py")
    assert entry["CODE_FUNC"] == "_serve"
    assert entry["_TRANSPORT"] == "journal"


@needs_systemd_python
def test_a_reload_leaves_it_running_and_a_stop_is_clean(service: Service) -> None:
    pid = service.start()
    service.machine.do("systemctl", "reload", NAME)
    assert "netperf_" in service.scrape()
    assert service.pid() == pid
    before = time.monotonic()
    service.machine.do("systemctl", "stop", NAME)

    assert time.monotonic() - before < 5
    assert service.show("Result") == "success"
    assert service.show("ExecMainStatus") == "0"
    said = [entry["MESSAGE"] for entry in service.journal()]
    assert [line for line in said if line.startswith("SIGHUP")]
    assert said[-1] == "stopping"


@needs_systemd_python
def test_flags_come_from_the_default_file(service: Service) -> None:
    flags = "--web.listen-address=:19101 --collector.disable-defaults --collector.softnet"
    service.machine.write(f"/etc/default/{NAME}", f'ARGS="{flags}"\n')
    service.start()

    metrics = service.scrape(19101)
    shown = re.findall(r'^netperf_scrape_collector_success\{collector="(\w+)"', metrics, re.M)
    assert shown == ["softnet"]
    assert set(shown) < set(COLLECTORS)


@needs_systemd_python
def test_flags_that_make_no_sense_are_not_tried_again(service: Service) -> None:
    service.machine.write(f"/etc/default/{NAME}", 'ARGS="--collector.nope"\n')

    assert service.machine.run("systemctl", "start", NAME).returncode != 0
    assert service.show("ActiveState") == "failed"
    assert service.show("ExecMainStatus") == "2"
    assert "--collector.nope" in service.journal()[-1]["MESSAGE"]


@needs_systemd_python
def test_who_lives_is_left_alone_and_who_hangs_is_replaced(service: Service) -> None:
    service.set("WatchdogSec=2\nRestartSec=100ms")
    pid = service.start()
    time.sleep(4.5)
    assert service.pid() == pid
    assert service.show("NRestarts") == "0"
    service.machine.do("kill", "-STOP", str(pid))

    deadline = time.monotonic() + 20
    while service.show("NRestarts") == "0" or service.show("ActiveState") != "active":
        assert time.monotonic() < deadline, service.show("ActiveState")
        time.sleep(0.2)
    assert service.pid() != pid
    assert "netperf_" in service.scrape()
    last_words = service.machine.do("journalctl", f"_PID={pid}", "-o", "cat")
    assert "Fatal Python error: Aborted" in last_words
    assert "daemon.py" in last_words


def test_what_to_do_without_systemd_python_does_it(service: Service) -> None:
    """The line in the journal names settings; with them it runs and has nothing to say."""
    (package,) = service.machine.do(
        "sh", "-c", f"echo {IN_MACHINE}/lib/python3*/site-packages/systemd"
    ).split()
    service.machine.do("mv", package, f"{package}.away")
    try:
        service.set("TimeoutStartSec=2\nRestart=no")
        assert service.machine.run("systemctl", "start", NAME).returncode != 0
        (complaint,) = [e["MESSAGE"] for e in service.journal() if "level=error" in e["MESSAGE"]]
        assert "systemd-python is not installed" in complaint
        settings = re.findall(r"\b[A-Z]\w+=\w+", complaint)
        assert "Type=exec" in settings
        service.set("\n".join(settings))
        service.start()
        deadline = time.monotonic() + 10
        while not any("metrics at" in entry["MESSAGE"] for entry in service.journal()):
            assert time.monotonic() < deadline, service.journal()
            time.sleep(0.1)
        assert "netperf_" in service.scrape()
        assert service.show("WatchdogUSec") in ("0", "infinity")
        assert all("level=info" in entry["MESSAGE"] for entry in service.journal())
    finally:
        service.machine.do("mv", f"{package}.away", package)
