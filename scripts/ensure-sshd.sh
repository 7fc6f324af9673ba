#!/usr/bin/env bash
# Sees to sshd for the test of --host, which starts one of its own on the loopback, as an ordinary
# user: the one that is installed, else the program out of the distribution's package, unpacked below
# .tools, so that no service begins on this machine. What cannot be had is said here and by the test.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

if ! has ssh || ! has ssh-keygen; then
    { apt_ready && apt_install openssh-client; } ||
        say "ssh and ssh-keygen could not be had: signatures and --host will not be tested."
fi
[ -x /usr/sbin/sshd ] || [ -x .tools/openssh/usr/sbin/sshd ] && exit 0

get() {
    has apt-get && has dpkg-deb || return 1
    if is_root; then apt_ready || return 1; fi
    say "Fetching sshd from the distribution's packages into .tools"
    local work status=0 package
    work=$(mktemp -d)
    # The user that fetches for root has to be able to write there.
    chmod 755 "$work"
    (cd "$work" && apt-get -qq download openssh-server libwrap0 >&2) || status=$?
    for package in "$work"/*.deb; do
        [ "$status" -eq 0 ] && dpkg-deb -x "$package" .tools/openssh || status=1
    done
    rm -rf "$work"
    return "$status"
}

get || say "sshd could not be had: --host will not be tested."
