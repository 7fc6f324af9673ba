#!/usr/bin/env bash
# Sees to systemd's programs for the test of its unit, which starts one in namespaces of its own;
# installed from the distribution when root. This machine's own services are not touched.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

[ -x /lib/systemd/systemd ] && has systemctl && has journalctl && has nsenter && has unshare && exit 0
apt_ready || stop "systemd, nsenter and unshare are needed. Install them (systemd, util-linux) and run this again as root."
apt_install systemd util-linux
