"""nic-stats prints what a scrape has, and says what became of every statistic."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from netperf_exporter import nicstats
from netperf_exporter.config import UsageError
from netperf_exporter.nicstats import exposition
from netperf_exporter.nicstats.device import listed
from netperf_exporter.nicstats.report import NoStatistics, report
from netperf_exporter.parsers import Malformed, ethtool_statistics
from netperf_exporter.sources import Readings
from tests.daemon import exporter, run
from tests.live.lab import Lab, Namespace

TITLE = "NIC statistics:"
FOLDERS = sorted(
    path.parent for path in (Path(__file__).parent / "drivers").glob("*/expected.toml")
)

Table = dict[tuple[str, str], dict[int, int]]
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(params=FOLDERS, ids=lambda path: path.name)
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def read(folder: Path) -> Readings:
    """A fixture, as the driver that it is of."""
    driver = tomllib.loads((folder / "expected.toml").read_text())["driver"]
    return listed((folder / "ethtool-S.txt").read_text(), "eth0", driver)


def printed(folder: Path, verbose: bool = False) -> str:
    return report(read(folder), verbose)


def scraped(folder: Path) -> Samples:
    return samples(exposition(read(folder)).decode())


def listing(*lines: str) -> str:
    """Lines as ethtool -S prints them."""
    return "\n".join([TITLE, *[f"     {line}" for line in lines]]) + "\n"


def queue_table(text: str) -> Table:
    """The columns of the table of queues: by what stands above them, then by queue."""
    lines = text.split("\n\n")[1].splitlines()
    if lines == ["No statistics of single queues."]:
        return {}
    header, below, *rows = lines
    words = below.split()[1:]
    # "rx drops" and "tx drops" are two words, each over a cause.
    above = re.findall(r"[rt]x(?: drops)?", header)
    table: Table = {column: {} for column in zip(above, words, strict=True)}
    for row in rows:
        queue, *cells = row.split()
        for column, cell in zip(table, cells, strict=True):
            if queue != "all" and cell != "-":
                table[column][int(queue)] = int(cell)
    return table


def sums(text: str) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Each sum by cause, with the names and values that it is made of (of a single name none)."""
    for section in text.split("\n\n"):
        title, *lines = section.splitlines()
        if not title.endswith(("beside those of queues:", "Events, of the whole device:")):
            continue
        whole = re.sub(r"\+\n +", "+ ", "\n".join(lines[1:]))
        for line in whole.splitlines():
            match = re.fullmatch(r"  [rt]x  \w+ +(\d+)  (.*)", line)
            assert match, line
            yield int(match[1]), re.findall(r"(\S.*?)(?: (\d+))?(?: \+ |$)", match[2])


def accounted(text: str) -> int:
    """All that is in a verbose report, added up."""
    of_queues = [value for column in queue_table(text).values() for value in column.values()]
    of_sums = [total for total, _ in sums(text)]
    others = [
        int(value)
        for section in text.split("\n\n")
        if section.startswith(("Understood", "Not understood"))
        for value in re.findall(r"^  .*  (\d+)$", section, re.MULTILINE)
    ]
    return sum(of_queues) + sum(of_sums) + sum(others)


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


OUTPUT = """\
eth0: driver ixgbe, version 6.1, bus 0000:01:00.0
  qstats (netdev family of the kernel): not in this text
  driver (ethtool -S): 12 statistics, read by the entry ixgbe of the table of drivers
  packets of queues are from: driver

            rx     rx       tx
queue  packets  bytes  packets
    0       10      -       30
    1      200      7        4
  all      210      7       34

Packets lost, of the whole device, beside those of queues:
      cause      count  made of
  rx  fifo_full     40  rx_missed_errors
  rx  link           0  rx_crc_errors

Events, of the whole device:
      cause       count  made of
  rx  host_alloc     11  alloc_rx_page_failed 5 + alloc_rx_buff_failed 6
  tx  timeout         8  tx_timeout_count

Understood, not exported: 1 (-v names them)

Not understood, and therefore not exported: 1
  rx_gremlins  9
If one of these counts lost packets, or what a queue did, please report it:
docs/DRIVERS.md says how.
"""


