"""Sources that are files of the host: read one after the other, since none waits for rtnl."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from weakref import WeakKeyDictionary

from netperf_exporter.kernel.host import Host
from netperf_exporter.kernel.netns import NetworkNamespaces
from netperf_exporter.parsers import cpulist, snmp, snmp6, softirqs, softnet_stat, stat
from netperf_exporter.sources.reading import Source

_ONLINE = "devices/system/cpu/online"
_NODES = "devices/system/node"

SOFTIRQ_VECTORS = (b"NET_TX", b"NET_RX")
CPU_MODES = ("idle", "iowait", "irq", "softirq", "system")


class _SoftnetText(NamedTuple):
    text: bytes
    online: bytes  # what was online before and after the text was read; empty if that changed


def _read_softnet(host: Host) -> _SoftnetText:
    text = host.net("softnet_stat")
    if softnet_stat.has_cpu_numbers(text):
        return _SoftnetText(text, b"")
    before = _online_text(host)
    text = host.net("softnet_stat")
    return _SoftnetText(text, before if before == _online_text(host) else b"")


def _online_text(host: Host) -> bytes:
    try:
        return host.sys(_ONLINE)
    except OSError:  # a container may see no /sys
        return b""


def _parse_softnet(read: _SoftnetText, problems: list[str]) -> softnet_stat.SoftnetStat:
    online = cpulist.parse(read.online) if read.online else None
    return softnet_stat.parse(read.text, online, problems)


NodeTexts = tuple[tuple[int, bytes], ...]


class _CpuTexts(NamedTuple):
    online: bytes
    nodes: NodeTexts


# By host: what it said last.
_cpu_texts: WeakKeyDictionary[Host, _CpuTexts] = WeakKeyDictionary()


def _read_cpus(host: Host) -> _CpuTexts:
    """Which CPUs are online, and each node's list: that only changes when one comes or goes."""
    online = host.sys(_ONLINE)
    before = _cpu_texts.get(host)
    if before is None or before.online != online:
        before = _cpu_texts[host] = _CpuTexts(online, _read_node_texts(host))
    return before


def _read_node_texts(host: Host) -> NodeTexts:
    try:
        names = host.sys_names(_NODES)
    except OSError:  # a kernel without CONFIG_NUMA
        return ()
    nodes = [name.removeprefix("node") for name in names if re.fullmatch(r"node[0-9]{1,6}", name)]
    return tuple([(int(node), host.sys(f"{_NODES}/node{node}/cpulist")) for node in nodes])


class Cpus:
    """The CPUs that are online, ascending; the same object while the kernel says the same.

    node_of: the NUMA node of each; empty on a kernel without NUMA.
    """

    def __init__(self, texts: _CpuTexts) -> None:
        self.online = cpulist.parse(texts.online)
        self.node_of = {cpu: node for node, text in texts.nodes for cpu in cpulist.parse(text)}


_parse_cpus = lru_cache(maxsize=8)(Cpus)

CPUS = Source[Cpus]("cpu_online", _read_cpus, lambda texts, _: _parse_cpus(texts))
"""drivers/base/cpu.c, and node_read_cpulist() in drivers/base/node.c."""

SOFTNET_STAT = Source[softnet_stat.SoftnetStat]("softnet_stat", _read_softnet, _parse_softnet)

SOFTIRQS = Source[softirqs.Softirqs](
    "softirqs",
    lambda host: host.proc("softirqs"),
    lambda text, problems: softirqs.parse(text, SOFTIRQ_VECTORS, problems),
)

CPU_TIMES = Source[stat.CpuTimes](
    "stat",
    lambda host: host.proc("stat"),
    lambda text, problems: stat.parse(text, CPU_MODES, problems),
)

SNMP = Source[snmp.Counters]("snmp", lambda host: host.net("snmp"), snmp.parse)

NETSTAT = Source[snmp.Counters]("netstat", lambda host: host.net("netstat"), snmp.parse)

SNMP6 = Source[snmp.Counters]("snmp6", lambda host: host.net("snmp6"), snmp6.parse)

NETWORK_NAMESPACES = Source[NetworkNamespaces](
    "network_namespaces",
    lambda host: host.network_namespaces(),
    lambda namespaces, _: namespaces,
)
