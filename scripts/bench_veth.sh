#!/usr/bin/env bash
# Forwarding between two veth devices: meshgate-dataplane with 1,000 relationships, flow tracking and flow records
# beside dpdk-testpmd (net_af_xdp, io mode, no rules), alternated in one run.
#
#   scripts/bench_veth.sh                  # 7 pairs; the last line is the bar
#   scripts/bench_veth.sh --balance        # 60 s in each direction, then where every frame of packet memory is
#   scripts/bench_veth.sh --half-load      # the same with half of what a sender of the network stack brings across at most
#   scripts/bench_veth.sh --sweep          # only removes what killed runs left; every run begins so
#
# Settings: WORKERS (1; with more they are not pinned), QUEUES (1; of each device), PAIRS (7), SECONDS_EACH (4), WARM_UP (2), FLOWS (1024), READER (1: flow records are read; 0: nobody reads),
# BIN (folder of the release binaries), PEER_VDEV (more arguments of the peer's devices, such as ",busy_budget=0").
#
# Needs root, nft, dpdk-testpmd (Debian: dpdk-dev) and two processors: the generator runs on number 0, the forwarder on
# number 1. Touches only its own three network namespaces. Sink: a plain receiver, which counts and drops at nft's
# `netdev` ingress; a sink that drops in XDP would slow every AF_XDP sender.
set -euo pipefail
cd "$(dirname "$0")/.."

PAIRS=${PAIRS:-7} SECONDS_EACH=${SECONDS_EACH:-4} WARM_UP=${WARM_UP:-2} FLOWS=${FLOWS:-1024} READER=${READER:-1}
BIN=${BIN:-${CARGO_TARGET_DIR:-target}/release}
PEER_VDEV=${PEER_VDEV:-} WORKERS=${WORKERS:-1} QUEUES=${QUEUES:-1}
PREFIX=mgbench
ID=$PREFIX-$$
NEAR_MAC=02:55:00:00:00:01 FAR_MAC=02:55:00:00:00:02 NEAR=10.97.0.1 FAR=10.97.0.2

if [ "$(id -u)" != 0 ]; then
  echo "skipped: needs root"
  exit 0
fi

# on NAMESPACE COMMAND ...: NAMESPACE is near, host or far.
on() {
  local netns=$ID-$1
  shift
  ip netns exec "$netns" "$@"
}

# urgent LOG COMMAND ...: starts a session of its own with all the priority there is; its number is then in $STARTED.
# Scheduling groups are per session, so that `nice` alone would have no effect against the rest of the machine.
urgent() {
  local log=$1
  shift
  # shellcheck disable=SC2016  # expanded by the inner shell
  setsid bash -c 'echo -20 >/proc/self/autogroup 2>/dev/null; exec "$@"' urgent "$@" >"$log" 2>&1 <&9 &
  STARTED=$!
  RUNNING+=("$STARTED")
}

# finish NUMBER: ends what was started and waits for it.
finish() {
  kill -TERM "$1" 2>/dev/null || true
  for _ in $(seq 100); do
    kill -0 "$1" 2>/dev/null || break
    sleep 0.05
  done
  kill -KILL "$1" 2>/dev/null || true
  wait "$1" 2>/dev/null || true
}

# await TEXT LOG: until a program says that it is ready.
await() {
  for _ in $(seq 200); do
    if [ "$(cat "$2" 2>/dev/null | grep -c "$1")" -ge "${3:-1}" ]; then return 0; fi
    sleep 0.05
  done
  echo "not ready: no \"$1\" in:" && tail -20 "$2"
  return 1
}

# sweep: removes the namespaces and folders of runs that are gone, after kill -9. Names tell the run's process.
sweep() {
  local id netns pids dir
  for id in $({ ip netns list | awk '{print $1}'
    ls -d /tmp/"$PREFIX"-* 2>/dev/null | sed 's|.*/||'; } | sed -n "s/^$PREFIX-\([0-9]\{1,\}\)-.*/\1/p" | sort -u); do
    if [ -r "/proc/$id/cmdline" ] && tr '\0' ' ' <"/proc/$id/cmdline" | grep -q 'bench_veth\.sh'; then continue; fi
    echo "removing what run $id left"
    for netns in $PREFIX-$id-near $PREFIX-$id-host $PREFIX-$id-far; do
      [ -e "/run/netns/$netns" ] || continue
      pids=$(ip netns pids "$netns" || true)
      # shellcheck disable=SC2086  # a list of numbers
      [ -z "$pids" ] || kill -KILL $pids 2>/dev/null || true
      ip netns delete "$netns" || true
    done
    for dir in /tmp/"$PREFIX-$id"-*; do
      # Anyone can make a folder in /tmp: only one that is ours.
      if [ -d "$dir" ] && [ -O "$dir" ] && [ ! -L "$dir" ]; then rm -rf "$dir"; fi
    done
  done
}

