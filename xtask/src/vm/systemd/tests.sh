#!/bin/bash
# The unit of deploy/systemd, tried where systemd is process 1. Each function is a test, and its name says what holds. It writes
# lines as a test binary does; what explains a failure goes to stderr.

unit=portreeve
configuration=/etc/portreeve/portreeve.toml
drop_ins=/run/systemd/system/$unit.service.d
base=http://127.0.0.1:19992

# Bits of include/uapi/linux/capability.h: BPF, PERFMON, SYS_PTRACE, DAC_READ_SEARCH; and SYS_ADMIN.
four=000000c000080004
read_search=0000000000000004
none=0000000000000000
looks=0000000000080004
looks_with_admin=0000000000280004

say() { echo "$*" >&2; }

# Waits for what becomes true: within SECONDS COMMAND... On a busy machine a guest's time runs ahead of what it does.
within() {
    local end=$((SECONDS + $1 * 8))
    shift
    until "$@"; do
        if ((SECONDS >= end)); then
            say "never: $*"
            return 1
        fi
        sleep 0.3
    done
}

property() { systemctl show --property "$1" --value $unit.service; }
is() { [[ $(property "$1") == "$2" ]] || { say "$1 is $(property "$1"), not $2"; return 1; }; }
answers() { curl --silent --fail --max-time 60 --output /dev/null "$base$1"; }
page_has() { curl --silent --max-time 60 "$base$1" | grep --quiet --extended-regexp "$2"; }
log() { journalctl --unit $unit --output cat --no-pager --since "@$began"; }
log_has() { log | grep --quiet --fixed-strings "$1"; }
drop_in() { mkdir -p $drop_ins && cat >"$drop_ins/$1.conf" && systemctl daemon-reload; }

