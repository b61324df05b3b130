"""Names by which network drivers request interrupts, as /proc/interrupts shows them.

A name is made when the interrupt is requested, so it holds the name the device had then. There is
no rule for it; this is what each driver writes, its source named with the pattern. A number in it
is taken for a queue only where the driver's source makes it one. Two things no name tells:

- With more queues than vectors, each vector serves several: i40e's ``-TxRx-1`` then begins at queue
  2 or later (drivers/net/ethernet/intel/i40e/i40e_main.c: i40e_vsi_map_rings_to_vectors()). Names
  are to be believed if the device has a vector for every queue.
- A vector whose number is beyond the device's queues serves something else (XDP), or only sends.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_DEVICE = r"(?P<device>[^\s:/]+)"  # what net/core/dev.c: dev_valid_name() lets pass
_PCI = r"(?P<hardware>[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])"
_VIRTIO = r"(?P<hardware>virtio[0-9]+)"
_QUEUE = r"(?P<queue>0|[1-9][0-9]{0,3})"
_BOTH, _RECEIVE, _TRANSMIT, _SOME, _OTHER = "both", "receive", "transmit", "some", "other"


class Vector(NamedTuple):
    """What the name of an interrupt says.

    If neither a queue nor other is told, the vector serves queues of the device or hardware, but
    not which.

    device: the network device's name, or "".
    hardware: a PCI address, a virtio device, a xenbus device, or "".
    receive, transmit: the number of the queue served.
    other: it serves no queue, but configuration, errors, link changes.
    """

    device: str
    hardware: str
    receive: int | None
    transmit: int | None
    other: bool


class _Rule(NamedTuple):
    """drivers: the only ones whose name means this; without any, all that write such a name."""

    pattern: re.Pattern[str]
    serves: str
    drivers: frozenset[str] = frozenset()


def _rule(pattern: str, serves: str, drivers: str = "") -> _Rule:
    return _Rule(re.compile(pattern), serves, frozenset(drivers.split()))


_RULES = (
    # By the hardware's name.
    # drivers/net/virtio_net.c: virtnet_find_vqs(); drivers/virtio/virtio_pci_common.c:
    # vp_find_vqs_msix(), vp_request_msix_vectors().
    _rule(rf"{_VIRTIO}-input\.{_QUEUE}", _RECEIVE),
    _rule(rf"{_VIRTIO}-output\.{_QUEUE}", _TRANSMIT),
    _rule(rf"{_VIRTIO}-(?:config|control)", _OTHER),
    _rule(rf"{_VIRTIO}(?:-virtqueues)?", _SOME),
    # drivers/net/ethernet/mellanox/mlx5/core/pci_irq.c: irq_set_name(); a completion vector is that
    # of the channel with its number, en_main.c: mlx5e_open_channel().
    _rule(rf"mlx5_comp{_QUEUE}@pci:{_PCI}", _BOTH),
    _rule(rf"mlx5_async[0-9]*@pci:{_PCI}", _OTHER),
    # drivers/net/ethernet/mellanox/mlx4/eq.c: mlx4_init_eq_table().
    _rule(rf"mlx4-async@pci:{_PCI}", _OTHER),
    # drivers/net/ethernet/amazon/ena/ena_netdev.c: ena_setup_mgmnt_intr(), ena_setup_io_intr();
    # drivers/net/ethernet/google/gve/gve_main.c: gve_alloc_notify_blocks(), whose blocks are those
    # of all transmit queues there could be, then those of the receive queues.
    _rule(rf"(?:ena|gve)-mgmnt@pci:{_PCI}", _OTHER),
    _rule(rf"{_DEVICE}-Tx-Rx-{_QUEUE}", _BOTH),
    _rule(rf"{_DEVICE}-ntfy-block\.{_QUEUE}", _SOME),
    # drivers/net/ethernet/microsoft/mana/gdma_main.c: vector 0 is the hardware channel's; the ports
    # share the others.
    _rule(rf"mana_hwc@pci:{_PCI}", _OTHER),
    # drivers/net/ethernet/huawei/hinic/hinic_hw_eqs.c: init_eq().
    _rule(rf"hinic3?_[ac]eq[0-9]+@pci:{_PCI}", _OTHER),
    # And others that are called by their address: mlx4-3@0000:41:00.0, mlx5_sf_comp1@pci:…,
    # gve-ntfy-blk4@pci:…, mana_q2@pci:….
    _rule(rf"[^\s@]+@(?:pci:)?{_PCI}", _SOME),
    # drivers/net/ethernet/hisilicon/hns3/hns3_enet.c: hns3_nic_init_irq(), see _number().
    _rule(rf"hns3-{_PCI}-TxRx-{_QUEUE}", _BOTH),
    _rule(rf"hns3-{_PCI}-Rx-{_QUEUE}", _RECEIVE),
    _rule(rf"hns3-{_PCI}-Tx-{_QUEUE}", _TRANSMIT),
    _rule(rf"hclge(?:vf)?-misc-{_PCI}", _OTHER),
    # drivers/net/xen-netfront.c: setup_netfront_split(), xennet_init_queue(). xen-netback writes
    # the same with the device's name, and there tx is what the guest sends.
    _rule(rf"vif(?P<xenbus>[0-9]+)-q{_QUEUE}-rx", _RECEIVE),
    _rule(rf"vif(?P<xenbus>[0-9]+)-q{_QUEUE}-tx", _TRANSMIT),
    _rule(rf"{_DEVICE}-q[0-9]+-[rt]x", _SOME),
    # By the driver's name and the device's: drivers/net/ethernet/intel/i40e/i40e_main.c:
    # i40e_vsi_request_irq_msix(), ice/ice_main.c: ice_vsi_req_irq_msix(), iavf/iavf_main.c:
    # iavf_request_traffic_irqs(), idpf/idpf_txrx.c: idpf_vport_intr_req_irq().
    _rule(rf"(?:i40e|ice|iavf)-{_PCI}:\S+", _OTHER),
    _rule(r"idpf-Mailbox-[0-9]+", _OTHER),
    _rule(rf"bnxt_en-{_DEVICE}-tx-{_QUEUE}", _SOME, "bnxt_en"),  # see below
    *(
        _rule(rf"{driver}-{_DEVICE}-{direction}-{_QUEUE}", serves, driver)
        for driver in ("i40e", "ice", "iavf", "idpf", "bnxt_en")
        for direction, serves in (("TxRx", _BOTH), ("[rR]x", _RECEIVE), ("[tT]x", _TRANSMIT))
    ),
    # By the device's name. Most of drivers/net/ethernet/intel: ixgbe/ixgbe_main.c:
    # ixgbe_request_msix_irqs(), igb/igb_main.c: igb_request_msix(); fbnic's is the number of the
    # NAPI, drivers/net/ethernet/meta/fbnic/fbnic_irq.c: fbnic_napi_name_irqs().
    _rule(rf"{_DEVICE}-TxRx-{_QUEUE}", _SOME, "fbnic"),
    _rule(rf"{_DEVICE}-TxRx-{_QUEUE}", _BOTH),
    # drivers/net/ethernet/marvell/octeontx2/nic/rep.c names its representors' by no device.
    _rule(r"rep[0-9]+-rxtx-[0-9]+", ""),
    # drivers/net/vmxnet3/vmxnet3_drv.c: vmxnet3_request_irqs(), drivers/net/ethernet/netronome/nfp/
    # nfp_net_common.c: nfp_net_prepare_vector(), marvell/octeontx2/nic/otx2_pf.c: otx2_open().
    _rule(rf"{_DEVICE}-rxtx-{_QUEUE}", _BOTH),
    # drivers/net/ethernet/broadcom/tg3.c: tg3_request_irq(), see _number().
    _rule(rf"{_DEVICE}-txrx-{_QUEUE}", _BOTH, "tg3"),
    _rule(rf"{_DEVICE}-txrx-{_QUEUE}", _RECEIVE, "tsnep"),
    # The number of a single direction's vector is the queue's in drivers/net/ethernet/cisco/enic/
    # enic_main.c: enic_request_intr() and those above. It counts all vectors, in the order receive,
    # transmit, in broadcom/bnxt/bnxt.c: bnxt_setup_msix(); the other way round in vmxnet3.
    _rule(
        rf"{_DEVICE}-rx-{_QUEUE}",
        _RECEIVE,
        "ixgbe ixgbevf igb igbvf igc e1000e fm10k alx enic tsnep tg3 bnxt_en",
    ),
    _rule(
        rf"{_DEVICE}-tx-{_QUEUE}",
        _TRANSMIT,
        "ixgbe ixgbevf igb igbvf igc e1000e fm10k alx enic tsnep tg3 vmxnet3",
    ),
    # However they count, the first is the first.
    _rule(rf"{_DEVICE}-rx-(?P<queue>0)", _RECEIVE),
    _rule(rf"{_DEVICE}-tx-(?P<queue>0)", _TRANSMIT),
    _rule(rf"{_DEVICE}-(?:txrx|rx|tx)-[0-9]+", _SOME),
    # drivers/net/ethernet/broadcom/bnx2x/bnx2x_cmn.c: bnx2x_req_msix_irqs(). A fastpath of qede may
    # only receive, then transmit queues begin later: qlogic/qede/qede_main.c: qede_init_fp().
    _rule(rf"{_DEVICE}-fp-{_QUEUE}", _BOTH, "bnx2x"),
    _rule(rf"{_DEVICE}-fp-{_QUEUE}", _RECEIVE),
    # drivers/net/ethernet/emulex/benet/be_main.c: be_msix_register(), marvell/octeon_ep/
    # octep_main.c: octep_request_irqs().
    _rule(rf"{_DEVICE}-q{_QUEUE}", _BOTH, "be2net octeon_ep octeon_ep_vf"),
    _rule(rf"{_DEVICE}-q[0-9]+", _SOME),
    # drivers/net/ethernet/chelsio/cxgb4/cxgb4_main.c: setup_sge_queues().
    _rule(rf"{_DEVICE}-Rx{_QUEUE}", _RECEIVE, "cxgb4"),
    # drivers/net/ethernet/huawei/hinic/hinic_rx.c: hinic_init_rxq(), hinic_tx.c: hinic_init_txq(),
    # hinic3/hinic3_irq.c: hinic3_qps_irq_init().
    _rule(rf"{_DEVICE}_rxq{_QUEUE}", _RECEIVE, "hinic"),
    _rule(rf"{_DEVICE}_txq{_QUEUE}", _TRANSMIT, "hinic"),
    _rule(rf"{_DEVICE}_qp{_QUEUE}", _BOTH, "hinic3"),
    # drivers/net/ethernet/stmicro/stmmac/stmmac_main.c: stmmac_request_irq_multi_msi().
    _rule(rf"{_DEVICE}:rx-{_QUEUE}", _RECEIVE),
    _rule(rf"{_DEVICE}:tx-{_QUEUE}", _TRANSMIT),
    _rule(rf"{_DEVICE}:(?:mac|wol|lpi|safety(?:-[cu]e)?)", _OTHER),
    # vmxnet3, enic, octeontx2 (otx2_open()), nfp (nfp_net_open_alloc_all()), igb and igc, cxgb4,
    # and gve before v6.4.
    _rule(rf"{_DEVICE}-(?:event-[0-9]+|err|notify|qerr|exn|lsc|unused|FWeventq|mgmnt)", _OTHER),
)

_LONGEST = {
    # drivers/net/ethernet/broadcom/bnxt/bnxt.h: struct bnxt_irq had IFNAMSIZ + 2 bytes, that is 17
    # characters, until it got BNXT_IRQ_NAME_EXTRA.
    "bnxt_en": 17,
    "nfp": 23,  # drivers/net/ethernet/netronome/nfp/nfp_net.h: struct nfp_net_r_vector
}
"""What may be cut off at this length: the queue 12 of a long device name reads as 1."""


@lru_cache(maxsize=8192)
def read(action: str, driver: str = "") -> Vector | None:
    """What a name says, or None if it is no known name of a vector.

    driver: the device's, as sysfs has it. Some names mean different things in different drivers;
    without it, those tell no queue.
    """
    for rule in _RULES:
        match = rule.pattern.fullmatch(action)
        if match is None or not _means(rule, driver, match):
            continue
        return _vector(match.groupdict(), rule.serves, action, driver) if rule.serves else None
    return None


def _means(rule: _Rule, driver: str, match: re.Match[str]) -> bool:
    """A name that begins with the driver's own is known by it, unless another one is told."""
    return (
        not rule.drivers
        or driver in rule.drivers
        or (not driver and match.string.startswith(tuple(f"{name}-" for name in rule.drivers)))
    )