RUNNING=()
down() {
  local number side
  for number in "${RUNNING[@]}"; do kill -KILL "$number" 2>/dev/null || true; done
  for side in near host far; do ip netns delete "$ID-$side" 2>/dev/null || true; done
  rm -rf "$WORK"
}

up() {
  local side mac
  mkfifo "$WORK/stdin"
  exec 9<>"$WORK/stdin"
  for side in near host far; do
    ip netns add "$ID-$side"
    on "$side" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
  done
  for side in near far; do
    mac=$NEAR_MAC
    [ "$side" = near ] || mac=$FAR_MAC
    on "$side" ip link add eth0 address "$mac" numrxqueues "$QUEUES" numtxqueues "$QUEUES" type veth \
      peer name "$side" numrxqueues "$QUEUES" numtxqueues "$QUEUES" netns "$ID-host"
    on "$side" ip link set eth0 up
    on host ip link set "$side" up
    on "$side" nft -f - <<NFT
table netdev sink {
  counter sunk { }
  chain ingress {
    type filter hook ingress device "eth0" priority 0
    ip protocol udp counter name sunk drop
    drop
  }
}
NFT
  done
  "$BIN/veth_policy" near $NEAR_MAC $NEAR far $FAR_MAC $FAR >"$WORK/policy.toml"
  "$BIN/keep_policy" "$WORK/policy.toml" "$WORK/state"
  cat >"$WORK/dataplane.toml" <<TOML
host = "bench"
control = "unix:$WORK/no-control.sock"
state_dir = "$WORK/state"
workers = $WORKERS
$([ "$WORKERS" != 1 ] || printf 'cpus = [1]\npolling = "spin"')
flow_ring = { socket = "$WORK/flows.sock" }
device = [{ name = "near", role = "endpoint" }, { name = "far", role = "endpoint" }]
TOML
}

# sunk SIDE: prints packets that arrived there.
sunk() { on "$1" nft list counter netdev sink sunk | awk '/packets/ {print $2}'; }

start_ours() {
  urgent "$WORK/ours.log" ip netns exec "$ID-host" "$BIN/meshgate-dataplane" --config "$WORK/dataplane.toml"
  FORWARDER=$STARTED
  await "device taken" "$WORK/ours.log" 2
  READING=
  if [ "$READER" = 1 ]; then
    for _ in $(seq 200); do [ -S "$WORK/flows.sock" ] && break || sleep 0.05; done
    "$BIN/flow_reader" "$WORK/flows.sock" >"$WORK/reader.log" 2>&1 &
    READING=$!
    RUNNING+=("$READING")
  fi
}

start_peer() {
  READING=
  urgent "$WORK/peer.log" ip netns exec "$ID-host" stdbuf -oL dpdk-testpmd -l 0,1 --main-lcore 0 --no-huge -m 512 --no-pci \
    --no-telemetry --file-prefix "$ID" --vdev "net_af_xdp0,iface=near$PEER_VDEV" \
    --vdev "net_af_xdp1,iface=far$PEER_VDEV" -- --forward-mode=io --nb-cores=1 --total-num-mbufs=16384
  FORWARDER=$STARTED
  await "Press enter to exit" "$WORK/peer.log"
}

# start_traffic SIDE: frames from there to the other side.
start_traffic() {
  local from=("$NEAR_MAC" "$NEAR") to=("$FAR_MAC" "$FAR")
  if [ "$1" = far ]; then from=("$FAR_MAC" "$FAR") to=("$NEAR_MAC" "$NEAR"); fi
  urgent "$WORK/generator.log" ip netns exec "$ID-$1" taskset -c 0 \
    "$BIN/meshgate-pktgen" eth0 "${from[@]}" "${to[@]}" "$FLOWS"
  GENERATOR=$STARTED
}

# measure NAME: leaves the kpps that arrive at the far side in $KPPS.
measure() {
  local packets_before ns_before packets_after ns_after
  "start_$1"
  start_traffic near
  sleep "$WARM_UP"
  packets_before=$(sunk far) ns_before=$(date +%s%N)
  sleep "$SECONDS_EACH"
  packets_after=$(sunk far) ns_after=$(date +%s%N)
  finish "$GENERATOR"
  finish "$FORWARDER"
  [ -z "$READING" ] || wait "$READING" || true
  KPPS=$(((packets_after - packets_before) * 1000000 / (ns_after - ns_before)))
  on host ip link set near xdp off 2>/dev/null || true
  on host ip link set far xdp off 2>/dev/null || true
}

