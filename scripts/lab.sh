# Sourced by demo.sh: a laboratory of network namespaces. One namespace is the host with all of the dataplane's
# devices; each endpoint has a namespace of its own, joined to the host by a veth pair with default offloads.
# Nothing outside these namespaces is touched. Names carry the process number, so that runs never meet.

LAB_PREFIX=mgdemo
# name, last byte of its addresses, group
LAB_ENDPOINTS=(
  "web-1 11 WebServers" "web-2 12 WebServers"
  "db-1 21 DatabaseServers" "db-2 22 DatabaseServers"
  "dev-1 31 DevNodes" "dev-2 32 DevNodes"
  "prod-1 41 ProductionServers" "prod-2 42 ProductionServers"
)

# lab_netns NAME: the namespace of the host or of an endpoint.
lab_netns() { echo "$LAB_PREFIX-$LAB_ID-$1"; }

# inside NAME COMMAND ...: runs a command in a namespace.
inside() {
  local netns
  netns=$(lab_netns "$1")
  shift
  ip netns exec "$netns" "$@"
}

lab_up() {
  LAB_ID=$1
  local host entry name number mac
  host=$(lab_netns host)
  ip netns add "$host"
  inside host ip link set lo up
  # Devices of the host side must never speak for the host.
  inside host sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
  for entry in "${LAB_ENDPOINTS[@]}"; do
    read -r name number _ <<<"$entry"
    mac=$(lab_mac "$number")
    ip netns add "$(lab_netns "$name")"
    inside "$name" ip link set lo up
    inside "$name" ip link add eth0 address "$mac" type veth peer name "$name" netns "$host"
    inside "$name" sysctl -qw net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.router_solicitations=0
    inside "$name" ip address add "10.77.0.$number/24" dev eth0
    inside "$name" ip address add "fd77::$number/64" dev eth0 nodad
    inside "$name" ip link set eth0 up
    inside host ip link set "$name" up
  done
}

lab_mac() { printf '02:77:00:00:00:%02x' "$1"; }

# lab_policy: the endpoints and groups of the laboratory as a policy file.
lab_policy() {
  local entry name number group
  echo 'default_action = "deny"'
  for entry in "${LAB_ENDPOINTS[@]}"; do
    read -r name number group <<<"$entry"
    cat <<EOF

[[endpoints]]
name = "$name"
mac = "$(lab_mac "$number")"
addresses = ["10.77.0.$number", "fd77::$number"]
labels = { group = "$group" }
home = { host = "demo-host", device = "$name" }
EOF
  done
  for group in WebServers DatabaseServers DevNodes ProductionServers; do
    printf '\n[[groups]]\nname = "%s"\nselector = { group = "%s" }\n' "$group" "$group"
  done
}

# lab_down ID: ends everything that runs in a laboratory and removes its namespaces.
lab_down() {
  local netns pids
  for netns in $(ip netns list | awk -v prefix="$LAB_PREFIX-$1-" 'index($1, prefix) == 1 {print $1}'); do
    pids=$(ip netns pids "$netns")
    # shellcheck disable=SC2086  # a list of numbers
    [ -z "$pids" ] || kill -9 $pids 2>/dev/null || true
    ip netns delete "$netns"
  done
}

# lab_sweep: removes laboratories whose script is gone, after kill -9 or --keep.
lab_sweep() {
  local id dir pid
  for id in $({ ip netns list | awk -v prefix="$LAB_PREFIX-" 'index($1, prefix) == 1 {print $1}'
    ls -d /tmp/"$LAB_PREFIX"-* 2>/dev/null | sed 's|.*/||'; } | cut -d- -f2 | sort -u); do
    if [ -r "/proc/$id/cmdline" ] && tr '\0' ' ' <"/proc/$id/cmdline" | grep -q 'demo\.sh'; then continue; fi
    echo "removing the laboratory that run $id left"
    dir=/tmp/$LAB_PREFIX-$id
    lab_down "$id"
    # Anyone can make a folder in /tmp: only one that is ours, and only processes that were started with it.
    if [ -d "$dir" ] && [ -O "$dir" ] && [ ! -L "$dir" ]; then
      for pid in $(cat "$dir"/*.pid 2>/dev/null); do
        if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$dir/"; then
          kill -9 "$pid" 2>/dev/null || true
        fi
      done
      rm -rf "$dir"
    fi
  done
}
