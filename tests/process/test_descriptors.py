"""How many descriptors the process may have."""

from __future__ import annotations

import resource

from prometheus_client.parser import text_string_to_metric_families

from tests.daemon import exporter


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    """Two for each vector of the network cards are kept open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = min(hard, 3000)
    limited = ("sh", "-c", f'ulimit -Sn 128; ulimit -Hn {allowed}; exec "$@"', "sh")
    with exporter("--collector.disable-defaults", "--collector.softnet", prefix=limited) as daemon:
        families = text_string_to_metric_families(daemon.get().decode())
        found = {family.name: family.samples[0].value for family in families if family.samples}

    assert found["process_max_fds"] == allowed
