#!/usr/bin/env bash
# Prints which images compose.yaml is to run NATS and PostgreSQL from, as variables: the official ones, or, where they
# cannot be had, images made here from the wheels that an embedded stack runs.
#     tools/server_images.sh [USER_ID]
set -euo pipefail
cd "$(dirname "$0")/.."

USER_ID=${1:-10001}
BASE=runyard/base:local

there() { docker image inspect "$1" >/dev/null 2>&1; }

choose() { # variable, server, official image
    local chosen=${!1:-$3}
    if ! there "$chosen" && ! timeout 300 docker pull --quiet "$chosen" >/dev/null 2>&1; then
        chosen=runyard/$2:uid-$USER_ID
        if ! there "$chosen"; then
            echo "$3 cannot be had; making $chosen here ..." >&2
            tools/base_image.sh "$BASE"
            docker build --quiet --file deploy/servers.Dockerfile --build-arg BASE_IMAGE="$BASE" \
                --build-arg SERVER="$2" --build-arg USER_ID="$USER_ID" --tag "$chosen" . >/dev/null
        fi
    fi
    printf '%s=%s\n' "$1" "$chosen"
}

choose NATS_IMAGE nats nats:2.12-alpine
choose POSTGRES_IMAGE postgres pgvector/pgvector:pg18
