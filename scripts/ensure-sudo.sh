#!/usr/bin/env bash
# Sees to sudo for the test in which the server's user recovers through it: the distribution's
# package, when root. No rule is written here; the test writes one and removes it.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

has sudo && has visudo && exit 0
{ apt_ready && apt_install sudo; } || say "sudo could not be had: recoveries through it will not be tested."
