"""What udevd knows of a device beyond the kernel: vendor and model, by their names.

The kernel is the truth about devices; where no udevd runs (containers, small systems) these names
are missing, and nothing else is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

_DATABASE = "/run/udev/data"


class Hardware(NamedTuple):
    """Names from udev's hardware database; "" where it has none."""

    vendor: str
    model: str


UNKNOWN = Hardware("", "")


def hardware(device: str, ifindex: int) -> Hardware:
    """Look a network device up that has this name and index."""
    if not os.path.isdir(_DATABASE):
        return UNKNOWN
    # Loads libudev, which is not everywhere and takes 20 ms.
    try:
        import pyudev

        context = pyudev.Context()
    except ImportError:
        return UNKNOWN
    try:
        found = dict(pyudev.Devices.from_name(context, "net", device).properties)
    except pyudev.DeviceNotFoundError:
        return UNKNOWN
    if found.get("IFINDEX") != str(ifindex):
        return UNKNOWN
    return Hardware(_name(found, "VENDOR"), _name(found, "MODEL"))


def _name(properties: Mapping[str, str], what: str) -> str:
    return properties.get(f"ID_{what}_FROM_DATABASE") or properties.get(f"ID_{what}", "")
