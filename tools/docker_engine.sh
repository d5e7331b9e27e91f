#!/usr/bin/env bash
# Sees to it that a Docker engine answers: does nothing where one does; else installs Debian's and starts it (as root).
# Never a second one beside another: that one's bridge would be gone.
set -euo pipefail

LOG=${DOCKER_LOG:-/var/log/dockerd.log}
WAIT_SECONDS=60

answers() { timeout 10 docker info >/dev/null 2>&1; }
fail() { printf '✗ %s\n' "$@" >&2; exit 1; }

answers && exit 0
[ "$(id -u)" = 0 ] || fail "No Docker engine answers." "  Start one, or run this as root to have one installed."
if ! command -v dockerd >/dev/null 2>&1; then
    command -v apt-get >/dev/null 2>&1 || fail "No Docker engine answers, and none can be installed: this is no Debian."
    echo "Installing Docker from Debian packages ..." >&2
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
        docker.io iptables; } >/dev/null 2>&1 || fail "Docker could not be installed (apt install docker.io)."
fi
if ! pgrep -x dockerd >/dev/null 2>&1; then
    echo "Starting the Docker engine ..." >&2
    setsid nohup dockerd >>"$LOG" 2>&1 </dev/null &
fi
for ((waited = 0; waited < WAIT_SECONDS; waited++)); do
    if answers; then
        echo "✓ Docker engine $(docker version --format '{{.Server.Version}}')" >&2
        exit 0
    fi
    sleep 1
done
tail -5 "$LOG" >&2 || true
fail "The Docker engine did not answer within $WAIT_SECONDS s." "  Its log: $LOG"
