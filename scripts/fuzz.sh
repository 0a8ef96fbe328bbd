#!/usr/bin/env bash
# Runs a fuzz target of the dataplane with coverage for so many seconds, beginning with its committed cases.
#
#   scripts/fuzz.sh TARGET SECONDS     TARGET: packet, frames, flow_state, wire, compile, classify
#
# Needs cargo-fuzz and installs it if it is absent. What it learns stays in dataplane/fuzz/corpus and is not committed.
# An input that fails is left in dataplane/fuzz/artifacts/TARGET: mend what it shows, and put it as a file named after
# that into dataplane/tests/fuzz_cases/TARGET, from where `cargo test -p meshgate-dataplane --test fuzz_cases` replays it.
# `cargo fuzz tmin` makes it smaller.
#
# FUZZ_MEMORY_MB     memory that an input may need before it counts as a fault, 2048 unless set
set -euo pipefail
cd "$(dirname "$0")/../dataplane"

target=${1:?usage: scripts/fuzz.sh TARGET SECONDS}
seconds=${2:?usage: scripts/fuzz.sh TARGET SECONDS}
cases=tests/fuzz_cases/$target
if [ ! -d "$cases" ]; then
  echo "fuzz.sh: no target $target; there are: $(ls tests/fuzz_cases | tr '\n' ' ')" >&2
  exit 2
fi
command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked

# The versions that everything else is built with.
[ -e fuzz/Cargo.lock ] || cp ../Cargo.lock fuzz/Cargo.lock
# Coverage needs a flag that stable compilers take only so. Nothing outside two crates is unsafe: no sanitizer.
export RUSTC_BOOTSTRAP=1
mkdir -p "fuzz/corpus/$target"
if ! cargo fuzz run --sanitizer none "$target" "fuzz/corpus/$target" "$cases" -- \
  -max_total_time="$seconds" -max_len=1024 -timeout=20 -rss_limit_mb="${FUZZ_MEMORY_MB:-2048}" -print_final_stats=1; then
  echo "fuzz.sh: $target failed. Mend it, and keep the input:" >&2
  echo "  cp dataplane/fuzz/artifacts/$target/crash-... dataplane/$cases/WHAT-IT-SHOWS" >&2
  exit 1
fi
