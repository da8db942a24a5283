#!/bin/sh
# Install what the real tests of the incus driver need, on Debian 12 as root: Incus 6.0 (backports) and LXD 5.0.
# The backports suite is added by copying this machine's own entry for bookworm, so no mirror is named here.
# Ends with 0 when both are there, 3 when this machine cannot have them (with the reason, loudly).
set -eu

cannot() { echo "NOT RUN: the tests on real Incus and LXD: $1" >&2; exit 3; }

sources=/etc/apt/sources.list.d/trueup-backports.sources
export DEBIAN_FRONTEND=noninteractive

have() { [ -x /usr/libexec/incus/incusd ] && command -v lxd >/dev/null && command -v dnsmasq >/dev/null \
  && command -v btrfs >/dev/null && command -v busybox >/dev/null && command -v nft >/dev/null; }

have && exit 0
[ "$(id -u)" = 0 ] || cannot "installing packages takes root"
command -v apt-get >/dev/null || cannot "there is no apt-get here"
. /etc/os-release
[ "${VERSION_CODENAME:-}" = bookworm ] || cannot "known to work on Debian 12 (bookworm), this is ${PRETTY_NAME:-unknown}"

if ! apt-cache madison incus-base 2>/dev/null | grep -q .; then
  if [ -f /etc/apt/sources.list.d/debian.sources ]; then
    # The first stanza that serves plain bookworm, with another suite.
    awk 'BEGIN { RS = ""; ORS = "\n\n" } /(^|\n)Suites:[^\n]* ?bookworm( |\n|$)/ { print; exit }' \
      /etc/apt/sources.list.d/debian.sources | sed 's/^Suites:.*/Suites: bookworm-backports/' >"$sources"
  else
    sources=/etc/apt/sources.list.d/trueup-backports.list
    grep -E '^deb .* bookworm main' /etc/apt/sources.list | head -n 1 \
      | sed 's/ bookworm main.*/ bookworm-backports main/' >"$sources"
  fi
  [ -s "$sources" ] || cannot "no apt source for bookworm was found to copy"
fi

apt-get update -q || cannot "apt-get update failed"
apt-get install -y -q --no-install-recommends \
  lxd dnsmasq-base btrfs-progs busybox-static nftables iproute2 || cannot "LXD could not be installed"
apt-get install -y -q --no-install-recommends -t bookworm-backports \
  incus-base || cannot "Incus could not be installed from backports"
have || cannot "the packages were installed, and something is still missing"
