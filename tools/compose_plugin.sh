#!/usr/bin/env bash
# Prints the folder to use as DOCKER_CONFIG so that `docker compose` is there. Where the command is missing, it is
# taken from the packages of the next Debian release, into .tools, without installing anything on the machine.
set -euo pipefail
cd "$(dirname "$0")/.."

RELEASE=trixie
CONFIG=$PWD/.tools/docker

fail() { printf '✗ %s\n' "$@" >&2; exit 1; }

if docker compose version >/dev/null 2>&1; then
    printf '%s\n' "${DOCKER_CONFIG:-$HOME/.docker}"
    exit 0
fi
if [ ! -x "$CONFIG/cli-plugins/docker-compose" ]; then
    command -v apt-get >/dev/null 2>&1 || fail "docker compose was not found." "  Install Docker Compose 2.20 or newer."
    echo "Fetching Docker Compose from Debian packages ..." >&2
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/sources"
    # The machine's own mirror, whichever it is.
    mirror=$(sed -nE 's/^(URIs:|deb( \[[^]]*\])?) *(https?:[^ ]+).*/\3/p' \
        /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null | grep -v security | head -1 || true)
    [ -n "$mirror" ] || fail "No Debian mirror is configured on this machine."
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $RELEASE main" >"$work/sources.list"
    options=(
        -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts="$work/sources"
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" -o Dir::State::status=/dev/null
        -o APT::Sandbox::User=root
    )
    { apt-get "${options[@]}" update && (cd "$work" && apt-get "${options[@]}" download docker-compose docker-buildx); } \
        >"$work/log" 2>&1 || { tail -5 "$work/log" >&2; fail "Docker Compose could not be fetched."; }
    mkdir -p "$CONFIG/cli-plugins"
    for package in "$work"/*.deb; do dpkg -x "$package" "$work/root"; done
    find "$work/root" -type f \( -name docker-compose -o -name docker-buildx \) -exec install -m 755 {} "$CONFIG/cli-plugins/" \;
    DOCKER_CONFIG=$CONFIG docker compose version >/dev/null 2>&1 || fail "The fetched Docker Compose does not run here."
fi
printf '%s\n' "$CONFIG"
