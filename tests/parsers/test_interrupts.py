"""interrupts: CPUs from the header, rows by number, and rows that cannot be believed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.interrupts import Interrupts, parse

TESTS = Path(__file__).parents[1]
FILES = sorted([*TESTS.glob("interrupts/*/interrupts"), *TESTS.glob("hosts/*/proc/interrupts")])
NIC = "  PCI-MSIX-0000:41:00.0   3-edge      eth0-TxRx-3"


def row(irq: int | str, counts: list[int], after: str = NIC) -> str:
    """A row as show_interrupts() prints it."""
    return f"{irq:>3}:" + "".join(f" {count:10d}" for count in counts) + after


def text_of(cpus: list[int], *rows: str) -> bytes:
    """A file with these rows."""
    header = " " * 11 + "".join(f"CPU{cpu:<8d}" for cpu in cpus)
    return "\n".join([header, *rows, ""]).encode()


def reading(cpus: list[int], *rows: str) -> Interrupts:
    """A file that has nothing to complain of."""
    problems: list[str] = []
    found = parse(text_of(cpus, *rows), problems)
    assert problems == []
    return found


def plainly(text: bytes) -> dict[int, tuple[int, ...]]:
    """The counts by splitting each line."""
    header, *lines = text.decode().splitlines()
    width = len(header.split())
    numbered = [line.split() for line in lines if line.split()[0].rstrip(":").isdigit()]
    return {int(c[0][:-1]): tuple(map(int, c[1 : width + 1])) for c in numbered}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(TESTS)))
def test_counts_are_those_of_a_plain_split(file: Path) -> None:
    """Of every layout: x86 and arm64, Linux 5.10 to 7.2."""
    problems: list[str] = []
    found = parse(file.read_bytes(), problems)

    assert problems == []
    assert {irq: found.counts(irq) for irq in found.irqs} == plainly(file.read_bytes())
    for irq in found.irqs:
        line = found.line(irq).decode()
        assert line in file.read_text().splitlines()
        assert line.endswith(", ".join(found.actions(irq)))
        assert found.chip(irq) in line


@pytest.mark.parametrize(
    ("host", "irq", "chip", "actions"),
    [
        ("hosts/linux-5.10/proc", 24, "PCI-MSI 16384-edge", ("PCIe PME", "aerdrv")),
        ("hosts/linux-7.2/proc", 24, "", ("PCIe PME", "aerdrv", "PCIe bwctrl")),
        ("hosts/linux-7.2/proc", 37, "PCI-MSIX-0000:01:00.0    4-edge", ("virtio2-output.1",)),
        ("interrupts/arm64", 11, "GICv3  27 Level", ("arch_timer",)),
        ("interrupts/arm64", 36, "GICv3  65 Level", ()),
        ("interrupts/arm64", 48, "ITS-PCI-MSIX-0002:02:00.0   0 Edge", ("RVUPF2 AFPF Mbox",)),
        ("interrupts/xen", 40, "xen-dyn    -event", ("vif0-q0-tx",)),
        ("interrupts/xen", 50, "xen-dyn    -event", ()),
        ("interrupts/intel", 16, "IO-APIC  16-fasteoi", ("ehci_hcd:usb1", "PCIe PME")),
    ],
)
def test_chip_and_actions(host: str, irq: int, chip: str, actions: tuple[str, ...]) -> None:
    """The controller's words end where two blanks and a handler's name follow."""
    found = parse((TESTS / host / "interrupts").read_bytes(), [])

    assert found.actions(irq) == actions
    assert found.chip(irq) == (chip or found.chip(irq))


@pytest.mark.parametrize(
    "after",
    [
        "",
        "  PCI-MSI 524288-edge    ",
        "   IO-APIC   2-edge",
        "     GICv3  27 Level   ",
        "     GICv3  27",
        "  RISC-V INTC   5 Edge    ",
        "  xen-pirq    -ioapic-level",
        "   XT-PIC  ",
        "      None   ",
    ],
)
def test_a_row_that_nobody_handles_has_no_actions(after: str) -> None:
    """It is there because it was handled before: its counts are not zero."""
    found = reading([0, 1], row(30, [1, 2], after))

    assert found.counts(30) == (1, 2)
    assert found.actions(30) == ()
    assert found.chip(30) == after.strip()


@pytest.mark.parametrize("name", ["4-0020", "eth0", "12", "GPIO 3", "Level-9"])
def test_a_name_that_looks_like_the_controllers_words(name: str) -> None:
    """A bare number is taken for the controller's; no driver calls an interrupt by one."""
    expected = () if name == "12" else (name,)

    assert reading([0], row(7, [1], f"   IO-APIC   7-edge      {name}")).actions(7) == expected


