"""Which devices are shown one by one."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netperf_exporter.policy import ROLLED_UP_KINDS, DevicePolicy

names = st.text(min_size=1, max_size=15)
kinds = st.sampled_from(["", "bridge", "bond", "vlan", *sorted(ROLLED_UP_KINDS)])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("eth0", ""),
        ("docker0", ""),  # a driver for hardware, however it is called
        ("veth0", ""),
        ("bond0", "bond"),
        ("team0", "team"),
        ("eth0.7", "vlan"),
        ("br0", "bridge"),
        ("br-lan", "bridge"),
        ("br-0123456789ab7", "bridge"),
        ("virbridge", "bridge"),
        ("dockerish", "bridge"),
        ("hsr0", "hsr"),
    ],
)
def test_what_may_lose_packets_of_its_own_is_shown(name: str, kind: str) -> None:
    assert DevicePolicy()(name, kind)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lo", "loopback"),
        ("veth0a1b2c3", "veth"),
        ("cali0123456789a", "veth"),
        ("docker0", "bridge"),
        ("docker_gwbridge", "bridge"),
        ("br-0123456789ab", "bridge"),
        ("cni0", "bridge"),
        ("cni-podman0", "bridge"),
        ("virbr0", "bridge"),
        ("flannel.1", "vxlan"),
        ("tun0", "tun"),
        ("wg0", "wireguard"),
        ("tunl0", "ipip"),
    ],
)
def test_what_others_count_as_well_is_summed(name: str, kind: str) -> None:
    assert not DevicePolicy()(name, kind)


@given(names, kinds)
def test_included_devices_are_shown_whatever_their_kind(name: str, kind: str) -> None:
    chosen = DevicePolicy(include=re.compile(re.escape(name)))

    assert chosen(name, kind)
    assert not chosen(name + "x", kind)  # the whole name counts
    assert not chosen("x" + name, kind)


@given(names, kinds)
def test_excluded_devices_are_not_even_if_included(name: str, kind: str) -> None:
    everything = re.compile(".*", re.DOTALL)

    assert not DevicePolicy(everything, re.compile(re.escape(name)))(name, kind)
    assert DevicePolicy(everything, re.compile(re.escape(name)))(name + "x", kind)


@given(names)
def test_hardware_is_shown_by_default(name: str) -> None:
    assert DevicePolicy()(name, "")


@given(names, kinds)
def test_excluding_shows_no_more_and_including_hides_no_included(name: str, kind: str) -> None:
    without = DevicePolicy(exclude=re.compile("e.*"))

    assert without(name, kind) <= DevicePolicy()(name, kind)