def test_the_whole_output() -> None:
    """As it is read at night: who was asked, queues, losses, and the rest in numbers."""
    text = "driver: ixgbe\nversion: 6.1\nbus-info: 0000:01:00.0\n" + listing(
        "rx_packets: 1",
        "rx_missed_errors: 40",
        "rx_crc_errors: 0",
        "tx_timeout_count: 8",
        "alloc_rx_page_failed: 5",
        "alloc_rx_buff_failed: 6",
        "rx_gremlins: 9",
        "tx_queue_0_packets: 30",
        "tx_queue_1_packets: 4",
        "rx_queue_0_packets: 10",
        "rx_queue_1_packets: 200",
        "rx_queue_1_bytes: 7",
    )

    assert report(listed(text, "eth0"), verbose=False) == OUTPUT


def test_both_formats_have_the_same_figures_of_queues(folder: Path) -> None:
    """What is printed to be read is what a scrape has."""
    table = queue_table(printed(folder))
    found = scraped(folder)
    shown: Table = {}
    for (name, pairs), value in found.items():
        labels = dict(pairs)
        if match := re.fullmatch(r"netperf_queue_(receive|transmit)_(\w+)_total", name):
            side = "rx" if match[1] == "receive" else "tx"
            drop = match[2] == "drops"
            column = (f"{side} drops", labels["cause"]) if drop else (side, match[2])
            shown.setdefault(column, {})[int(labels["queue"])] = int(value)
    only_on_request = {("tx", measure) for measure in ("stops", "wakes", "timeouts")}
    for column in list(table):
        if column in only_on_request or column[0] == "tx drops":
            side, measure = column
            total = "netperf_queues_transmit_" + ("drops" if " " in side else measure) + "_total"
            assert (total, (("device", "eth0"),)) in found
            del table[column]

    assert shown == table


def test_a_sum_is_that_of_the_names_beside_it(folder: Path) -> None:
    """And each of them has in the text the value that it is shown with."""
    names, values = ethtool_statistics.text((folder / "ethtool-S.txt").read_text())
    in_text = set(zip([name.strip() for name in names], values, strict=True))
    for total, terms in sums(printed(folder, verbose=True)):
        of_names = [(name, int(value or total)) for name, value in terms]

        assert total == sum(value for _, value in of_names)
        assert in_text.issuperset(of_names)


def test_the_sums_are_those_of_a_scrape(folder: Path) -> None:
    """All of losses and events, in either format. A scrape has each allowance by itself."""
    of_causes = re.compile(r"netperf_nic_(receive|transmit)_(losses|events)_total")
    found = scraped(folder).items()
    values = sorted(int(value) for (name, _), value in found if of_causes.fullmatch(name))
    limits = {
        dict(labels)["name"]: int(value)
        for (name, labels), value in found
        if name == "netperf_nic_allowance_exceeded_total"
    }
    printed_sums = list(sums(printed(folder)))
    of_limits = [terms for _, terms in printed_sums if {name for name, _ in terms} & set(limits)]

    assert {name for terms in of_limits for name, _ in terms} == set(limits)
    assert sorted(total for total, terms in printed_sums if terms not in of_limits) == values


def test_every_statistic_is_somewhere_and_once(folder: Path) -> None:
    """Whatever was read is in the table, in a sum, not exported or not understood."""
    _, values = ethtool_statistics.text((folder / "ethtool-S.txt").read_text())

    assert accounted(printed(folder, verbose=True)) == sum(values)


@pytest.mark.parametrize("format", ["text", "prometheus"])
def test_general_rules_are_good_enough_for_any_driver(folder: Path, format: str) -> None:
    """Without a driver, the text is still read, and says so."""
    text = nicstats.run([str(folder / "ethtool-S.txt"), f"--format={format}"]).decode()

    if format == "text":
        assert "general rules, because no driver is named" in text
    else:
        assert samples(text)["netperf_queue_statistics_source_info", labels_of_source(text)] == 1


def labels_of_source(text: str) -> tuple[tuple[str, str], ...]:
    (found,) = re.findall(r'source_info\{device="ethtool-S",source="(\w+)"\}', text)
    return (("device", "ethtool-S"), ("source", found))


