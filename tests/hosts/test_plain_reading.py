"""The kernel's files, read in the plainest way, hold what the expected outputs say.

The expected outputs are written by the exporter; this reads the same files once more with no
code in common.
"""

from __future__ import annotations

import re
from pathlib import Path

from netperf_exporter.collectors import ip, tcp, udp

_SAMPLE = re.compile(r"netperf_(\w+?)(?:\{(.*)\})? (\S+)")
SOFTNET = {
    "processed": 0,
    "dropped": 1,
    "time_squeezed": 2,
    "received_rps": 9,
    "flow_limited": 10,
}
MODES = {"system": 3, "idle": 4, "iowait": 5, "irq": 6, "softirq": 7}


def expected(host: Path) -> dict[str, dict[str, float]]:
    """Family → labels as written → value."""
    found: dict[str, dict[str, float]] = {}
    for line in (host / "metrics.txt").read_text().splitlines():
        if match := _SAMPLE.fullmatch(line):
            found.setdefault(match[1], {})[match[2] or ""] = float(match[3])
    return found


def online(host: Path) -> list[str]:
    """Numbers of the CPUs that are online."""
    cpus: list[str] = []
    for part in (host / "sys/devices/system/cpu/online").read_text().split(","):
        first, _, last = part.strip().partition("-")
        cpus += [str(cpu) for cpu in range(int(first), int(last or first) + 1)]
    return cpus


def test_softnet(captured: Path) -> None:
    """Row by row; each row belongs to the next CPU that is online."""
    rows = [line.split() for line in (captured / "proc/net/softnet_stat").read_text().splitlines()]
    families = expected(captured)

    for name, column in SOFTNET.items():
        assert families[f"softnet_{name}_total"] == {
            f'cpu="{cpu}"': int(row[column], 16)
            for cpu, row in zip(online(captured), rows, strict=True)
        }


def test_cpu_times_and_softirqs(captured: Path) -> None:
    """/proc/stat has rows of online CPUs only, /proc/softirqs columns of all possible ones."""
    families = expected(captured)
    seconds, runs = {}, {}
    for line in (captured / "proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if re.fullmatch(r"cpu\d+", name):
            for mode, column in MODES.items():
                value = round(int(ticks[column - 1]) / 100, 2)
                seconds[f'cpu="{name[3:]}",mode="{mode}"'] = value
    header, *lines = (captured / "proc/softirqs").read_text().splitlines()
    for line in lines:
        name, *counts = line.split()
        if name in ("NET_TX:", "NET_RX:"):
            for heading, count in zip(header.split(), counts, strict=True):
                if heading[3:] in online(captured):
                    runs[f'cpu="{heading[3:]}",type="{name[:-1].lower()}"'] = int(count)

    assert families["cpu_seconds_total"] == seconds
    assert families["softirqs_total"] == runs


def test_protocol_counters(captured: Path) -> None:
    """Every field of the three files is exported once, with its value."""
    families = expected(captured)
    curated = {**ip.FIELDS, **udp.FIELDS, **tcp.FIELDS}
    seen = 0
    for key, value in fields(captured).items():
        family = curated.get(key)
        if family is not None:
            name = family.name.removeprefix("netperf_")
            assert families[name] == {"": value * 10**family.scale}, key
            seen += 1
        elif key not in SETTINGS:
            protocol, _, field = key.partition(".")
            labels = f'field="{field}",name="{protocol}"'
            assert families["snmp_field_total"][labels] == value, key
    exported = sum(len(samples) for name, samples in families.items() if is_protocol(name))
    assert exported == seen


SETTINGS = {
    "Ip.Forwarding",
    "Ip.DefaultTTL",
    "Tcp.RtoAlgorithm",
    "Tcp.RtoMin",
    "Tcp.RtoMax",
    "Tcp.MaxConn",
}


def is_protocol(name: str) -> bool:
    """Whether a family is of ip, udp or tcp."""
    return any(
        family.name == f"netperf_{name}" for module in (ip, udp, tcp) for family in module.FAMILIES
    )


def fields(host: Path) -> dict[str, int]:
    """Values by protocol and field."""
    found: dict[str, str] = {}
    for file in ("snmp", "netstat"):
        lines = (host / "proc/net" / file).read_text().splitlines()
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            protocol, *words = names.split()
            found |= dict(
                zip(
                    [protocol.rstrip(":") + "." + w for w in words], values.split()[1:], strict=True
                )
            )
    for line in (host / "proc/net/snmp6").read_text().splitlines():
        name, value = line.split()
        protocol = next(p for p in ("Ip6", "Icmp6", "UdpLite6", "Udp6") if name.startswith(p))
        found[f"{protocol}.{name.removeprefix(protocol)}"] = value
    return {key: int(value) for key, value in found.items()}
