#!/bin/sh
# First process of a guest: this machine's root file system, read-only below and memory above, a
# writable /out, the wanted modules; then one command, its status on the second serial port, power off.
# $MODULES_FOLDER, $MODULES and $CARDS come from /environment; the command is the file /command.

export PATH=/bin
/bin/busybox --install -s /bin
. /environment

fail() {
    echo "guest: $*"
    poweroff -f
}

mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
for module in /modules/*.ko; do
    insmod "$module" || fail "cannot load $module"
done

# Caching is safe where nothing is written. /out has none, so that nothing is lost at power off.
shared=trans=virtio,version=9p2000.L,msize=262144
mkdir -p /lower /upper /root
mount -t 9p -o "ro,$shared,cache=loose" root /lower || fail "cannot mount the root file system"
mount -t tmpfs tmpfs /upper
mkdir /upper/files /upper/work /upper/files/out
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /root ||
    fail "cannot mount the overlay"
mount -t 9p -o "$shared,cache=none" out /root/out || fail "cannot mount the output folder"

mount -t proc proc /root/proc
mount -t sysfs sysfs /root/sys
mount -t devtmpfs devtmpfs /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts devpts /root/dev/pts
mount -t tmpfs tmpfs /root/dev/shm
mount -t tmpfs tmpfs /root/run
mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
mount -t bpf bpf /root/sys/fs/bpf
mount -t debugfs debugfs /root/sys/kernel/debug
mount -t tracefs tracefs /root/sys/kernel/tracing

# The kernel runs its own modprobe in this file system, not in /root: both need the modules.
modules=/root/usr/lib/modules/$(uname -r)
mkdir -p "$modules" /lib
mount -o bind "/lower$MODULES_FOLDER" "$modules"
ln -s /root/usr/lib/modules /lib/modules
for module in $MODULES; do
    modprobe "$module" || fail "cannot load module $module"
done
# Network cards: PCI class 02, virtio device 1.
for device in /sys/bus/pci/devices/* /sys/bus/virtio/devices/*; do
    case $(cat "$device/class" "$device/modalias" 2>/dev/null) in
    0x02* | virtio:d00000001*) modprobe -q "$(cat "$device/modalias")" ;;
    esac
done
cards=$(ls -d /sys/class/net/*/device 2>/dev/null | wc -l)
[ "$cards" -eq "$CARDS" ] || fail "$cards of $CARDS network cards have a driver"

hostname guest
ip link set lo up
env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    chroot /root /bin/sh -c "$(cat /command)" </dev/null
echo $? >/dev/ttyS1
poweroff -f
