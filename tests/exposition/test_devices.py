"""Devices from messages to text: every figure in its family, every name written, no device lost."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from netperf_exporter.collectors import COLLECTORS
from netperf_exporter.exposition.render import Format
from netperf_exporter.exposition.scrape import Exporter
from netperf_exporter.kernel import ethtool
from netperf_exporter.kernel.host import Request
from tests import messages
from tests.exposition.fake_host import FakeHost

Samples = dict[tuple[str, str], float]

# The order of struct rtnl_link_stats64; "" is exported by nobody, by decision.
FIELDS = (
    *("receive_packets", "transmit_packets", "receive_bytes", "transmit_bytes"),
    *("receive_errors", "transmit_errors", "receive_dropped", "transmit_dropped"),
    *("", ""),  # multicast is part of rx_packets; collisions are no more
    *("receive_length_errors", "receive_over_errors", "receive_crc_errors"),
    *("receive_frame_errors", "receive_fifo_errors", "receive_missed"),
    *("transmit_aborted_errors", "transmit_carrier_errors", "transmit_fifo_errors"),
    *("transmit_heartbeat_errors", "transmit_window_errors"),
    *("", ""),  # compressed
    *("receive_nohandler", "receive_otherhost_dropped"),
)


def exporter_of(host: FakeHost, *names: str) -> Exporter:
    return Exporter(host, {name: COLLECTORS[name] for name in names or ("link", "nic", "queues")})


def by_device(exporter: Exporter) -> Samples:
    """Values by family and device, of families that have no other label."""
    found: Samples = {}
    for family in text_string_to_metric_families(exporter.scrape().decode()):
        for sample in family.samples:
            if sample.labels.keys() == {"device"}:
                key = sample.name.removeprefix("netperf_"), sample.labels["device"]
                assert key not in found
                found[key] = sample.value
            elif "collector" in sample.labels and family.name.endswith("success"):
                assert sample.value == 1, sample
    return found


def test_every_figure_is_in_its_own_family(tmp_path: Path) -> None:
    exporter = exporter_of(FakeHost(tmp_path, {2: b"eth0", 3: b"eth1"}), "link")
    found = by_device(exporter)
    for ifindex, device in ((2, "eth0"), (3, "eth1")):
        counters = {
            family.removeprefix("interface_").removesuffix("_total"): value
            for (family, of), value in found.items()
            if of == device and family.endswith("_total") and "carrier_changes" not in family
        }

        assert counters == {field: ifindex * 100 + at for at, field in enumerate(FIELDS) if field}


@given(
    st.lists(
        st.one_of(
            st.binary(min_size=1, max_size=15).filter(lambda raw: b"\0" not in raw),
            st.sampled_from(
                [b"a%s", b"%", b"%%d", b'"', b"\\", b"\\n", b"a\xff", b"a\\xff", b"{}"]
            ),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(Format),
)
def test_any_names_give_a_valid_exposition_without_a_device_lost(
    tmp_path_factory: pytest.TempPathFactory, names: list[bytes], format: Format
) -> None:
    """Names that the kernel would not allow, and names that two devices have, too."""
    folder = tmp_path_factory.mktemp("host")
    host = FakeHost(folder, dict(enumerate(names, 2)))
    exporter = exporter_of(host, "link", "nic", "queues", "nicstatistics")
    exporter.scrape(format=format)
    found = by_device(exporter)
    packets = {
        value for (family, _), value in found.items() if family.endswith("receive_packets_total")
    }

    assert packets == {100.0 * ifindex for ifindex in host.devices}
    assert len({device for _, device in found}) == len(names)


Spoil = Callable[[FakeHost, pytest.MonkeyPatch], None]


def broken_driver_info(host: FakeHost, patch: pytest.MonkeyPatch) -> None:
    real = host.ethtool

    def broken(device: str, command: ethtool.Command) -> bytes:
        if device == "eth1":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(device, command)

    patch.setattr(host, "ethtool", broken)


def broken_statistics(host: FakeHost, patch: pytest.MonkeyPatch) -> None:
    real = host.statistics

    def broken(device: str, index: int) -> ethtool.Statistics:
        if device == "eth1":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(device, index)

    patch.setattr(host, "statistics", broken)


@pytest.mark.parametrize("spoil", [broken_driver_info, broken_statistics])
def test_a_device_that_fails_costs_only_what_is_its_own(
    tmp_path: Path, spoil: Spoil, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    host = FakeHost(tmp_path, {2: b"eth0", 3: b"eth1"})
    spoil(host, monkeypatch)
    exporter = exporter_of(host)
    for _ in range(3):
        text = exporter.scrape().decode()
        by_device(exporter)

        assert 'netperf_queue_receive_packets_total{device="eth0",queue="3"}' in text
        assert 'netperf_queue_receive_packets_total{device="eth1"' not in text
        assert 'netperf_interface_receive_packets_total{device="eth1"}' in text
    said = [record.getMessage() for record in caplog.records if "eth1" in record.getMessage()]
    assert len(said) == 1


def test_a_device_that_ends_a_dump_costs_only_its_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ethnl_default_dumpit() gives up at the first error; then each device is asked by itself."""
    host = FakeHost(tmp_path, {2: b"eth0", 3: b"eth1", 4: b"eth2"})
    real_dump, real_ethtool = host.dump, host.ethtool

    def dump(request: Request) -> bytes:
        if request.name == "rings":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real_dump(request)

    def each(device: str, command: ethtool.Command) -> bytes:
        if command is ethtool.GRINGPARAM:
            if device == "eth1":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            ring = 16 if device == "eth0" else 32
            words = (command.number, 4096, 0, 0, 4096, ring, 0, 0, ring)
            return b"".join([word.to_bytes(4, "little") for word in words])
        return real_ethtool(device, command)

    monkeypatch.setattr(host, "dump", dump)
    monkeypatch.setattr(host, "ethtool", each)
    text = exporter_of(host).scrape().decode()

    assert 'netperf_nic_ring_size{device="eth0",ring="rx"} 16\n' in text
    assert 'netperf_nic_ring_size{device="eth2",ring="tx"} 32\n' in text
    assert 'netperf_nic_ring_size{device="eth1"' not in text
    assert 'netperf_scrape_collector_success{collector="nic"} 1' in text


def test_what_is_asked_by_name_is_not_believed_if_the_name_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two devices exchange their names, twice, while their drivers are asked."""
    host = FakeHost(tmp_path, {2: b"eth0", 3: b"eth1", 4: b"eth2"})
    real = host.ethtool

    def meanwhile(device: str, command: ethtool.Command) -> bytes:
        # The same words, said anew: that is all that is left to be seen.
        host.messages = tuple(
            [
                messages.link(i, name) if i != 4 else host.messages[2]
                for i, name in host.devices.items()
            ]
        )
        return real(device, command)

    monkeypatch.setattr(host, "ethtool", meanwhile)
    text = exporter_of(host, "link").scrape().decode()

    assert 'device="eth0",driver=""' in text
    assert 'device="eth1",driver=""' in text
    assert 'device="eth2",driver="ifb"' in text
    monkeypatch.undo()
    text = exporter_of(host, "link").scrape().decode()
    assert 'device="eth0",driver="ifb"' in text
