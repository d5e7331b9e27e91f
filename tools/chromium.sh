#!/usr/bin/env bash
# Sees to it that there is a browser for the tests of previews: Chromium as a Debian package, unless one is there.
set -euo pipefail

if [ -n "${CHROMIUM:-}" ] || command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1; then
    exit 0
fi
[ "$(id -u)" = 0 ] || {
    echo "✗ There is no Chromium." >&2
    echo "  Install it: apt install chromium, or set CHROMIUM=<its path>" >&2
    exit 1
}
echo "Installing Chromium ..." >&2
{ apt-get update && apt-get install --yes --no-install-recommends chromium; } >/dev/null 2>&1 || {
    echo "✗ Chromium could not be installed." >&2
    exit 1
}
