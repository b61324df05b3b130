"""snmp and netstat: pairs of lines; snmp6: a name and a value a line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.parsers import Malformed, snmp, snmp6

NAMES = st.from_regex(r"[A-Z][A-Za-z0-9]{0,12}", fullmatch=True)
TABLES = st.dictionaries(
    NAMES,
    st.dictionaries(NAMES, st.integers(-1, 2**64 - 1), min_size=1, max_size=6),
    min_size=1,
    max_size=4,
)


def text_of(table: dict[str, dict[str, int]]) -> bytes:
    """Pairs of lines as the kernel prints them."""
    lines: list[str] = []
    for protocol, fields in table.items():
        lines.append(f"{protocol}: {' '.join(fields)}")
        lines.append(f"{protocol}: {' '.join(map(str, fields.values()))}")
    return "\n".join(lines).encode() + b"\n"


def named(counters: snmp.Counters) -> dict[str, int]:
    """Values by name."""
    return dict(zip(*counters, strict=True))


@given(TABLES)
def test_round_trip(table: dict[str, dict[str, int]]) -> None:
    """What was printed is what is read, in order, wherever a kernel put a field."""
    problems: list[str] = []
    expected = {f"{p}.{f}": value for p, fields in table.items() for f, value in fields.items()}

    assert named(snmp.parse(text_of(table), problems)) == expected
    assert problems == []


@given(TABLES)
def test_names_are_the_same_object_while_they_are_the_same(
    table: dict[str, dict[str, int]],
) -> None:
    """What is made from them can be kept."""
    one = snmp.parse(text_of(table), [])
    other = {p: dict.fromkeys(fields, 5) for p, fields in table.items()}

    assert snmp.parse(text_of(other), []).names is one.names


def test_trailing_blanks_and_signs() -> None:
    """IcmpMsg ends in a blank when no type was seen; MaxConn is signed."""
    assert named(snmp.parse(b"Tcp: MaxConn \nTcp: -1 \n", [])) == {"Tcp.MaxConn": -1}


@pytest.mark.parametrize(
    "broken",
    [
        b"Ip: A B\nIp: 1\n",
        b"Ip: A\nTcp: 1\n",
        b"Ip: A\nIp: x\n",
        b"Ip: A\nIp: 1_0\n",
        b"Ip: A\nIp: +1\n",
        b"Ip: A\n",
        b"Ip A\nIp 1\n",
        b"\xff\xfe\n",
        b"\n",
    ],
)
def test_a_broken_pair_costs_only_itself(broken: bytes) -> None:
    """The pairs before and after it stand."""
    problems: list[str] = []
    text = b"Udp: C\nUdp: 3\n" + broken + b"Tcp: D\nTcp: 4\n"

    assert named(snmp.parse(text, problems)) == {"Udp.C": 3, "Tcp.D": 4}
    assert problems


def test_a_number_cut_at_the_end_of_the_file_is_not_taken() -> None:
    """Without its end of line it may be a part of a longer one."""
    problems: list[str] = []

    assert named(snmp.parse(b"Ip: A\nIp: 1\nTcp: B\nTcp: 123", problems)) == {"Ip.A": 1}
    assert problems


def test_snmp6_takes_the_protocol_off_the_name() -> None:
    """The longest protocol wins: UdpLite6 is not a Udp6."""
    text = b"Ip6InReceives                   \t7\nUdpLite6InDatagrams \t8\nIcmp6InType135 \t9\n"

    assert named(snmp6.parse(text, [])) == {
        "Ip6.InReceives": 7,
        "UdpLite6.InDatagrams": 8,
        "Icmp6.InType135": 9,
    }


@pytest.mark.parametrize(
    "broken",
    [
        b"Ip6InReceives\n",
        b"Ip6InReceives 1 2\n",
        b"Ip6InReceives -1\n",
        b"Foo 1\n",
        b"\xff 1\n",
        b"\n",
        b"Udp6NoPorts 9\n",
        b"Ip6OutRequests " + b"9" * 5000 + b"\n",
    ],
)
def test_a_broken_line_of_snmp6_costs_only_itself(broken: bytes) -> None:
    """Also one whose name came before."""
    problems: list[str] = []
    text = b"Udp6NoPorts 1\n" + broken + b"Ip6InDelivers 2\n"

    assert named(snmp6.parse(text, problems)) == {"Udp6.NoPorts": 1, "Ip6.InDelivers": 2}
    assert len(problems) == 1


@given(st.dictionaries(NAMES, st.integers(0, 2**64 - 1), min_size=1))
def test_snmp6_round_trip(fields: dict[str, int]) -> None:
    """What was printed is what is read."""
    text = b"".join(b"Ip6%-29s\t%d\n" % (name.encode(), n) for name, n in fields.items())
    problems: list[str] = []

    assert named(snmp6.parse(text, problems)) == {f"Ip6.{name}": n for name, n in fields.items()}
    assert problems == []


@given(st.binary() | st.text("Tcp: AB1\n").map(str.encode))
def test_any_bytes_give_a_value_or_a_clear_error(text: bytes) -> None:
    """Nothing but Malformed is raised by either."""
    for parser in (snmp.parse, snmp6.parse):
        try:
            counters = parser(text, [])
        except Malformed as error:
            assert str(error).isprintable()
        else:
            assert all("." in name for name in counters.names)
            assert len(set(counters.names)) == len(counters.names) == len(counters.values)
