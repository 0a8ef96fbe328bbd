#!/usr/bin/env bash
# A training step of GRU(32 -> 64), sequence 32, batch 64 - forward, backward and Adam - by the learner's own recurrence and
# by PyTorch on one thread, in turns on one processor. Both sides first show that they do the same: the same losses over
# twenty steps from the same weights. Then what the learner does with rows and records a second, on the same processor.
#
#   benches/peers/compare_gru.sh                 # writes benches/results/learner_speed.md
#
# Settings: TURNS (15), STEPS (40) of a turn, PROCESSOR (1), BIN (folder of the built examples; they are built without),
# PYTHON (python3), RESULT (benches/results/learner_speed.md). Installs torch for processors by pip where it is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
turns=${TURNS:-15} steps=${STEPS:-40} processor=${PROCESSOR:-1} python=${PYTHON:-python3}
result=${RESULT:-benches/results/learner_speed.md}
if ! "$python" -c 'import torch' 2>/dev/null; then
  echo "installing torch"
  "$python" -m pip install --quiet torch --index-url https://download.pytorch.org/whl/cpu ||
    "$python" -m pip install --quiet torch || {
    echo "skipped: no torch, and pip does not reach it"
    exit 0
  }
fi
bin=${BIN:-${CARGO_TARGET_DIR:-target}/release/examples}
[ -n "${BIN:-}" ] || cargo build --release --locked --quiet -p meshgate-learner \
  --example gru_step --example learning_speed --example collector_rate
# With autogroups on, `nice` counts within a session only; a session of its own gets the processor from compilers beside it.
alone=(setsid bash -c 'echo -20 >/proc/self/autogroup 2>/dev/null; exec taskset -c "$0" "$@"' "$processor")
scratch=$(mktemp -d)
trap 'kill ${ours_PID:-} ${peer_PID:-} 2>/dev/null || true; rm -rf "$scratch"' EXIT
peer=(env OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 "$python" benches/peers/gru_step.py)

"$bin/gru_step" --losses 20 >"$scratch/ours"
"${peer[@]}" --losses 20 >"$scratch/peer"
# Sums in another order differ in the last digits, which training magnifies a little.
paste -d' ' "$scratch/ours" "$scratch/peer" | awk '
  { gap = ($2 - $4) / $4; gap = gap < 0 ? -gap : gap; largest = gap > largest ? gap : largest }
  END { printf "losses of 20 steps and the first gradient agree within %.1e\n", largest; exit NR != 21 || largest > 1e-3 }' |
  tee "$scratch/agreement"

. benches/peers/turns.sh
median() { sort -n | awk '{ v[NR] = $1 } END { printf "%.3f\n", v[int((NR + 1) / 2)] }'; }

coproc ours { exec "${alone[@]}" "$bin/gru_step" "$steps"; }
# The shell warns of a second one, which is meant.
{ coproc peer { exec "${alone[@]}" "${peer[@]}" "$steps"; }; } 2>/dev/null
ours_out=${ours[0]} ours_in=${ours[1]} peer_out=${peer[0]} peer_in=${peer[1]}
read -r -u "$peer_out" _ torch
read -r -u "$ours_out" _
: >"$scratch/figures"
for _ in $(seq "$turns"); do
  a=$(turn "$ours_out" "$ours_in")
  b=$(turn "$peer_out" "$peer_in")
  awk -v a="$a" -v b="$b" 'BEGIN { print a, b, a / b }' | tee -a "$scratch/figures" |
    awk '{ printf "turn: Meshgate %.3f ms, PyTorch %.3f ms, ratio %.3f\n", $1, $2, $3 }'
done
exec {ours_in}>&- {peer_in}>&-
wait "$ours_PID" "$peer_PID" 2>/dev/null || true

{
  for column in 1:learner.gru_step_ms:ms 2:torch.gru_step_ms:ms 3:learner.gru_step_ratio_to_torch:x; do
    IFS=: read -r place name unit <<<"$column"
    echo "bar: $name = $(cut -d' ' -f"$place" "$scratch/figures" | median) $unit"
  done
  "${alone[@]}" "$bin/learning_speed"
  "${alone[@]}" "$bin/collector_rate"
} | tee "$scratch/lines"
bar() { sed -n "s/^bar: $1 = //p" "$scratch/lines"; }
ends=$(cut -d' ' -f3 "$scratch/figures" | sort -n | sed -n '1p;$p' | xargs printf '%.2f to %.2f')
cat >"$result" <<MARKDOWN
# Speed of learning and judging

- Command: \`benches/peers/compare_gru.sh\`, $turns turns of $steps steps, everything on one processor, with the priority of
  a session of its own; load of the machine $(cut -d' ' -f1 /proc/loadavg) meanwhile. Built from $(git rev-parse --short HEAD)$(
  git diff --quiet HEAD -- learner proto Cargo.lock Cargo.toml || echo " and changes") ${BUILD_NOTE:-with the release profile}.
- Machine: $(lscpu | sed -n 's/^Model name: *//p'), family $(lscpu | sed -n 's/^CPU family: *//p') model $(
  lscpu | sed -n 's/^Model: *//p'), $(nproc) processors, kernel $(uname -r | cut -d. -f1,2). Beside: $torch, one thread.

## A training step beside PyTorch

GRU(32 -> 64), sequence 32, batch 64. A step is the recurrence over the whole batch from states of zero, the mean square of
(states - targets) over the states after rows 1 to 31, its gradient along every weight, and one step of Adam (PyTorch's
fused form). Making the inputs is not part of it. The same inputs and weights on both sides:
$(cat "$scratch/agreement"). A turn's figure is the median of its steps. PyTorch has 8-wide and 16-wide kernels and takes the wider
ones where the processor has AVX-512; ours are built for AVX2.

| | median of the turns, ms |
|---|---|
| Meshgate | $(bar learner.gru_step_ms | cut -d' ' -f1) |
| PyTorch | $(bar torch.gru_step_ms | cut -d' ' -f1) |
| ratio of each turn: median, least to most | $(bar learner.gru_step_ratio_to_torch | cut -d' ' -f1), $ends |

## Scoring, learning and collecting

| what | figure |
|---|---|
| training step of the whole network, 128 chunks of 32 rows | $(bar learner.train_step_ms) |
| \`Model::predict\`, the likelihood of each row, \`Model::step\`; windows of 1,000 rows | $(bar learner.scored_rows_per_s) |
| the detector on the same windows, all its questions | $(bar learner.inspected_rows_per_s) |
| flow records to closed windows: totals, group sets, roll-ups, history | $(bar collector) |
| the same, and features, detector, profile and adviser on every window | $(bar collector_and_analyst) |

The last two: 100,000 flows at a time among 2,000 endpoints in 65 groups, four records each, told as at 200,000 a second;
windows of 10 s (by default they have 60), which the analyst looks at on the same processor with a trained network.
MARKDOWN
echo "written: $result"
