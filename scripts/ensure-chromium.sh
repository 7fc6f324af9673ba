#!/usr/bin/env bash
# Sees to a Chromium that runs without a screen, and to the programs that look at a PDF (poppler),
# which the report's heavy test asks: what is installed, else the distribution's packages as root. What
# cannot be had is said here and by the test.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

missing=()
has chromium || has chromium-browser || has google-chrome || missing+=(chromium)
has pdftoppm || missing+=(poppler-utils)
[ "${#missing[@]}" -gt 0 ] || exit 0

if apt_ready && apt_install "${missing[@]}"; then exit 0; fi
say "Could not be had: ${missing[*]}. The report will not be looked at with them."
