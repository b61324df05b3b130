"""TCP: how connections open, what their segments meet on the way in and out, how they end.

Of the counters ``Tcp`` in /proc/net/snmp and ``TcpExt`` in /proc/net/netstat those that tell of
loss or delay, and the denominators for them. The kernel counts both address families in one.
"""

from collections.abc import Iterator

from netperf_exporter.collectors import fields
from netperf_exporter.metric import Block, Family, counter, gauge
from netperf_exporter.sources import Readings

NEEDS = fields.NEEDS

FIELDS: dict[str, Family] = {
    # Connections opened, and open now.
    "Tcp.ActiveOpens": counter(
        "tcp_active_opens",
        "Connections this host began: connect() built a SYN and handed it down, whether or not it "
        "was answered. (ActiveOpens; tcp_connect() in net/ipv4/tcp_output.c)",
    ),
    "Tcp.PassiveOpens": counter(
        "tcp_passive_opens",
        "Connections peers opened: a valid final ACK (or Fast Open SYN) made a socket for a "
        "listener. Not calls of accept(); a handshake dropped for a full accept queue is not in "
        "it. (PassiveOpens; tcp_create_openreq_child() in net/ipv4/tcp_minisocks.c)",
    ),
    "Tcp.CurrEstab": gauge(
        "tcp_established_sockets",
        "Sockets that are in ESTABLISHED or CLOSE_WAIT now. (CurrEstab; tcp_set_state() in "
        "net/ipv4/tcp.c)",
    ),
    "Tcp.AttemptFails": counter(
        "tcp_failed_connection_attempts",
        "Connections that ended before they were established: own SYNs refused or given up, and "
        "peers' handshakes broken off by a RST or a second SYN. A handshake that merely times out "
        "in a listener's SYN queue is not in it. (AttemptFails; tcp_done() in net/ipv4/tcp.c, "
        "tcp_check_req() in net/ipv4/tcp_minisocks.c)",
    ),
    # Listeners: the SYN queue, the accept queue, and the sum of what they refused. Then cookies.
    "TcpExt.TCPReqQFullDrop": counter(
        "tcp_request_queue_full_drops",
        "SYNs dropped because the listener's SYN queue was longer than its backlog, with "
        "syncookies off. Part of tcp_listen_drops. (TCPReqQFullDrop; tcp_syn_flood_action() in "
        "net/ipv4/tcp_input.c)",
    ),
    "TcpExt.ListenOverflows": counter(
        "tcp_listen_overflows",
        "SYNs and final ACKs of handshakes that met a full accept queue: the application accepts "
        "too slowly, or its backlog or somaxconn is small. Part of tcp_listen_drops; one "
        "connection may add several, one for each retry. (ListenOverflows; tcp_conn_request() in "
        "net/ipv4/tcp_input.c, tcp_v4_syn_recv_sock() in net/ipv4/tcp_ipv4.c)",
    ),
    "TcpExt.ListenDrops": counter(
        "tcp_listen_drops",
        "SYNs, final ACKs and half-open connections a listener dropped, whatever the reason: "
        "tcp_listen_overflows and tcp_request_queue_full_drops are parts of it, the rest is mostly "
        "no memory, no route, or a SYN queue nearly full with syncookies off. (ListenDrops; "
        "tcp_listendrop() in include/net/tcp.h)",
    ),
    "TcpExt.TCPReqQFullDoCookies": counter(
        "tcp_request_queue_full_cookies",
        "SYNs to be answered with a syncookie because the SYN queue was longer than the backlog. "
        "No loss; and with net.ipv4.tcp_syncookies=2 every SYN adds one, whatever the queue. "
        "(TCPReqQFullDoCookies; tcp_syn_flood_action() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.SyncookiesSent": counter(
        "tcp_syncookies_sent",
        "SYN-ACKs that carry a syncookie, so that the SYN queue keeps no entry for them. "
        "(SyncookiesSent; tcp_conn_request() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.SyncookiesRecv": counter(
        "tcp_syncookies_received",
        "Final ACKs that brought back a valid syncookie. (SyncookiesRecv; cookie_v4_check() in "
        "net/ipv4/syncookies.c)",
    ),
    "TcpExt.SyncookiesFailed": counter(
        "tcp_syncookies_failed",
        "ACKs without a valid syncookie, to a listener that sent some of late: cookies that came "
        "back too late, but stray ACKs too. (SyncookiesFailed; cookie_v4_check() in "
        "net/ipv4/syncookies.c)",
    ),
    "TcpExt.TCPDeferAcceptDrop": counter(
        "tcp_defer_accept_drops",
        "Final ACKs without data that a listener with TCP_DEFER_ACCEPT passed over while it waits "
        "for the first data. By design: no connection is lost by it. (TCPDeferAcceptDrop; "
        "tcp_check_req() in net/ipv4/tcp_minisocks.c)",
    ),
    # Receiving: segments, and those that fit no connection or never reach its queues.
    "Tcp.InSegs": counter(
        "tcp_receive_segments",
        "Packets given to TCP, bad ones included. Segments merged by GRO count as one, so this is "
        "fewer than the segments on the wire and no match for tcp_transmit_segments. (InSegs; "
        "tcp_v4_rcv() in net/ipv4/tcp_ipv4.c)",
    ),
    "Tcp.InErrs": counter(
        "tcp_receive_errors",
        "Packets dropped for a bad checksum or header length, and SYNs in the middle of an "
        "established connection. Nothing dropped for want of memory or room is in it. (InErrs; "
        "tcp_v4_rcv() in net/ipv4/tcp_ipv4.c, tcp_validate_incoming() in net/ipv4/tcp_input.c)",
    ),
    "Tcp.InCsumErrors": counter(
        "tcp_receive_checksum_errors",
        "Packets dropped because the TCP checksum was wrong. Part of tcp_receive_errors. "
        "(InCsumErrors; tcp_v4_rcv() in net/ipv4/tcp_ipv4.c, tcp_rcv_established() in "
        "net/ipv4/tcp_input.c)",
    ),
    "TcpExt.PAWSEstab": counter(
        "tcp_paws_established_drops",
        "Packets dropped because their timestamp was older than the last one of their connection, "
        "as in a duplicate from the past. Newer kernels count late ACKs and TIME_WAIT elsewhere. "
        "(PAWSEstab; tcp_validate_incoming() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPMinTTLDrop": counter(
        "tcp_min_ttl_drops",
        "Packets dropped because their TTL or hop limit was below the IP_MINTTL or "
        "IPV6_MINHOPCOUNT of their socket. ICMP errors about a connection count too. "
        "(TCPMinTTLDrop; tcp_v4_rcv() and tcp_v4_err() in net/ipv4/tcp_ipv4.c)",
    ),
    "TcpExt.PFMemallocDrop": counter(
        "socket_pfmemalloc_drops",
        "Packets dropped in front of a socket because they lie in the emergency memory reserve: "
        "the host is out of memory. Of every protocol, not TCP alone; UDP's are receive errors of "
        "UDP too. (PFMemallocDrop; sk_filter_trim_cap() in net/core/filter.c)",
    ),
    "TcpExt.TCPBacklogDrop": counter(
        "tcp_backlog_drops",
        "Packets dropped because a process was just working on the socket and its backlog was "
        "full. The limit comes from the socket's receive and send buffer sizes; a listen backlog "
        "is another thing. (TCPBacklogDrop; tcp_add_backlog() in net/ipv4/tcp_ipv4.c)",
    ),
    # A gap before the data: lost or overtaken on the way, or sent again although it had arrived.
    "TcpExt.TCPOFOQueue": counter(
        "tcp_out_of_order_segments",
        "Packets that came ahead of a gap and were queued until it closes: earlier data was lost "
        "or overtaken. Nothing is dropped here; segments merged by GRO count as one. (TCPOFOQueue; "
        "tcp_data_queue_ofo() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPOFODrop": counter(
        "tcp_out_of_order_drops",
        "Packets that came ahead of a gap and were dropped because the socket's receive buffer or "
        "net.ipv4.tcp_mem had no room. (TCPOFODrop; tcp_data_queue_ofo() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.DelayedACKLost": counter(
        "tcp_receive_duplicate_segments",
        "Packets dropped because their data had arrived before: the peer retransmitted needlessly, "
        "or our ACK was late or lost. A lost delayed ACK, as the kernel calls it, is but one "
        "cause. (DelayedACKLost; tcp_data_queue() and tcp_send_dupack() in net/ipv4/tcp_input.c)",
    ),
    # The receive buffer: from the first squeeze to the drop.
    "TcpExt.PruneCalled": counter(
        "tcp_prune_calls",
        "Times a packet found the socket's receive buffer or net.ipv4.tcp_mem full and TCP tried "
        "to make room. Costs CPU; by itself no loss. (PruneCalled; tcp_prune_queue() in "
        "net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPRcvCollapsed": counter(
        "tcp_receive_collapsed_buffers",
        "Packet buffers freed by copying their data together, to make room in a receive buffer. No "
        "data is lost; many mean small packets in large buffers, or a slow reader. "
        "(TCPRcvCollapsed; tcp_collapse_one() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.OfoPruned": counter(
        "tcp_out_of_order_prunes",
        "Times packets waiting behind a gap were thrown away to make room; the peer must send them "
        "again. How many each time is counted nowhere. (OfoPruned; tcp_prune_ofo_queue() in "
        "net/ipv4/tcp_input.c)",
    ),
    "TcpExt.RcvPruned": counter(
        "tcp_receive_prunes",
        "Times no pruning brought the receive buffer below its limit. The packet that was then "
        "refused is counted again, in tcp_receive_queue_drops or tcp_out_of_order_drops. "
        "(RcvPruned; tcp_prune_queue() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPRcvQDrop": counter(
        "tcp_receive_queue_drops",
        "Packets with the next data in order, dropped because pruning made no room: the process "
        "reads too slowly, or net.ipv4.tcp_mem is used up. (TCPRcvQDrop; tcp_data_queue() in "
        "net/ipv4/tcp_input.c)",
    ),
    # The window this host offers: closed, opened, and what came while it was closed.
    "TcpExt.TCPWantZeroWindowAdv": counter(
        "tcp_want_zero_window_advertisements",
        "Segments whose window should have been zero for want of room, but had to keep what was "
        "promised to the peer earlier. (TCPWantZeroWindowAdv; tcp_select_window() in "
        "net/ipv4/tcp_output.c)",
    ),
    "TcpExt.TCPToZeroWindowAdv": counter(
        "tcp_to_zero_window_advertisements",
        "Times the window offered to a peer went to zero: it must pause until the process reads. "
        "Newer kernels leave out the zero sent when a packet found no memory. (TCPToZeroWindowAdv; "
        "tcp_select_window() in net/ipv4/tcp_output.c)",
    ),
    "TcpExt.TCPFromZeroWindowAdv": counter(
        "tcp_from_zero_window_advertisements",
        "Times the window offered to a peer went up from zero: it may send again. "
        "(TCPFromZeroWindowAdv; tcp_select_window() in net/ipv4/tcp_output.c)",
    ),
    "TcpExt.TCPZeroWindowDrop": counter(
        "tcp_zero_window_drops",
        "Packets that begin where the next byte is due, dropped because the window offered to the "
        "peer was zero; those that begin further on, and probes without data, are not in it. Newer "
        "kernels turn such packets down earlier, into tcp_receive_beyond_window_segments, while "
        "something is unread. (TCPZeroWindowDrop; tcp_data_queue() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.BeyondWindow": counter(
        "tcp_receive_beyond_window_segments",
        "Segments dropped because they reach beyond the window offered to the peer, as data does "
        "that a peer sends into a closed window, and a forged segment. Not on older kernels. "
        "(BeyondWindow; tcp_validate_incoming(), tcp_data_queue() in net/ipv4/tcp_input.c)",
    ),
    # Sending: what goes out for the first time.
    "Tcp.OutSegs": counter(
        "tcp_transmit_segments",
        "Segments handed to IP, those without data included, and each segment of a TSO packet. Of "
        "the retransmissions only those of SYN-ACKs are in it. (OutSegs; __tcp_transmit_skb() and "
        "tcp_make_synack() in net/ipv4/tcp_output.c)",
    ),
    "TcpExt.TCPOrigDataSent": counter(
        "tcp_original_data_segments",
        "Segments with data, or a FIN, sent for the first time, each segment of a TSO packet. With "
        "tcp_retransmitted_segments added, the denominator of a retransmission ratio. "
        "(TCPOrigDataSent; tcp_event_new_data_sent() in net/ipv4/tcp_output.c)",
    ),
    # Nothing came back: timers, probes, and all that was sent again, by kind.
    "TcpExt.TCPTimeouts": counter(
        "tcp_retransmission_timeouts",
        "Times the retransmission timer of a connection ran out, for data, SYN or SYN-ACK: it "
        "stood still that long. Counts the last one too, after which the connection is given up. "
        "(TCPTimeouts; tcp_retransmit_timer() and tcp_syn_ack_timeout() in net/ipv4/tcp_timer.c)",
    ),
    "Tcp.RetransSegs": counter(
        "tcp_retransmitted_segments",
        "Segments sent again, SYN and SYN-ACK included. Not all had been lost; and they count "
        "before the layers below take them, so tcp_failed_retransmitted_segments are a part of it. "
        "(RetransSegs; __tcp_retransmit_skb() and tcp_rtx_synack() in net/ipv4/tcp_output.c)",
    ),
    "TcpExt.TCPSynRetrans": counter(
        "tcp_syn_retransmitted_segments",
        "SYNs and SYN-ACKs sent again: the path, or a listener at its other end, does not answer. "
        "Part of tcp_retransmitted_segments. (TCPSynRetrans; __tcp_retransmit_skb() and "
        "tcp_rtx_synack() in net/ipv4/tcp_output.c)",
    ),
    "TcpExt.TCPSackRecovery": counter(
        "tcp_sack_recoveries",
        "Times a connection with SACK began a fast recovery: ACKs, no timeout, told of loss. Each "
        "may retransmit many segments; the denominator for undos of fast recoveries. "
        "(TCPSackRecovery; tcp_enter_recovery() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPFastRetrans": counter(
        "tcp_fast_retransmitted_segments",
        "Segments sent again because ACKs told of their loss, no timeout needed. Part of "
        "tcp_retransmitted_segments. (TCPFastRetrans; tcp_xmit_retransmit_queue() in "
        "net/ipv4/tcp_output.c)",
    ),
    "TcpExt.TCPSlowStartRetrans": counter(
        "tcp_slow_start_retransmitted_segments",
        "Segments sent again in the recovery after a timeout, without the first, which the timer "
        "itself sends. Part of tcp_retransmitted_segments. (TCPSlowStartRetrans; "
        "tcp_xmit_retransmit_queue() in net/ipv4/tcp_output.c)",
    ),
    "TcpExt.TCPLossProbes": counter(
        "tcp_loss_probes",
        "Probes sent because the last segments of a flight were not acknowledged soon. A probe of "
        "new data is no part of tcp_retransmitted_segments, and a probe alone is no loss. "
        "(TCPLossProbes; tcp_send_loss_probe() in net/ipv4/tcp_output.c)",
    ),
    "TcpExt.TCPLossProbeRecovery": counter(
        "tcp_loss_probe_recoveries",
        "Losses at the end of a flight that a probe repaired, which saved the wait for a timeout; "
        "counted only once data sent after the probe is acknowledged. (TCPLossProbeRecovery; "
        "tcp_process_tlp_ack() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPLostRetransmit": counter(
        "tcp_lost_retransmitted_segments",
        "Retransmitted segments that were found lost once more. Each further timeout of an "
        "unanswered SYN adds one too. (TCPLostRetransmit; tcp_mark_skb_lost() in "
        "net/ipv4/tcp_input.c)",
    ),
    # What this host itself does to a retransmission, and a peer whose window is closed.
    "TcpExt.TCPRetransFail": counter(
        "tcp_failed_retransmitted_segments",
        "Retransmitted segments the layers below refused, as on a qdisc drop or without memory: "
        "the fault is on this host. Part of tcp_retransmitted_segments; a missing route adds to "
        "neither. (TCPRetransFail; __tcp_retransmit_skb() in net/ipv4/tcp_output.c)",
    ),
    "TcpExt.TCPSpuriousRtxHostQueues": counter(
        "tcp_host_queue_spurious_retransmissions",
        "Retransmissions left undone because the original still stood in a qdisc or device queue "
        "of this host: local queueing, no loss. Not in tcp_retransmitted_segments. "
        "(TCPSpuriousRtxHostQueues; skb_still_in_host_queue() in net/ipv4/tcp_output.c)",
    ),
    "TcpExt.TCPWqueueTooBig": counter(
        "tcp_write_queue_too_big_events",
        "Times TCP would not split a queued packet because the queues of the socket hold far more "
        "than its send buffer. A retransmission has to wait; nothing is dropped. (TCPWqueueTooBig; "
        "tcp_fragment() in net/ipv4/tcp_output.c)",
    ),
    "TcpExt.TCPWinProbe": counter(
        "tcp_window_probes",
        "Empty segments sent to a peer that keeps its window closed, to ask whether it has opened: "
        "the receiver stalls this sender. (TCPWinProbe; tcp_xmit_probe_skb() in "
        "net/ipv4/tcp_output.c)",
    ),
    # Second thoughts: the path reordered, or the retransmission was needless.
    "TcpExt.TCPSACKReorder": counter(
        "tcp_sack_reorderings",
        "Times an ACK showed that a segment never retransmitted had arrived after later ones: the "
        "path reorders. (TCPSACKReorder; tcp_check_sack_reordering() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPTSReorder": counter(
        "tcp_timestamp_reorderings",
        "Times an ACK during fast recovery showed, as a rule by its timestamp, that a segment "
        "taken for lost had only been late. (TCPTSReorder; tcp_try_undo_partial() in "
        "net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPDSACKRecv": counter(
        "tcp_receive_dsacks",
        "ACKs in which a peer reports data it had already acknowledged, received twice: we "
        "retransmitted needlessly, or the network duplicated. (TCPDSACKRecv; tcp_check_dsack() in "
        "net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPDSACKRecvSegs": counter(
        "tcp_receive_dsack_segments",
        "Segments that peers report as received twice, acknowledged before or still out of order: "
        "the needless share of tcp_retransmitted_segments, if the network does not duplicate. "
        "(TCPDSACKRecvSegs; tcp_check_dsack() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPSpuriousRTOs": counter(
        "tcp_spurious_retransmission_timeouts",
        "Timeouts that F-RTO found needless, since the originals were acknowledged after all. Part "
        "of tcp_loss_undos. (TCPSpuriousRTOs; tcp_try_undo_loss() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPLossUndo": counter(
        "tcp_loss_undos",
        "Times the slow-down after a timeout was taken back, because what had been sent again was "
        "not lost. (TCPLossUndo; tcp_try_undo_loss() and tcp_try_undo_recovery() in "
        "net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPFullUndo": counter(
        "tcp_full_undos",
        "Times the slow-down of a fast recovery was taken back at its end, because nothing had "
        "been lost: reordering, or a delay. (TCPFullUndo; tcp_try_undo_recovery() in "
        "net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPPartialUndo": counter(
        "tcp_partial_undos",
        "Times the slow-down of a fast recovery was taken back before its end, because an original "
        "had only been late. (TCPPartialUndo; tcp_try_undo_partial() in net/ipv4/tcp_input.c)",
    ),
    "TcpExt.TCPDSACKUndo": counter(
        "tcp_dsack_undos",
        "Times a slow-down was taken back because DSACKs reported every retransmission of it as "
        "needless. (TCPDSACKUndo; tcp_try_undo_dsack() in net/ipv4/tcp_input.c)",
    ),
    # Memory of all TCP sockets together.
    "TcpExt.TCPMemoryPressures": counter(
        "tcp_memory_pressure_events",
        "Times the memory of all TCP sockets of the host rose above the middle value of "
        "net.ipv4.tcp_mem, or an allocation for sending failed. Counted in the network namespace "
        "of the socket that noticed. (TCPMemoryPressures; tcp_enter_memory_pressure() in "
        "net/ipv4/tcp.c)",
    ),
    "TcpExt.TCPMemoryPressuresChrono": counter(
        "tcp_memory_pressure_seconds",
        "Time TCP of the host spent under memory pressure. Added when a pressure ends, so one that "
        "lasts is not in it yet. (TCPMemoryPressuresChrono; tcp_leave_memory_pressure() in "
        "net/ipv4/tcp.c)",
        unit="seconds",
        scale=-3,
    ),
    # How connections end when not by two FINs.
    "Tcp.EstabResets": counter(
        "tcp_established_resets",
        "Connections that went from ESTABLISHED or CLOSE_WAIT straight to CLOSE: a RST came, a "
        "timeout, or this host aborted. No count of RST segments; those received are counted "
        "nowhere. (EstabResets; tcp_set_state() in net/ipv4/tcp.c)",
    ),
    "Tcp.OutRsts": counter(
        "tcp_transmit_resets",
        "RST segments sent, to abort a connection or to refuse a segment no socket wanted, as on a "
        "closed port. (OutRsts; tcp_send_active_reset() in net/ipv4/tcp_output.c, "
        "tcp_v4_send_reset() in net/ipv4/tcp_ipv4.c)",
    ),
    "TcpExt.TCPAbortOnMemory": counter(
        "tcp_aborts_on_memory",
        "Connections already closed by their process and then aborted, because of "
        "net.ipv4.tcp_max_orphans or the upper value of net.ipv4.tcp_mem. (TCPAbortOnMemory; "
        "tcp_out_of_resources() in net/ipv4/tcp_timer.c, __tcp_close() in net/ipv4/tcp.c)",
    ),
    "TcpExt.TCPAbortOnTimeout": counter(
        "tcp_aborts_on_timeout",
        "Connections given up after too many unanswered retransmissions, window probes or "
        "keepalives; those never established included. (TCPAbortOnTimeout; tcp_write_err() in "
        "net/ipv4/tcp_timer.c)",
    ),
    "TcpExt.TCPAbortOnData": counter(
        "tcp_aborts_on_data",
        "Connections aborted because data arrived after the process had closed, or closed at once "
        "by SO_LINGER with time 0. The application's doing, not the network's. (TCPAbortOnData; "
        "tcp_rcv_state_process() in net/ipv4/tcp_input.c, __tcp_close() in net/ipv4/tcp.c)",
    ),
    "TcpExt.TCPAbortOnClose": counter(
        "tcp_aborts_on_close",
        "Connections reset by close() because received data was left unread. The application's "
        "doing, not the network's. (TCPAbortOnClose; __tcp_close() in net/ipv4/tcp.c)",
    ),
    "TcpExt.TCPTimeWaitOverflow": counter(
        "tcp_time_wait_overflows",
        "Connections closed at once instead of waiting in TIME_WAIT or FIN_WAIT_2, because "
        "net.ipv4.tcp_max_tw_buckets was reached or memory lacked. (TCPTimeWaitOverflow; "
        "tcp_time_wait() in net/ipv4/tcp_minisocks.c)",
    ),
}

FAMILIES = tuple(FIELDS.values())

_TABLE = fields.Table(FIELDS)


def collect(readings: Readings) -> Iterator[Block]:
    """A sample for each field that this kernel has."""
    yield _TABLE.block(readings)
