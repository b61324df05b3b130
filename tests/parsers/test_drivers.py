"""The driver table: complete, in the words it defines, and without contradiction."""

from __future__ import annotations

import re
import tomllib
from importlib.resources import files
from itertools import chain
from typing import Any

import pytest

from netperf_exporter import drivers
from netperf_exporter.drivers import CAUSES, DIRECTIONS, MEASURES, Driver, Vocabulary

DRIVERS = {driver.name: driver for driver in drivers.load().drivers}

# Facts of the kernel: driver of the table → how sysfs or ETHTOOL_GDRVINFO call it.
NAMES = {
    "virtio_net": "virtio_net",
    "mlx5_core": "mlx5_core",
    "mlx4_en": "mlx4_core mlx4_en",
    "ixgbe": "ixgbe",
    "ixgbevf": "ixgbevf",
    "igb": "igb",
    "igc": "igc",
    "i40e": "i40e",
    "iavf": "iavf",
    "ice": "ice",
    "e1000e": "e1000e",
    "e1000": "e1000",
    "ena": "ena",
    "gve": "gve",
    "bnxt_en": "bnxt_en",
    "bnx2x": "bnx2x",
    "tg3": "tg3",
    "nfp": "nfp",
    "sfc": "sfc sfc_ef100 sfc_siena sfc_falcon",
    "cxgb4": "cxgb4",
    "qede": "qede",
    "vmxnet3": "vmxnet3",
    "hv_netvsc": "hv_netvsc",
    "mana": "mana",
    "hns3": "hns3",
    "enic": "enic",
    "atlantic": "atlantic",
    "stmmac": "stmmaceth st_gmac st_mac100 st_xgmac rk_gmac-dwmac intel-eth-pci",
    "r8169": "r8169",
    "mvneta": "mvneta",
    "mvpp2": "mvpp2",
    "dpaa2-eth": "fsl_dpaa2_eth",
    "dpaa": "fsl_dpa",
    "enetc": "fsl_enetc fsl_enetc_vf nxp_enetc4",
    "fec": "fec",
    "be2net": "be2net",
    "liquidio": "LiquidIO LiquidIO_VF liquidio liquidio_vf",
    "octeontx2": "rvu_nicpf rvu_nicvf rvu-nicpf",
    "ionic": "ionic",
    "fbnic": "fbnic",
    "idpf": "idpf",
    "thunderx": "nicvf",
    "macb": "macb",
    "bcmgenet": "bcmgenet",
    "veth": "veth",
    "ifb": "ifb",
    "xen-netfront": "vif",
    "txgbe_ngbe": "txgbe ngbe",
}


def raw() -> dict[str, Any]:
    """The file itself."""
    text = files("netperf_exporter").joinpath("data/nic_drivers.toml").read_text("utf-8")
    return tomllib.loads(text)


def strings(value: object) -> list[str]:
    """All strings anywhere in a table."""
    if isinstance(value, dict):
        return list(chain.from_iterable(map(strings, value.values())))
    if isinstance(value, list):
        return list(chain.from_iterable(map(strings, value)))
    return [value] if isinstance(value, str) else []


def vocabularies(driver: Driver) -> list[Vocabulary]:
    """Of both directions' queues, and of the device."""
    return [*driver.queue.values(), driver.device]


def test_the_table_has_its_48_drivers() -> None:
    """And no other."""
    assert set(NAMES) == set(DRIVERS)
    assert len(DRIVERS) == 48


@pytest.mark.parametrize("name", NAMES)
def test_a_driver_is_found_by_every_name_the_kernel_has_for_it(name: str) -> None:
    """Whether from sysfs or from ETHTOOL_GDRVINFO."""
    for reported in NAMES[name].split():
        assert drivers.by_name(reported) is DRIVERS[name]


@pytest.mark.parametrize("name", ["", "mlx5", "generic", "common", "IGB", "\N{OWL}"])
def test_other_names_are_no_driver(name: str) -> None:
    """Nothing is guessed."""
    assert drivers.by_name(name) is None


def test_every_regular_expression_is_anchored_and_compiles() -> None:
    """What begins like one must end like one."""
    expressions = [text for text in strings(raw()) if text.startswith("^")]

    assert len(expressions) > 200
    for text in expressions:
        assert text.endswith("$"), text
        assert re.compile(text)


