#!/usr/bin/env bash
# Prints where promtool is, which checks metrics, rules and their tests. If this machine has none, it
# is taken out of Debian's package of Prometheus, which is not installed: that would start a server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

program=promtool.sh
own=${CARGO_TARGET_DIR:-$PWD/target}/tools/prometheus/promtool

. deploy/servers.sh

# Takes the one program out of the package. What is made appears at once, so that several may try.
unpack() {
  local work
  mkdir -p "$(dirname "$own")"
  work=$(mktemp -d "$own.XXXXXX")
  # shellcheck disable=SC2064 -- the name is known now, and gone by then
  trap "rm -rf '$work'" EXIT
  if ! (cd "$work" && fetch && unpacked); then
    die "promtool is missing and Debian's package 'prometheus' cannot be had. Put promtool into the path, then run this again."
  fi
  mv "$work/usr/bin/promtool" "$own"
}

fetch() {
  apt-get download -qq prometheus >/dev/null 2>&1 && return
  # a fresh machine does not know yet what there is
  [ "$(id -u)" = 0 ] || return
  apt-get update -qq >&2 && apt-get download -qq prometheus >/dev/null 2>&1
}

unpacked() { dpkg-deb --fsys-tarfile ./*.deb | tar -x ./usr/bin/promtool; }

if has promtool; then
  command -v promtool
  exit
fi
if ! [ -x "$own" ]; then
  if ! has apt-get || ! has dpkg-deb; then
    die "promtool is missing. It comes with Prometheus: put it into the path, then run this again."
  fi
  unpack
fi
echo "$own"
