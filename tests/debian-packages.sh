#!/bin/sh
# Debian packages for `make test`, `make bench` and `make test-all`. Installs what is missing when
# root; otherwise names it, and the tests that need it skip.
set -eu

test="iproute2 ethtool nftables procps prometheus libsystemd-dev pkg-config gcc python3-dev python3-venv systemd systemd-container"
bench="prometheus-node-exporter"
guest="qemu-system-x86 busybox-static cpio buildah mmdebstrap"

missing=""
for group in "$@"; do
	eval "packages=\$$group"
	for package in $packages; do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
	done
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "not installed, so tests that need them are skipped:$missing"
	exit 0
fi
echo "installing:$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086  # a list of names
apt-get install -y -qq --no-install-recommends $missing >/dev/null
