"""An exporter inside a network namespace tells of that one; nstat is its witness."""

from __future__ import annotations

from contextlib import suppress

from netperf_exporter.metric import PREFIX
from tests.live.lab import FIELDS, Lab, reader_of
from tests.live.packets import SYN, TCP, UDP, V4, V6, ipv4, tcp, udp


def test_the_exporter_in_a_namespace_sees_its_losses(lab: Lab) -> None:
    left, right = lab.pair()
    right.namespace.sysctl(net__ipv4__conf__all__rp_filter=1)
    watch, elsewhere = lab.watch_inside(right.namespace), lab.watch_inside(left.namespace)
    ends = left.v4, right.v4
    with left.wire(right) as wire:
        for _ in range(101):
            wire.send(ipv4(*ends, UDP, udp(*ends, (9, 9), b"no port")))
        for _ in range(103):
            wire.send(ipv4(*ends, UDP, udp(*ends, (9, 9), b"wrong", wrong=1)))
        for _ in range(107):
            wire.send(ipv4(*ends, TCP, tcp(*ends, (9, 9), SYN)))
        for _ in range(109):
            wire.send(ipv4("192.0.2.7", right.v4, UDP, b"from nowhere"))
    watch.expect(
        {
            "udp_receive_no_port_datagrams": 101,
            "udp_receive_checksum_errors": 103,
            "udp_receive_errors": 103,
            "tcp_transmit_resets": 107,
            "ip_reverse_path_filter_drops": 109,
        }
    )
    elsewhere.expect({"icmp_receive_destination_unreachable_messages": 101})


def test_every_counter_that_nstat_knows_is_exported(lab: Lab) -> None:
    left, right = lab.pair()
    watch = lab.watch(right.namespace, "--collector.snmp")
    for ip in (V4, V6):
        with reader_of(right, ip) as reader, reader_of(left, ip) as sender:
            for _ in range(113):
                sender.sendto(b"", reader.getsockname())
                with suppress(ConnectionRefusedError):
                    sender.sendto(b"", (right.address(ip.family), 9))
    watch.start()

    passed_on = {
        "".join(value for _, value in reversed(labels)): int(value)
        for (name, labels), value in watch.daemon.scrape().items()
        if name == f"{PREFIX}snmp_field_total"
    }
    curated = {field.replace(".", "") for field in FIELDS}
    others = {
        name: value
        for name, value in watch.namespace.nstat().items()
        if name not in curated and not name.startswith("Sctp")  # /proc/net/sctp/snmp
    }
    assert passed_on == others
    assert passed_on["Ip6OutTransmits"] == 113
