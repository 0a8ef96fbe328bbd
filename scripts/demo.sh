#!/usr/bin/env bash
# Shows the main job on real traffic: programs in network namespaces talk through the dataplane, rules given by a gRPC
# client decide, flow records come out, the learner suggests rules and is answered.
#
#   scripts/demo.sh [--keep]          the live demo; needs root
#   scripts/demo.sh --replay CAPTURE  the same on a packet capture; needs no privileges
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh
. scripts/lab.sh
. scripts/demo_learning.sh

usage() {
  cat <<'EOF'
usage: scripts/demo.sh [--keep] | --replay CAPTURE

  --keep            leave everything running at the end and print what to try
  --replay CAPTURE  judge the frames of a capture (pcap or pcapng) instead; needs no root
EOF
}

keep=false
case "${1:-}" in
  --help | -h) usage; exit 0 ;;
  --keep) keep=true ;;
  --replay)
    [ $# -eq 2 ] || { usage >&2; exit 2; }
    exec scripts/replay.sh "$2"
    ;;
  "") ;;
  *) usage >&2; exit 2 ;;
esac
if [ "$(id -u)" -ne 0 ]; then
  echo "the live demo makes network namespaces and AF_XDP sockets: run it as root, or try --replay CAPTURE" >&2
  exit 1
fi

act() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
say() { printf '   %s\n' "$*"; }
run() { printf '   $ %s\n' "$*"; "$@" 2>&1 | sed 's/^/     /'; }
fail() { printf '\n   FAILED: %s\n' "$*" >&2; tail -n 5 "$state"/*.log >&2 2>/dev/null || true; exit 1; }
mg() { MESHGATE_SERVER=unix:$state/control.sock "$bin/meshgate" "$@"; }
show() { printf '   $ meshgate %s\n' "$*"; mg "$@" 2>&1 | sed 's/^/     /'; }
# why ...: explains; the notes at its end are shown the first time only.
why() {
  printf '   $ meshgate explain %s\n' "$*"
  mg explain "$@" 2>&1 | if [ -e "$state/explained" ]; then sed '/^note:/d; /^$/d'; else cat; fi | sed 's/^/     /'
  touch "$state/explained"
}

act "Preparing"
need_rust
need ip iproute2 curl curl iperf3 iperf3 ping iputils-ping socat socat busybox busybox sysctl procps jq jq
say "building in release (the first time takes some minutes)"
cargo build --release --locked --quiet -p meshgate-dataplane -p meshgate-control -p meshgate-learner -p meshgate-cli
bin=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release
began=$(date +%s)
lab_sweep
state=/tmp/$LAB_PREFIX-$$
mkdir -m 0700 "$state"

finish() {
  local status=$?
  trap - EXIT INT TERM
  if $keep && [ "$status" -eq 0 ]; then return; fi
  for pid in $(cat "$state"/*.pid 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
  lab_down $$
  rm -rf "$state"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# start NAME COMMAND ...: runs a program in the background with a log and a pid file.
start() {
  local name=$1
  shift
  "$@" >"$state/$name.log" 2>&1 &
  echo $! >"$state/$name.pid"
}

# until_true SECONDS COMMAND ...: waits for a command to succeed.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.05
  done
}

lab_up $$
say "eight endpoints in namespaces: web-1, web-2, db-1, db-2, dev-1, dev-2, prod-1, prod-2"

cat >"$state/control.toml" <<EOF
listen = "unix:$state/control.sock"
state_dir = "$state/control"
EOF
cat >"$state/dataplane.toml" <<EOF
host = "demo-host"
control = "unix:$state/control.sock"
state_dir = "$state/dataplane"
active_report_s = 1
flow_ring = { socket = "$state/flows.sock" }
$(for entry in "${LAB_ENDPOINTS[@]}"; do printf '\n[[device]]\nname = "%s"\nrole = "endpoint"\n' "${entry%% *}"; done)
EOF
cat >"$state/learner.toml" <<EOF
collector = "demo-learner"
control = "unix:$state/control.sock"
flow_ring = "$state/flows.sock"
EOF

start control "$bin/meshgate-control" --config "$state/control.toml"
until_true 10 mg status || fail "control does not answer"
start dataplane ip netns exec "$(lab_netns host)" "$bin/meshgate-dataplane" --config "$state/dataplane.toml"
start learner "$bin/meshgate-learner" --config "$state/learner.toml"
knows_host() { mg status --output json | grep -q demo-host; }
until_true 10 knows_host || fail "the dataplane does not reach control"

# Real servers.
mkdir -p "$state/www"
echo "hello from web-2" >"$state/www/index.html"
start http-web-2 ip netns exec "$(lab_netns web-2)" busybox httpd -f -p 80 -h "$state/www"
start http-web-1 ip netns exec "$(lab_netns web-1)" busybox httpd -f -p 80 -h "$state/www"
start postgres-port ip netns exec "$(lab_netns db-1)" socat TCP-LISTEN:5432,fork,reuseaddr SYSTEM:'echo ready'
start ssh-port ip netns exec "$(lab_netns prod-1)" socat TCP-LISTEN:22,fork,reuseaddr SYSTEM:'while echo tick; do sleep 0.1; done'
start iperf-db-1 ip netns exec "$(lab_netns db-1)" iperf3 --server --forceflush

lab_policy >"$state/policy.toml"
show apply -f "$state/policy.toml" --comment "endpoints and groups of the laboratory" --wait

# can_connect FROM ADDRESS PORT: whether a TCP connection opens within a moment.
can_connect() { inside "$1" timeout 0.3 bash -c "exec 3<>/dev/tcp/$2/$3" 2>/dev/null; }
web_to_db() { can_connect web-1 10.77.0.21 5432; }

act "1. Without a rule, the default denies"
web_to_db && fail "web-1 reached db-1 without a rule"
say "web-1 cannot reach the database port of db-1:"
why --from web-1 --to db-1 --protocol TCP --port 5432

act "2. Members of one group may talk"
run inside web-1 curl --silent --show-error --max-time 5 http://10.77.0.12/
why --from web-1 --to web-2 --protocol TCP --port 80

act "3. A relationship opens the database to the web servers"
(end=$((SECONDS + 20))
  # A short patience for each try, or the time would be that of the last one's patience.
  try() { inside web-1 timeout 0.03 bash -c "exec 3<>/dev/tcp/10.77.0.21/5432" 2>/dev/null; }
  until try; do [ $SECONDS -lt $end ] && [ -d "$state" ] || exit 1; done
  date +%s%N >"$state/first-allowed") &
prober=$!
echo "$prober" >"$state/prober.pid"
answer=$(mg relationships create --source WebServers --destination DatabaseServers --protocol TCP --port-range 5432 \
  --action allow --note "the shop reads its stock" --wait --output json)
say '$ meshgate relationships create --source WebServers --destination DatabaseServers \'
say '      --protocol TCP --port-range 5432 --action allow --wait'
until_true 10 test -s "$state/first-allowed" || fail "the relationship was not enforced"
wait "$prober"
committed=$(sed -n 's/.*"committed_ns": *"\{0,1\}\([0-9]*\).*/\1/p' <<<"$answer" | head -n 1)
say "from commit to the first connection through: $(((($(cat "$state/first-allowed") - committed)) / 1000000)) ms"
say "db-1 answers: $(inside web-1 timeout 2 socat -T1 - TCP:10.77.0.21:5432 </dev/null)"
can_connect dev-1 10.77.0.21 5432 && fail "dev-1 reached db-1"
say "dev-1 still cannot:"
why --from dev-1 --to db-1 --protocol TCP --port 5432

act "4. A group rule opens HTTP on the web servers to a prefix"
show rules create --group WebServers --direction ingress --peer 10.77.0.0/24 --protocol TCP --port-range 80 --action allow --wait
run inside dev-1 curl --silent --show-error --max-time 5 http://10.77.0.12/
why --from dev-1 --to web-2 --protocol TCP --port 80

act "5. A higher-priority deny cuts a live flow"
show relationships create --source DevNodes --destination ProductionServers --protocol TCP --port-range 22 --action allow --wait
inside dev-1 timeout 30 socat -u TCP:10.77.0.41:22 "OPEN:$state/session,creat,append" &
session=$!
has_ticks() { [ "$(wc -l <"$state/session")" -ge 5 ]; }
until_true 5 has_ticks || fail "dev-1 has no session on prod-1"
say "dev-1 has a session on port 22 of prod-1; ticks arrive"
show relationships create --source DevNodes --destination ProductionServers --protocol TCP --port-range 22 --action deny \
  --priority 2000 --note "no shells on production" --wait
sleep 0.3
before=$(wc -l <"$state/session")
sleep 1
after=$(wc -l <"$state/session")
[ "$before" -eq "$after" ] || fail "ticks went on: $before, then $after"
say "no tick in the second after the deny ($before before, $after after)"
kill "$session" 2>/dev/null || true
wait "$session" 2>/dev/null || true
can_connect dev-1 10.77.0.41 22 && fail "a new session opened"
why --from dev-1 --to prod-1 --protocol TCP --port 22

act "6. Ping, IPv6 and bulk data"
mg relationships create --source WebServers --destination DatabaseServers --protocol ICMP --icmp-type 8 --action allow >/dev/null
mg relationships create --source WebServers --destination DatabaseServers --protocol ICMPv6 --icmp-type 128 --action allow >/dev/null
mg relationships create --source WebServers --destination DatabaseServers --protocol TCP --port-range 5201 --action allow >/dev/null
mg relationships create --source WebServers --destination DatabaseServers --protocol UDP --port-range 5201 --action allow --wait >/dev/null
run inside web-1 ping -c 3 -i 0.2 -W 2 -q 10.77.0.21
run inside web-1 ping -6 -c 3 -i 0.2 -W 2 -q fd77::21
say "iperf3 TCP, 3 s:"
inside web-1 iperf3 --client 10.77.0.21 --time 3 | grep -E 'sender|receiver' | sed 's/^/     /'
say "iperf3 UDP over IPv6 at 200 Mbit/s, 3 s:"
inside web-1 iperf3 --client fd77::21 --udp --bitrate 200M --length 1200 --time 3 | grep -E 'receiver' | sed 's/^/     /'

act "7. What was seen"
# The collector hands over what it has once a second.
has_flows() { mg flows --since 5m | grep -q "UDP 5201"; }
until_true 25 has_flows || fail "no flow records arrived"
show flows --since 5m --limit 12
show status

learning_acts

say ""
say "the story took $(($(date +%s) - began)) s after the build"
if $keep; then
  trap - EXIT
  cat <<EOF

Everything is left running. Try:
  export MESHGATE_SERVER=unix:$state/control.sock
  $bin/meshgate status --counters
  $bin/meshgate flows --since 10m
  $bin/meshgate suggestions list --state all
  $bin/meshgate learner status
  ip netns exec $(lab_netns web-1) curl http://10.77.0.12/
Logs: $state/*.log. The next start of this script removes it all.
EOF
fi
