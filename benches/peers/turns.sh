# Sourced by the comparisons: turns of two programs that each run one at a line and answer with `turn: FIGURE`.

# turn OUT IN: lets a program, whose pipes these are, run one turn, and prints its figure.
turn() {
  local line
  echo >&"$2"
  while read -r -u "$1" line; do
    case $line in "turn: "*)
      echo "${line#turn: }"
      return
      ;;
    esac
  done
  echo "a program ended early" >&2
  return 1
}
