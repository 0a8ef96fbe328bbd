#!/usr/bin/env bash
# Passes every test: builds them, runs them, and says how many ran, failed and were skipped.
#
#   scripts/test.sh [--quick] [TEST_NAME_FILTER ...]
#
# --quick leaves out format, lints and documentation. Tests that need root make network namespaces of their own; without
# root they say that they were skipped. Tests that need recorded data look in $MESHGATE_DATA and skip without it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

quick=false
if [ "${1:-}" = "--quick" ]; then quick=true; shift; fi
need_rust
[ "$(id -u)" -ne 0 ] || need ip iproute2 ping iputils-ping curl curl iperf3 iperf3 socat socat ethtool ethtool \
  tcpdump tcpdump busybox busybox nft nftables nmap nmap scapy python3-scapy

log=$(mktemp)
trap 'rm -f "$log"' EXIT
status=0
echo "building the tests"
cargo build --workspace --locked --quiet
{ cargo test --workspace --locked --no-fail-fast -- --show-output "$@" 2>&1 || echo "error: cargo test ended with $?"; } |
  tee "$log" |
  grep -E --line-buffered '^(test result|     Running|skipped:|error)|panicked|FAILED' || true
$quick || scripts/check.sh || status=1

passed=$(awk '/^test result/ {n += $4} END {print n + 0}' "$log")
failed=$(awk '/^test result/ {n += $6} END {print n + 0}' "$log")
skipped=$(grep -c '^skipped:' "$log" || true)
[ "$failed" -eq 0 ] || status=1
grep -qE '^error' "$log" && status=1
[ "$passed" -gt 0 ] || status=1
echo
echo "$((passed - skipped)) passed, $failed failed, $skipped skipped"
exit "$status"
