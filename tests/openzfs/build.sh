#!/bin/bash
# Build the emulated machine's disk once: Debian 12 with its kernel, OpenZFS as a module, LXC and Python.
# usage: build.sh FOLDER    makes FOLDER/{root.img,vmlinuz,initrd.img}; about 8 minutes on two cores, 2 GB.
# Needs: root, mmdebstrap, e2fsprogs, and Debian's packages. Removes what it made if it does not come to its end.
set -euo pipefail
out=$1
suite=bookworm
work=$(mktemp -d /var/tmp/trueup-openzfs.XXXXXX)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# the host's own sources, with contrib, where OpenZFS lies
sources=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
  if [ -f "$file" ] && grep -q "$suite" "$file"; then
    copy="$work/$(basename "$file")"
    sed -e 's/^\(Components:.*main\).*/\1 contrib/' -e 's/^\(deb .*main\).*/\1 contrib/' "$file" >"$copy"
    sources+=("$copy")
  fi
done

packages=linux-image-cloud-amd64,linux-headers-cloud-amd64,zfs-dkms,zfsutils-linux,initramfs-tools,kmod,udev
packages+=,lxc,nftables,iproute2,iputils-ping,busybox-static,procps,util-linux,python3,zstd,e2fsprogs
export DEBIAN_FRONTEND=noninteractive
mmdebstrap --variant=minbase --mode=root --include="$packages" \
  --essential-hook='echo "zfs-dkms zfs-dkms/note-incompatible-licenses note true" | chroot "$1" debconf-set-selections' \
  --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"; echo MODULES=most >"$1/etc/initramfs-tools/conf.d/trueup"' \
  "$suite" "$work/root" "${sources[@]}"

kernel=$(ls "$work/root/lib/modules")
test -n "$(find "$work/root/lib/modules/$kernel" -name 'zfs.ko*')" || { echo "the module zfs was not built" >&2; exit 1; }
cp "$work/root/boot/vmlinuz-$kernel" "$out/vmlinuz"
cp "$work/root/boot/initrd.img-$kernel" "$out/initrd.img"
# what only the build needed
chroot "$work/root" sh -c 'rm -rf /usr/src/* /var/lib/dkms/*/*/build /var/cache/apt/archives/*.deb /var/lib/apt/lists/*'
mke2fs -q -t ext4 -m 0 -d "$work/root" "$work/root.img" 4G
mv "$work/root.img" "$out/root.img"