@pytest.mark.parametrize("driver", ["mlx5_core", "bnxt_en", "ena", "ixgbe", "e1000e", "liquidio"])
def test_promtool_finds_nothing(driver: str) -> None:
    """Names, types and help of all families that a file can have."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool: apt-get install prometheus")
    file = str(Path(__file__).parent / "drivers" / driver / "ethtool-S.txt")
    text = nicstats.run([file, f"--driver={driver}", "--format=prometheus"])
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, check=False
    )

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


IFB = listing("rx_queue_0_packets: 7", "rx_queue_0_bytes: 8", "tx_queue_0_packets: 9")
HEAD = "driver: ifb\nversion: 6.1\nfirmware-version: \nbus-info: 0000:01:00.0\n"


def test_ethtool_i_before_it_names_the_driver() -> None:
    """Its version and its place as well, as a scrape has them."""
    readings = listed(HEAD + IFB, "eth0")

    first = report(readings, verbose=False).splitlines()[0]
    assert first == "eth0: driver ifb, version 6.1, bus 0000:01:00.0"
    (labels,) = [
        dict(labels)
        for name, labels in samples(exposition(readings).decode())
        if name == "netperf_nic_info"
    ]
    assert labels.items() >= {"device": "eth0", "driver": "ifb", "driver_version": "6.1"}.items()


def test_the_flag_goes_before_ethtool_i() -> None:
    """Somebody may want to see how another table reads it."""
    text = report(listed(HEAD + IFB, "eth0", "veth"), verbose=False)

    assert "eth0: driver veth" in text
    assert "the entry veth of the table" in text


def test_a_driver_that_is_not_in_the_table() -> None:
    """In a text that is no mistake: it is what is to be reported."""
    text = report(listed(f"driver: brand_new\n{IFB}", "eth0"), verbose=False)

    assert "general rules, because brand_new is not in the table of drivers" in text
    assert queue_table(text)["rx", "packets"] == {0: 7}


def test_what_is_not_understood_is_listed_with_how_to_report_it() -> None:
    text = report(listed(listing("rx_gremlins: 3"), "eth0"), verbose=False)

    assert re.search(r"Not understood.*: 1\n  rx_gremlins  3\n", text)
    assert "docs/DRIVERS.md" in text


def test_the_page_that_the_output_names_is_there() -> None:
    assert (Path(__file__).parents[1] / "docs" / "DRIVERS.md").is_file()


def test_many_zeros_are_counted_and_named_on_request() -> None:
    """At night one looks for what is not zero."""
    names = [f"rx_pfc_ena_frames_pri{number}" for number in range(8)]
    lines = [f"{name}: {5 if number == 3 else 0}" for number, name in enumerate(names)]
    readings = listed(listing(*lines), "eth0", "bnxt_en")

    assert "5  rx_pfc_ena_frames_pri3 5 + 7 that are 0" in report(readings, verbose=False)
    assert all(f"{name} {value}" in report(readings, verbose=True) for name, value in
               [line.split(": ") for line in lines])  # fmt: skip


def test_a_mail_may_have_changed_line_ends() -> None:
    assert queue_table(report(listed(IFB.replace("\n", "\r\n") + "\r\n\r\n", "eth0"), False))


HOSTILE = listing(
    'say "hi": 1',
    "back\\slash: 2",
    "snow ☃ and 🐌: 3",
    ": 4",
    "twice: 5",
    "twice: 6",
    "tab\there: 7",
    "bell\a: 8",
    f"{'x' * 32}: 9",
    "a: b: c: 10",
    "rx_queue_0_packets: 18446744073709551615",
    "rx_queue_999999999_packets: 11",
)


@pytest.mark.parametrize("driver", [None, "vmxnet3", "cxgb4", "mlx5_core", "veth"])
def test_names_that_no_driver_should_have(driver: str | None) -> None:
    """They are shown on one line each, and break neither format."""
    readings = listed(HOSTILE, 'e"th\\0\n🐌', driver)
    text = report(readings, verbose=True)
    found = samples(exposition(readings).decode())

    assert all(line.isprintable() for line in text.splitlines())
    assert "🐌" in text
    assert r"bell\x07" in text
    assert {dict(labels)["device"] for _, labels in found} == {'e"th\\0\n🐌'}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1 "),
        ("no stats available\n", "line 1 "),
        (listing("rx: 1", "two", "tx: 2"), "line 3 "),
        (listing("a new\nline: 1"), "line 2 "),
        (HEAD + listing("rx: 1", "tx: -2"), "line 7 "),
        (listing("rx: 1", f"tx: {2**64}"), "line 3 "),
        (HEAD + listing("rx: 1", f"{'x' * 33}: 2"), "line 7 "),
        (IFB + IFB, "line 5 "),
    ],
)
def test_what_is_no_such_text(text: str, said: str) -> None:
    """The first line that is wrong is named by its number in the whole text."""
    with pytest.raises(Malformed, match=f"^{said}"):
        listed(text, "eth0")


ODD = st.text("NIC statistics:\n  rx_queue_0123packets: 9\r\0🐌\udcff")


@given(ODD | ODD.map(lambda text: f"{TITLE}\n{text}"), st.sampled_from([None, "vmxnet3", "ena"]))
def test_any_text_gives_a_reading_or_a_clear_error(text: str, driver: str | None) -> None:
    """In both formats."""
    try:
        readings = listed(text, "eth0", driver)
        report(readings, verbose=True).encode()
        exposition(readings)
    except (Malformed, NoStatistics) as error:
        assert str(error).isprintable()


NAME = st.text("abrtx_0123 :", min_size=1, max_size=20) | st.from_regex(
    r"(rx|tx)(_queue_|-|)[0-3][_.](packets|bytes|drops|stops)", fullmatch=True
)


@given(st.dictionaries(NAME, st.integers(0, 2**64 - 1), min_size=1))
def test_no_value_is_lost(statistics: Mapping[str, int]) -> None:
    """Whatever the general rules make of a name, its value is in the report once."""
    text = listing(*[f"{name}: {value}" for name, value in statistics.items()])

    assert accounted(report(listed(text, "eth0"), verbose=True)) == sum(statistics.values())


def test_a_file_without_a_name_for_its_device(tmp_path: Path) -> None:
    """The file's own name is taken, even if it is no UTF-8."""
    odd = tmp_path / "node\udc80.txt"
    odd.write_text(IFB)

    text = nicstats.run([str(odd), "--format=prometheus"]).decode()
    assert r'device="node\\x80"' in text
    assert "node7: " in nicstats.run([str(odd), "--device=node7"]).decode()


