#!/bin/bash
# The first and only process of the emulated machine: make it a host, run what is asked, say how it ended, power off.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C PYTHONDONTWRITEBYTECODE=1
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo "+cpu +memory +pids +io" >/sys/fs/cgroup/cgroup.subtree_control
for module in virtio_blk zfs veth bridge br_netfilter nf_tables nft_chain_nat nft_masq nft_ct 8021q; do modprobe -q $module; done
ip link set lo up; hostname guest
mount -o rw,remount /
mkdir -p /given; mount /dev/vdb /given
cd /given/repository
echo "BEGIN $(uname -r) $(zfs version | head -1)"
PYTHONPATH=/given/site bash /given/run </dev/null
echo "END $?"
sync
echo o >/proc/sysrq-trigger
sleep 60
