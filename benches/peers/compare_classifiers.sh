#!/usr/bin/env bash
# Look-ups of Meshgate's classifier and of DPDK's rte_acl, best method and batch, on the same filter sets, in turns on one
# processor; source ports are ignored by both. Prints for each set the medians, and the median of the ratios of each turn.
#
#   benches/peers/compare_classifiers.sh [SET...]       # ClassBench sets, then policies of product shape
#
# In the second part rte_acl is given the policy as pairs of groups, and one look-up for each pair of a packet.
# MESHGATE_DATA names the folder with classbench/SET.rules.xz and SET.trace.xz; TURNS (11) is how many turns each set has.
# Installs libdpdk-dev and xz-utils by apt where they are missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
turns=${TURNS:-11}
processor=${PROCESSOR:-1}
sets=${*:-acl1_1k fw1_1k ipc1_1k acl1_10k fw1_10k ipc1_10k}
if [ ! -d "${MESHGATE_DATA:-}/classbench" ]; then
  echo "skipped: no data (MESHGATE_DATA names a folder with classbench/)"
  exit 0
fi
if ! pkg-config --exists libdpdk || ! command -v xz >/dev/null; then
  echo "installing libdpdk-dev and xz-utils"
  apt-get update -q >/dev/null && apt-get install -y -q libdpdk-dev xz-utils >/dev/null
fi
[ -n "${BUILT:-}" ] || cargo build --release --locked --quiet -p meshgate-benches --bin meshgate-bench
scratch=$(mktemp -d)
trap 'kill ${ours_PID:-} ${peer_PID:-} 2>/dev/null || true; rm -rf "$scratch"' EXIT
# shellcheck disable=SC2046 # flags are words
gcc -O3 -march=native benches/peers/rte_acl.c -o "$scratch/rte_acl" $(pkg-config --cflags libdpdk) \
  -Wl,--as-needed -lrte_acl -lrte_eal

. benches/peers/turns.sh

median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

# alternate NAME OURS... -- PEER...: prints a line and keeps the ratio in $scratch/ratios.
alternate() {
  local name=$1 command=() a b built
  shift
  while [ "$1" != -- ]; do
    command+=("$1")
    shift
  done
  shift
  coproc ours { exec taskset -c "$processor" "${command[@]}"; }
  # The shell warns of a second one, which is meant.
  { coproc peer { exec taskset -c "$processor" "$scratch/rte_acl" -l "$processor" --no-huge -m 4000 --no-pci --no-telemetry \
    --log-level=3 --file-prefix "meshgate-$$" -- "$@"; }; } 2>/dev/null
  local ours_out=${ours[0]} ours_in=${ours[1]} peer_out=${peer[0]} peer_in=${peer[1]}
  read -r -u "$peer_out" built
  : >"$scratch/figures"
  for _ in $(seq "$turns"); do
    a=$(turn "$ours_out" "$ours_in")
    b=$(turn "$peer_out" "$peer_in")
    awk -v a="$a" -v b="$b" 'BEGIN { print a, b, a / b }' >>"$scratch/figures"
  done
  exec {ours_in}>&- {peer_in}>&-
  wait "$ours_PID" "$peer_PID" 2>/dev/null || true
  a=$(cut -d' ' -f1 "$scratch/figures" | median)
  b=$(cut -d' ' -f2 "$scratch/figures" | median)
  local ratio ends
  ratio=$(cut -d' ' -f3 "$scratch/figures" | median)
  ends=$(cut -d' ' -f3 "$scratch/figures" | sort -n | sed -n '1p;$p' | xargs printf '%.2f to %.2f')
  echo "$ratio" >>"$scratch/ratios"
  printf '%s | %.1f | %.1f | %.2f, %s | %s\n' "$name" "$a" "$b" "$ratio" "$ends" "${built#*best is }"
}

bench=target/release/meshgate-bench
: >"$scratch/ratios"
echo "set | Meshgate, M packets/s | rte_acl, M packets/s | ratio, least to most | rte_acl used"
for set in $sets; do
  for kind in rules trace; do
    xz -dc "$MESHGATE_DATA/classbench/$set.$kind.xz" >"$scratch/$set.$kind"
  done
  alternate "$set" $bench classify --classbench "$scratch/$set.rules" --trace "$scratch/$set.trace" --ignore-source-port \
    --seconds 0.2 --in-turns -- "$scratch/$set.rules" "$scratch/$set.trace"
done
awk '{ sum += log($1); least = NR == 1 || $1 < least ? $1 : least }
  END { printf "bar: rte_acl_ratio_geomean = %.2f\nbar: rte_acl_ratio_least = %.2f\n", exp(sum / NR), least }' "$scratch/ratios"

: >"$scratch/ratios"
while read -r endpoints groups rules; do
  shape=(--endpoints "$endpoints" --groups "$groups" --rules "$rules")
  $bench groups "${shape[@]}" --pairs "$scratch" --seconds 0 --repetitions 1 >/dev/null
  alternate "$endpoints endpoints, $groups groups, $rules rules" $bench groups "${shape[@]}" --seconds 0.2 --in-turns -- \
    -p "$scratch/pairs.rules" "$scratch/pairs.trace"
done <<<'2000 65 500
20000 215 2000
100000 515 10000'
awk 'NR == 1 || $1 < least { least = $1 } END { printf "bar: rte_acl_pairs_ratio_least = %.2f\n", least }' "$scratch/ratios"