def test_rows_without_a_number_are_passed_over() -> None:
    """ERR and MIS have one column, or one for each CPU and a text: x86 until 6.18, and since."""
    found = reading(
        [0, 2],
        row(5, [1, 2]),
        row("NMI", [0, 0], "   Non-maskable interrupts"),
        row("ERR", [0], ""),
        row("MIS", [0, 0], "  PIC/APIC error interrupts"),
        row("IPI0", [3, 3], "       Rescheduling interrupts"),
    )

    assert found.irqs == (5,)
    assert found.cpus == (0, 2)


def test_a_row_wider_or_narrower_than_the_header_is_left_out() -> None:
    """A CPU came online, or went, while the file was read: which one, the row does not say."""
    problems: list[str] = []
    text = text_of(
        [0, 1],
        row(1, [1, 2]),
        row(2, [1, 2, 3]),
        row(3, [1]),
        row(4, [7], "  GICv3 5"),
        row(5, [8, 9]),
    )
    found = parse(text, problems)

    assert found.irqs == (1, 5)
    assert found.counts(5) == (8, 9)
    assert found.counts(2) == found.counts(99) == ()
    assert [problem.split()[1] for problem in problems] == ["2", "3", "4"]


def test_a_row_that_is_cut_short_is_left_out() -> None:
    """eth0-TxRx-12 would be eth0-TxRx-1."""
    problems: list[str] = []
    found = parse(text_of([0], row(1, [1]), row(2, [2]))[:-2], problems)

    assert found.irqs == (1,)
    assert "cut short" in problems[0]


def test_a_second_row_of_an_irq_is_left_out() -> None:
    """The first one stands."""
    problems: list[str] = []
    found = parse(text_of([0], row(1, [1]), row(1, [2])), problems)

    assert found.counts(1) == (1,)
    assert problems == ["IRQ 1 has two rows"]


def test_counts_need_not_be_aligned() -> None:
    """Should a kernel print them narrower or wider, they are read all the same."""
    text = b" CPU0 CPU1\n 7: 1 22 GIC  a, b\n 8:      123456789012 5  GIC  c\n"
    found = parse(text, [])

    assert [found.counts(irq) for irq in found.irqs] == [(1, 22), (123456789012, 5)]
    assert found.actions(7) == ("a", "b")


def test_a_row_ends_at_its_newline() -> None:
    """Even where the next row has a count at the place at which this one's last should end."""
    text = b"CPU0 CPU1\n 1: 5 x\n 2:           3 7 z\n"
    problems: list[str] = []
    found = parse(text, problems)

    assert text[10 + 3 + 2 * 11 - 1 :] == b"7 z\n"
    assert found.irqs == (2,)
    assert found.counts(2) == (3, 7)
    assert len(problems) == 1


def test_a_count_of_more_digits_than_64_bits_have_is_none() -> None:
    """So that no file makes numbers without end."""
    assert parse(b"CPU0\n 1: " + b"9" * 21 + b" x\n", []).irqs == ()
    assert parse(b"CPU0\n 1: " + b"9" * 20 + b" x\n", []).counts(1) == (10**20 - 1,)


def test_a_header_of_4096_cpus() -> None:
    """Numbers of four digits leave no blank more than they have to."""
    cpus = list(range(4096))
    found = reading(cpus, row(1, [cpu % 3 for cpu in cpus]))

    assert found.cpus == tuple(cpus)
    assert sum(found.counts(1)) == sum(cpu % 3 for cpu in cpus)


@pytest.mark.parametrize("text", [b"", b"\n", b"CPU0 CPU0\n", b"CPU0 X\n", b"CPU0", b"  1: 2\n"])
def test_what_has_no_header(text: bytes) -> None:
    """Nobody could say whose the counts are."""
    with pytest.raises(Malformed):
        parse(text, [])


def test_only_counts_that_moved_have_changed() -> None:
    """Text may change meanwhile: a handler went."""
    before = reading([0, 1, 4], row(1, [1, 2, 3]), row(2, [5, 0, 0]), row(3, [1, 1, 1]))
    after = reading([0, 1, 4], row(1, [1, 2, 9]), row(2, [5, 0, 0], ""), row(3, [2, 1, 0]))

    assert after.changed(before, (1, 2, 3)) == {1: ((4, 9),), 3: ((0, 2), (4, 0))}
    assert after.changed(before, (2, 8)) == {}
    assert after.changed(after, after.irqs) == {}


