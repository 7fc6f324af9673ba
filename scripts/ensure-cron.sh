#!/usr/bin/env bash
# Sees to pg_cron for the server whose programs are in the folder $1: from the distribution, when
# root. Nothing is configured; a server loads it only where it is told to.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

libraries=$("$1/pg_config" --pkglibdir 2>/dev/null) || libraries=$1/../lib
[ -e "$libraries/pg_cron.so" ] && exit 0
version=$("$1/postgres" --version | sed 's/.* \([0-9][0-9]*\)\..*/\1/')
apt_ready || stop "pg_cron is needed for PostgreSQL $version. Install it (postgresql-$version-cron) and run this again as root."
apt_install "postgresql-$version-cron"
[ -e "$libraries/pg_cron.so" ] || stop "postgresql-$version-cron has not brought $libraries/pg_cron.so."
