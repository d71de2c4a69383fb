#!/usr/bin/env bash
# Everything that can be said about the code without running it. Goes through all
# checks before it fails, so that one run shows all there is to mend.
set -uo pipefail
. "$(dirname "$0")/common.sh"

failed=()

check() {
    local name="$1"
    shift
    say "$name"
    "$@" || failed+=("$name")
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --quiet --workspace --no-deps
}

advisories() {
    scripts/tools.sh cargo-audit || return 1
    local archive="${ISTHMUS_ADVISORY_DB:-}"
    if [ -z "$archive" ]; then
        cargo audit --deny warnings
        return
    fi
    # An offline list, unpacked outside the checkout and again whenever it changes.
    local folder
    folder="$CARGO_TARGET_DIR/advisory-db-$(sha256sum "$archive" | cut -c1-16)"
    if [ ! -d "$folder" ]; then
        rm -rf "$folder.part"
        mkdir -p "$folder.part"
        tar -xzf "$archive" -C "$folder.part" && mv "$folder.part" "$folder" || return 1
    fi
    # The archive may hold the list itself or one folder with it.
    local list="$folder"
    [ -d "$list/crates" ] || list="$(dirname "$(find "$folder" -maxdepth 2 -type d -name crates -print -quit)")"
    cargo audit --db "$list" --no-fetch --stale --deny warnings
}

unused_dependencies() {
    scripts/tools.sh cargo-machete || return 1
    cargo machete --skip-target-dir
}

tidy() {
    cargo test --quiet -p isthmus-tests --test main -- tidy::
}

long_files() {
    find crates migrations tests bench -name '*.rs' -exec wc -l {} + |
        awk '$1 > 600 && $2 != "total" { print "note: " $2 " has " $1 " lines: does it do one job?" }' >&2
}

check "format" cargo fmt --all --check
check "clippy" cargo clippy --quiet --workspace --all-targets -- -D warnings
check "documentation" documentation
check "unused dependencies" unused_dependencies
check "advisories" advisories
check "licences, crate edges, file headers" tidy
long_files

if [ "${#failed[@]}" -gt 0 ]; then
    printf 'error: lint failed at: %s\n' "$(printf '%s; ' "${failed[@]}" | sed 's/; $//')" >&2
    exit 1
fi
say "lint: all is well"
