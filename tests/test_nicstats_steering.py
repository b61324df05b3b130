"""nic-stats --steering: the readings side by side, and verdicts that are those of /metrics."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter import nicstats
from netperf_exporter.collectors import steering as collector
from netperf_exporter.config import UsageError
from netperf_exporter.kernel.host import Host, ReplayedHost
from netperf_exporter.kernel.udev import UNKNOWN
from netperf_exporter.nicstats import CannotTell
from netperf_exporter.nicstats import steering as subject
from netperf_exporter.nicstats.steering import picture
from netperf_exporter.parsers import cpulist, interrupts, links
from netperf_exporter.parsers.netdev import Napi, Queues, QueueStatistics
from netperf_exporter.parsers.nic import DriverInfo, Features
from netperf_exporter.sources import (
    AFFINITY,
    CPUS,
    DRIVERS,
    FEATURES,
    INTERRUPTS,
    LINKS,
    NAPIS,
    QUEUE_NAPIS,
    QUEUE_STATISTICS,
    QUEUE_STEERING,
    RFS_ENTRIES,
    RSS,
    VECTORS,
    Absent,
    Affinity,
    Cpus,
    Derived,
    Driver,
    Failed,
    NotRead,
    NotThere,
    Outcome,
    QueueSteering,
    Readings,
    Source,
    Value,
    Vectors,
)
from netperf_exporter.sources.files import _CpuTexts
from netperf_exporter.topology import TOPOLOGY
from tests import messages
from tests.live.lab import Lab, Namespace

ETH0, ETH1 = 2, 3
COMMAND = (sys.executable, "-m", "netperf_exporter", "nic-stats", "--steering")
VERDICTS = ("irq_remote_node", "rps_covers_all_cpus", "rps_redundant", "rfs_ineffective", "xps_gap")


def driver(name: str, node: str = "") -> Driver:
    return Driver(name, DriverInfo(name, "", "", ""), node, UNKNOWN)


def cpus(online: str, nodes: Mapping[int, str] | None = None) -> Cpus:
    texts = tuple((node, text.encode()) for node, text in (nodes or {}).items())
    return Cpus(_CpuTexts(online.encode(), texts))


def lines(count: int, *rows: tuple[int, int, int, str]) -> interrupts.Interrupts:
    """/proc/interrupts of so many CPUs. A row: number, CPU that had them, how many, handler."""
    text = " " * 11 + "".join(f"CPU{cpu:<8}" for cpu in range(count)) + "\n"
    for irq, cpu, number, action in rows:
        counts = "".join(f" {number * (at == cpu):>10}" for at in range(count))
        text += f"{irq:>4}:{counts}  PCI-MSIX-0000:41:00.0   {irq}-edge      {action}\n"
    return interrupts.parse(text.encode(), [])


def readings(found: Mapping[Source[Any], Any], *devices: bytes) -> Readings:
    """What one scrape read; what is not given, the kernel does not have."""
    shown = devices or (messages.link(ETH0, b"eth0"),)
    found = {LINKS: links.parse(shown, lambda *_: True, []), **found}
    outcomes: dict[Source[Any] | Derived[Any], Outcome] = {
        source: Value(found[source], (), 0.0) if source in found else Absent("not here", 0.0)
        for source in subject.NEEDS
    }
    return Readings(outcomes)


QUEUES = range(4)
MLX5: dict[Source[Any], Any] = {
    DRIVERS: {ETH0: driver("mlx5_core", "1")},
    CPUS: cpus("0-15", {0: "0-7", 1: "8-15"}),
    QUEUE_NAPIS: {ETH0: Queues({q: 900 + q for q in QUEUES}, {q: 900 + q for q in QUEUES})},
    NAPIS: {900 + q: Napi(ETH0, 900 + q, irq=61 + q) for q in QUEUES},
    VECTORS: {ETH0: Vectors((60, *[61 + q for q in QUEUES]), ("0000:41:00.0",))},
    INTERRUPTS: lines(
        16,
        (60, 0, 7, "mlx5_async0@pci:0000:41:00.0"),
        *[(61 + q, 8 + q, 12034 + q, f"mlx5_comp{q}@pci:0000:41:00.0") for q in QUEUES],
    ),
    AFFINITY: {
        60: Affinity(tuple(range(16)), (0,)),
        61: Affinity(tuple(range(16)), (8,)),
        62: Affinity(tuple(range(16)), (9,)),
        63: Affinity(tuple(range(16)), (2, 3)),
        64: Affinity((11,), ()),
    },
    QUEUE_STEERING: {
        ETH0: QueueSteering(
            {0: (), 1: (0, 1, 2, 3, 7), 2: (), 3: ()},
            {0: 0, 1: 0, 2: 512, 3: 0},
            {q: tuple(range(4 * q, 4 * q + 4)) for q in QUEUES},
            dict.fromkeys(QUEUES, ()),
        )
    },
    RSS: {ETH0: (0, 1, 2, 0, 1, 2, 0, 1)},
    RFS_ENTRIES: 0,
    FEATURES: {ETH0: Features(frozenset(), frozenset(), frozenset(), frozenset())},
    QUEUE_STATISTICS: QueueStatistics(
        {ETH0: {"rx-packets": {q: 100 * q for q in QUEUES}}},
        {ETH0: {"tx-packets": {q: 10**9 + q for q in QUEUES}}},
    ),
}

OUTPUT = """\
eth0: driver mlx5_core, NUMA node 1; 4 queues, 5 interrupts; RFS table 0 entries; aRFS off
queue  irq  interrupts  CPUs  node    RSS  RPS CPUs  RPS flows  XPS CPUs  rx packets  tx packets
    0   61       12034     8     1  37.5%         -          -       0-3           0  1000000000
    1   62       12035     9     1  37.5%     0-3,7          -       4-7         100  1000000001
    2   63       12036   2-3     0  25.0%         -        512      8-11         200  1000000002
    3   64       12037    11     1   0.0%         -          -     12-15         300  1000000003

