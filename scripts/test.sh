#!/usr/bin/env bash
# Runs the tests, three programs of them side by side, the longest first: they wait for servers more
# than they compute. Each one's output is printed when it has ended. What it is given goes to
# `cargo test`; where that chooses tests itself, there is one run alone.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO=${CARGO:-cargo}

for word in "$@"; do
    case $word in
    --no-fail-fast | --quiet | -q) ;;
    *) exec "$CARGO" test --locked "$@" ;;
    esac
done

"$CARGO" test --locked --no-run "$@"
longest='kill aftercare parts s3 full_restore screens refusals backup_restore drivers newcomer drill_auto'
all=$(printf '%s\n' tests/*.rs tests/*/main.rs | sed -e 's,^tests/,,' -e 's,/main\.rs$,,' -e 's,\.rs$,,' | LC_ALL=C sort)
rest=$(printf '%s\n' "$all" | grep -vxF "$(printf '%s\n' $longest)")

LIFEBOAT_TURN=$(mktemp)
export LIFEBOAT_TURN
trap 'rm -f "$LIFEBOAT_TURN"' EXIT
one() {
    local said status=0
    said=$(mktemp)
    case $1 in
    units) "$CARGO" test --locked --lib --bins >"$said" 2>&1 || status=1 ;;
    *) "$CARGO" test --locked --test "$1" >"$said" 2>&1 || status=1 ;;
    esac
    # One after the other: no output stands within another's.
    flock "$LIFEBOAT_TURN" cat "$said"
    rm -f "$said"
    return "$status"
}
export -f one

status=0
printf '%s\n' $longest units $rest | xargs -P 3 -I {} bash -c 'one {}' || status=1
"$CARGO" test --locked --doc || status=1
exit "$status"
