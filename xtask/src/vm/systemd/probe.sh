#!/bin/bash
# Tries what a service could do with a host, and says of each whether it was allowed. $1 is a folder of its own.

try() {
    local what=$1
    shift
    if "$@" >/dev/null 2>&1; then
        echo "allowed $what"
    else
        echo "refused $what"
    fi
}

try 'write its state' touch "$1/mine"
try 'write to /usr' touch /usr/bin/planted
try 'write to /etc' touch /etc/planted
try 'write to /root' touch /root/planted
try 'write to other state' touch /var/lib/dpkg/planted
try 'read homes' grep secret /home/alice/secret
cp /usr/bin/true "$1/program"
grep /var/lib /proc/self/mountinfo >&2
try 'run what it wrote' "$1/program"
try 'become root by a setuid program' sh -c '[ "$(id-of-root --user)" = 0 ]'
try 'make a program setuid' chmod u+s "$1/program"
try 'make a network namespace' unshare --net true
try 'make a user namespace' unshare --user true
try 'mount' sh -c 'mount -t tmpfs none /mnt && umount /mnt'
try 'read the log of the kernel' dmesg
try 'set the host name' sh -c 'hostname "$(hostname)"'
try 'set the clock' date --set "$(date '+%F %T')"
try 'change a kernel setting' sh -c 'echo 0 >/proc/sys/vm/panic_on_oom'
try 'change a control group' sh -c 'mkdir /sys/fs/cgroup/planted && rmdir /sys/fs/cgroup/planted'
try 'make a device' mknod "$1/device" c 1 3
try 'open a raw socket' perl -e 'use Socket; socket(my $s, AF_INET, SOCK_RAW, 1) or exit 1'
try 'listen to all packets' perl -e 'socket(my $s, 17, 3, 0) or exit 1'
try 'signal a process of somebody else' kill -0 1
try 'change its scheduling' renice -n -5 -p $$
try 'become another user' perl -e '$> = 1; exit($> != 1)'
try 'change its personality' setarch --addr-no-randomize true
# perf_event_open with nothing in its arguments: EFAULT (14) where the call gets through.
try 'open performance events' perl -e 'syscall(298, 0, 0, -1, -1, 0); exit($! != 14)'
