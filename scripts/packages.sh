# Sourced by the other scripts: installs what is missing from Debian's packages, and says so.

# need COMMAND PACKAGE ...: for each pair, installs the package when the command is absent.
need() {
  local missing=()
  while [ $# -gt 0 ]; do
    command -v "$1" >/dev/null 2>&1 || missing+=("$2")
    shift 2
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" -ne 0 ]; then
    echo "missing packages, and not root to install them: ${missing[*]}" >&2
    echo "run: apt-get install ${missing[*]}" >&2
    return 1
  fi
  echo "installing: ${missing[*]}"
  local log
  log=$(mktemp)
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# need_rust: says what to do when there is no Rust, or an old one.
need_rust() {
  if ! command -v cargo >/dev/null 2>&1; then
    echo "Rust 1.95 or newer is needed: see https://rustup.rs" >&2
    return 1
  fi
  need cc gcc
}
