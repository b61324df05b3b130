"""RSS: the indirection table by which a network device spreads packets over its receive queues.

The hash of a packet, modulo the size of the table, is the position of the queue that gets it.
Netlink: rss_fill_reply() in net/ethtool/rss.c; the ioctl: struct ethtool_rxfh_indir of
include/uapi/linux/ethtool.h.
"""

from __future__ import annotations

import struct

from netperf_exporter.kernel.netlink import codec
from netperf_exporter.parsers import Malformed
from netperf_exporter.parsers.nic import Named

Table = tuple[int, ...]
"""One receive queue for each entry."""

_GENERIC_HEADER = 4  # struct genlmsghdr
_HEADER, _DEV_INDEX, _DEV_NAME = 1, 1, 2  # ETHTOOL_A_RSS_HEADER, ETHTOOL_A_HEADER_…
_CONTEXT, _INDIR = 2, 4  # ETHTOOL_A_RSS_…
_RXFH_INDIR = struct.Struct("=4xI")  # struct ethtool_rxfh_indir: size; then the entries


def tables(dump: bytes, problems: list[str]) -> dict[int, Named[Table]]:
    """Answers to ETHTOOL_MSG_RSS_GET, by ifindex.

    Devices without a table have a message without one (virtio_net where the host has no RSS).
    What a device has beside its default one (contexts, ethtool -X … context new) gets but the
    packets that a filter sends there, and is passed over. A message that cannot be understood is
    left out and said. Raises Malformed if none can be.
    """
    found: dict[int, Named[Table]] = {}
    end = 0
    for message in codec.messages(dump):
        end = message.end
        spans = _attributes(dump, message.start + _GENERIC_HEADER, message.end)
        header = spans.get(_HEADER)
        fields = _attributes(dump, header.start, header.end) if header else {}
        if _DEV_INDEX not in fields:
            problems.append("an indirection table that does not say of which device")
            continue
        name = codec.text(dump, fields[_DEV_NAME]) if _DEV_NAME in fields else ""
        try:
            index = codec.integer(dump, fields[_DEV_INDEX])
            if _INDIR in spans and not _number(dump, spans.get(_CONTEXT)):
                found[index] = Named(name, _entries(dump[spans[_INDIR].start : spans[_INDIR].end]))
        except ValueError as error:
            problems.append(f"device {name!r}: {error}")
    if end + 3 & ~3 < len(dump):
        problems.append(f"the last {len(dump) - end} of {len(dump)} bytes are no message")
    if problems and not found:
        raise Malformed(problems[0])
    return found


def table(answer: bytes) -> Table:
    """Read the answer to ETHTOOL_GRXFHINDIR. Raises Malformed."""
    if len(answer) < _RXFH_INDIR.size:
        raise Malformed(f"ethtool_rxfh_indir in {len(answer)} bytes")
    (size,) = _RXFH_INDIR.unpack_from(answer)
    # There may be fewer entries than there was room for: the driver lost some meanwhile.
    entries = answer[_RXFH_INDIR.size : _RXFH_INDIR.size + 4 * size]
    if len(entries) != 4 * size:
        raise Malformed(f"{size} entries in {len(answer)} bytes")
    return _entries(entries)


def _entries(packed: bytes) -> Table:
    if len(packed) % 4:
        raise Malformed(f"an indirection table of {len(packed)} bytes")
    return struct.unpack(f"={len(packed) // 4}I", packed)


def _attributes(buffer: bytes, start: int, end: int) -> dict[int, codec.Span]:
    return {found.type: found for found in codec.attributes(buffer, start, end)}


def _number(buffer: bytes, span: codec.Span | None) -> int:
    return codec.integer(buffer, span) if span else 0
