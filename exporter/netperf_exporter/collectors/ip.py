"""IP: where IPv4 and IPv6 drop a packet, between the device and the socket.

Of the counters ``Ip`` and ``Icmp`` in /proc/net/snmp, ``IpExt`` in /proc/net/netstat and ``Ip6``
and ``Icmp6`` in /proc/net/snmp6 those that tell of loss, and the denominators for them. What a
firewall drops is in none of the drop counters of the way in.
"""

from collections.abc import Iterator

from netperf_exporter.collectors import fields
from netperf_exporter.metric import Block, Family, counter
from netperf_exporter.sources import Readings

NEEDS = fields.NEEDS

FIELDS: dict[str, Family] = {
    # IPv4 in: what came, and what was no good packet.
    "Ip.InReceives": counter(
        "ip_receive_packets",
        "IPv4 packets received, before any check and whoever they are for, but for frames to "
        "another host's MAC address. Packets merged by GRO count as one, fragments each. "
        "(InReceives; ip_rcv_core() in net/ipv4/ip_input.c)",
    ),
    "IpExt.InOctets": counter(
        "ip_receive_bytes",
        "Bytes of ip_receive_packets, IP headers included; packets merged by GRO have one header. "
        "(InOctets; ip_rcv_core() in net/ipv4/ip_input.c)",
        unit="bytes",
    ),
    "IpExt.InCEPkts": counter(
        "ip_receive_ecn_ce_packets",
        "IPv4 packets that a queue on the way had marked Congestion Experienced instead of "
        "dropping them. Unlike ip_receive_packets, each packet merged by GRO counts. (InCEPkts; "
        "ip_rcv_core() in net/ipv4/ip_input.c)",
    ),
    "IpExt.InTruncatedPkts": counter(
        "ip_receive_truncated_packets",
        "IPv4 packets dropped because they were shorter than their header says. (InTruncatedPkts; "
        "ip_rcv_core() in net/ipv4/ip_input.c)",
    ),
    "Ip.InHdrErrors": counter(
        "ip_receive_header_errors",
        "IPv4 packets dropped for a bad header (version, length, checksum, options), or because "
        "their TTL ended when they were to be forwarded. (InHdrErrors; ip_rcv_core() in "
        "net/ipv4/ip_input.c, ip_forward() in net/ipv4/ip_forward.c)",
    ),
    "IpExt.InCsumErrors": counter(
        "ip_receive_checksum_errors",
        "IPv4 packets dropped because the checksum of the IP header was wrong; TCP's and UDP's are "
        "others. Part of ip_receive_header_errors. (InCsumErrors; ip_rcv_core() in "
        "net/ipv4/ip_input.c)",
    ),
    "Ip.InDiscards": counter(
        "ip_receive_discards",
        "Good IPv4 packets dropped because memory for handling them lacked. Full queues, sockets "
        "and firewalls drop elsewhere. (InDiscards; ip_rcv_core() in net/ipv4/ip_input.c)",
    ),
    # IPv4 in: where it should go.
    "TcpExt.IPReversePathFilter": counter(
        "ip_reverse_path_filter_drops",
        "IPv4 packets dropped by rp_filter: no route leads back to their source or, if strict, "
        "none through the device they came from. The kernel lists it with TCP; IPv6 routing has no "
        "such filter. (IPReversePathFilter; ip_rcv_finish_core() in net/ipv4/ip_input.c)",
    ),
    "Ip.InAddrErrors": counter(
        "ip_receive_address_errors",
        "IPv4 packets dropped because they were for another host and the device they came from "
        "does not forward. (InAddrErrors; ip_error() in net/ipv4/route.c)",
    ),
    "IpExt.InNoRoutes": counter(
        "ip_receive_no_route_errors",
        "IPv4 packets to be forwarded that were dropped because no route leads to their "
        "destination. (InNoRoutes; ip_error() in net/ipv4/route.c)",
    ),
    "Ip.ForwDatagrams": counter(
        "ip_forwarded_packets",
        "IPv4 packets to be forwarded. Newer kernels count them before the MTU check and the "
        "FORWARD chain, which may still drop them; older ones after. (ForwDatagrams; ip_forward() "
        "in net/ipv4/ip_forward.c)",
    ),
    # IPv4 in: fragments put together, and delivery.
    "Ip.ReasmReqds": counter(
        "ip_reassembly_fragments",
        "IPv4 fragments that were to be reassembled, for this host or for its connection tracking. "
        "(ReasmReqds; ip_defrag() in net/ipv4/ip_fragment.c)",
    ),
    "Ip.ReasmFails": counter(
        "ip_reassembly_failures",
        "IPv4 reassemblies given up: ip_reassembly_timeouts, overlaps, bad lengths, no memory. "
        "Mostly one for a whole packet, however many of its fragments had come. (ReasmFails; "
        "ip_expire(), ip_frag_queue() and ip_defrag() in net/ipv4/ip_fragment.c)",
    ),
    "Ip.ReasmTimeout": counter(
        "ip_reassembly_timeouts",
        "IPv4 reassemblies given up because a fragment did not come in time: it was lost before. "
        "Part of ip_reassembly_failures. (ReasmTimeout; ip_expire() in net/ipv4/ip_fragment.c)",
    ),
    "Ip.InUnknownProtos": counter(
        "ip_receive_unknown_protocol_packets",
        "IPv4 packets for this host dropped because neither the kernel nor a raw socket takes "
        "their protocol. An unused TCP or UDP port is another thing. (InUnknownProtos; "
        "ip_protocol_deliver_rcu() in net/ipv4/ip_input.c)",
    ),
    "Ip.InDelivers": counter(
        "ip_delivered_packets",
        "IPv4 packets, reassembled, given to TCP, UDP, ICMP and so on. Whether a socket then took "
        "or dropped them makes no difference. (InDelivers; ip_protocol_deliver_rcu() in "
        "net/ipv4/ip_input.c)",
    ),
    # IPv4 out.
    "Ip.OutRequests": counter(
        "ip_transmit_requests",
        "IPv4 packets that protocols of this host gave to IP; a TSO packet counts as one. Older "
        "kernels also count the forwarded ones. (OutRequests; __ip_local_out() in "
        "net/ipv4/ip_output.c)",
    ),
    "Ip.OutNoRoutes": counter(
        "ip_transmit_no_route_errors",
        "Times no IPv4 route was found: packets dropped, but also calls like connect() and "
        "sendto() refused before there was one. (OutNoRoutes; __ip_queue_xmit() in "
        "net/ipv4/ip_output.c, udp_sendmsg() in net/ipv4/udp.c)",
    ),
    "Ip.OutDiscards": counter(
        "ip_transmit_discards",
        "IPv4 sends of UDP, ICMP and raw sockets that failed on this host: qdisc drop, full send "
        "buffer, no memory, forbidden by the firewall. Repeats qdisc drops; TCP is not in it. "
        "(OutDiscards; ip_send_skb() and __ip_append_data() in net/ipv4/ip_output.c)",
    ),
    "Ip.FragFails": counter(
        "ip_fragmentation_failures",
        "IPv4 packets dropped because they exceed the MTU and may not be fragmented, or because "
        "sending one of their fragments failed; a qdisc drop of a fragment counts here too. "
        "(FragFails; ip_forward() in net/ipv4/ip_forward.c, ip_do_fragment() in "
        "net/ipv4/ip_output.c)",
    ),
    "IpExt.OutOctets": counter(
        "ip_transmit_bytes",
        "Bytes of IPv4 packets sent, IP headers included; a TSO packet has one header. Older "
        "kernels count forwarded bytes twice. (OutOctets; ip_finish_output2() in "
        "net/ipv4/ip_output.c)",
        unit="bytes",
    ),
    # IPv6 in.
    "Ip6.InReceives": counter(
        "ip6_receive_packets",
        "IPv6 packets received, before any check and whoever they are for, but for frames to "
        "another host's MAC address. Packets merged by GRO count as one, fragments each. "
        "(Ip6InReceives; ip6_rcv_core() in net/ipv6/ip6_input.c)",
    ),
    "Ip6.InTruncatedPkts": counter(
        "ip6_receive_truncated_packets",
        "IPv6 packets dropped because they were shorter than their header says. "
        "(Ip6InTruncatedPkts; ip6_rcv_core() in net/ipv6/ip6_input.c)",
    ),
    "Ip6.InHdrErrors": counter(
        "ip6_receive_header_errors",
        "IPv6 packets dropped for a bad header or extension header or an impossible address, or "
        "because their hop limit ended when they were to be forwarded. (Ip6InHdrErrors; "
        "ip6_rcv_core() in net/ipv6/ip6_input.c, ip6_forward() in net/ipv6/ip6_output.c)",
    ),
    "Ip6.InDiscards": counter(
        "ip6_receive_discards",
        "Good IPv6 packets dropped: IPv6 is off on the device, this host is not in the multicast "
        "group, IPsec policy, no memory. Sockets and firewalls drop elsewhere. (Ip6InDiscards; "
        "ip6_rcv_core() and ip6_protocol_deliver_rcu() in net/ipv6/ip6_input.c)",
    ),
    "Ip6.InAddrErrors": counter(
        "ip6_receive_address_errors",
        "IPv6 packets dropped because they were for another host and this one does not forward, or "
        "because their source address may not be forwarded. (Ip6InAddrErrors; ip6_forward() in "
        "net/ipv6/ip6_output.c)",
    ),
    "Ip6.InNoRoutes": counter(
        "ip6_receive_no_route_errors",
        "IPv6 packets received and dropped because no route, or a prohibiting one, leads to their "
        "target. (Ip6InNoRoutes; ip6_pkt_drop() in net/ipv6/route.c)",
    ),
    "Ip6.InTooBigErrors": counter(
        "ip6_receive_too_big_errors",
        "IPv6 packets dropped because they exceed the MTU of the device they were to be forwarded "
        "to; the sender is told the size. Part of ip6_fragmentation_failures. (Ip6InTooBigErrors; "
        "ip6_forward() in net/ipv6/ip6_output.c)",
    ),
    "Ip6.ReasmFails": counter(
        "ip6_reassembly_failures",
        "IPv6 reassemblies given up: a fragment did not come in time, overlaps, bad lengths, no "
        "memory. Of those connection tracking undertakes only the timeouts count. (Ip6ReasmFails; "
        "ip6_frag_queue() and ip6_frag_reasm() in net/ipv6/reassembly.c)",
    ),
    "Ip6.InUnknownProtos": counter(
        "ip6_receive_unknown_protocol_packets",
        "IPv6 packets for this host dropped because neither the kernel nor a raw socket takes "
        "what is in them. (Ip6InUnknownProtos; ip6_protocol_deliver_rcu() in net/ipv6/ip6_input.c)",
    ),
    "Ip6.InDelivers": counter(
        "ip6_delivered_packets",
        "IPv6 packets, reassembled, given to TCP, UDP, ICMPv6 and so on. Whether a socket then "
        "took or dropped them makes no difference. (Ip6InDelivers; ip6_protocol_deliver_rcu() in "
        "net/ipv6/ip6_input.c)",
    ),
    # IPv6 out.
    "Ip6.OutRequests": counter(
        "ip6_transmit_requests",
        "IPv6 packets that protocols of this host gave to IP; a TSO packet counts as one. "
        "(Ip6OutRequests; ip6_xmit() and __ip6_make_skb() in net/ipv6/ip6_output.c)",
    ),
    "Ip6.OutNoRoutes": counter(
        "ip6_transmit_no_route_errors",
        "Times no IPv6 route was found, or no neighbour entry could be made: packets dropped, but "
        "also calls like connect() and sendto() refused before there was one. (Ip6OutNoRoutes; "
        "ip6_dst_lookup_tail() and ip6_finish_output2() in net/ipv6/ip6_output.c)",
    ),
    "Ip6.OutDiscards": counter(
        "ip6_transmit_discards",
        "IPv6 sends of UDP, ICMPv6 and raw sockets that failed on this host: qdisc drop, full send "
        "buffer, no memory, forbidden by the firewall. Repeats qdisc drops; TCP is in it only for "
        "want of memory. (Ip6OutDiscards; ip6_send_skb() and __ip6_append_data() in "
        "net/ipv6/ip6_output.c)",
    ),
    "Ip6.FragFails": counter(
        "ip6_fragmentation_failures",
        "IPv6 packets dropped because they exceed the MTU and may not be fragmented, or because "
        "sending one of their fragments failed; a qdisc drop of a fragment counts here too. "
        "(Ip6FragFails; ip6_forward() and ip6_fragment() in net/ipv6/ip6_output.c)",
    ),
    # What routers on the path tell us of packets we sent.
    "Icmp.InDestUnreachs": counter(
        "icmp_receive_destination_unreachable_messages",
        "ICMP messages that a packet of ours could not be delivered. Too big for a link without "
        "fragmentation is one of the reasons, a closed port another; the kernel counts all in one. "
        "(InDestUnreachs; icmp_rcv() in net/ipv4/icmp.c)",
    ),
    "Icmp6.InPktTooBigs": counter(
        "icmp6_receive_packet_too_big_messages",
        "ICMPv6 messages that a packet of ours was dropped as too big for a link on its way. "
        "(Icmp6InPktTooBigs; icmpv6_rcv() in net/ipv6/icmp.c)",
    ),
}

FAMILIES = tuple(FIELDS.values())

_TABLE = fields.Table(FIELDS)


def collect(readings: Readings) -> Iterator[Block]:
    """A sample for each field that this kernel has."""
    yield _TABLE.block(readings)
