#!/usr/bin/env bash
# The real peers that tests and benchmarks talk to.
#
#   scripts/peers.sh install    gets what is missing; notes what could not be had
#   scripts/peers.sh report     fails with the list of what could not be had
#
# Nothing is started here: each test starts its own private servers.
set -euo pipefail
. "$(dirname "$0")/common.sh"

PACKAGES=(
    prosody         # XMPP server
    ejabberd        # XMPP server
    postfix         # mail server; brings smtp-source and smtp-sink
    swaks           # mail client
    strace          # shows the sync before the 250
    python3-venv    # holds what comes from PyPI
    util-linux      # setpriv: servers die with the test that started them
)
PYTHON_PACKAGES=(
    slixmpp==1.17.0  # XMPP client
    dkimpy==1.1.8    # verifies what we sign
)

install_python() {
    local stamp="$PYTHON_DIR/isthmus-packages"
    [ "$(cat "$stamp" 2>/dev/null)" = "${PYTHON_PACKAGES[*]}" ] && return
    say "installing ${PYTHON_PACKAGES[*]} into $PYTHON_DIR"
    local python=/usr/bin/python3
    [ -x "$python" ] || python=python3
    [ -x "$PYTHON_DIR/bin/python" ] || "$python" -m venv "$PYTHON_DIR" >&2 || return 1
    "$PYTHON_DIR/bin/python" -m pip install --quiet --disable-pip-version-check \
        "${PYTHON_PACKAGES[@]}" >&2 || return 1
    printf '%s\n' "${PYTHON_PACKAGES[*]}" >"$stamp"
}

install() {
    # Two runs at once must not install into each other.
    exec 9>"$CARGO_TARGET_DIR/peers.lock"
    flock 9
    scripts/packages.sh "${PACKAGES[@]}" >"$PEERS_MISSING" 9>&- || true
    install_python || printf '%s\n' "${PYTHON_PACKAGES[@]}" >>"$PEERS_MISSING"
}

report() {
    [ -s "$PEERS_MISSING" ] || return 0
    printf 'error: these peers could not be installed, so their tests failed or did not count:\n' >&2
    sed 's/^/  - /' "$PEERS_MISSING" >&2
    return 1
}

case "${1:-}" in
    install) install ;;
    report) report ;;
    *) die "usage: scripts/peers.sh install|report" ;;
esac
