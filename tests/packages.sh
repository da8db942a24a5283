#!/usr/bin/env bash
# Install the Debian packages named, if this is root on Debian and one is missing. Never fails: what cannot be had is
# reported by whatever needs it.
set -u
missing=()
for package in "$@" python3-venv; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed (not root on Debian): ${missing[*]}" >&2
  exit 0
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null || echo "apt-get update failed; going on" >&2
apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null || echo "could not install all of: ${missing[*]}" >&2
# A system zfs-fuse would hold its pools in the host's namespace; trueup starts its own in one of its own.
if command -v systemctl >/dev/null && systemctl is-active -q zfs-fuse 2>/dev/null; then
  systemctl disable --now zfs-fuse || true
fi
exit 0
