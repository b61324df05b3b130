"""pause: flow control on the wire. Off by default, because many drivers ask their firmware."""

from __future__ import annotations

from collections.abc import Iterator

from netperf_exporter.collectors import rows
from netperf_exporter.metric import Block, counter, gauge
from netperf_exporter.sources import LINKS, PAUSE, Readings

NEEDS = (LINKS, PAUSE)

RECEIVE_ENABLED = gauge(
    "nic_receive_pause_enabled",
    "1 if the device stops sending when the other end asks it to. (ETHTOOL_MSG_PAUSE_GET)",
    "device",
)
TRANSMIT_ENABLED = gauge(
    "nic_transmit_pause_enabled",
    "1 if the device asks the other end to stop when its own memory runs full. "
    "(ETHTOOL_MSG_PAUSE_GET)",
    "device",
)
RECEIVE_FRAMES = counter(
    "nic_receive_pause_frames",
    "Times the other end asked this device to stop sending. (ETHTOOL_A_PAUSE_STAT_RX_FRAMES)",
    "device",
)
TRANSMIT_FRAMES = counter(
    "nic_transmit_pause_frames",
    "Times this device asked the other end to stop: the host is slower than the link. "
    "(ETHTOOL_A_PAUSE_STAT_TX_FRAMES)",
    "device",
)

FAMILIES = (RECEIVE_ENABLED, TRANSMIT_ENABLED, RECEIVE_FRAMES, TRANSMIT_FRAMES)


def collect(readings: Readings) -> Iterator[Block]:
    """Settings of every device that has them, frames of those that count them."""
    said = readings[PAUSE]
    there = [(link, said[link.ifindex]) for link in readings[LINKS].shown if link.ifindex in said]
    if there:
        devices = rows.of_links(tuple([link for link, _ in there]))
        values = [int(pause.rx) for _, pause in there] + [int(pause.tx) for _, pause in there]
        yield Block((RECEIVE_ENABLED, TRANSMIT_ENABLED), devices, values)
    for family, counted in (
        (RECEIVE_FRAMES, {link: pause.rx_frames for link, pause in there}),
        (TRANSMIT_FRAMES, {link: pause.tx_frames for link, pause in there}),
    ):
        frames = {link: value for link, value in counted.items() if value is not None}
        if frames:
            yield Block((family,), rows.of_links(tuple(frames)), tuple(frames.values()))
