#!/usr/bin/env bash
# Runs the tests, with nextest where it can be had.
#
#   scripts/run-tests.sh all      everything
#   scripts/run-tests.sh quick    leaves out the tests named server_…, which need real servers
set -euo pipefail
. "$(dirname "$0")/common.sh"

scope="${1:-all}"
case "$scope" in
    all) filter=() skip=() ;;
    quick) filter=(-E 'not test(/(^|::)server_/)') skip=(--skip server_) ;;
    *) die "usage: scripts/run-tests.sh all|quick" ;;
esac

# The scenarios run the program itself; the harness finds it beside the test binary.
cargo build -p isthmus

have_nextest() {
    if [ "$scope" = all ]; then
        scripts/tools.sh cargo-nextest || return 1
    fi
    cargo nextest --version >/dev/null 2>&1
}

if have_nextest; then
    # The summary is kept so that .ci/run can end with it.
    cargo nextest run --workspace "${filter[@]}" 2>&1 | tee "$CARGO_TARGET_DIR/nextest.log"
else
    say "cargo-nextest is not here: using cargo test"
    cargo test --workspace --no-fail-fast -- "${skip[@]}"
fi
