"""pyroute2, which shares no code with us, reads the same of the kernel."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from netperf_exporter.kernel.host import LiveHost, show_all
from netperf_exporter.kernel.netlink import requests
from netperf_exporter.parsers import ethtool_netlink, links
from netperf_exporter.sources import LINK_STATISTICS, LINKS, RINGS, Value, read

pyroute2 = pytest.importorskip("pyroute2")


@pytest.fixture
def listed() -> list[Any]:
    """Every device as pyroute2 has it."""
    with pyroute2.IPRoute() as route:
        return list(route.get_links())


def value(source: Any) -> Any:
    outcome = read(source, LiveHost(shown=show_all))
    assert isinstance(outcome, Value), outcome
    return outcome.value


def test_what_devices_are(listed: list[Any]) -> None:
    found: links.Links = value(LINKS)
    said = {
        link["index"]: (
            link.get_attr("IFLA_IFNAME"),
            link.get_attr("IFLA_MTU"),
            (link.get_attr("IFLA_OPERSTATE") or "").lower(),
            link.get_attr("IFLA_MASTER") or 0,
            link.get_attr("IFLA_CARRIER_CHANGES"),
        )
        for link in listed
    }

    assert {
        link.ifindex: (link.name, link.mtu, link.operstate, link.master, link.carrier_changes)
        for link in found.shown
    } == said


def test_kinds_of_software_devices(listed: list[Any]) -> None:
    said = {}
    for link in listed:
        info = link.get_attr("IFLA_LINKINFO")
        said[link["index"]] = info.get_attr("IFLA_INFO_KIND") if info else None
    found: links.Links = value(LINKS)

    assert {
        link.ifindex: None if link.kind in ("", "loopback") else link.kind for link in found.shown
    } == said


def test_counters_are_between_two_of_its_readings() -> None:
    def counters() -> dict[int, dict[str, int]]:
        with pyroute2.IPRoute() as route:
            return {link["index"]: link.get_attr("IFLA_STATS64") for link in route.get_links()}

    before = counters()
    found: links.Statistics = value(LINK_STATISTICS)
    after = counters()

    assert found.keys() == before.keys() == after.keys()
    for index, figures in found.items():
        said = dict(zip(links.STATISTICS, figures, strict=False))
        for name in ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_dropped"):
            assert before[index][name] <= said[name] <= after[index][name], (index, name)


def test_rings() -> None:
    """By its own ethtool messages, device by device."""
    dump = LiveHost().dump(requests.RINGS)
    found = {named.device: named.value for named in ethtool_netlink.rings(dump, []).values()}
    if not found:
        pytest.skip("no device here has rings")
    ethtool = pyroute2.Ethtool()
    try:
        for device, rings in found.items():
            said = ethtool.get_rings(device)
            assert (said.rx, said.rx_max, said.tx, said.tx_max) == tuple(rings)
    finally:
        ethtool.close()
    names = {name: index for index, name in socket.if_nameindex()}
    assert {names[device] for device in found} == set(value(RINGS))