# Threads by name, with what each may do.
capabilities_of() {
    local pid
    pid=$(property MainPID)
    for task in /proc/"$pid"/task/*; do
        [[ $(<"$task/comm") == "$1" ]] && awk '/^CapEff/ { print $2 }' "$task/status"
    done | sort --unique
}
keeps() {
    [[ $(capabilities_of "$1") == "$2" ]] || { say "thread $1 has $(capabilities_of "$1"), not $2"; return 1; }
}

# As installed, and nothing of it running.
reset() {
    systemctl stop $unit.socket $unit.service 2>/dev/null
    jobs -p | xargs --no-run-if-empty kill 2>/dev/null
    rm -rf $drop_ins /etc/default/portreeve
    : >$configuration
    # Spans are those of a host; a guest on a busy machine takes many times as long.
    drop_in emulated <<<$'[Service]\nTimeoutStartSec=15min\nWatchdogSec=5min'
    systemctl reset-failed
    began=$(date +%s.%N)
}

the_unit_is_active_once_the_agent_is_ready() {
    systemctl start $unit && answers /-/ready && is ActiveState active && is StatusText "Listeners are reported (fexit)"
}

it_is_nobody_with_four_capabilities_and_no_way_to_more() {
    systemctl start $unit || return
    local status
    status=/proc/$(property MainPID)/status
    grep -E '^(Uid|Cap|NoNewPrivs|Seccomp)' "$status" >&2
    [[ $(awk '/^Uid/ { print $2 }' "$status") != 0 ]] &&
        [[ $(awk '/^CapBnd/ { print $2 }' "$status") == "$four" ]] &&
        grep --quiet --perl-regexp '^NoNewPrivs:\t1' "$status" && grep --quiet --perl-regexp '^Seccomp:\t2' "$status"
}

each_thread_has_what_its_work_needs() {
    systemctl start $unit || return
    log_has 'landlock=enforced' && keeps portreeve $four && keeps looks $looks && keeps http $read_search && keeps log $none &&
        keeps history $none
}

a_listener_on_1992_is_told_with_its_process_unit_and_package() {
    systemctl start $unit || return
    nc -l 1992 &
    within 30 log_has 'alert: nc.openbsd (uid 0 root) opened 1992/tcp on 0.0.0.0' &&
        log_has 'package netcat-openbsd' && within 10 page_has /metrics '^portreeve_alerts\{rule="dormant-port",severity="critical"\} 1'
}

an_alert_reaches_a_webhook() {
    printf '[[webhook]]\nurl = "http://127.0.0.1:24740/hook"\n' >$configuration
    perl -e '$| = 1; use IO::Socket::INET; my $s = IO::Socket::INET->new(Listen => 5, LocalAddr => "127.0.0.1:24740") or die;
        while (my $c = $s->accept) {
            my $length = 0;
            while (<$c>) { $length = $1 if /^content-length: (\d+)/i; last if /^\r?$/ }
            read $c, my $body, $length;
            print "$body\n";
            print $c "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        }' >/tmp/hook &
    systemctl start $unit || return
    nc -l 1992 &
    within 30 grep --quiet '"status":"firing".*nc.openbsd (uid 0 root) opened 1992/tcp on 0.0.0.0' /tmp/hook
}

what_listened_before_is_found_in_other_namespaces_too() {
    unshare --net nc -l 24710 &
    nc -l 24711 &
    within 10 pgrep --exact nc >/dev/null
    systemctl start $unit || return
    # Each has its executable, which takes CAP_SYS_PTRACE.
    page_has '/api/v1/listeners?port=24710' '"exe":"/usr/bin/nc.openbsd"' &&
        page_has '/api/v1/listeners?port=24710' '"host_netns":false' &&
        page_has '/api/v1/listeners?port=24711' '"exe":"/usr/bin/nc.openbsd"'
}

its_state_outlives_it() {
    systemctl start $unit || return
    nc -l 24730 &
    within 30 history_has 24730 && systemctl restart $unit && within 30 history_has 24730 &&
        [[ $(stat --format %a /var/lib/portreeve/history.db) == 600 ]]
}
history_has() { portreeve history "$1" 2>&1 | grep --quiet nc.openbsd; }

a_reload_takes_another_configuration() {
    systemctl start $unit || return
    local pid
    pid=$(property MainPID)
    printf '[watch]\nports = ["24720"]\n' >$configuration
    systemctl reload $unit && within 20 page_has /metrics 'portreeve_watched_port_listeners\{port="24720"' &&
        is MainPID "$pid" && is ActiveState active && is StatusText "Listeners are reported (fexit)"
}

a_reload_of_a_wrong_configuration_fails_and_says_so() {
    systemctl start $unit || return
    local pid
    pid=$(property MainPID)
    echo 'nonsense = 1' >$configuration
    ! systemctl reload $unit && is MainPID "$pid" && is ActiveState active && log_has nonsense || return
    # Whoever sends the signal by hand reads it in the status.
    kill -HUP "$pid"
    within 20 status_has 'the last reload failed' && is ActiveState active
}
status_has() { [[ $(property StatusText) == *"$1"* ]]; }

a_wrong_configuration_stops_it_and_it_is_not_started_again() {
    echo 'nonsense = 1' >$configuration
    ! systemctl start $unit || return
    sleep 4
    is ActiveState failed && is ExecMainStatus 78 && is NRestarts 0
}

an_agent_that_stands_still_is_replaced() {
    drop_in watchdog <<<$'[Service]\nWatchdogSec=20s'
    systemctl start $unit || return
    local pid
    pid=$(property MainPID)
    # Longer than the watchdog waits: it hears from a loop that moves.
    sleep 25
    is MainPID "$pid" || return
    kill -STOP "$pid"
    within 60 log_has 'Watchdog timeout' && within 90 is_another "$pid" && within 30 answers /-/ready
}
is_another() { [[ $(property ActiveState) == active && $(property MainPID) != "$1" ]]; }

in_the_kernel() {
    for kind in prog map link; do
        # What systemd itself has there is root's, and each of the agent's belongs to its user or, as links, to its processes.
        bpftool $kind show 2>/dev/null | awk -v kind=$kind '/^[0-9]+:/ { print kind $1 }'
    done | sort
}

a_killed_agent_is_replaced_and_leaves_nothing_in_the_kernel() {
    in_the_kernel >/tmp/without
    systemctl start $unit || return
    local pid
    pid=$(property MainPID)
    in_the_kernel >/tmp/first
    comm -13 /tmp/without /tmp/first >/tmp/of_the_first
    for kind in prog map link; do
        say "$kind: $(grep --count ^$kind /tmp/of_the_first)"
        grep --quiet ^$kind /tmp/of_the_first || return
    done
    kill -KILL "$pid"
    within 60 is_another "$pid" && within 20 nothing_of_the_first || return
    systemctl stop $unit
    within 20 nothing_new
}
nothing_of_the_first() { in_the_kernel | comm -12 - /tmp/of_the_first >/tmp/left && grep --invert-match --fixed-strings --file=<(units_own) /tmp/left >/dev/null && return 1 || return 0; }
# systemd gives each unit a program for its devices, which is not the agent's.
units_own() { bpftool prog show | awk '/name sd_/ { print "prog" $1 }'; echo nothing; }
nothing_new() { [[ -z $(in_the_kernel | comm -13 /tmp/without -) ]]; }

systemd_hands_over_its_socket() {
    mkdir -p /etc/default
    echo 'OPTIONS=--web.systemd-socket' >/etc/default/portreeve
    systemctl start $unit.socket && is ActiveState inactive && answers /-/healthy &&
        within 60 is ActiveState active && answers /-/ready
}

the_unit_takes_away_what_it_says() {
    sed 's/^User=.*/User=probe/; s/^StateDirectory=.*/StateDirectory=probe/; s#/var/lib/portreeve#/var/lib/probe#; s/^RuntimeDirectory=.*//; s/^ExecReload=.*//' \
        /etc/systemd/system/$unit.service | sed 's#^ExecStart=.*#ExecStart=/bin/bash /payload/probe /var/lib/probe#; s/^Type=.*/Type=oneshot/
            s/^Restart=.*//; s/^WatchdogSec=.*//; s/^Environment.*//' >/run/systemd/system/probe.service
    systemctl daemon-reload
    mkdir -p /home/alice /var/lib/unconfined
    echo secret >/home/alice/secret
    install --mode 4755 /usr/bin/id /usr/local/bin/id-of-root
    # Each probe succeeds where nothing is taken away, or it would say nothing.
    bash /payload/probe /var/lib/unconfined >/tmp/unconfined
    systemctl start probe || return
    journalctl --unit probe --output cat --no-pager | grep -E '^(allowed|refused) ' >/tmp/confined
    say "unconfined: $(grep ^refused /tmp/unconfined)"
    say "mounts: $(journalctl --unit probe --output cat --no-pager | grep /var/lib)"
    say "confined: $(grep ^allowed /tmp/confined)"
    ! grep --quiet ^refused /tmp/unconfined && [[ $(wc -l </tmp/confined) == $(wc -l </tmp/unconfined) ]] &&
        [[ $(grep ^allowed /tmp/confined) == 'allowed write its state' ]]
}

