#!/usr/bin/env bash
# Builds each wrong of the lists dataplane/tests/*/mutants.toml and dataplane/*/tests/mutants.toml into a scratch copy of the
# workspace, one at a time, and runs the tests that the list names. Prints caught or SURVIVED for each; ends with 1 if any survives.
#
#   scripts/mutants.sh [--list FOLDER] [WORD]     only the list of that folder (classifier, state, ...), only mutants
#                                                 whose description holds WORD
#
# At its top a list says `tests`, run in this order until one fails: "lib" or a file of tests/, each with a filter
# behind it if not all of it is to be run; a mutant may have its own. It may say `folder`, from which the mutants' `file`
# counts, dataplane/src unless said; and `workspace = "classifier"` for a copy that holds only the classifier and the words
# it judges by, where a mutant costs seconds, instead of all that the dataplane needs.
#
# MESHGATE_ORACLE_PAIRS   pairs compared per mutant of the classifier, 60000 unless set
# MESHGATE_EXCHANGES      exchanges played per mutant of the state machine, 600 unless set
# MUTANTS_DIR             the scratch copies and their target folders, target/mutants unless set; kept, so that the next
#                         run builds only what changed
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
dir=${MUTANTS_DIR:-$root/target/mutants}
export MESHGATE_ORACLE_PAIRS=${MESHGATE_ORACLE_PAIRS:-60000}
export MESHGATE_EXCHANGES=${MESHGATE_EXCHANGES:-600}
list=
if [ "${1:-}" = "--list" ]; then list=${2:?--list needs a folder}; shift 2; fi

exec python3 - "$root" "$dir" "$list" "${1:-}" <<'PYTHON'
import glob, os, re, shutil, signal, subprocess, sys, time, tomllib
root, scratch, wanted_list, word = sys.argv[1:]
# A wrong can make a loop endless; the unchanged tests take a fraction of this.
TIMEOUT_S = 1800
# What a copy of each kind holds, and its members.
COPIES = {
    "classifier": (["proto/policy", "dataplane/classifier"], ["proto/policy", "dataplane/classifier"]),
    "dataplane": (["proto", "dataplane"],
                  ["proto", "proto/policy", "dataplane", "dataplane/af_xdp", "dataplane/classifier", "dataplane/flow_ring"]),
}
def prepare(kind):
    """Makes the copy of a kind and returns its folder."""
    copy = f"{scratch}/{kind}/workspace"
    parts, members = COPIES[kind]
    for top in ["proto", "dataplane"]:
        shutil.rmtree(f"{copy}/{top}", ignore_errors=True)
    for part in parts:
        os.makedirs(os.path.dirname(f"{copy}/{part}"), exist_ok=True)
        if os.path.isdir(f"{root}/{part}"):
            # With the time of now: what cargo built of a mutant must not pass for a build of the original.
            shutil.copytree(f"{root}/{part}", f"{copy}/{part}", ignore=shutil.ignore_patterns("target"),
                            copy_function=shutil.copy)
        else:
            shutil.copy2(f"{root}/{part}", f"{copy}/{part}")
    shutil.copy2(f"{root}/Cargo.lock", copy)
    workspace = open(f"{root}/Cargo.toml").read()
    workspace = re.sub(r"members = \[.*?\]", f"members = {members}".replace("'", '"'), workspace, count=1, flags=re.S)
    # A wrong that leaves a name unused is still a wrong to be caught by the test, not by a lint.
    workspace = re.sub(r"\[workspace\.lints\.(rust|clippy)\].*?(?=\n\[|\Z)", "", workspace, flags=re.S)
    # Names of packages that are not in the copy.
    held = [re.search(r'name = "(.*)"', open(path).read())[1] for path in glob.glob(f"{copy}/*/**/Cargo.toml", recursive=True)]
    absent = "|".join(rf"^\[profile\.dev\.package\.{name}\]\n.*\n|^{name} = {{ path.*\n"
                      for name in re.findall(r"^(\S+) = \{ path", workspace, flags=re.M) if name not in held)
    open(f"{copy}/Cargo.toml", "w").write(re.sub(absent, "", workspace, flags=re.M))
    for manifest in glob.glob(f"{copy}/**/Cargo.toml", recursive=True):
        text = open(manifest).read()
        if manifest != f"{copy}/Cargo.toml":
            open(manifest, "w").write(text.replace("[lints]\nworkspace = true\n", ""))
    return copy

def run(copy, arguments):
    """Returns the exit code and output of a command, or nothing if it had to be ended."""
    environment = dict(os.environ, CARGO_TARGET_DIR=os.path.dirname(copy) + "/target")
    process = subprocess.Popen(arguments, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               start_new_session=True, env=environment)
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None, ""

def test(copy, package, tests):
    """Runs the tests until one fails. Returns its exit code and output, or 0."""
    for words in map(str.split, tests):
        target = ["--lib"] if words[0] == "lib" else ["--test", words[0]]
        cargo = ["cargo", "test", "--offline", "-q", "-p", package] + target
        code, output = run(copy, cargo + ["--no-run"])
        if code is None:
            sys.exit(f"the build was not done after {TIMEOUT_S} s")
        if code != 0:
            sys.exit(f"a mutant does not build:\n{output}")
        code, output = run(copy, cargo + words[1:])
        if code != 0:
            return code, output
    return 0, ""

def judge(path):
    """Returns how many mutants of a list were tried and how many survived."""
    with open(path, "rb") as file:
        mutant_list = tomllib.load(file)
    mutants = [mutant for mutant in mutant_list["mutant"] if word in mutant["wrong"]]
    if not mutants:
        return 0, 0
    kind = mutant_list.get("workspace", "dataplane")
    copy = prepare(kind)
    tests_of = lambda mutant: mutant.get("tests", mutant_list.get("tests", []))
    every_test = dict.fromkeys(words for mutant in mutants for words in tests_of(mutant))
    if not every_test:
        sys.exit(f"{path} names no tests")
    package = "meshgate-" + kind
    code, output = test(copy, package, every_test)
    if code != 0:
        sys.exit(f"the tests fail without any mutant:\n{output}")
    survivors = 0
    for mutant in mutants:
        file_path = os.path.normpath(f"{copy}/{mutant_list.get('folder', 'dataplane/src')}/{mutant['file']}")
        original = open(file_path).read()
        text = original
        for change in [mutant] + ([mutant["also"]] if "also" in mutant else []):
            count = text.count(change["search"])
            if count != 1:
                sys.exit(f"{mutant['wrong']}: {change['search']!r} stands {count} times in {file_path}")
            text = text.replace(change["search"], change["replace"])
        open(file_path, "w").write(text)
        start = time.monotonic()
        code, _ = test(copy, package, tests_of(mutant))
        open(file_path, "w").write(original)
        survivors += code == 0
        fate = "SURVIVED" if code == 0 else "caught  "
        print(f"{fate} {time.monotonic() - start:4.0f} s  {mutant['wrong']}", flush=True)
    return len(mutants), survivors

tried = survived = 0
wanted = wanted_list or "*"
lists = glob.glob(f"{root}/dataplane/tests/{wanted}/mutants.toml") + glob.glob(f"{root}/dataplane/{wanted}/tests/mutants.toml")
for path in sorted(lists):
    of_list = judge(path)
    tried, survived = tried + of_list[0], survived + of_list[1]
print(f"{tried} mutants, {survived} survived")
sys.exit(survived > 0 or tried == 0)
PYTHON
