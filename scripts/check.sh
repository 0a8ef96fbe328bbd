#!/usr/bin/env bash
# Checks without running the product: format, lints with warnings as errors, documentation, house rules.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '\n== %s\n' "$*"; }

step "format"
cargo fmt --all --check
step "lints"
cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
step "house rules (dependency arrows, wire types, unsafe code, file length)"
cargo test --workspace --locked --quiet --test house
step "scripts"
for script in scripts/*.sh .ci/run; do
  bash -n "$script"
done
echo "check.sh: all in order"