def test_unknown_drivers_are_told_those_close_to_them() -> None:
    with pytest.raises(UsageError, match="mlx5_core"):
        nicstats.run(["-", "--driver=mlx5"])
    with pytest.raises(UsageError, match=r"which has .*veth"):
        nicstats.run(["-", "--driver=zzzzzz"])


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        ((), 2, "DEVICE"),
        (("eth0", "stray"), 2, "stray"),
        (("--formt=x", "eth0"), 2, "--formt"),
        (("--format=json", "eth0"), 2, "json"),
        (("--driver=e1000x", "lo"), 2, "e1000e"),
        (("--device=eth7", "lo"), 2, "lo is a device"),
        (("no-such-device0",), 1, "no network device"),
        (("./no-such-file",), 1, "No such file"),
        (("/",), 1, "directory"),
        ((__file__,), 1, "line 1 "),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    arguments: tuple[str, ...], code: int, named: str
) -> None:
    ended = run("nic-stats", *arguments)

    assert (ended.returncode, ended.stdout) == (code, "")
    assert len(ended.stderr.splitlines()) == 1
    assert ended.stderr.startswith("netperf-exporter: ")
    assert named in ended.stderr


def test_help_names_every_flag() -> None:
    ended = run("nic-stats", "--help")

    assert ended.returncode == 0
    assert all(flag in ended.stdout for flag in ("--driver", "--device", "--format", "--verbose"))


COMMAND = (sys.executable, "-m", "netperf_exporter", "nic-stats")


def test_standard_input() -> None:
    """As in: ssh host 'ethtool -i eth0; ethtool -S eth0' | netperf-exporter nic-stats -"""
    ended = subprocess.run([*COMMAND, "-"], input=HEAD + IFB, capture_output=True, text=True)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("stdin: driver ifb")


