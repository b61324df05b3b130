"""The ethtool ioctl: SIOCETHTOOL, answered by dev_ethtool() in net/ethtool/ioctl.c.

What has a fixed size is asked with call() and a Command. What grows with the number of queues is
written by old kernels whatever room it was given, so it has functions of its own.
"""

from __future__ import annotations

from netperf_exporter.kernel.ethtool.ioctl import (
    GCHANNELS,
    GCOALESCE,
    GDRVINFO,
    GFEATURES,
    GFECPARAM,
    GPAUSEPARAM,
    GRINGPARAM,
    Command,
    call,
    indirection,
    link_settings,
)
from netperf_exporter.kernel.ethtool.reader import (
    Statistics,
    StatisticsReader,
    Unsettled,
    feature_strings,
    statistics,
)

__all__ = [
    "GCHANNELS",
    "GCOALESCE",
    "GDRVINFO",
    "GFEATURES",
    "GFECPARAM",
    "GPAUSEPARAM",
    "GRINGPARAM",
    "Command",
    "Statistics",
    "StatisticsReader",
    "Unsettled",
    "call",
    "feature_strings",
    "indirection",
    "link_settings",
    "statistics",
]
