# shellcheck shell=bash
# Shared by the scripts beside it: where things lie, and how to act as root.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/isthmus-target}"
TOOLS_DIR="$CARGO_TARGET_DIR/tools"
PEERS_MISSING="$CARGO_TARGET_DIR/peers.missing"
PYTHON_DIR="${ISTHMUS_PYTHON_DIR:-$HOME/.cache/isthmus-py}"
mkdir -p "$CARGO_TARGET_DIR"

# A shell started by a service often lacks what rustup adds at login. Tools that are
# already on the machine win over ours.
export PATH="$PATH:$HOME/.cargo/bin:/usr/sbin:/sbin:$TOOLS_DIR/bin"

say() { printf '==> %s\n' "$*" >&2; }

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        printf 'error: "%s" needs root, and sudo is not installed\n' "$*" >&2
        return 1
    fi
}
