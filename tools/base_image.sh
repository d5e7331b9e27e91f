#!/usr/bin/env bash
# Makes a base image from Debian packages, for a machine whose engine can reach no registry:
#     tools/base_image.sh [IMAGE]          # runyard/base:local unless named otherwise
# The machine's own package sources, added CA certificates and package index settings are taken over, so that builds on
# top of it install packages as this machine does. Does nothing when the image is there.
set -euo pipefail
cd "$(dirname "$0")/.."

IMAGE=${1:-runyard/base:local}
PACKAGES=ca-certificates,curl,git,procps,python3,python3-pip,python3-venv,tini
CERTIFICATES=/etc/ssl/certs/ca-certificates.crt

fail() { printf '✗ %s\n' "$@" >&2; exit 1; }

if docker image inspect "$IMAGE" >/dev/null 2>&1; then
    exit 0
fi
if ! command -v mmdebstrap >/dev/null 2>&1; then
    [ "$(id -u)" = 0 ] || fail "mmdebstrap was not found." "  Install it: apt install mmdebstrap"
    echo "Installing mmdebstrap ..." >&2
    { apt-get update && apt-get install --yes --no-install-recommends mmdebstrap; } >/dev/null 2>&1 ||
        fail "mmdebstrap could not be installed."
fi

suite=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-bookworm}")
sources=()
for file in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
    [ -s "$file" ] && sources+=("$file")
done
hooks=()
if ls /usr/local/share/ca-certificates/*.crt >/dev/null 2>&1; then
    hooks+=(
        "--customize-hook=copy-in /usr/local/share/ca-certificates /usr/local/share"
        '--customize-hook=chroot "$1" update-ca-certificates'
    )
fi
changes=()
for name in SSL_CERT_FILE REQUESTS_CA_BUNDLE PIP_CERT NODE_EXTRA_CA_CERTS GIT_SSL_CAINFO; do
    changes+=(--change "ENV $name=$CERTIFICATES")
done
index=$(python3 -m pip config get global.index-url 2>/dev/null || true)
if [ -n "${PIP_INDEX_URL:-$index}" ]; then
    changes+=(--change "ENV PIP_INDEX_URL=${PIP_INDEX_URL:-$index}")
fi

echo "Making $IMAGE from Debian packages (about half a minute) ..." >&2
log=$(mktemp)
mmdebstrap --quiet --variant=minbase --include="$PACKAGES" "${hooks[@]}" "$suite" - "${sources[@]}" 2>"$log" |
    docker import "${changes[@]}" - "$IMAGE" >/dev/null || { cat "$log" >&2; fail "The base image could not be made."; }
rm -f "$log"
echo "✓ $IMAGE" >&2
