#!/usr/bin/env bash
# Sees to what a build and the tests need beside PostgreSQL: a Rust toolchain (asked for, never
# installed), a C compiler and the openssl program (installed from the distribution when root).
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

needed=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
cargo=${CARGO:-cargo}
has "$cargo" || stop "Rust $needed or newer is needed and cargo was not found. Install it from https://rustup.rs and run this again."
found=$("$cargo" --version | awk '{print $2}')
oldest=$(printf '%s\n%s\n' "$needed" "$found" | sort -V | head -n 1)
[ "$oldest" = "$needed" ] || stop "Rust $needed or newer is needed; cargo $found was found. Update it (rustup update) and run this again."

if ! has cc && ! has gcc && ! has clang; then
    if apt_ready; then
        apt_install gcc libc6-dev
    else
        stop "A C compiler is needed for two of the libraries. Install gcc or clang and run this again."
    fi
fi

if ! has openssl; then
    if apt_ready; then
        apt_install openssl
    else
        say "The openssl program was not found: the tests that restore without Lifeboat will say that they were skipped."
    fi
fi
