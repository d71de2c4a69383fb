#!/usr/bin/env bash
# Cargo tools, compiled once into the target folder when the machine does not have them.
#
#   scripts/tools.sh TOOL...    cargo-nextest, cargo-machete, cargo-audit
set -euo pipefail
. "$(dirname "$0")/common.sh"

version_of() {
    case "$1" in
        cargo-nextest) echo 0.9.143 ;;
        cargo-machete) echo 0.9.2 ;;
        cargo-audit) echo 0.22.2 ;;
        *) die "no version is pinned for $1" ;;
    esac
}

for tool in "$@"; do
    command -v "$tool" >/dev/null && continue
    version="$(version_of "$tool")"
    say "compiling $tool $version (once)"
    # Unoptimised: they are quick enough, and compiled in a third of the time.
    # A folder of its own: the tools' dependencies are built with other features than ours.
    CARGO_TARGET_DIR="$TOOLS_DIR/build" CARGO_PROFILE_DEV_DEBUG=false \
        cargo install --quiet --debug --locked --root "$TOOLS_DIR" "$tool" --version "$version"
    rm -rf "$TOOLS_DIR/build"
done
