# Shared by the scripts beside it; not run by itself. Everything said goes to standard error, so
# that standard output carries results alone.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }

stop() {
    say "$*"
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

is_root() { [ "$(id -u)" = 0 ]; }

# Installs packages of the distribution, and says so.
apt_install() {
    say "Installing from the distribution: $*"
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 --no-install-recommends \
        install "$@" </dev/null >&2
}

# The package lists of a fresh machine are empty; fetched once.
apt_ready() {
    is_root && has apt-get || return 1
    [ -n "${LIFEBOAT_APT_UPDATED:-}" ] && return 0
    say "Fetching the distribution's package lists"
    DEBIAN_FRONTEND=noninteractive apt-get -qq update </dev/null >&2 || return 1
    export LIFEBOAT_APT_UPDATED=1
}