def test_a_reader_that_has_seen_enough() -> None:
    """No complaint, as of any tool before a pager."""
    many = listing(*[f"rx_gremlin_{number}: 1" for number in range(20_000)])
    with subprocess.Popen(
        [*COMMAND, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(many.encode())
        process.stdin.close()
        process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read()

    assert (process.returncode, said) == (0, b"")


def test_a_full_disk_is_said() -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [*COMMAND, "-"], input=IFB.encode(), stdout=full, stderr=subprocess.PIPE
        )

    assert ended.returncode == 1
    assert ended.stderr == b"netperf-exporter: standard output: No space left on device\n"


@pytest.fixture(scope="module")
def inside() -> Iterator[Namespace]:
    """A namespace with a veth pair of three queues that is up, and a device that is down."""
    with Lab() as lab:
        namespace = lab.namespace()
        number = ("numrxqueues", "3", "numtxqueues", "3")
        words = ("link", "add", "name", "nic0", *number, "type", "veth", "peer", "name", "nic1")
        namespace.ip(*words, *number)
        for device in ("nic0", "nic1"):
            namespace.ip("link", "set", device, "up")
        namespace.ip("link", "add", "name", "down0", "type", "veth", "peer", "name", "down1")
        yield namespace


def test_a_live_device_is_what_a_scrape_has(inside: Namespace) -> None:
    """Byte for byte: names, help, types, labels, order and values."""
    path = "/metrics?collect[]=nic&collect[]=queues"
    with exporter("--device.include=nic0", prefix=inside.enter) as daemon:
        for _ in range(20):
            before, text, after = [
                inside.inside(lambda: daemon.get(path).decode()),
                inside.run(*COMMAND, "--format=prometheus", "nic0"),
                inside.inside(lambda: daemon.get(path).decode()),
            ]
            # Something may have been sent meanwhile.
            if before.partition("netperf_exporter_")[0] == after.partition("netperf_exporter_")[0]:
                break
    ours = re.compile(r"(# \w+ )?netperf_(nic|queues?)_")
    served = [line for line in after.splitlines() if ours.match(line)]

    assert text.splitlines() == served
    assert sum(line.startswith("netperf_queue_receive_drops_total{") for line in served) == 3


def test_a_live_device_to_read(inside: Namespace) -> None:
    """ethtool -S is the witness for how many statistics there are."""
    text = inside.run(*COMMAND, "nic0")
    witness = inside.run("ethtool", "-S", "nic0").splitlines()[1:]

    assert "nic0: driver veth" in text
    assert f"{len(witness)} statistics" in text
    assert queue_table(text)["rx drops", "mixed"] == {0: 0, 1: 0, 2: 0}


def test_a_file_and_a_device_read_the_same(inside: Namespace) -> None:
    """What is only live, rings and such, apart."""
    live = queue_table(inside.run(*COMMAND, "nic0"))
    text = inside.run("ethtool", "-i", "nic0") + inside.run("ethtool", "-S", "nic0")

    assert queue_table(report(listed(text, "nic0"), verbose=False)) == live


def test_another_driver_for_a_live_device(inside: Namespace) -> None:
    assert "the entry ifb of the table" in inside.run(*COMMAND, "nic0", "--driver=ifb")


@pytest.mark.parametrize(
    ("device", "why"), [("lo", "it has no statistics"), ("down0", "the device is down")]
)
def test_a_device_without_statistics(inside: Namespace, device: str, why: str) -> None:
    """Exit code 1 and one line; what a scrape has of it can still be asked for."""
    ended = subprocess.run([*inside.enter, *COMMAND, device], capture_output=True, text=True)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert len(ended.stderr.splitlines()) == 1
    assert why in ended.stderr
    found = samples(inside.run(*COMMAND, "--format=prometheus", device))
    source = (("device", device), ("source", "none"))
    assert found["netperf_queue_statistics_source_info", source] == 1


def test_a_file_with_the_name_of_a_device(inside: Namespace, tmp_path: Path) -> None:
    """The device is meant, unless a folder is named."""
    (tmp_path / "nic0").write_text(IFB)
    where = ("env", "-C", str(tmp_path))

    assert "driver veth" in inside.run(*where, *COMMAND, "nic0")
    assert "no driver is known" in inside.run(*where, *COMMAND, "./nic0")
