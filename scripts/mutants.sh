#!/usr/bin/env bash
# Builds each wrong of dataplane/tests/classifier/mutants.toml into a scratch copy of the workspace, one at a time, and
# runs the classifier's oracle test there. Prints caught or SURVIVED for each; ends with 1 if any survives.
#
#   scripts/mutants.sh [WORD]        only mutants whose description holds WORD
#
# MESHGATE_ORACLE_PAIRS   pairs compared per mutant, 60000 unless set
# MUTANTS_DIR             the scratch copy and its target folder, target/mutants unless set; kept, so that the next
#                         run builds only what changed
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
dir=${MUTANTS_DIR:-$root/target/mutants}
copy=$dir/workspace
export MESHGATE_ORACLE_PAIRS=${MESHGATE_ORACLE_PAIRS:-60000}
export CARGO_TARGET_DIR=$dir/target

mkdir -p "$copy"
# Only the classifier and the words it judges by: a mutant then costs seconds, not the build of the whole dataplane.
rm -rf "$copy/dataplane" "$copy/proto"
mkdir -p "$copy/dataplane/src" "$copy/dataplane/tests" "$copy/proto"
cp -r "$root/proto/policy" "$copy/proto/policy"
cp -r "$root/dataplane/src/classifier" "$root/dataplane/src/classifier.rs" "$copy/dataplane/src/"
cp -r "$root/dataplane/tests/classifier" "$root/dataplane/tests/classifier_oracle.rs" "$copy/dataplane/tests/"
cp "$root/Cargo.lock" "$copy/"
python3 - "$root" "$copy" <<'PYTHON'
import re, sys
root, copy = sys.argv[1:]
workspace = open(f"{root}/Cargo.toml").read()
workspace = re.sub(r"members = \[.*?\]", 'members = ["proto/policy", "dataplane"]', workspace, flags=re.S)
# A wrong that leaves a name unused is still a wrong to be caught by the test, not by a lint.
workspace = re.sub(r"\[workspace\.lints\.(rust|clippy)\].*?(?=\n\[|\Z)", "", workspace, flags=re.S)
open(f"{copy}/Cargo.toml", "w").write(workspace)
policy = open(f"{copy}/proto/policy/Cargo.toml").read().replace("[lints]\nworkspace = true\n", "")
open(f"{copy}/proto/policy/Cargo.toml", "w").write(policy)
open(f"{copy}/dataplane/Cargo.toml", "w").write("""[package]
name = "meshgate-dataplane"
version.workspace = true
edition.workspace = true

[dependencies]
meshgate-policy = { workspace = true }
thiserror = { workspace = true }
""")
open(f"{copy}/dataplane/src/lib.rs", "w").write("pub mod classifier;\n")
PYTHON

exec python3 - "$root" "$copy" "${1:-}" <<'PYTHON'
import os, signal, subprocess, sys, time, tomllib
root, copy, word = sys.argv[1:]
# A wrong can make a loop endless; the unchanged test takes a fraction of this.
TIMEOUT_S = 1800

def run(arguments):
    """Returns the exit code and output of a command, or nothing if it had to be ended."""
    process = subprocess.Popen(arguments, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True)
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None, ""

def test():
    build = ["cargo", "test", "--offline", "-q", "-p", "meshgate-dataplane", "--test", "classifier_oracle"]
    code, output = run(build + ["--no-run"])
    if code is None:
        sys.exit(f"the build was not done after {TIMEOUT_S} s")
    if code != 0:
        sys.exit(f"a mutant does not build:\n{output}")
    return run(build + ["the_classifier_says_what_the_linear_scan_says"])

with open(f"{root}/dataplane/tests/classifier/mutants.toml", "rb") as file:
    mutants = [mutant for mutant in tomllib.load(file)["mutant"] if word in mutant["wrong"]]
code, output = test()
if code != 0:
    sys.exit(f"the test fails without any mutant:\n{output}")
survivors = 0
for mutant in mutants:
    path = os.path.normpath(f"{copy}/dataplane/src/classifier/{mutant['file']}")
    original = open(path).read()
    text = original
    for change in [mutant] + ([mutant["also"]] if "also" in mutant else []):
        if text.count(change["search"]) != 1:
            sys.exit(f"{mutant['wrong']}: {change['search']!r} stands {text.count(change['search'])} times in {path}")
        text = text.replace(change["search"], change["replace"])
    open(path, "w").write(text)
    start = time.monotonic()
    code, _ = test()
    open(path, "w").write(original)
    survivors += code == 0
    print(f"{'SURVIVED' if code == 0 else 'caught  '} {time.monotonic() - start:4.0f} s  {mutant['wrong']}", flush=True)
print(f"{len(mutants)} mutants, {survivors} survived")
sys.exit(survivors > 0)
PYTHON
