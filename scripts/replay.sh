#!/usr/bin/env bash
# The demo on a packet capture: who is in it, what the default makes of it, what a rule changes. Needs no privileges.
#
#   scripts/replay.sh CAPTURE
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

capture=$(realpath "$1")
act() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
say() { printf '   %s\n' "$*"; }
fail() { printf '\n   FAILED: %s\n' "$*" >&2; tail -n 5 "$state"/*.log >&2 2>/dev/null || true; exit 1; }
mg() { MESHGATE_SERVER=unix:$state/control.sock "$bin/meshgate" "$@"; }
show() { printf '   $ meshgate %s\n' "$*"; mg "$@" 2>&1 | sed 's/^/     /'; }

act "Preparing"
need_rust
say "building in release (the first time takes some minutes)"
cargo build --release --locked --quiet -p meshgate-dataplane -p meshgate-control -p meshgate-learner -p meshgate-cli
bin=$(cargo metadata --format-version 1 --no-deps --locked | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release
state=$(mktemp -d /tmp/mgreplay-XXXXXX)

finish() {
  local status=$?
  trap - EXIT INT TERM
  for pid in $(cat "$state"/*.pid 2>/dev/null); do kill "$pid" 2>/dev/null || true; done
  rm -rf "$state"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

start() {
  local name=$1
  shift
  "$@" >"$state/$name.log" 2>&1 &
  echo $! >"$state/$name.pid"
}

until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.05
  done
}

act "1. Who is in the capture"
"$bin/meshgate-dataplane" --inventory "$capture" >"$state/policy.toml"
grep -q 'name = "host-0"' "$state/policy.toml" || fail "no sender with an address in $capture"
cat >"$state/control.toml" <<EOF
listen = "unix:$state/control.sock"
state_dir = "$state/control"
EOF
start control "$bin/meshgate-control" --config "$state/control.toml"
until_true 10 mg status || fail "control does not answer"
show apply -f "$state/policy.toml" --comment "the senders of a capture"
show endpoints list

cat >"$state/learner.toml" <<EOF
collector = "replay-learner"
control = "unix:$state/control.sock"
flow_ring = "$state/flows.sock"
EOF
start learner "$bin/meshgate-learner" --config "$state/learner.toml"

# One device for each endpoint, and the uplink for everybody else.
devices() {
  sed -n 's/^mac = "\(.*\)"/mac \1/p; s/^device = "\(.*\)"/device \1/p' "$state/policy.toml" |
    awk '$1 == "mac" {mac = $2} $1 == "device" {
      printf "\n[[device]]\nname = \"%s\"\nrole = \"endpoint\"\nmacs = [\"%s\"]\n", $2, mac}'
  printf '\n[[device]]\nname = "uplink"\nrole = "uplink"\n'
}

# judge FILE: runs the capture through a fresh dataplane under the newest policy; what it would have sent goes to FILE,
# what became of the frames to FILE.summary.
judge() {
  rm -rf "$state/dataplane"
  cat >"$state/replay.toml" <<EOF
host = "replay"
control = "unix:$state/control.sock"
state_dir = "$state/dataplane"
flow_ring = { socket = "$state/flows.sock" }
$(devices)
EOF
  "$bin/meshgate-dataplane" --config "$state/replay.toml" --replay "$capture" --replay-output "$1" 2>"$state/dataplane.log" |
    tee "$1.summary" | sed 's/^/     /'
}

act "2. Without a rule, the default denies"
judge "$state/denied.pcap"

act "3. With a rule that lets the senders talk"
show relationships create --source Captured --destination any --protocol any --action allow --note "everything the senders begin"
judge "$state/allowed.pcap"
say "what would have been sent: $(stat -c %s "$state/denied.pcap") bytes before, $(stat -c %s "$state/allowed.pcap") bytes after"

act "4. Why"
from=$(sed -n 's/^addresses = \["\([^"]*\)".*/\1/p' "$state/policy.toml" | head -n 1)
case $from in
  *:*) to=2001:db8::1 ;;
  *) to=192.0.2.1 ;;
esac
show explain --from "$from" --to "$to" --protocol TCP --port 443

act "5. What was seen (at the times of the capture)"
made=$(awk '$2 == "flows" {print $1}' "$state/allowed.pcap.summary")
# seen: flows of the second run that the learner has told control of. It tells what it has once a second.
seen() { mg flows --action allow --limit 10000 --output json | awk -F'[:,]' '/"flows":/ {n += $2} END {print n + 0}'; }
all_seen() { [ "$(seen)" -ge "$made" ]; }
if [ "$made" -eq 0 ]; then
  say "(no flow of this capture was allowed)"
else
  until_true 10 all_seen || [ "$(seen)" -gt 0 ] || fail "no record of the $made allowed flows arrived"
  say "$(seen) of the $made flows of the second run, then what the first one refused:"
  show flows --action allow --limit 12
fi
show flows --action deny --limit 6
