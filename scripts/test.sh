#!/usr/bin/env bash
# Runs the tests in two halves side by side: they wait for servers more than they compute. What it
# is given goes to `cargo test`; where that chooses tests itself, there is one run alone.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

for word in "$@"; do
    case $word in
    --no-fail-fast | --quiet | -q) ;;
    *) exec "$cargo" test --locked "$@" ;;
    esac
done

"$cargo" test --locked --no-run "$@"
halves=([0]='' [1]='--lib --bins')
turn=0
for file in $(printf '%s\n' tests/*.rs tests/*/main.rs | LC_ALL=C sort); do
    name=${file#tests/}
    name=${name%/main.rs}
    halves[turn]+=" --test ${name%.rs}"
    turn=$((1 - turn))
done

second=$(mktemp)
trap 'rm -f "$second"' EXIT
# shellcheck disable=SC2086 # Words on purpose.
"$cargo" test --locked "$@" ${halves[1]} >"$second" 2>&1 &
other=$!
status=0
# shellcheck disable=SC2086
"$cargo" test --locked "$@" ${halves[0]} || status=$?
wait "$other" || status=$?
cat "$second"
[ "$status" -ne 0 ] || "$cargo" test --locked --doc || status=$?
exit "$status"