def _vector(found: dict[str, str | None], serves: str, action: str, driver: str) -> Vector:
    hardware = found.get("hardware") or (f"vif-{found['xenbus']}" if "xenbus" in found else "")
    queue = None
    if serves in (_BOTH, _RECEIVE, _TRANSMIT) and not _cut(action, driver):
        queue = _number(int(found["queue"] or 0), action, driver)
    return Vector(
        found.get("device") or "",
        hardware,
        queue if serves in (_BOTH, _RECEIVE) else None,
        queue if serves in (_BOTH, _TRANSMIT) else None,
        serves == _OTHER,
    )


def _cut(action: str, driver: str) -> bool:
    lengths = [_LONGEST.get(driver)] if driver else _LONGEST.values()
    return len(action) in lengths


def _number(number: int, action: str, driver: str) -> int | None:
    """The queue's number, where it is not simply the one in the name.

    hns3 counts twice for a vector that serves both directions. Of tg3's vectors the first serves no
    queue if there are several receive queues (tg3_mem_rx_acquire()), and a transmit queue only if
    there is one (tg3_mem_tx_acquire()); the second has the first queue.
    """
    if action.startswith("hns3-") and "-TxRx-" in action:
        return None if number % 2 else number // 2
    if driver == "tg3":
        return max(number - 1, 0)
    return number