def test_before_the_first_reading_all_counts_were_zero() -> None:
    """And so were those of an interrupt that was not there."""
    found = reading([0, 1, 4], row(1, [0, 2, 3]), row(2, [0, 0, 0]))

    assert found.changed(None, found.irqs) == {1: ((1, 2), (4, 3))}
    assert found.changed(reading([0, 1, 4]), found.irqs) == {1: ((1, 2), (4, 3))}


def test_counts_keep_their_cpu_when_another_one_goes() -> None:
    """The columns move, the counts did not."""
    before = reading([0, 1, 2], row(1, [4, 5, 6]))

    assert reading([0, 2], row(1, [4, 6])).changed(before, (1,)) == {}
    assert reading([0, 2, 3], row(1, [4, 7, 8])).changed(before, (1,)) == {1: ((2, 7), (3, 8))}


_COUNTS = st.integers(0, 2**32 - 1) | st.sampled_from([0, 0, 0, 9, 10])
_CPUS = st.lists(st.integers(0, 8191), min_size=1, max_size=40, unique=True).map(sorted)


@given(_CPUS, st.data())
def test_round_trip_and_what_changed(cpus: list[int], data: st.DataObject) -> None:
    """What was printed is what is read, and of two readings what differs."""
    width = len(cpus)
    tables = st.dictionaries(
        st.integers(0, 999), st.lists(_COUNTS, min_size=width, max_size=width), max_size=6
    )
    old, new = data.draw(tables), data.draw(tables)
    for irq in data.draw(st.sets(st.sampled_from(sorted(old)))) if old else ():
        new[irq] = [*old[irq][:-1], new.get(irq, old[irq])[-1]]
    before = reading(cpus, *(row(irq, counts) for irq, counts in old.items()))
    after = reading(cpus, *(row(irq, counts) for irq, counts in new.items()))
    expected = {
        irq: tuple(
            (cpu, now)
            for cpu, now, was in zip(cpus, counts, old.get(irq, [0] * width), strict=True)
            if now != was
        )
        for irq, counts in new.items()
    }

    assert {irq: after.counts(irq) for irq in after.irqs} == {
        irq: tuple(counts) for irq, counts in new.items()
    }
    assert after.changed(before, after.irqs) == {irq: c for irq, c in expected.items() if c}


@given(
    st.binary()
    | st.binary().map(lambda text: b"CPU0 CPU1\n" + text)
    | st.text("01: \nCPUa,-").map(lambda text: b"CPU0 CPU1\n" + text.encode() + b"\n"),
    st.binary().map(lambda text: b"CPU0 CPU1\n" + text),
)
@example(b"CPU0\n 1: " + b"9" * 5000 + b"\n", b"CPU0\n 1: 1\n")
@example(
    b"CPU0\n 1:         -1  x\n 2:         1_  x\n 3: " + b"\xb2".rjust(10) + b"  x\n", b"CPU0\n"
)
@example(b"CPU0\n" + b"9" * 12 + b": 1\n", b"CPU0\n")
def test_any_bytes_give_a_value_or_a_clear_error(text: bytes, other: bytes) -> None:
    """Nothing but Malformed is raised, whatever is asked of the reading."""
    problems: list[str] = []
    try:
        found = parse(text, problems)
        before = parse(other, [])
    except Malformed as error:
        assert str(error).isprintable()
        return
    for irq in found.irqs:
        assert len(found.counts(irq)) in (0, len(found.cpus))
        assert all(action.strip() for action in found.actions(irq))
        assert found.line(irq) in text
        assert isinstance(found.chip(irq), str)
    found.changed(before, found.irqs)
    assert all(problem.isprintable() for problem in problems)


@given(st.lists(_COUNTS, min_size=4, max_size=4), st.integers(0, 100), st.binary(max_size=2))
def test_a_damaged_row_never_gives_counts_it_does_not_have(
    counts: list[int], at: int, damage: bytes
) -> None:
    """Counts are all numbers that the row has, or none."""
    line = row(6, counts).encode()
    damaged = line[:at] + damage + line[at + 1 :]
    assume(b"\n" not in damaged)
    found = parse(text_of([0, 1, 2, 3]) + damaged + b"\n", [])
    for irq in found.irqs:
        cells = damaged.partition(b":")[2].split()[:4]
        if read := found.counts(irq):
            assert [b"%d" % count for count in read] == [
                cell.lstrip(b"0") or b"0" for cell in cells
            ]
