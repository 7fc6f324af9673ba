#!/bin/bash
# A systemd for a test, of this machine's own program and without touching this machine: in namespaces
# of its own (pid, mount, cgroup, ipc, uts, net), with units of its own alone, and every file outside
# FOLDER read-only. What is /run, /etc/systemd and /var/lib there is memory. Needs root and cgroup2.
#
#   systemd.sh boot FOLDER     becomes the parent of that systemd, which ends with this process
#
# FOLDER/pid then holds its number as seen from outside, for nsenter -a -t; FOLDER/branch its branch of
# the cgroups, to be removed by whoever started it; FOLDER/units are its units; FOLDER/console is what
# it says itself.
set -eu
system=/lib/systemd/system

boot() {
    folder=$(readlink -f "$1")
    mkdir -p "$folder/units"
    for target in sysinit basic shutdown network-online multi-user; do
        printf '[Unit]\nDescription=%s\nDefaultDependencies=no\n' "$target" >"$folder/units/$target.target"
    done
    # The journal, without what only a machine's first one may have.
    cp "$system"/systemd-journald.{socket,service} "$folder/units/"
    sed -i 's/ systemd-journald-\(audit\|dev-log\).socket//g' "$folder/units/systemd-journald.service"
    hierarchy=$(awk '/ - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
    [ -n "$hierarchy" ] || { echo 'no cgroup2 is mounted' >&2 && exit 1; }
    branch=$hierarchy/lifeboat-test-$$
    mkdir "$branch"
    printf '%s\n' "$branch" >"$folder/branch"
    # Its namespace takes the branch for the whole tree.
    echo $$ >"$branch/cgroup.procs"
    exec unshare --mount --pid --cgroup --ipc --uts --net --fork --kill-child=SIGKILL \
        --propagation private "$0" inside "$folder"
}

inside() {
    folder=$1
    # By the old /proc, which still counts from outside.
    read -r outer _ </proc/self/stat
    mount -t proc proc /proc
    # The kernel's settings are everybody's.
    mount --bind /proc/sys /proc/sys
    mount -o remount,bind,ro /proc/sys
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount --bind "$folder" "$folder"
    mount -o remount,bind,ro /
    for memory in /run /var/lib /etc/systemd; do mount -t tmpfs -o mode=755 tmpfs "$memory"; done
    mkdir /etc/systemd/system
    mount --bind "$folder/units" /etc/systemd/system
    printf '[Journal]\nStorage=volatile\nAudit=no\nReadKMsg=no\n' >/etc/systemd/journald.conf
    # Nothing of this machine's own is generated or started there.
    mount -t tmpfs tmpfs /lib/systemd/system-generators
    : >"$folder/console"
    mount --bind "$folder/console" /dev/console
    printf '%s\n' "$outer" >"$folder/pid"
    exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=lifeboat \
        SYSTEMD_UNIT_PATH=/etc/systemd/system /lib/systemd/systemd --system \
        --unit=systemd-journald.service --log-target=console --show-status=no
}

"$@"
