#!/usr/bin/env bash
# Prepares .venv from requirements.lock: pinned, with hashes, nothing but the package index needed.
# Run by `make install`; does nothing when it has run for the present lock and packages.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.8
TOOLS=.tools

say() { printf '%s\n' "$*" >&2; }
fail() { say "✗ $1"; shift; for line in "$@"; do say "  $line"; done; exit 1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.11 python3.12 python3.13 python3.14 python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
            command -v "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer was not found." \
        "Install it (Debian, Ubuntu: apt install python3.11 python3.11-venv; Fedora: dnf install python3.11)" \
        "or name one that is not on PATH: make install PYTHON=/path/to/python3.11"
}

is_recent() { # uv 0.9 or newer, as pyproject.toml asks
    "$1" --version 2>/dev/null | awk '{ split($2, v, "."); exit !(v[1] > 0 || v[2] >= 9) }'
}

# Prints the path of uv: the user's own, else one that is installed into $TOOLS.
find_uv() {
    local python=$1 candidate
    for candidate in uv "$TOOLS/bin/uv" "$TOOLS/lib/bin/uv"; do
        if command -v "$candidate" >/dev/null 2>&1 && is_recent "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    say "Installing uv $UV_VERSION into $TOOLS ..."
    if "$python" -m venv "$TOOLS" >/dev/null 2>&1 &&
        "$TOOLS/bin/python" -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"; then
        printf '%s\n' "$TOOLS/bin/uv"
    elif "$python" -m pip --version >/dev/null 2>&1 &&
        "$python" -m pip install --quiet --disable-pip-version-check --target "$TOOLS/lib" --upgrade \
            "uv==$UV_VERSION"; then
        printf '%s\n' "$TOOLS/lib/bin/uv"
    else
        rm -rf "$TOOLS"
        fail "uv could not be installed: $python has neither a working venv nor pip, or the index is out of reach." \
            "Debian, Ubuntu: apt install python3-venv (or python3-pip). Then run this again." \
            "Or install uv yourself: any version from 0.9 on PATH is used."
    fi
}

packages() { printf '%s\n' libs/*/pyproject.toml services/*/pyproject.toml; }

# With the folder's name: the packages of a checkout that was moved or copied lead to where it had been.
stamp() { { pwd; cat requirements.lock pyproject.toml $(packages) tools/install.sh; } | sha256sum | cut -d' ' -f1; }

main() {
    local wanted python uv started=$SECONDS editable=() file
    wanted=$(stamp)
    if [ -x .venv/bin/python ] && [ "$(cat .venv/.installed 2>/dev/null || true)" = "$wanted" ]; then
        return
    fi
    command -v git >/dev/null 2>&1 ||
        fail "git was not found." "Install it: agents work in Git worktrees (Debian, Ubuntu: apt install git)."
    python=$(find_python)
    uv=$(find_uv "$python")
    if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        say "Creating .venv with $("$python" --version) ..."
        "$uv" venv --quiet --clear --python "$python" .venv
    fi
    say "Installing the locked packages (some hundred MB at the first time) ..."
    "$uv" pip install --python .venv/bin/python --require-hashes --requirement requirements.lock
    for file in $(packages); do editable+=(--editable "$(dirname "$file")"); done
    "$uv" pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation "${editable[@]}"
    printf '%s\n' "$wanted" >.venv/.installed
    say "✓ Installed in $((SECONDS - started)) s."
}

main "$@"
