#!/bin/bash
# A stand-in for systemd and its systemctl, for tests: this machine need not run systemd. It keeps
# units that are folders beside it, each with a file "unit" that names BIN, DATA, and USER_ID where
# another user's. What it does as systemd would: one keeper process a unit, Type=notify without its
# waiting, Restart=on-failure after 0.1 s and at most three times, KillSignal=SIGINT, exit codes
# 0, 1, 3 and 5, and the properties that are asked for. What a stop by signal would do, it undoes.
set -u
here=$(cd "$(dirname "$0")" && pwd)
verb='' unit='' block=yes
for word; do
    case $word in
    --no-ask-password | --property=*) ;;
    --no-block) block= ;;
    -*) echo "systemctl: unrecognized option '$word'" >&2 && exit 1 ;;
    *) if [ -z "$verb" ]; then verb=$word; else unit=${word%.service}; fi ;;
    esac
done
place=$here/units/$unit
BIN='' DATA='' USER_ID=''

put() { printf '%s\n' "$2" >"$place/$1.new.$$" && mv "$place/$1.new.$$" "$place/$1"; }
get() { cat "$place/$1" 2>/dev/null || echo "$2"; }

begin() {
    local as=()
    [ -z "$USER_ID" ] || as=(setpriv "--reuid=$USER_ID" "--regid=$(id -g "$USER_ID")" --init-groups)
    exec "${as[@]}" "$BIN/postgres" -D "$DATA"
}

# The part of systemd that watches over the service.
keep() {
    local tries=0 main code
    cd / || exit 1
    while :; do
        (begin) &
        main=$!
        put main $main
        put active active
        [ ! -e "$place/stopping" ] || kill -INT $main
        wait $main
        code=$?
        put main 0
        [ ! -e "$place/stopping" ] || { put active inactive && return; }
        [ $code != 0 ] || { put active inactive && return; }
        tries=$((tries + 1))
        put restarts $tries
        put result exit-code
        [ $tries -le 3 ] || { put active failed && return; }
        put active activating
        sleep 0.1
        [ ! -e "$place/stopping" ] || { put active inactive && return; }
    done
}

missing() { echo "Unit $unit.service not found." >&2 && exit 5; }

if [ ! -e "$place/unit" ]; then
    [ "$verb" = show ] || missing
    printf 'LoadState=not-found\nActiveState=inactive\nMainPID=0\n'
    exit 0
fi
# shellcheck source=/dev/null
. "$place/unit"
active=$(get active inactive)
case $verb in
keep) keep ;;
show)
    printf 'Type=notify\nMainPID=%s\nResult=%s\nExecStart={ path=%s ; argv[]=%s -D %s ; }\n' \
        "$(get main 0)" "$(get result success)" "$BIN/postgres" "$BIN/postgres" "$DATA"
    printf 'Environment=\nLoadState=loaded\nActiveState=%s\n' "$active"
    ;;
is-active) echo "$active" && { [ "$active" = active ] || exit 3; } ;;
reset-failed) [ "$active" != failed ] || put active inactive ;;
start)
    case $active in active | activating) exit 0 ;; esac
    rm -f "$place/stopping"
    put active activating
    put result success
    setsid "$0" keep "$unit" </dev/null >>"$place/journal" 2>&1 &
    while [ -n "$block" ] && [ "$(get active activating)" = activating ]; do sleep 0.02; done
    ;;
stop)
    case $active in inactive | failed) exit 0 ;; esac
    touch "$place/stopping"
    main=$(get main 0)
    [ "$main" = 0 ] || kill -INT "$main"
    while [ -n "$block" ] && [ "$(get active inactive)" != inactive ]; do sleep 0.02; done
    ;;
*) echo "Unknown command verb $verb." >&2 && exit 1 ;;
esac
