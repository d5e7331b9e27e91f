#!/usr/bin/env bash
# The composed stack: tools/compose.sh up | down | status | logs [SERVICE ...]
# RUNYARD_HOME and RUNYARD_PORT_BASE choose which one, as for `runyard up`; COMPOSE_OVERRIDE names a further compose file.
# Reads .env, builds the images that are missing (IMAGES=keep: takes them as they are), keeps all data on `down`.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/docker_engine.sh
DOCKER_CONFIG=$(tools/compose_plugin.sh)
export DOCKER_CONFIG
if [ -f .env ]; then
    set -a
    . ./.env
    set +a
fi
TAG=${TAG:-latest}
# Variables of this run only; the secrets are in the files that they point to.
variables=$(.venv/bin/runyard compose-config)
set -a
eval "$(sed -E "s/'/'\\\\''/g; s/^([A-Z_]+)=(.*)$/\1='\2'/" <<<"$variables")"
set +a
files=(--file compose.yaml ${COMPOSE_OVERRIDE:+--file "$COMPOSE_OVERRIDE"})
progress=quiet
[ -t 2 ] && progress=auto
compose() { docker compose --progress "$progress" "${files[@]}" "$@"; }

case "${1:-}" in
up)
    if [ "${IMAGES:-}" != keep ]; then
        TAG=$TAG tools/images.sh
    fi
    images=$(tools/server_images.sh "$RUNYARD_UID")
    export ${images?}
    compose up --detach --wait --wait-timeout 180 --quiet-pull --remove-orphans || {
        compose ps --all >&2
        compose logs --tail 20 >&2
        exit 1
    }
    echo "✓ http://127.0.0.1:$PORT_GATEWAY (documentation: /docs); token: .venv/bin/runyard token" >&2
    ;;
down)
    # The containers of sessions are the orchestrator's, not compose's: it brings them to rest while all that they need
    # is still there, and says so in the log; where it cannot, the next one says it. Their files are kept.
    touch "$RUNYARD_HOME/agents/orchestrator/taken-down"
    compose stop --timeout 32 orchestrator
    compose stop --timeout 15
    label=runyard.installation=$SANDBOX_INSTALLATION
    ids=$(docker ps --all --quiet --filter "label=$label")
    [ -z "$ids" ] || docker rm --force $ids >/dev/null
    compose down --timeout 15 --remove-orphans
    ids=$(docker network ls --quiet --filter "label=$label")
    [ -z "$ids" ] || docker network rm $ids >/dev/null
    ;;
status) compose ps --all ;;
logs) compose logs "${@:2}" ;;
*)
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
    ;;
esac