median() { sort -n | awk '{v[NR] = $1} END {print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }

# without_colours: log lines as plain text.
without_colours() { sed 's/\x1b\[[0-9;]*m//g'; }

pairs() {
  local pair ours peer reader="read by flow_reader"
  [ "$READER" = 1 ] || reader="read by nobody"
  echo "sink: plain receiver (nft netdev ingress drop); 64-byte frames, $FLOWS flows, one way; flow records $reader"
  for pair in $(seq "$PAIRS"); do
    if [ $((pair % 2)) = 1 ]; then
      measure ours && ours=$KPPS
      measure peer && peer=$KPPS
    else
      measure peer && peer=$KPPS
      measure ours && ours=$KPPS
    fi
    ratio=$(awk -v a="$ours" -v b="$peer" 'BEGIN {printf "%.3f", b ? a / b : 0}')
    echo "$ratio" >>"$WORK/ratios"
    echo "$ours" >>"$WORK/ours.kpps"
    echo "$peer" >>"$WORK/peer.kpps"
    echo "pair $pair: ours $ours kpps, testpmd $peer kpps, ratio $ratio, load $(cut -d' ' -f1 /proc/loadavg)"
  done
  without_colours <"$WORK/ours.log" | grep "workers stop" || true
  [ "$READER" != 1 ] || cat "$WORK/reader.log"
  echo "medians: ours $(median <"$WORK/ours.kpps") kpps, testpmd $(median <"$WORK/peer.kpps") kpps"
  printf 'bar: veth_forward_vs_testpmd = %.2f ratio\n' "$(median <"$WORK/ratios")"
}

# arrived_in SECONDS SIDE: kpps that arrive there meanwhile.
arrived_in() {
  local packets_before ns_before
  packets_before=$(sunk "$2") ns_before=$(date +%s%N)
  sleep "$1"
  echo $((($(sunk "$2") - packets_before) * 1000000 / ($(date +%s%N) - ns_before)))
}

balance() {
  local side seconds=${BALANCE_SECONDS:-60} to first last
  start_ours
  for side in near far; do
    to=far
    [ "$side" = near ] || to=near
    before=$(sunk "$to")
    start_traffic "$side"
    sleep 2
    first=$(arrived_in 10 "$to")
    sleep $((seconds - 22))
    last=$(arrived_in 10 "$to")
    finish "$GENERATOR"
    echo "$seconds s from $side to $to: $(($(sunk "$to") - before)) packets arrived; kpps of the first and the last 10 s:" \
      "$first $last, ratio $(awk -v a="$last" -v b="$first" 'BEGIN {printf "%.3f", b ? a / b : 0}')"
  done
  finish "$FORWARDER"
  [ -z "$READING" ] || wait "$READING" || true
  without_colours <"$WORK/ours.log" | grep "workers stop"
  [ "$READER" != 1 ] || cat "$WORK/reader.log"
}

# addressed: gives both sides addresses, for what is sent through the network stack.
addressed() {
  on near ip addr add "$NEAR/24" dev eth0
  on near ip neigh add "$FAR" lladdr "$FAR_MAC" dev eth0
  on far ip addr add "$FAR/24" dev eth0
  on far ip neigh add "$NEAR" lladdr "$NEAR_MAC" dev eth0
}

# start_paced SIDE RATE SECONDS: sends that many a second from there to the other side through the network stack.
start_paced() {
  local to=$FAR
  [ "$1" = near ] || to=$NEAR
  urgent "$WORK/generator.log" ip netns exec "$ID-$1" "$BIN/paced_sender" "$to" 9 64 "$2" "$3"
  GENERATOR=$STARTED
}

half_load() {
  local seconds=${HALF_LOAD_SECONDS:-60} side to rate before first last
  addressed
  start_ours
  before=$(sunk far)
  start_paced near 0 10
  wait "$GENERATOR"
  rate=$((($(sunk far) - before) / 20))
  echo "as many as go, 10 s: $(cat "$WORK/generator.log"), $(($(sunk far) - before)) arrived; half of that: $rate a second"
  finish "$FORWARDER"
  [ -z "$READING" ] || wait "$READING" || true
  on host ip link set near xdp off 2>/dev/null || true
  on host ip link set far xdp off 2>/dev/null || true
  start_ours
  for side in near far; do
    to=far
    [ "$side" = near ] || to=near
    before=$(sunk "$to")
    start_paced "$side" "$rate" "$seconds"
    sleep 1
    first=$(arrived_in 10 "$to")
    sleep $((seconds - 22))
    last=$(arrived_in 10 "$to")
    wait "$GENERATOR" || true
    echo "$seconds s from $side to $to: $(cat "$WORK/generator.log"), $(($(sunk "$to") - before)) arrived; kpps of the first and" \
      "the last 10 s: $first $last, ratio $(awk -v a="$last" -v b="$first" 'BEGIN {printf "%.3f", b ? a / b : 0}')"
  done
  finish "$FORWARDER"
  without_colours <"$WORK/ours.log" | grep "workers stop"
}

sweep
case ${1:-} in
  "" | --balance | --half-load) ;;
  --sweep) exit 0 ;;
  *) echo "unknown argument $1" && exit 2 ;;
esac
WORK=$(mktemp -d "/tmp/$ID-XXXX")
trap down EXIT
up
case ${1:-} in
  --balance) balance ;;
  --half-load) half_load ;;
  *) pairs ;;
esac
