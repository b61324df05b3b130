"""What is wrong with a command line is said in one line, with the exit code of its kind."""

from __future__ import annotations

import json
import socket

import pytest

from netperf_exporter import __version__
from netperf_exporter.collectors import COLLECTORS
from netperf_exporter.config import Config, UsageError, parse
from tests.daemon import exporter, run


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--web.listen-adress=:1", "--web.listen-adress"),
        ("--collector.nope", "--collector.nope"),
        ("--collector.snmp.include=(", "'('"),
        ("--web.telemetry-path=metrics", "'metrics'"),
        ("--web.max-requests=-1", "'-1'"),
        ("--collector.max-series=x", "'x'"),
        ("--path.procfs=/nonexistent", "/nonexistent"),
        ("--log.level=loud", "'loud'"),
        ("stray", "stray"),
    ],
)
def test_a_flag_that_makes_no_sense(argument: str, named: str) -> None:
    """Usage: exit code 2, one line that names it."""
    ended = run(argument)

    assert ended.returncode == 2
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith("netperf-exporter: ")
    assert named in ended.stderr


def test_a_port_in_use() -> None:
    """Exit code 1, one line that names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = run(f"--web.listen-address={address}")

    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert address in ended.stderr
    assert "in use" in ended.stderr


@pytest.mark.parametrize("address", ["1.2.3.4.5:80", ":http", ":99999", "", "127.0.0.1"])
def test_an_address_that_is_none(address: str) -> None:
    """No traceback, whatever is typed."""
    ended = run(f"--web.listen-address={address}")

    assert ended.returncode in (1, 2)
    assert len(ended.stderr.splitlines()) == 1


def test_version_and_help() -> None:
    """Both end well, and help has a line for each collector."""
    assert run("--version").stdout == f"netperf-exporter {__version__}\n"
    shown = run("--help").stdout
    assert all(f"--no-collector.{name}" in shown for name in COLLECTORS)


def test_collectors_on_and_off() -> None:
    """As node_exporter's users know it; the order is that of the path."""
    assert parse([]).collectors == (
        *("link", "nic", "queues", "irq", "steering"),
        *("softirqs", "cpu", "softnet", "ip", "udp", "tcp", "namespaces"),
    )
    assert parse(["--collector.snmp", "--no-collector.cpu"]).collectors == (
        *("link", "nic", "queues", "irq", "steering"),
        *("softirqs", "softnet", "ip", "udp", "tcp", "snmp", "namespaces"),
    )
    only = ["--collector.disable-defaults", "--collector.tcp", "--collector.softnet"]
    assert parse(only).collectors == ("softnet", "tcp")


def test_no_flag_is_the_default_of_the_config() -> None:
    """The command line and a Config made by hand agree."""
    assert parse([]) == Config()


def test_flags_are_not_abbreviated() -> None:
    """A new flag must not change what an old command line means."""
    with pytest.raises(UsageError):
        parse(["--web.max=3"])


def test_several_addresses_and_another_path() -> None:
    """Every address answers under the path asked for."""
    with exporter("--web.listen-address=127.0.0.2:0", "--web.telemetry-path=/numbers") as daemon:
        other = daemon.wait_for(r"metrics at (http://127\.0\.0\.2:\d+)/numbers").group(1)
        assert b"netperf_softnet_processed_total" in daemon.get("/numbers")
        daemon.url = other
        assert b"netperf_softnet_processed_total" in daemon.get("/numbers")


def test_json_log() -> None:
    """One object a line."""
    with exporter("--log.format=json") as daemon:
        line = json.loads(daemon.log[0])

    assert line["level"] == "info"
    assert set(line) == {"time", "level", "msg"}
