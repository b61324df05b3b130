"""UDP: where a datagram is lost between IP and the process, in and out.

Of the counters ``Udp`` in /proc/net/snmp and ``Udp6`` in /proc/net/snmp6 those that tell of loss,
and the denominators for them. A datagram counts under the IP version that carried it, also when
an IPv6 socket receives it over IPv4.
"""

from collections.abc import Iterator

from netperf_exporter.collectors import fields
from netperf_exporter.metric import Block, Family, counter
from netperf_exporter.sources import Readings

NEEDS = fields.NEEDS

FIELDS: dict[str, Family] = {
    # IPv4, in the order a datagram takes.
    "Udp.NoPorts": counter(
        "udp_receive_no_port_datagrams",
        "Datagrams over IPv4 for a port on which no socket listens; the sender gets ICMP port "
        "unreachable. Not in udp_receive_errors. (NoPorts; udp_rcv() in net/ipv4/udp.c)",
    ),
    "Udp.InCsumErrors": counter(
        "udp_receive_checksum_errors",
        "Datagrams over IPv4 dropped because the UDP checksum was wrong, some not before a process "
        "reads. Part of udp_receive_errors. (InCsumErrors; udp_rcv() and udp_recvmsg() in "
        "net/ipv4/udp.c)",
    ),
    "Udp.RcvbufErrors": counter(
        "udp_receive_buffer_errors",
        "Datagrams over IPv4 dropped because the socket's receive buffer was full: the process "
        "reads too slowly, or the buffer is small for the bursts. Part of udp_receive_errors. "
        "(RcvbufErrors; __udp_queue_rcv_skb() in net/ipv4/udp.c)",
    ),
    "Udp.MemErrors": counter(
        "udp_receive_memory_errors",
        "Datagrams over IPv4 dropped because net.ipv4.udp_mem, for all UDP sockets of the host, or "
        "the memory limit of their cgroup left no room. Part of udp_receive_errors. (MemErrors; "
        "__udp_queue_rcv_skb() in net/ipv4/udp.c)",
    ),
    "Udp.InErrors": counter(
        "udp_receive_errors",
        "Datagrams over IPv4 dropped in front of a process, for whatever reason but a missing "
        "port: udp_receive_buffer_errors, udp_receive_memory_errors and "
        "udp_receive_checksum_errors are parts of it, the rest is bad lengths, socket filters and "
        "IPsec policy. (InErrors; udp_rcv() and __udp_queue_rcv_skb() in net/ipv4/udp.c)",
    ),
    "Udp.InDatagrams": counter(
        "udp_receive_datagrams",
        "Datagrams over IPv4 that a process has read, or a tunnel has taken. What still waits in a "
        "receive buffer is not in it. (InDatagrams; udp_recvmsg() in net/ipv4/udp.c)",
    ),
    "Udp.OutDatagrams": counter(
        "udp_transmit_datagrams",
        "Sends over IPv4 that IP and the qdisc took; one of several datagrams (GSO) counts as one. "
        "The neighbour layer and the driver may still lose them unseen. (OutDatagrams; "
        "udp_send_skb() in net/ipv4/udp.c)",
    ),
    "Udp.SndbufErrors": counter(
        "udp_transmit_buffer_errors",
        "Sends over IPv4 that failed because the socket's send buffer was full, memory lacked, or "
        "a qdisc dropped the datagram, of which the process mostly hears nothing. Repeats qdisc "
        "drops. (SndbufErrors; udp_sendmsg() and udp_send_skb() in net/ipv4/udp.c)",
    ),
    # IPv6, in the order a datagram takes.
    "Udp6.NoPorts": counter(
        "udp6_receive_no_port_datagrams",
        "Datagrams over IPv6 for a port on which no socket listens; the sender gets ICMPv6 port "
        "unreachable. Not in udp6_receive_errors. (Udp6NoPorts; udpv6_rcv() in net/ipv6/udp.c)",
    ),
    "Udp6.InCsumErrors": counter(
        "udp6_receive_checksum_errors",
        "Datagrams over IPv6 dropped because the UDP checksum was wrong, some not before a process "
        "reads. Part of udp6_receive_errors. (Udp6InCsumErrors; udpv6_rcv() and udpv6_recvmsg() in "
        "net/ipv6/udp.c)",
    ),
    "Udp6.RcvbufErrors": counter(
        "udp6_receive_buffer_errors",
        "Datagrams over IPv6 dropped because the socket's receive buffer was full: the process "
        "reads too slowly, or the buffer is small for the bursts. Part of udp6_receive_errors. "
        "(Udp6RcvbufErrors; __udpv6_queue_rcv_skb() in net/ipv6/udp.c)",
    ),
    "Udp6.MemErrors": counter(
        "udp6_receive_memory_errors",
        "Datagrams over IPv6 dropped because net.ipv4.udp_mem, for all UDP sockets of the host, or "
        "the memory limit of their cgroup left no room. Part of udp6_receive_errors. "
        "(Udp6MemErrors; __udpv6_queue_rcv_skb() in net/ipv6/udp.c)",
    ),
    "Udp6.InErrors": counter(
        "udp6_receive_errors",
        "Datagrams over IPv6 dropped in front of a process, for whatever reason but a missing "
        "port: udp6_receive_buffer_errors, udp6_receive_memory_errors and "
        "udp6_receive_checksum_errors are parts of it, the rest is bad lengths, socket filters and "
        "IPsec policy. (Udp6InErrors; udpv6_rcv() and __udpv6_queue_rcv_skb() in net/ipv6/udp.c)",
    ),
    "Udp6.InDatagrams": counter(
        "udp6_receive_datagrams",
        "Datagrams over IPv6 that a process has read, or a tunnel has taken. What still waits in a "
        "receive buffer is not in it. (Udp6InDatagrams; udpv6_recvmsg() in net/ipv6/udp.c)",
    ),
    "Udp6.OutDatagrams": counter(
        "udp6_transmit_datagrams",
        "Sends over IPv6 that IP and the qdisc took; one of several datagrams (GSO) counts as one. "
        "The neighbour layer and the driver may still lose them unseen. (Udp6OutDatagrams; "
        "udp_v6_send_skb() in net/ipv6/udp.c)",
    ),
    "Udp6.SndbufErrors": counter(
        "udp6_transmit_buffer_errors",
        "Sends over IPv6 that failed because the socket's send buffer was full, memory lacked, or "
        "a qdisc dropped the datagram, of which the process mostly hears nothing. Repeats qdisc "
        "drops. (Udp6SndbufErrors; udpv6_sendmsg() and udp_v6_send_skb() in net/ipv6/udp.c)",
    ),
}

FAMILIES = tuple(FIELDS.values())

_TABLE = fields.Table(FIELDS)


def collect(readings: Readings) -> Iterator[Block]:
    """A sample for each field that this kernel has."""
    yield _TABLE.block(readings)
