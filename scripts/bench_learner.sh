#!/usr/bin/env bash
# Flow records through a real ring into the running learner, which has one processor: what it takes a second, and whether
# what it cannot take is counted exactly.
#
#   scripts/bench_learner.sh              # 200,000 records/s for 150 s, then more than it can take for 20 s
#
# Settings: RATE (200000), SECONDS_EACH (150), EXCESS (6000000), EXCESS_SECONDS (20), LEARNER_CPU (1), BIN (folder of
# the release binaries). Windows are of 60 s, as by default, so that some close while records come. The learner is the
# product's, with a real control plane beside it; only the exporter is stood in for, by record_source. Needs no root,
# jq, and two processors. The sink is everything the learner does: totals, group sets, roll-ups, history, analysis,
# training.
set -euo pipefail
cd "$(dirname "$0")/.."

RATE=${RATE:-200000} SECONDS_EACH=${SECONDS_EACH:-150} EXCESS=${EXCESS:-6000000} EXCESS_SECONDS=${EXCESS_SECONDS:-20}
LEARNER_CPU=${LEARNER_CPU:-1} BIN=${BIN:-${CARGO_TARGET_DIR:-target}/release}
WORK=$(mktemp -d)
RUNNING=()
down() {
  local number
  for number in "${RUNNING[@]}"; do
    kill -KILL "$number" 2>/dev/null || true
    wait "$number" 2>/dev/null || true
  done
  rm -rf "$WORK"
}
trap down EXIT
export MESHGATE_SERVER=unix:$WORK/control.sock

# until_true SECONDS COMMAND ...
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "waited in vain for: $*" && tail -5 "$WORK"/*.log && exit 1; }
    sleep 0.1
  done
}

# learner FIELD: a figure of the learner, as control last heard it.
learner() { "$BIN/meshgate" learner status --output json | jq --raw-output ".learners[0].$1 // 0"; }
has_read() { [ "$(($(learner records_read) + $(learner records_lost)))" -ge "$1" ]; }
# cpu_s: processor seconds that the learner has used.
cpu_s() { awk -v hz="$(getconf CLK_TCK)" '{print ($14 + $15) / hz}' "/proc/$LEARNER/stat"; }

# feed NAME RATE SECONDS: one source, one reader; then compares what both say.
feed() {
  local read_before lost_before cpu_before offered delivered lost rate read_after lost_after
  read_before=$(learner records_read) lost_before=$(learner records_lost) cpu_before=$(cpu_s)
  "$BIN/record_source" offer "$WORK/flows.sock" "$2" "$3" >"$WORK/$1.txt"
  read -r _ offered _ delivered _ lost _ rate <"$WORK/$1.txt"
  until_true 60 has_read $((read_before + lost_before + offered))
  read_after=$(learner records_read) lost_after=$(learner records_lost)
  echo "$1: $(cat "$WORK/$1.txt")/s for $3 s; learner read $((read_after - read_before)), heard of" \
    "$((lost_after - lost_before)) lost; $(cpu_s | awk -v a="$cpu_before" -v s="$3" '{printf "%.2f", ($1 - a) / s}')" \
    "processors; load $(cut -d' ' -f1 /proc/loadavg)"
  [ $((delivered + lost)) = "$offered" ] || { echo "not exact: $offered offered" && exit 1; }
  [ $((read_after - read_before)) = "$delivered" ] || { echo "not exact: $delivered delivered" && exit 1; }
  [ $((lost_after - lost_before)) = "$lost" ] || { echo "not exact: $lost lost" && exit 1; }
  LOST=$lost OFFERED=$offered DELIVERED=$delivered
}

printf 'listen = "unix:%s/control.sock"\nstate_dir = "%s/control"\n' "$WORK" "$WORK" >"$WORK/control.toml"
printf 'collector = "bench"\ncontrol = "unix:%s/control.sock"\nflow_ring = "%s/flows.sock"\n' "$WORK" "$WORK" \
  >"$WORK/learner.toml"
taskset -c 0 "$BIN/meshgate-control" --config "$WORK/control.toml" >"$WORK/control.log" 2>&1 &
RUNNING+=($!)
until_true 20 "$BIN/meshgate" status
"$BIN/record_source" policy >"$WORK/policy.toml"
"$BIN/meshgate" apply -f "$WORK/policy.toml" >"$WORK/apply.log"
taskset -c "$LEARNER_CPU" "$BIN/meshgate-learner" --config "$WORK/learner.toml" >"$WORK/learner.log" 2>&1 &
LEARNER=$!
RUNNING+=("$LEARNER")

feed steady "$RATE" "$SECONDS_EACH"
steady_lost=$LOST
echo "windows closed $(learner windows_closed), left out $(learner windows_left_out), series $(learner series_live)," \
  "training steps $(learner training_steps), resident $(awk '/VmHWM/ {print $2 / 1024}' "/proc/$LEARNER/status") MiB at most"
feed excess "$EXCESS" "$EXCESS_SECONDS"
echo "bar: learner_lost_at_${RATE}_per_s = $steady_lost records"
echo "bar: learner_takes = $((DELIVERED / EXCESS_SECONDS)) records/s"
echo "bar: learner_lost_in_excess = $LOST of $OFFERED records, exact"
