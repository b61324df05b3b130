"""A real systemd, booted over a copy-on-write view of this machine's root file system.

All mounts are in a mount namespace of its own, and nothing outlives the process that asked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.notify import NotifySocket

_TOOLS = ("systemd-nspawn", "unshare", "nsenter", "setpriv", "mount")

# $1 an empty folder, $2 a machine id, $3 a folder shown as /given, $4 the name of a control group.
# What Debian would start at boot is of no interest: basic.target. The hierarchy of control groups
# that this machine has may be one that no systemd manages.
_BOOT = """
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
rm -rf "$1/root/etc/machine-id" "$1/root/var/log/journal" "$1/root/etc/resolv.conf"
echo "$2" >"$1/root/etc/machine-id"
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$4"
echo $$ >"/sys/fs/cgroup/$4/cgroup.procs"
exec systemd-nspawn --quiet --register=no --keep-unit --notify-ready=yes --private-network \
    --link-journal=no --resolv-conf=off --timezone=off --console=pipe --machine=netperf-test \
    --bind-ro="$3:/given" --directory="$1/root" --boot systemd.unit=basic.target
"""

# $1 the name of the control group, whose last processes may be about to end.
_SWEEP = """
mount -t cgroup2 cgroup2 /sys/fs/cgroup
cd /sys/fs/cgroup
[ -d "$1" ] || exit 0
for try in 1 2 3 4 5 6 7 8 9 10; do
    find "$1" -depth -type d -exec rmdir {} + 2>/dev/null && exit 0
    sleep 0.1
done
echo "control group $1 is still in use"
exit 1
"""


class Machine:
    """A booted machine."""

    def __init__(self, leader: int) -> None:
        self._enter = ["nsenter", f"--target={leader}", "--all", "--"]

    def run(self, *command: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in it as root, to its end."""
        return subprocess.run(
            [*self._enter, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def do(self, *command: str, seconds: float = 60) -> str:
        """What a command that succeeds says."""
        done = self.run(*command, seconds=seconds)
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file in it, and its folder."""
        self.do("sh", "-c", 'mkdir -p "${1%/*}" && printf %s "$2" >"$1"', "sh", path, text)


def missing() -> str | None:
    """Say why no machine can boot here, or None."""
    if os.geteuid() != 0:
        return "only root can boot a machine"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    probe = "mount -t tmpfs tmpfs /run && mount -t cgroup2 cgroup2 /sys/fs/cgroup"
    command = ["unshare", "--mount", "--pid", "--fork", "sh", "-c", probe]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"root may not mount here: {tried.stderr.strip()}" if tried.returncode else None


@contextmanager
def booted(given: Path) -> Iterator[Machine]:
    """A machine that sees a folder as /given; it is gone afterwards."""
    identity = uuid.uuid4().hex
    group = f"netperf-test-{identity}"
    with tempfile.TemporaryDirectory(prefix="machine-") as folder:
        scratch = Path(folder)
        (scratch / "mount").mkdir()
        arguments = [str(scratch / "mount"), identity, str(given), group]
        with (
            (scratch / "console").open("w") as console,
            NotifySocket(scratch / "notify") as told,
            subprocess.Popen(
                [
                    # When this process ends, however it does, so does the machine.
                    *("setpriv", "--pdeathsig", "KILL"),
                    *("unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"),
                    *("sh", "-c", _BOOT, "sh", *arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "NOTIFY_SOCKET": str(told.path)},
            ) as unshare,
        ):
            try:
                told.wait_for(r"^READY=1$", 60)
                yield Machine(_child(_child(unshare.pid)))
            except AssertionError as error:
                error.add_note((scratch / "console").read_text()[-4000:])
                raise
            finally:
                unshare.kill()
                unshare.wait()
                sweep = ["unshare", "--mount", "sh", "-c", _SWEEP, "sh", group]
                subprocess.run(sweep, check=True)


def _child(parent: int) -> int:
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(child)