# What the unit does not take away, since the agent cannot live without it: the sentence after the setting stands in the log.
what_the_unit_leaves_would_be_missed() {
    local failed=0
    breaks() {
        reset
        printf '[Service]\nRestart=no\nTimeoutStartSec=40\n%s\n' "$1" | drop_in stricter
        if systemctl start $unit 2>/dev/null && { [[ -z $3 ]] || ! $3; }; then
            say "$1 breaks nothing"
            failed=1
        elif [[ -n $2 ]] && ! log_has "$2"; then
            say "$1: the log says nothing of '$2': $(log | tail -3)"
            failed=1
        fi
    }
    breaks 'PrivateUsers=yes' 'cannot load the kernel object'
    breaks 'AmbientCapabilities=
AmbientCapabilities=CAP_PERFMON' 'CAP_BPF is missing'
    breaks 'SystemCallFilter=~bpf' 'cannot load the kernel object'
    breaks 'ProcSubset=pid' ''
    breaks 'RestrictAddressFamilies=~AF_UNIX' ''
    breaks 'MemoryMax=16M' 'Failed with result'
    breaks 'PrivateNetwork=yes' '' no_answer
    return $failed
}
no_answer() { ! curl --silent --fail --max-time 5 --output /dev/null $base/-/healthy; }

with_more_conf_namespaces_are_entered_on_one_thread() {
    ip netns add kept
    systemctl start $unit || return
    within 20 log_has 'cannot be looked into' || say "nothing was unseen without it: $(log | tail -3)"
    systemctl stop $unit
    mkdir -p $drop_ins && cp /payload/more.conf $drop_ins/ && systemctl daemon-reload
    began=$(date +%s.%N)
    systemctl start $unit || return
    keeps looks $looks_with_admin && keeps portreeve $four && ! log_has 'cannot be looked into'
    local outcome=$?
    ip netns delete kept
    return $outcome
}

# Its memory is limited, and a host has as many listeners as somebody opens.
ten_thousand_listeners_leave_it_room() {
    local limit
    systemctl start $unit || return
    (ulimit -n 11000 && exec perl -e '$| = 1; use IO::Socket::INET;
        my @all = map { IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1") or die } 1 .. 10_000; print "open\n"; sleep 3600' >/tmp/many) &
    within 60 grep --quiet open /tmp/many && within 60 has_ten_thousand || return
    # A look at all of them, the page and its numbers.
    page_has /metrics '^portreeve_listeners' && page_has / '<table' && page_has '/api/v1/listeners?limit=1000' '"total":1' || return
    limit=$(property MemoryMax)
    say "peak of its memory with 10,000 listeners: $(peak) of $limit"
    is NRestarts 0 && (($(peak) < limit * 3 / 4))
}
peak() { cat /sys/fs/cgroup/system.slice/$unit.service/memory.peak; }
has_ten_thousand() { page_has '/api/v1/listeners?limit=1' '"total":1[0-9]{4}'; }

# A runtime of Kubernetes' own kind, with an image of busybox that nobody had to fetch.
runtime_is_up() {
    local image=registry.example.com/shop/web:7
    [[ -e /run/containerd/containerd.sock ]] && return
    groupadd --system cri
    mkdir -p /etc/containerd /tmp/image/bin
    cat >/etc/containerd/config.toml <<EOF
version = 2
[grpc]
gid = $(getent group cri | cut -d: -f3)
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$image"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = true
EOF
    touch /etc/hosts /etc/resolv.conf
    cp /payload/busybox /tmp/image/bin/
    ln -s busybox /tmp/image/bin/sleep
    ln -s busybox /tmp/image/bin/nc
    cd /tmp || return
    tar -C image -cf layer.tar bin
    echo '{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/bin/sleep"],"Cmd":["100000"]},"rootfs":{"type":"layers",
        "diff_ids":["sha256:'"$(sha256sum layer.tar | cut -d' ' -f1)"'"]}}' >config.json
    echo '[{"Config":"config.json","RepoTags":["'$image'"],"Layers":["layer.tar"]}]' >manifest.json
    tar -cf image.tar manifest.json config.json layer.tar
    systemctl start containerd && ctr --namespace k8s.io images import --snapshotter native image.tar >&2
}

