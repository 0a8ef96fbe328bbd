# Sourced by demo.sh: the acts in which the learner watches, suggests, and is answered.

# watch_config: the learner with windows of a second, so that the story takes one minute and not one hour.
watch_config() {
  cat <<EOF2
collector = "demo-learner"
control = "unix:$state/control.sock"
flow_ring = "$state/flows.sock"
checkpoint = "$state/learner.checkpoint"
window_s = 1
[detector]
warm_up_windows = 15
[adviser]
steady_windows = 12
steady_span_windows = 15
EOF2
}

# repeat PAUSE COMMAND ...: runs a command over and over, whatever it returns, until the demo ends.
repeat() {
  local pause=$1
  shift
  (while [ -d "$state" ]; do
    "$@" >/dev/null 2>&1 || true
    sleep "$pause"
  done) &
  echo $! >"$state/repeat-$!.pid"
}

fetch() { inside "$1" curl --silent --output /dev/null --max-time 2 "http://$2/"; }
query() { inside "$1" timeout 2 bash -c "exec 3<>/dev/tcp/$2/5432 && head -n 1 <&3"; }

# suggestion ACTION SOURCE DESTINATION PORTS: number of the open suggestion, if there is one.
suggestion() {
  mg suggestions list --output json | jq --arg action "$1" --arg source "$2" --arg destination "$3" --arg ports "$4" '
    first(.suggestions[] | select(.draft.action == $action and .draft.port_range == $ports
      and .draft.source_group_name == $source and .draft.destination_group_name == $destination) | .id)'
}
has_suggestion() { [ -n "$(suggestion "$@")" ]; }

is_calibrated() {
  mg learner status --output json | jq --exit-status '.learners[0] | .calibration_scores >= .calibration_scores_needed and .calibration_scores > 0'
}

learning_acts() {
  act "8. The learner watches while everything is allowed"
  kill "$(cat "$state/learner.pid")" 2>/dev/null || true
  while kill -0 "$(cat "$state/learner.pid")" 2>/dev/null; do sleep 0.05; done
  { sed 's/^default_action = .*/default_action = "allow"/' "$state/policy.toml"; } >"$state/watch.toml"
  show apply -f "$state/watch.toml" --comment "watching" --wait
  watch_config >"$state/watch-learner.toml"
  mkdir -p "$state/www-db"
  echo "hello from db-1" >"$state/www-db/index.html"
  start http-db-1 ip netns exec "$(lab_netns db-1)" busybox httpd -f -p 80 -h "$state/www-db"
  start learner "$bin/meshgate-learner" --config "$state/watch-learner.toml"
  repeat 0.2 fetch web-1 10.77.0.21
  repeat 0.2 fetch web-2 10.77.0.21
  repeat 0.5 fetch dev-1 10.77.0.12
  say "web servers fetch pages from db-1; dev-1 reads from web-2; windows of one second"
  until_true 60 has_suggestion allow WebServers DatabaseServers 80 || fail "no allow was suggested"
  # Services that are steady at once become one draft: this one comes later, and is not accepted.
  repeat 0.5 query web-1 10.77.0.21
  until_true 20 has_suggestion allow DevNodes WebServers 80 || fail "no allow was suggested for dev-1"
  say "until the detector has seen enough to know what is usual:"
  until_true 90 is_calibrated || fail "the detector is not calibrated"
  show learner status

  act "9. Something unusual: shells on production"
  can_connect dev-1 10.77.0.41 22 || fail "dev-1 cannot reach port 22 of prod-1 while everything is allowed"
  local try
  for try in $(seq 20); do
    can_connect dev-1 10.77.0.41 22 || true
    can_connect dev-2 10.77.0.41 22 || true
  done
  say "dev-1 and dev-2 tried $((2 * try)) connections to port 22 of prod-1, where none had ever been"
  until_true 20 has_suggestion deny DevNodes ProductionServers 22 || fail "no deny was suggested"
  show suggestions list
  local allow deny other
  allow=$(suggestion allow WebServers DatabaseServers 80)
  deny=$(suggestion deny DevNodes ProductionServers 22)
  other=$(suggestion allow DevNodes WebServers 80)
  show suggestions show "$allow"
  show suggestions show "$deny"

  act "10. The administrator answers"
  (end=$((SECONDS + 20))
    while can_connect dev-1 10.77.0.41 22; do [ $SECONDS -lt $end ] && [ -d "$state" ] || exit 1; done
    date +%s%N >"$state/first-refused") &
  prober=$!
  echo "$prober" >"$state/prober.pid"
  local answer committed
  answer=$(mg suggestions accept "$deny" --comment "no shells on production" --wait --output json)
  say "\$ meshgate suggestions accept $deny --comment 'no shells on production' --wait"
  until_true 10 test -s "$state/first-refused" || fail "the accepted deny is not enforced"
  wait "$prober"
  committed=$(sed -n 's/.*"committed_ns": *"\{0,1\}\([0-9]*\).*/\1/p' <<<"$answer" | head -n 1)
  say "from accept to the first connection refused: $(((($(cat "$state/first-refused") - committed)) / 1000000)) ms (a try takes 300 ms to fail)"
  why --from dev-1 --to prod-1 --protocol TCP --port 22
  show suggestions reject "$other" --reason too-broad --comment "developers read from the staging host"
  show suggestions accept "$allow" --comment "the shop reads its pages" --wait
  say "the traffic goes on for 15 more windows; what was rejected must not come back"
  local end=$((SECONDS + 15))
  while [ $SECONDS -lt $end ]; do
    has_suggestion allow DevNodes WebServers 80 && fail "a rejected draft came back"
    sleep 0.5
  done
  show suggestions list --state all
  say "what the answers taught: a ranking that days of suggestions and answers will move, and any answer can be taken back"
  show learner feedback

  act "11. The default becomes deny; the accepted rule carries the traffic"
  show default-action deny --wait
  fetch web-1 10.77.0.21 || fail "the accepted allow does not carry the traffic"
  run inside web-1 curl --silent --show-error --max-time 5 http://10.77.0.21/
  why --from web-1 --to db-1 --protocol TCP --port 80
  query web-1 10.77.0.21 && fail "what nobody allowed passes"
  say "the database port, which nobody accepted, is closed:"
  why --from web-1 --to db-1 --protocol TCP --port 5432
  show learner status
}
