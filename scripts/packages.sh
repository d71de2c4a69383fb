#!/usr/bin/env bash
# Installs Debian packages that are missing, without starting or enabling any service.
#
#   scripts/packages.sh build          what compiling needs
#   scripts/packages.sh PACKAGE...     these packages
#
# Prints the names that could not be had, one a line, and then exits with 1.
set -euo pipefail
. "$(dirname "$0")/common.sh"

POLICY=/usr/sbin/policy-rc.d

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# While packages are installed, policy-rc.d answers 101: "do not start this service".
forbid_starting() {
    if [ -x "$POLICY" ]; then
        local answer=0
        "$POLICY" isthmus start >/dev/null 2>&1 || answer=$?
        [ "$answer" -eq 101 ] && return
        as_root mv "$POLICY" "$POLICY.before-isthmus"
        trap 'as_root mv -f "$POLICY.before-isthmus" "$POLICY"' EXIT
    else
        trap 'as_root rm -f "$POLICY"' EXIT
    fi
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=600 "$@" >&2
}

all_installed() {
    dpkg-query -W -f '${db:Status-Status} ${Package}\n' | sed -n 's/^installed //p' | sort
}

# What we bring, dependencies included, must not start at the next boot either.
disable_services() {
    local package name
    for package in "$@"; do
        for name in $(dpkg -L "$package" 2>/dev/null |
            sed -nE 's#^(/usr)?/lib/systemd/system/([^/@]+\.(service|socket|timer))$#\2#p'); do
            # It insists on being told for which package it works.
            as_root env DPKG_MAINTSCRIPT_PACKAGE="$package" \
                deb-systemd-helper disable "$name" >/dev/null 2>&1 || true
        done
        for name in $(dpkg -L "$package" 2>/dev/null | sed -n 's#^/etc/init\.d/##p'); do
            as_root update-rc.d "$name" disable >/dev/null 2>&1 || true
        done
    done
}

main() {
    local wanted=("$@")
    if [ "${1:-}" = build ]; then
        # With a compiler and make at hand nothing is asked of the machine, whatever its kind.
        if command -v cc >/dev/null && command -v c++ >/dev/null && command -v make >/dev/null; then
            return
        fi
        wanted=(build-essential pkg-config ca-certificates)
    fi
    if ! command -v apt-get >/dev/null; then
        printf '%s\n' "${wanted[@]}"
        die "this machine has no apt-get; install what is named above by other means"
    fi

    local missing=() package
    for package in "${wanted[@]}"; do
        installed "$package" || missing+=("$package")
    done
    [ "${#missing[@]}" -eq 0 ] && return

    say "installing ${missing[*]}"
    local before
    before="$(all_installed)"
    forbid_starting
    as_root apt-get update -q -o DPkg::Lock::Timeout=600 >&2 || say "apt-get update failed; trying with the lists at hand"
    # Together first; if that fails, one by one, so that one bad name does not take the rest along.
    apt_install "${missing[@]}" || for package in "${missing[@]}"; do
        apt_install "$package" || true
    done
    # shellcheck disable=SC2046  # package names hold no spaces
    disable_services $(comm -13 <(printf '%s\n' "$before") <(all_installed))

    local failed=0
    for package in "${missing[@]}"; do
        installed "$package" || {
            printf '%s\n' "$package"
            failed=1
        }
    done
    return "$failed"
}

main "$@"
