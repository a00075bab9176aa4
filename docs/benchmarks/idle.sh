#!/usr/bin/env bash
# What the programs of a local cluster cost while nothing is to be done: deploy/local-up first.
# $1: seconds to watch [60].
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. deploy/local.sh

seconds=${1:-60}
ticks=$(getconf CLK_TCK)

# Ticks of a process on the processors so far. Its name may hold blanks, so what is before it goes.
used() { sed 's/.*) //' "/proc/$1/stat" | awk '{ print $12 + $13 }'; }

# A line of a process's status.
status() { awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/status"; }

declare -A before
for name in $(known); do before[$name]=$(used "$(cat "$local_dir/$name.pid")"); done
sleep "$seconds"
printf '%-14s %12s %10s %8s\n' program 'of a core' 'memory' threads
for name in $(known); do
  pid=$(cat "$local_dir/$name.pid")
  awk -v name="$name" -v used=$(($(used "$pid") - before[$name])) -v ticks="$ticks" -v seconds="$seconds" \
    -v kib="$(status "$pid" VmRSS)" -v threads="$(status "$pid" Threads)" \
    'BEGIN { printf "%-14s %10.2f %% %6.1f MiB %8d\n", name, used / ticks / seconds * 100, kib / 1024, threads }'
done