Interrupts of no queue, or of none that is known:
  name                          irq  interrupts  CPUs  node
  mlx5_async0@pci:0000:41:00.0   60           7     0     0

Verdicts, as netperf_steering_* has them:
  irq_remote_node: CPUs of another NUMA node than the device's (1) poll queue 2: they read each \
packet from far away.
    look at /proc/irq/N/smp_affinity_list, N = 63
  rfs_ineffective: The table of all sockets has 0 entries, so the flow tables of receive queues \
do nothing.
    look at /proc/sys/net/core/rps_sock_flow_entries
  not so: rps_covers_all_cpus, rps_redundant, xps_gap
"""


def test_the_whole_picture() -> None:
    assert picture(readings(MLX5), "eth0") == OUTPUT


def table(text: str) -> list[dict[str, str]]:
    """The table of queues. Its columns end where their titles do."""
    header, *rows = text.split("\n\n")[0].splitlines()[1:]
    ends = [match.end() for match in re.finditer(r"\S+(?: \S+)*", header)]
    titles = re.split(r" {2,}", header)
    found = []
    for row in rows:
        cells = [row[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        found.append({t: c.strip() for t, c in zip(titles, cells, strict=True)})
    return found


def verdicts(text: str) -> dict[str, bool]:
    """Those that are judged."""
    said = text.split("Verdicts, as netperf_steering_* has them:\n")[1]
    found = dict.fromkeys(re.findall(r"^  (\w+): ", said, re.MULTILINE), True)
    for names in re.findall(r"^  not so: (.*)$", said, re.MULTILINE):
        found |= dict.fromkeys(names.split(", "), False)
    return found


def exported(of: Readings) -> dict[str, bool]:
    """The verdicts of the only device in /metrics; true of a device if so of any queue."""
    topology = TOPOLOGY.advance(TOPOLOGY.start, of)
    complete = Readings({**of.outcomes, TOPOLOGY: Value(topology, (), 0.0)})
    found: dict[str, bool] = {}
    for block in collector.collect(complete):
        name = block.families[0].base_name.removeprefix("netperf_steering_")
        if name in VERDICTS:
            found[name] = any(block.values)
    return found


def test_directions_with_interrupts_of_their_own_have_a_line_each() -> None:
    """virtio_net, before it told its NAPI instances."""
    one = readings(
        {
            DRIVERS: {ETH0: driver("virtio_net")},
            QUEUE_NAPIS: {ETH0: Queues({0: None, 1: None}, {0: None, 1: None, 2: None})},
            VECTORS: {ETH0: Vectors(tuple(range(40, 45)), ("virtio2",))},
            INTERRUPTS: lines(
                2,
                (40, 0, 1, "virtio2-config"),
                (41, 1, 50, "virtio2-input.0"),
                (42, 0, 51, "virtio2-output.0"),
                (43, 0, 52, "virtio2-input.1"),
                (44, 1, 53, "virtio2-output.1"),
            ),
            QUEUE_STEERING: {
                ETH0: QueueSteering({0: (0, 1), 1: ()}, {}, {0: (0,), 1: (1,)}, {0: (), 1: (1,)})
            },
        }
    )
    text = picture(one, "eth0")

    assert text.splitlines()[:7] == [
        "eth0: driver virtio_net; 2 receive queues and 3 transmit queues, 5 interrupts",
        "queue  side  irq  interrupts  RPS CPUs  XPS CPUs  XPS queues",
        "    0    rx   41          50       0-1         -           -",
        "    0    tx    -           -         -         0           -",
        "    1    rx   43          52         -         -           -",
        "    1    tx    -           -         -         1           1",
        "    2    tx    -           -         -         -           -",
    ]
    assert "virtio2-output.1   44          53" in text


def test_what_is_off_has_no_column() -> None:
    """And with no other column either, a line for each queue would say nothing."""
    off = QueueSteering({0: (), 1: ()}, {0: 0, 1: 0}, {0: (), 1: ()}, {})
    queues = {ETH0: Queues({0: None, 1: None}, {0: None, 1: None})}
    text = picture(readings({QUEUE_STEERING: {ETH0: off}, QUEUE_NAPIS: queues}), "eth0")

    assert text.splitlines()[:2] == [
        "eth0: no driver is known; 2 queues, no interrupts; RPS off; XPS off",
        "Nothing is known of single queues.",
    ]


def test_a_device_that_is_down_is_said_to_be() -> None:
    down = messages.link(ETH0, b"eth0", flags=0)

    assert picture(readings({}, down), "eth0").startswith("eth0: no driver is known, down; ")


def test_on_one_node_nothing_is_said_of_nodes() -> None:
    (row, *_) = table(picture(readings({**MLX5, CPUS: cpus("0-15", {0: "0-15"})}), "eth0"))

    assert "node" not in row
    assert row["CPUs"] == "8"


def test_masks_too_long_for_a_cell_are_below_the_table_once() -> None:
    """CPUs of two sockets may be numbered in turn."""
    even, odd = tuple(range(0, 128, 2)), tuple(range(1, 128, 2))
    set_up = QueueSteering({0: even, 1: odd, 2: even, 3: (5,)}, {}, {}, {})
    text = picture(readings({**MLX5, QUEUE_STEERING: {ETH0: set_up}}), "eth0")

    assert [row["RPS CPUs"] for row in table(text.replace("\n#1: ", "\n\n"))] == [
        "64 CPUs #1",
        "64 CPUs #2",
        "64 CPUs #1",
        "5",
    ]
    assert text.count("\n#1: 0,2,4,6,") == text.count("\n#2: 1,3,5,7,") == 1
    assert max(map(len, text.split("#1: ")[0].splitlines())) < 120


def test_sixty_four_queues_are_sixty_four_lines() -> None:
    queues: dict[int, int | None] = {q: 900 + q for q in range(64)}
    found: dict[Source[Any], Any] = {
        QUEUE_NAPIS: {ETH0: Queues(queues, queues)},
        NAPIS: {900 + q: Napi(ETH0, 900 + q, irq=100 + q) for q in queues},
    }

    assert [row["irq"] for row in table(picture(readings(found), "eth0"))] == [
        str(100 + q) for q in range(64)
    ]


def test_flow_tables_of_another_device_are_what_the_sockets_table_is_for() -> None:
    two = (messages.link(ETH0, b"eth0"), messages.link(ETH1, b"eth1"))
    without = QueueSteering({0: ()}, {0: 0}, {}, {})
    with_flows = QueueSteering({0: ()}, {0: 256}, {}, {})

    def said(other: QueueSteering) -> str:
        set_up = {ETH0: without, ETH1: other}
        return picture(readings({RFS_ENTRIES: 4096, QUEUE_STEERING: set_up}, *two), "eth0")

    assert verdicts(said(with_flows))["rfs_ineffective"] is False
    assert "has 4096 entries, but no receive queue of any device has a flow table" in said(without)
    assert "look at /sys/class/net/eth0/queues/rx-*/rps_flow_cnt" in said(without)


def test_a_handler_may_be_called_anything() -> None:
    """It is on one line, as the kernel lets modules choose it."""
    rows = lines(2, (60, 0, 7, "\x1b[2J\u202e"), (61, 0, 7, "mlx5_comp0"))
    text = picture(readings({**MLX5, INTERRUPTS: rows}), "eth0")

    assert all(line.isprintable() for line in text.splitlines())
    assert r"  \x1b[2J\u202e  " in text


def test_what_was_left_out_of_this_device_is_said() -> None:
    of = readings(MLX5)
    problems = ("eth0, queue 3: 'xyz' is no mask", "eth01: Input/output error")
    outcomes = {**of.outcomes, QUEUE_STEERING: Value(MLX5[QUEUE_STEERING], problems, 0.0)}
    text = picture(Readings(outcomes), "eth0")

    assert text.endswith("\n\nLeft out:\n  eth0, queue 3: 'xyz' is no mask\n")


def test_what_could_not_be_read_is_not_taken_for_nothing() -> None:
    of = readings(MLX5)
    with pytest.raises(NotRead, match="late"):
        picture(Readings({**of.outcomes, AFFINITY: Failed("late", 0.0)}), "eth0")


def test_a_device_may_go_away_meanwhile() -> None:
    with pytest.raises(NotThere, match="went away"):
        picture(readings(MLX5), "eth7")


MASK = st.sets(st.integers(0, 15)).map(lambda numbers: tuple(sorted(numbers)))
QUEUE = st.integers(0, 5)
NUMBERED = st.integers(1, 4)


@st.composite
def situations(draw: st.DrawFn) -> dict[Source[Any], Any]:
    """Anything that can be set, on any host of 16 CPUs."""
    receive, transmit = range(draw(NUMBERED)), range(draw(NUMBERED))
    irqs = range(60, 60 + draw(NUMBERED))
    napis = st.none() | st.sampled_from([900 + irq for irq in irqs])
    masks = partial(st.dictionaries, values=MASK)
    found: dict[Source[Any], Any] = {
        DRIVERS: {ETH0: driver("mlx5_core", draw(st.sampled_from(["", "0", "1", "2"])))},
        CPUS: cpus("0-13", draw(st.sampled_from([{}, {0: "0-15"}, {0: "0-7", 1: "8-15"}]))),
        QUEUE_NAPIS: {
            ETH0: Queues({q: draw(napis) for q in receive}, {q: draw(napis) for q in transmit})
        },
        NAPIS: {900 + irq: Napi(ETH0, 900 + irq, irq=irq) for irq in irqs},
        VECTORS: {ETH0: Vectors(tuple(irqs), ("0000:41:00.0",))},
        INTERRUPTS: lines(
            16, *[(irq, draw(QUEUE), draw(QUEUE), f"mlx5_comp{irq}") for irq in irqs]
        ),
        AFFINITY: draw(st.dictionaries(st.sampled_from(irqs), st.builds(Affinity, MASK, MASK))),
        QUEUE_STEERING: {
            ETH0: QueueSteering(
                draw(masks(st.sampled_from(receive))),
                draw(st.dictionaries(st.sampled_from(receive), st.integers(0, 2))),
                draw(masks(st.sampled_from(transmit))),
                {},
            )
        },
        RSS: {ETH0: tuple(draw(st.lists(st.sampled_from(receive))))},
        RFS_ENTRIES: draw(st.integers(0, 1)),
        FEATURES: {ETH0: Features(frozenset(), frozenset(), frozenset(), frozenset())},
    }
    for source in draw(st.sets(st.sampled_from(sorted(found, key=lambda source: source.name)))):
        del found[source]
    return found


@given(situations())
def test_the_verdicts_are_those_of_metrics(found: dict[Source[Any], Any]) -> None:
    """Whatever is set: so, not so, or not judged."""
    of = readings(found)

    assert verdicts(picture(of, "eth0")) == exported(of)


@given(situations())
def test_every_mask_that_is_set_is_in_the_table(found: dict[Source[Any], Any]) -> None:
    text = picture(readings(found), "eth0")
    legend = dict(re.findall(r"^(#\d+): (.*)$", text, re.MULTILINE))
    rows = table(re.split(r"\n#1: ", text)[0]) if "\nqueue " in text else []

    def masks(title: str) -> dict[int, tuple[int, ...]]:
        cells = {int(row["queue"].split()[0]): row[title] for row in rows if title in row
                 if row[title] != "-"}  # fmt: skip
        lists = {q: legend.get(cell.rpartition(" ")[2], cell) for q, cell in cells.items()}
        return {q: cpulist.parse(text.encode()) for q, text in lists.items()}

    set_up = found.get(QUEUE_STEERING, {}).get(ETH0, QueueSteering({}, {}, {}, {}))
    assert masks("RPS CPUs") == {q: mask for q, mask in set_up.rps_cpus.items() if mask}
    assert masks("XPS CPUs") == {q: mask for q, mask in set_up.xps_cpus.items() if mask}


def replayed(folder: Path) -> Callable[[Callable[[str, str], bool]], Host]:
    return lambda shown: ReplayedHost(folder, shown)


def test_a_captured_host_is_read_as_this_one() -> None:
    folder = Path(__file__).parent / "hosts" / "linux-6.12-two-nodes"
    found = subject.readings("eth0", replayed(folder))
    assert found is not None

    text = picture(found, "eth0")
    assert text.startswith("eth0: driver vmxnet3, NUMA node 0; 4 queues, ")
    assert [row["queue"] for row in table(text)] == ["0", "1", "2", "3"]
    assert subject.readings("eth7", replayed(folder)) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([__file__], "not for .*test_nicstats_steering.py"),
        (["-"], "not for -"),
        (["lo", "--format=prometheus"], "not prometheus"),
        (["lo", "--driver=veth"], "--driver"),
        (["lo", "--device=eth7"], "--device"),
        (["lo", "-v"], "--verbose"),
    ],
)
def test_it_is_text_of_a_live_device_and_nothing_else(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        nicstats.run(["--steering", *arguments])


@pytest.mark.parametrize("name", ["no-such-device0", "./no-such-file"])
def test_a_device_that_is_not_there(name: str) -> None:
    with pytest.raises(CannotTell, match="no network device here"):
        nicstats.run(["--steering", name])


@pytest.fixture(scope="module")
def inside() -> Iterator[Namespace]:
    """A namespace with a veth pair of four queues."""
    with Lab() as lab:
        namespace = lab.namespace()
        number = ("numrxqueues", "4", "numtxqueues", "4")
        words = ("link", "add", "name", "l4a", *number, "type", "veth", "peer", "name", "l4b")
        namespace.ip(*words, *number)
        for device in ("l4a", "l4b"):
            namespace.ip("link", "set", device, "up")
        yield namespace


def test_what_is_set_on_a_live_device_is_shown(inside: Namespace) -> None:
    """The kernel's own files are the witness."""

    def put(file: str, text: str) -> None:
        path = f"/sys/class/net/l4a/queues/{file}"
        inside.run("sh", "-c", f"test -e {path} && echo {text} > {path} || exit 77")

    online = Path("/sys/devices/system/cpu/online").read_text().strip()
    everyone = f"{sum(1 << cpu for cpu in cpulist.parse(online.encode())):x}"
    put("rx-1/rps_cpus", everyone if len(everyone) <= 8 else "ffffffff")
    put("rx-3/rps_flow_cnt", "256")
    put("tx-2/xps_cpus", "1")
    text = inside.run(*COMMAND, "l4a")
    rows = table(text)

    assert text.startswith("l4a: driver veth; 4 queues, no interrupts")
    assert [row["queue"] for row in rows] == ["0", "1", "2", "3"]
    assert rows[1]["RPS CPUs"] == (online if len(everyone) <= 8 else "0-31")
    assert [row["RPS flows"] for row in rows] == ["-", "-", "-", "256"]
    assert [row["XPS CPUs"] for row in rows] == ["-", "-", "0", "-"]
    assert verdicts(text)["rps_covers_all_cpus"] is (len(everyone) <= 8)
    assert verdicts(text)["xps_gap"] is (online != "0")


def test_a_device_with_hardware_has_interrupts_that_the_kernel_has() -> None:
    """Those of this machine."""
    before = interrupts.parse(Path("/proc/interrupts").read_bytes(), [])
    found: list[dict[str, str]] = []
    for device in sorted(Path("/sys/class/net").glob("*/device")):
        text = nicstats.run(["--steering", device.parent.name]).decode()
        if "irq" in text.splitlines()[1]:
            found += [row for row in table(text) if row["irq"] != "-"]
    if not found:
        pytest.skip("no network device here has an interrupt of a queue")
    after = interrupts.parse(Path("/proc/interrupts").read_bytes(), [])
    for row in found:
        irq = int(row["irq"])
        assert sum(before.counts(irq)) <= int(row["interrupts"]) <= sum(after.counts(irq))
        affinity = Path(f"/proc/irq/{irq}/effective_affinity_list").read_text()
        assert row["CPUs"] == affinity.strip()
