#!/usr/bin/env bash
# Resolves all dependencies anew and writes requirements.lock: versions and hashes, no address of any index.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=$(command -v uv || command -v .tools/bin/uv || command -v .tools/lib/bin/uv) || {
    echo "✗ uv was not found. Run \`make install\` first." >&2
    exit 1
}
"$uv" lock --quiet ${UPGRADE:+--upgrade}
"$uv" export --quiet --locked --all-packages --all-groups --no-emit-workspace --no-header --no-annotate \
    --format requirements-txt --output-file requirements.lock
if grep -nE '://|--(extra-)?index-url|--find-links|@ ' requirements.lock; then
    echo "✗ requirements.lock names an address: that does not belong into it." >&2
    exit 1
fi
echo "✓ $(grep -c '==' requirements.lock) packages in requirements.lock"