a_container_of_containerd_is_named_with_its_pod_and_image() {
    local uid=8c2f4a1e-0b57-4d0e-9a44-6f1c6b0b9d11 container
    runtime_is_up || return
    mkdir -p /var/log/pods/shop_web-0_$uid
    container=$(perl /payload/pod /run/containerd/containerd.sock web-0 shop $uid registry.example.com/shop/web:7 \
        /bin/nc -l -p 1992) || return
    within 30 port_is_open 1992 || return
    echo 'OPTIONS=--cri.socket=/run/containerd/containerd.sock' >/etc/default/portreeve
    systemctl start $unit || return
    # The socket is root's and its group's, and the unit is neither.
    within 20 log_has 'containerd.sock: cannot connect: Permission denied' && page_has "$at_1992" '"image":null' || return
    drop_in group <<<$'[Service]\nSupplementaryGroups=cri'
    # A runtime that does not answer is not waited for, and asked again at the next look.
    printf '[agent]\nreconcile = "2s"\n' >$configuration
    kill -STOP "$(systemctl show --property MainPID --value containerd)"
    systemctl restart $unit && within 20 log_has 'no answer within' && page_has "$at_1992" '"image":null'
    local outcome=$?
    kill -CONT "$(systemctl show --property MainPID --value containerd)"
    ((outcome == 0)) && within 60 has_image || return
    page_has "$at_1992" '"runtime":"containerd"' && page_has "$at_1992" "\"id\":\"$container\"" &&
        page_has "$at_1992" '"pod":"web-0","namespace":"shop"' && keeps images $read_search
    outcome=$?
    ctr --namespace k8s.io task kill --signal KILL "$container"
    within 30 gone 1992
    return $outcome
}
at_1992='/api/v1/listeners?port=1992'
port_is_open() { ss -Hltn "sport = :$1" | grep --quiet .; }
gone() { ! port_is_open "$1"; }
has_image() { page_has "$at_1992" '"image":"registry.example.com/shop/web:7"'; }

tests=(
    the_unit_is_active_once_the_agent_is_ready
    it_is_nobody_with_four_capabilities_and_no_way_to_more
    each_thread_has_what_its_work_needs
    a_listener_on_1992_is_told_with_its_process_unit_and_package
    an_alert_reaches_a_webhook
    what_listened_before_is_found_in_other_namespaces_too
    its_state_outlives_it
    a_reload_takes_another_configuration
    a_reload_of_a_wrong_configuration_fails_and_says_so
    a_wrong_configuration_stops_it_and_it_is_not_started_again
    an_agent_that_stands_still_is_replaced
    a_killed_agent_is_replaced_and_leaves_nothing_in_the_kernel
    systemd_hands_over_its_socket
    the_unit_takes_away_what_it_says
    what_the_unit_leaves_would_be_missed
    with_more_conf_namespaces_are_entered_on_one_thread
    ten_thousand_listeners_leave_it_room
    a_container_of_containerd_is_named_with_its_pod_and_image
)

filter=$(</payload/filter)
mapfile -t chosen < <(printf '%s\n' "${tests[@]}" | grep --fixed-strings -- "$filter")
failures=0
echo "running ${#chosen[@]} tests"
for test in "${chosen[@]}"; do
    reset
    say "--- $test, after $(cut -d' ' -f1 /proc/uptime) s"
    if $test >&2; then
        echo "test systemd::$test ... ok"
    else
        echo "test systemd::$test ... FAILED"
        log | tail -15 >&2
        failures=$((failures + 1))
    fi
    if [[ $test == the_unit_is_active* ]]; then
        say "peak of its memory: $(peak)"
    fi
done
reset
((failures == 0))
