#!/bin/sh
# Starts Prometheus and Alertmanager for the agent on this host, with the rules and the route that lie beside this script.
# All on loopback, with data in a folder that is removed at the end. Ctrl-C ends both.
#
#   deploy/demo.sh [HOST:PORT of the agent, 127.0.0.1:19992 if none is given]
#
# Other ports: PROMETHEUS_PORT (9090) and ALERTMANAGER_PORT (9093).
set -eu

agent=${1:-127.0.0.1:19992}
prometheus_port=${PROMETHEUS_PORT:-9090}
alertmanager_port=${ALERTMANAGER_PORT:-9093}
deploy=$(cd "$(dirname "$0")" && pwd)
tools=${CARGO_TARGET_DIR:-$deploy/../target}/tools

fail() {
    echo "error: $1" >&2
    exit "${2:-1}"
}

# A server that is installed, or that `cargo xtask rules` has fetched.
program() {
    command -v "$1" && return
    fetched="$tools/$2/usr/bin/$1"
    [ -x "$fetched" ] && echo "$fetched"
}

[ $# -le 1 ] || fail "only one address can be given, that of the agent" 2
case $agent in
*/* | *[!0-9a-zA-Z.:_-]* | *:*:*) fail "\`$agent\` is no HOST:PORT, as in 127.0.0.1:19992" 2 ;;
*:*) ;;
*) fail "\`$agent\` has no port, as in 127.0.0.1:19992" 2 ;;
esac
for port in "$prometheus_port" "$alertmanager_port"; do
    case $port in
    '' | *[!0-9]*) fail "\`$port\` is no port; PROMETHEUS_PORT and ALERTMANAGER_PORT take numbers" 2 ;;
    esac
done
prometheus=$(program prometheus prometheus) ||
    fail "there is no prometheus here; install it, or run cargo xtask rules, which fetches it"
alertmanager=$(program prometheus-alertmanager prometheus-alertmanager || program alertmanager prometheus-alertmanager) ||
    fail "there is no Alertmanager here; install prometheus-alertmanager, or run cargo xtask rules, which fetches it"

folder=$(mktemp -d)
started=
finish() {
    trap - EXIT INT TERM HUP
    for pid in $started; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    rm -rf "$folder"
}
trap finish EXIT
trap 'finish; exit 0' INT TERM HUP

cat >"$folder/prometheus.yml" <<END
global:
  scrape_interval: 5s
  evaluation_interval: 5s
rule_files: ["$deploy/prometheus/portreeve.rules.yaml", "$deploy/prometheus/portreeve.recording.yaml"]
scrape_configs:
  - job_name: portreeve
    static_configs:
      - targets: ["$agent"]
        labels: { cluster: demo }
alerting:
  alertmanagers:
    - static_configs:
        - targets: ["127.0.0.1:$alertmanager_port"]
END

# Debian's build reads its templates below /usr/share. One that is not installed gets a /usr/share of its own.
set -- "$alertmanager" --config.file="$deploy/alertmanager/alertmanager.yml" --storage.path="$folder/alertmanager" \
    --web.listen-address="127.0.0.1:$alertmanager_port" --cluster.listen-address=
share=${alertmanager%/bin/*}/share/prometheus
if [ -d "$share" ] && [ ! -e /usr/share/prometheus/alertmanager ]; then
    # The script inside expands what it is given.
    # shellcheck disable=SC2016
    set -- unshare --map-root-user --mount sh -c 'mount -t tmpfs none /usr/share && cp -r "$0" /usr/share/ && exec "$@"' \
        "$share" "$@"
fi
"$@" >"$folder/alertmanager.log" 2>&1 &
started=$!
"$prometheus" --config.file="$folder/prometheus.yml" --storage.tsdb.path="$folder/prometheus" \
    --web.listen-address="127.0.0.1:$prometheus_port" >"$folder/prometheus.log" 2>&1 &
started="$started $!"

cat <<END
Prometheus    http://127.0.0.1:$prometheus_port (its alerts: /api/v1/alerts)
Alertmanager  http://127.0.0.1:$alertmanager_port (its alerts: /api/v2/alerts)
Agent         http://$agent (cargo xtask run starts one)
Grafana       give it Prometheus' address; deploy/grafana/README.md has the rest

Open a port that should stay shut, and see it fire: python3 -m http.server 1992 --bind 127.0.0.1
The route's receivers are stand-ins at 127.0.0.1:8000. Ctrl-C ends both servers.
END

# Whichever ends first was not asked to.
while true; do
    for pid in $started; do
        kill -0 "$pid" 2>/dev/null || {
            tail -n 5 "$folder"/*.log >&2
            fail "a server has ended; its last lines are above (a port that is taken? PROMETHEUS_PORT, ALERTMANAGER_PORT)"
        }
    done
    # In the background, so that a signal is not kept waiting.
    sleep 1 &
    wait $! || true
done
