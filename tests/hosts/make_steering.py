"""Writes the captured hosts that differ in who takes the packets of a network device.

    python3 -m tests.hosts.make_steering [FOLDER]

What the hosts are is in tests/hosts/hardware/steered.py; what is to be expected of them is written
in test_steering_hosts.py by hand.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.hosts.hardware.steered import HostMade, hosts

HERE = Path(__file__).parent


def write(host: HostMade, folder: Path) -> None:
    """Write a host, all but what is expected of it. It replaces what was in the folder."""
    for part in ("proc", "sys", "netlink", "ioctl"):
        shutil.rmtree(folder / part, ignore_errors=True)
    for path, content in host.files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    for card in host.cards:
        for path, target in card.symbolic_links().items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).symlink_to(target)
    (folder / "ABOUT.md").write_text(
        f"derived: by `python3 -m tests.hosts.make_steering`, which prints and packs what the\n"
        f"kernel files named here would write.\n\n{host.about}\n\n"
        "/proc/interrupts: show_interrupts() in kernel/irq/proc.c. /proc/version, the counters of\n"
        f"protocols and the names of features are those of {host.like}.\n"
    )


def main() -> None:
    """Write every host."""
    into = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    for name, host in hosts().items():
        write(host, into / name)
        print(f"{into / name}: {len(host.files())} files")


if __name__ == "__main__":
    main()
