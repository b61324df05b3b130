"""What is the same in every namespace, and moves all the time: between two readings of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from netperf_exporter.metric import PREFIX
from tests.live.lab import CommandError, Daemon, Lab, Namespace, agree, need, reader_of
from tests.live.packets import V4

Table = dict[tuple[str, ...], float]
"""A value by the labels of its sample, in the order of the alphabet."""


def scraped(daemon: Daemon, family: str) -> Table:
    return {
        tuple(value for _, value in labels): value
        for (name, labels), value in daemon.scrape().items()
        if name == PREFIX + family
    }


def softnet(column: int) -> Table:
    rows = [line.split() for line in Path("/proc/net/softnet_stat").read_text().splitlines()]
    if len(rows[0]) < 13:
        pytest.skip("this kernel's softnet_stat has no CPU numbers")
    return {(str(int(row[12], 16)),): int(row[column], 16) for row in rows}


def softirqs() -> Table:
    header, *rows = Path("/proc/softirqs").read_text().splitlines()
    cells = {row.split()[0]: row.split()[1:] for row in rows}
    return {
        (cpu.removeprefix("CPU"), kind.lower()): int(count)
        for kind in ("NET_RX", "NET_TX")
        for cpu, count in zip(header.split(), cells[f"{kind}:"], strict=True)
        if Path(f"/sys/devices/system/cpu/{cpu.lower()}/topology").exists()  # online
    }


def seconds() -> Table:
    ticks = os.sysconf("SC_CLK_TCK")
    columns = {"system": 3, "idle": 4, "iowait": 5, "irq": 6, "softirq": 7}
    rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    return {
        (row[0].removeprefix("cpu"), mode): int(row[column]) / ticks
        for row in rows
        if row[0].startswith("cpu") and row[0] != "cpu"
        for mode, column in columns.items()
    }


READERS: dict[str, Callable[[], Table]] = {
    "softnet_processed_total": lambda: softnet(0),
    "softnet_dropped_total": lambda: softnet(1),
    "softnet_time_squeezed_total": lambda: softnet(2),
    "softnet_received_rps_total": lambda: softnet(9),
    "softnet_flow_limited_total": lambda: softnet(10),
    "softirqs_total": softirqs,
    "cpu_seconds_total": seconds,
}


@pytest.mark.parametrize("family", list(READERS))
def test_every_cpu_is_between_two_readings(this_host: Daemon, family: str) -> None:
    read = READERS[family]
    for _ in range(10):  # idle and iowait may step back for once, and others wrap
        before, said, after = read(), scraped(this_host, family), read()
        assert said.keys() == before.keys() == after.keys()
        wrong = {
            labels: (before[labels], value, after[labels])
            for labels, value in said.items()
            if not before[labels] <= value <= after[labels]
        }
        if not wrong:
            break

    assert wrong == {}


def test_this_host_is_as_nstat_sees_it(this_host: Daemon) -> None:
    need("nstat", "ss")

    agree(Namespace(), this_host)


def test_packets_that_rps_steers_to_another_cpu(lab: Lab, this_host: Daemon) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("RPS needs two CPUs")
    near, far = cpus[0], cpus[-1]
    left, right = lab.pair()
    mask = f"{1 << far % 32:x}" + ",00000000" * (far // 32)
    rps = f"/sys/class/net/{right.device}/queues/rx-0/rps_cpus"
    try:
        right.namespace.run("tee", rps, stdin=mask)
    except CommandError as error:
        if "No such file" not in str(error):
            raise
        pytest.skip(f"no RPS: {error}")
    watch = lab.watch(right.namespace)
    families = "softnet_processed_total", "softnet_received_rps_total", "softirqs_total"
    with reader_of(right, V4) as reader, reader_of(left, V4) as sender:

        def send() -> None:
            os.sched_setaffinity(0, {near})  # of this thread alone
            for _ in range(4801):
                sender.sendto(bytes(20), reader.getsockname())
                reader.recv(20)

        before = [scraped(this_host, family) for family in families]
        left.namespace.inside(send)
        after = [scraped(this_host, family) for family in families]
        watch.expect({"udp_receive_datagrams": 4801} | V4.delivered(4801, V4.header + 8 + 20))

    labels = (str(far),), (str(far),), (str(far), "net_rx")
    steps = [a[label] - b[label] for a, b, label in zip(after, before, labels, strict=True)]
    processed, woken, runs = (step % 2**32 for step in steps)
    assert processed >= 4801
    # As a rule one for each datagram, but a CPU that is still at work needs no waking.
    assert woken > 480
    assert runs > 480
