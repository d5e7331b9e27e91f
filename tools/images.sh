#!/usr/bin/env bash
# Builds the images of all services and of previews, or those that are named:
#     tools/images.sh [SERVICE|preview ...]
# BASE_IMAGE chooses what they stand on; without it the usual Python image, or one made here where that one cannot be
# had. TAG (latest) is their tag.
set -euo pipefail
cd "$(dirname "$0")/.."

TAG=${TAG:-latest}
USUAL=python:3.12-slim-bookworm
LOCAL=runyard/base:local

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
for service in "${services[@]}"; do
    [ -f "deploy/locks/$service.txt" ] || { echo "✗ There is no service $service (or \`make lock\` has not run)." >&2; exit 1; }
    began=$SECONDS
    file=Dockerfile
    [ "$service" = preview ] && file=deploy/preview.Dockerfile
    docker build --quiet --file "$file" --build-arg BASE_IMAGE="$BASE_IMAGE" --build-arg SERVICE="$service" \
        --tag "runyard/$service:$TAG" . >/dev/null
    echo "✓ runyard/$service:$TAG  $((SECONDS - began)) s" >&2
done
