"""fec: forward error correction of the link. Off by default: many drivers ask their firmware."""

from __future__ import annotations

from collections.abc import Iterator

from netperf_exporter.collectors import rows
from netperf_exporter.metric import Block, counter, info
from netperf_exporter.sources import FEC, LINKS, Readings

NEEDS = (LINKS, FEC)

ACTIVE = info(
    "nic_fec",
    "The forward error correction that is in use on a link; no sample while there is none. "
    "(ETHTOOL_MSG_FEC_GET)",
    "device",
    "mode",
)
CORRECTED = counter(
    "nic_fec_corrected_blocks",
    "Blocks received with errors that could be corrected: the margin of the link, no loss. "
    "(ETHTOOL_A_FEC_STAT_CORRECTED)",
    "device",
)
UNCORRECTABLE = counter(
    "nic_fec_uncorrectable_blocks",
    "Blocks received with more errors than could be corrected: their packets are lost. "
    "(ETHTOOL_A_FEC_STAT_UNCORR)",
    "device",
)

FAMILIES = (ACTIVE, CORRECTED, UNCORRECTABLE)


def collect(readings: Readings) -> Iterator[Block]:
    """The mode of every device that has one, blocks of those that count them."""
    said = readings[FEC]
    there = [(link, said[link.ifindex]) for link in readings[LINKS].shown if link.ifindex in said]
    modes = tuple([(link.name, mode) for link, fec in there for mode in sorted(fec.active)])
    if modes:
        yield Block((ACTIVE,), modes, (1,) * len(modes))
    for family, counted in (
        (CORRECTED, {link: fec.corrected for link, fec in there}),
        (UNCORRECTABLE, {link: fec.uncorrectable for link, fec in there}),
    ):
        blocks = {link: value for link, value in counted.items() if value is not None}
        if blocks:
            yield Block((family,), rows.of_links(tuple(blocks)), tuple(blocks.values()))