@pytest.mark.parametrize("driver", [*DRIVERS.values(), drivers.generic()], ids=lambda d: d.name)
def test_rules_name_queue_and_statistic(driver: Driver) -> None:
    """And the direction, unless the list they are in does."""
    for pattern, direction in driver.rules:
        groups = set(pattern.groupindex) - {"class"}
        expected = {"queue", "statistic"} | (set() if direction else {"direction"})

        assert groups == expected, pattern.pattern


@pytest.mark.parametrize("driver", [*DRIVERS.values(), drivers.generic()], ids=lambda d: d.name)
def test_every_word_is_of_the_vocabulary(driver: Driver) -> None:
    """Kinds, directions, causes and measures."""
    for vocabulary in vocabularies(driver):
        meanings = [*vocabulary.names.values(), *(meaning for _, meaning in vocabulary.patterns)]
        for kind, direction, what in meanings:
            if kind == "measure":
                assert (direction in DIRECTIONS, what in MEASURES) == (True, True)
            elif kind in ("drop", "lost", "event"):
                assert (direction in DIRECTIONS, what in CAUSES) == (True, True)
            else:
                assert kind in ("sum", "gauge", "other")
                assert (direction, what) == ("", "")


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_device_has_two_meanings(name: str) -> None:
    """One in full and one by pattern; the same twice is refused when the table is read."""
    driver = DRIVERS[name]
    for statistic, meaning in driver.device.names.items():
        for pattern, other in driver.device.patterns:
            if not pattern.match(statistic) or other.kind in (meaning.kind, "other"):
                continue  # A row that is lost packets may be an exception to a pattern that is not.
            # A sum that is lost packets where no queue has what it sums: some queue must have it.
            assert (meaning.kind, other.kind) == ("sum", "lost"), statistic
            drop = other._replace(kind="drop")
            assert drop in driver.queue[other.direction].names.values(), statistic


@pytest.mark.parametrize("name", NAMES)
def test_names_are_as_the_kernel_can_hand_them_out(name: str) -> None:
    """No longer than a cell without its NUL, and without the blanks that are stripped."""
    for vocabulary in vocabularies(DRIVERS[name]):
        for statistic in vocabulary.names:
            assert len(statistic) <= drivers.LONGEST_NAME
            assert statistic == statistic.strip()


@pytest.mark.parametrize("name", NAMES)
def test_a_driver_cites_its_source(name: str) -> None:
    """A file of the kernel, and what in it."""
    assert re.fullmatch(r"drivers/net/\S+\.c: \S.*", DRIVERS[name].source)


def minimal(**entry: object) -> dict[str, Any]:
    """A table with one driver."""
    driver = {"source": "s", "names": ["d"], **entry}
    none = {"source": "s", "names": []}
    return {
        "common": {"foreign": ["^f$"], "no_queues": ["^n$"], "other": ["^o$"]},
        "generic": none,
        "drivers": {"d": driver},
    }


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"losses": {}}, "d: unknown"),
        ({"lost": {"receive": {"luck": ["a"]}}}, "luck is no word for a lost"),
        ({"measure": {"receive": {"drops": ["a"]}}}, "drops is no word for a measure"),
        ({"lost": {"receive": {"link": ["a"]}}, "sum": ["a"]}, "d: a means two things"),
        ({"queues": ["rx_.*$"]}, "rx_.*$ is not anchored"),
        ({"no_queues": ["^rx_.*"]}, "^rx_.* is not anchored"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(
    entry: dict[str, object], complaint: str
) -> None:
    """So that a slip of the pen shows in the first test, not in a fleet's numbers."""
    with pytest.raises(ValueError, match=re.escape(complaint)):
        drivers.parse(minimal(**entry))


def test_two_drivers_may_not_be_called_the_same() -> None:
    """The kernel's name must lead to one table."""
    tables = minimal()
    tables["drivers"]["e"] = tables["drivers"]["d"]

    with pytest.raises(ValueError, match="two drivers are called d"):
        drivers.parse(tables)


def test_an_alternative_in_a_pattern_does_not_escape_its_anchors() -> None:
    """Nor does a newline at the end match."""
    driver = drivers.parse(minimal(other=["^a|b$"])).drivers[0]

    assert driver.device.meaning("b")
    for name in ("ax", "xb", "b\n"):
        assert driver.device.meaning(name) is None
