#!/usr/bin/env bash
# Sees to promtool, Prometheus' own checker of metrics and rules, which a test asks: one that is
# installed, else the program out of the distribution's package, unpacked below .tools. What cannot
# be had is said here and by the test.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

has promtool || [ -x .tools/bin/promtool ] && exit 0

get() {
    has apt-get && has dpkg-deb || return 1
    if is_root; then apt_ready || return 1; fi
    say "Fetching promtool from the distribution's package of Prometheus into .tools"
    mkdir -p .tools/bin
    local work status=0
    work=$(mktemp -d)
    # The user that fetches for root has to be able to write there.
    chmod 755 "$work"
    (cd "$work" && apt-get -qq download prometheus >&2) &&
        dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -xf - -C "$work" ./usr/bin/promtool &&
        mv "$work/usr/bin/promtool" .tools/bin/promtool || status=$?
    rm -rf "$work"
    return "$status"
}

get || say "promtool could not be had: the alert rules will not be checked by it."
