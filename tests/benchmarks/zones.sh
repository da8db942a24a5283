#!/bin/bash
# The bare loop that the local driver is measured against: the same zones, caps, interface, properties and mounting
# lock, by the commands themselves. Everything lives under $Z, an absolute path.
# usage: zones.sh up SIZE | image ROOT | create N PAR | destroy N PAR | observe N | down
set -euo pipefail
C=/sys/fs/cgroup
NS() { nsenter --mount="$Z/mnt" "$@"; }
ZL() { flock -w 60 "$Z/zlock" nsenter --mount="$Z/mnt" "$@"; }
retry() { local e; for _ in $(seq 200); do e=$("$@" 2>&1) && return 0; case $e in *busy* | *"umount failed"*) sleep 0.02 ;; *) echo "$e" >&2; return 1 ;; esac; done; return 75; }

up() {
  mkdir -p "$Z"/{zones,etc,var,pool}
  mount --bind "$Z" "$Z"; mount --make-private "$Z"; touch "$Z/mnt"; mkdir -p /run/zfs /run/lock/zfs
  cp /etc/zfs/zfsrc "$Z/etc/"
  unshare --mount="$Z/mnt" --propagation private bash -ec "
    mount -t tmpfs t /run/zfs; mount -t tmpfs t /run/lock/zfs
    mount --bind $Z/etc /etc/zfs; mount --bind $Z/var /var/lib/zfs"
  NS bash -c "setsid zfs-fuse -n --no-kstat-mount -x -p /run/zfs/pid >/dev/null 2>&1 </dev/null &"
  for _ in $(seq 100); do NS zpool list >/dev/null 2>&1 && break; sleep 0.05; done
  truncate -s "$1" "$Z/pool.img"
  ZL zpool create -O atime=off -m "$Z/pool" bare "$Z/pool.img" 2>/dev/null
  for d in img zone gone; do ZL zfs create bare/$d; done
  ip link add trubare type bridge; ip addr add 10.214.0.1/24 dev trubare; ip link set trubare up
}
image() { ZL zfs create bare/img/i; NS cp -a "$1/." "$Z/pool/img/i"; NS zfs snapshot bare/img/i@final; }

config() { # zone number
  cat <<END
lxc.uts.name = $1
lxc.rootfs.path = dir:$Z/pool/zone/$1
lxc.init.cmd = /sbin/init
lxc.signal.halt = SIGUSR2
lxc.mount.auto = proc:mixed sys:ro
lxc.autodev = 1
lxc.tty.max = 0
lxc.console.logfile = $Z/zones/$1/console.log
lxc.console.size = 1MB
lxc.log.level = WARN
lxc.log.file = $Z/zones/$1/log
lxc.no_new_privs = 1
lxc.cap.keep = chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot audit_write setfcap
lxc.cgroup.dir.container = trueup-bare/$1
lxc.cgroup.dir.monitor = trueup-bare.monitor/$1
lxc.cgroup.memory.limit_in_bytes = 64M
lxc.cgroup.memory.memsw.limit_in_bytes = 96M
lxc.cgroup.cpu.cfs_period_us = 100000
lxc.cgroup.cpu.cfs_quota_us = 50000
lxc.cgroup.cpu.shares = 256
lxc.cgroup.pids.max = 100
lxc.net.0.type = veth
lxc.net.0.veth.pair = $1.0
lxc.net.0.link = trubare
lxc.net.0.flags = up
lxc.net.0.name = net0
lxc.net.0.hwaddr = 02:00:00:00:01:$(printf %02x "$2")
lxc.net.0.ipv4.address = 10.214.0.$((10 + $2))/24
lxc.net.0.ipv4.gateway = 10.214.0.1
END
}
one_create() {
  local z=trub$1
  ZL zfs clone -o refquota=200M -o org.custom:owner=bare -o org.custom:zone="$z" bare/img/i@final "bare/zone/$z"
  mkdir -p "$Z/zones/$z"; config "$z" "$1" >"$Z/zones/$z/config"
  [ "$(NS zfs get -H -o value mounted "bare/zone/$z")" = yes ]
  NS lxc-start -P "$Z/zones" -n "$z" -d
  NS zfs set org.custom:state=done "bare/zone/$z"
}
one_destroy() {
  local z=trub$1
  lxc-stop -P "$Z/zones" -n "$z" -t 20 2>/dev/null || true
  [ -e "$C/unified/trueup-bare/$z/cgroup.kill" ] && echo 1 >"$C/unified/trueup-bare/$z/cgroup.kill" || true
  ip link del "$z.0" 2>/dev/null || true
  find "$C"/*/trueup-bare/"$z" "$C"/*/trueup-bare.monitor/"$z" -depth -type d -exec rmdir {} \; 2>/dev/null || true
  NS zfs set org.custom:until=1 "bare/zone/$z"
  NS zfs snapshot "bare/zone/$z@quarantine"
  retry NS zfs unmount "bare/zone/$z"
  retry ZL zfs rename "bare/zone/$z" "bare/gone/$z"
}
export -f NS ZL retry config one_create one_destroy
export Z C
create() { seq "$1" | xargs -P "$2" -I{} bash -ec 'one_create {}'; }
destroy() { seq "$1" | xargs -P "$2" -I{} bash -ec 'one_destroy {}'; }
purge() { for i in $(seq "$1"); do retry NS zfs destroy -r "bare/gone/trub$i"; rm -rf "$Z/zones/trub$i"; done; }
observe() { # one zfs get, and the cgroups of N zones
  NS zfs get -Hpr -o name,property,value,source guid,refquota,origin,mounted,org.custom:owner bare >/dev/null
  local d=trueup-bare k
  for k in memory.limit_in_bytes memory.memsw.limit_in_bytes; do cat "$C"/memory/$d/*/$k; done >/dev/null
  cat "$C"/cpu/$d/*/cpu.cfs_quota_us "$C"/cpu/$d/*/cpu.cfs_period_us "$C"/cpu/$d/*/cpu.shares "$C"/pids/$d/*/pids.max >/dev/null
  cat "$C"/unified/$d/*/cgroup.events >/dev/null
}
down() {
  for z in "$Z"/zones/*; do [ -d "$z" ] && lxc-stop -P "$Z/zones" -n "$(basename "$z")" -k 2>/dev/null || true; done
  NS zpool destroy bare || true
  for p in $(pgrep -x zfs-fuse); do [ "$(readlink "/proc/$p/ns/mnt")" = "$(NS readlink /proc/self/ns/mnt)" ] && kill -9 "$p"; done || true
  ip link del trubare || true
  find "$C"/*/trueup-bare "$C"/*/trueup-bare.monitor -depth -type d -exec rmdir {} \; 2>/dev/null || true
  umount "$Z/mnt"; umount -l "$Z"; rm -rf "$Z"
}
"$@"
