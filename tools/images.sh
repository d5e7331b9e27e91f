#!/usr/bin/env bash
# Builds the images of all services and of previews, or those that are named:
#     tools/images.sh [SERVICE|preview ...]
# BASE_IMAGE chooses what they stand on; without it the usual Python image, or one made here where that one cannot be
# had. TAG (latest) is their tag. AGENTS ("opencode droid") are the agents from npm that the image of runner-acp gets;
# without it those that it has already.
set -euo pipefail
cd "$(dirname "$0")/.."

TAG=${TAG:-latest}
USUAL=python:3.12-slim-bookworm
LOCAL=runyard/base:local

build() { # tag, file, further build arguments
    local image=$1 file=$2 began=$SECONDS
    shift 2
    docker build --quiet --file "$file" "${@/#/--build-arg=}" --tag "$image" . >/dev/null
    echo "✓ $image  $((SECONDS - began)) s" >&2
}

tools/docker_engine.sh
if [ -z "${BASE_IMAGE:-}" ]; then
    BASE_IMAGE=$USUAL
    if ! docker image inspect "$USUAL" >/dev/null 2>&1 && ! timeout 120 docker pull --quiet "$USUAL" >/dev/null 2>&1; then
        echo "$USUAL cannot be had; making a base image here." >&2
        tools/base_image.sh "$LOCAL"
        BASE_IMAGE=$LOCAL
    fi
fi
services=("$@")
if [ $# = 0 ]; then
    for folder in services/*/; do services+=("$(basename "$folder")"); done
    services+=(preview)
fi
had='{{ with .Config.Labels }}{{ index . "runyard.agents" }}{{ end }}'
AGENTS=${AGENTS-$(docker image inspect "runyard/runner-acp:$TAG" --format "$had" 2>/dev/null || true)}
for service in "${services[@]}"; do
    [ -f "deploy/locks/$service.txt" ] || { echo "✗ There is no service $service (or \`make lock\` has not run)." >&2; exit 1; }
    base=$BASE_IMAGE
    case $service in
    preview)
        build "runyard/preview:$TAG" deploy/preview.Dockerfile BASE_IMAGE="$base"
        continue
        ;;
    runner-acp)
        if [ -n "$AGENTS" ]; then
            # npm is in the image of previews.
            build "runyard/preview:$TAG" deploy/preview.Dockerfile BASE_IMAGE="$base"
            build "runyard/agents:$TAG" deploy/agents.Dockerfile \
                BASE_IMAGE="$base" NODE_IMAGE="runyard/preview:$TAG" AGENTS="$AGENTS"
            base=runyard/agents:$TAG
        fi
        ;;
    esac
    build "runyard/$service:$TAG" Dockerfile BASE_IMAGE="$base" SERVICE="$service"
done
