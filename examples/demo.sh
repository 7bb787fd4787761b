#!/bin/bash
# The main job on a screen:
#   make demo [EXAMPLE=linreg|two-providers] [KIND=bin|python] [MODE=vm|host]
#
# Starts the real programs on free ports in a private directory, plays an
# example against them and takes everything down again. However it ends, also
# by Ctrl-C, it leaves no process and no file. The agent and what belongs to it
# run in a virtual machine, or with MODE=host as processes beside the others;
# also where this machine can't start a VM. examples/<name>/play.sh holds
# what is special to an example:
#
#   play_prepare   makes keys and datasets in $tmp, fills cvms_flags
#   play_upload    brings algorithm and data to the agent
#   play_fetch     fetches the result and shows it
set -u
cd "$(dirname "$0")/.." || exit 1

BUILD=${BUILD:-build}
EXAMPLE=${EXAMPLE:-linreg}
KIND=${KIND:-bin}
MODE=${MODE:-vm}
PATIENCE_S=${DEMO_PATIENCE_S:-60} # for each thing that is waited for

tmp=${TMPDIR:-/tmp}/cocos-demo.$(od -An -N4 -tx1 /dev/urandom | tr -d ' ')
daemons=() # "pid name" of what has been started, in that order
foreground=
reader=
guard=
vm= # id of the VM while there is one
cvms_flags=()

bold= dim= plain= clear=
if [ -t 1 ]; then
    clear=$'\r\e[K'
    [ -n "${NO_COLOR:-}" ] || bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi

# ------------------------------------------------------------------ what is said

title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
say() { printf '%s\n' "$@"; }

# What happens is shown with the command that a person would type.
shown() {
    local words=$*
    words=${words//"$tmp"\//}
    printf '%s$ %s%s\n' "$dim" "${words//"$BUILD"/build}" "$plain"
}

fail() {
    local log
    printf '%sdemo: %s\n' "$clear" "$*" >&2
    for log in "$tmp"/log/*; do
        [ -s "$log" ] || continue
        printf -- '---- the last lines of %s\n' "${log##*/}" >&2
        tail -n 15 "$log" >&2
    done
    exit 1
}

# ------------------------------------------------------------- start and stop

# Whatever ends this script comes by here, once.
clean_up() {
    local status=$? pid
    trap '' INT TERM HUP
    trap - EXIT
    stop_daemons ${foreground:-} "${!:-}"
    [ -z "$guard" ] || kill -TERM "$guard" 2>/dev/null
    if [ -O "$tmp" ]; then
        kill_strays
        chmod -R u+rwX "$tmp" 2>/dev/null
        rm -rf "$tmp"
    fi
    [ "$status" -lt 128 ] || printf '%sdemo: interrupted; all programs are stopped, all files removed\n' "$clear" >&2
    exit "$status"
}

# Processes that still work in our directory or on files of it: an algorithm that outlived its runner,
# or the QEMU of a VM, which by design outlives its manager.
strays() {
    local at pid words
    for at in /proc/[0-9]*; do
        pid=${at#/proc/}
        [ "$pid" != $$ ] || continue
        words=()
        { mapfile -d '' -t words <"$at/cmdline"; } 2>/dev/null
        case "$(readlink "$at/cwd" 2>/dev/null)/ ${words[*]:-}" in
        "$tmp"/* | *" $tmp"/* | *[=,:]"$tmp"/*) printf '%s\n' "$pid" ;;
        esac
    done
}

kill_strays() {
    local i pid found
    for ((i = 0; i < 100; i++)); do
        found=$(strays)
        [ -n "$found" ] || break
        for pid in $found; do
            kill -KILL "$pid" 2>/dev/null
        done
        sleep 0.05
    done
    drop_cgroups
}

# A VM that was killed leaves its cgroup, empty; a file in its directory names it.
drop_cgroups() {
    local note
    for note in "$tmp"/r/vms/*/cgroup; do
        [ ! -f "$note" ] || rmdir "$(cat "$note")" 2>/dev/null || :
    done
}

# A VM would outlive this script if that were killed outright: this process then ends it and removes the files.
watch_over() {
    trap - EXIT
    trap '' INT HUP
    tail --pid=$$ -s 0.2 -f /dev/null &
    trap 'kill $!; exit 0' TERM
    wait $!
    kill_strays
    rm -rf "$tmp"
}

alive() { kill -0 "$1" 2>/dev/null; }

# Asks the daemons, last one first, and the processes given to end; insists after a while.
stop_daemons() {
    local i pid pids=("$@")
    for ((i = ${#daemons[@]} - 1; i >= 0; i--)); do
        pids+=("${daemons[i]%% *}")
    done
    for pid in ${pids[@]+"${pids[@]}"}; do
        [ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null
    done
    for pid in ${pids[@]+"${pids[@]}"}; do
        [ -n "$pid" ] || continue
        for ((i = 0; i < 100; i++)); do
            alive "$pid" || break
            sleep 0.05
        done
        alive "$pid" && kill -KILL "$pid" 2>/dev/null
    done
    # The reader ends with its last writer; should one have got away, that must not hold this script.
    for ((i = 0; i < 100; i++)); do
        [ -n "$reader" ] && alive "$reader" || break
        sleep 0.05
    done
    [ -z "$reader" ] || kill -KILL "$reader" 2>/dev/null
    reader=
}

# start <name> <command...>: a daemon with a log of its own. It has a session of its own, so that Ctrl-C
# reaches only this script, which then stops all in good order; and it dies with this script whatever happens.
start() {
    local name=$1 out=${start_output:-$tmp/log/$1}
    shift
    setsid setpriv --pdeathsig TERM -- "$@" </dev/null >"$out" 2>>"$tmp/log/$name" &
    daemons+=("$! $name")
}

# A step in the foreground; a signal to this script is answered while it runs.
run() {
    local status
    "$@" </dev/null &
    foreground=$!
    wait "$foreground"
    status=$?
    foreground=
    return "$status"
}

# wait_for <file> <regex> <what> <pid of whoever writes it>: until a line of the file matches.
wait_for() {
    local file=$1 regex=$2 what=$3 pid=$4 deadline=$((SECONDS + PATIENCE_S))
    until grep -Eq "$regex" "$file" 2>/dev/null; do
        alive "$pid" || fail "$what: the program has ended"
        [ "$SECONDS" -lt "$deadline" ] || fail "$what: not within $PATIENCE_S s"
        sleep 0.02
    done
}

# The addr of a program's ready line.
address_of() { sed -n 's/.*"msg":"ready".*"addr":"\([^"]*\)".*/\1/p' "$1" | tail -n 1; }

# Lines of cvms-test as they come: all of them to a file, those for people to the screen. What it says of
# itself is JSON here, and a line break within an agent's log is "\x0a".
show_cvms() {
    local line part
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$tmp/log/cvms-test"
        if [[ $line == \{* ]]; then
            [[ $line =~ \"msg\":\"(([^\"\\]|\\.)*)\" ]] || continue
            line=${BASH_REMATCH[1]}
            [[ $line != 'local '* && $line != ready ]] || continue
        fi
        line=${line%'\x0a'}
        while IFS= read -r part; do
            printf '%s%s  cvms-test | %s%s\n' "$clear" "$dim" "$part" "$plain"
        done <<<"${line//'\x0a'/$'\n'}"
    done
}

# --------------------------------------------------------------------- the story

start_platform() {
    local cvms
    if [ "$MODE" = vm ]; then
        title "2. The platform: a virtual machine for this computation alone"
    else
        title "2. The platform: four programs, each in its own process"
    fi
    say "cvms-test orders the computation. It waits for an agent and sends it the manifest:" \
        "who may bring what, by key and hash, and who gets the result."
    shown cvms-test "${cvms_flags[@]}"
    mkfifo "$tmp/cvms.fifo" || exit 1
    show_cvms <"$tmp/cvms.fifo" &
    reader=$!
    start_output=$tmp/cvms.fifo HOST=127.0.0.1 PORT=0 start cvms-test \
        "$BUILD/cvms-test" "${cvms_flags[@]}" -output text
    cvms=$!
    wait_for "$tmp/log/cvms-test" '"msg":"ready"' "cvms-test listens" "$cvms"

    AGENT_CVM_GRPC_URL=$(address_of "$tmp/log/cvms-test")
    if [ "$MODE" = vm ]; then
        start_in_vm
    else
        start_on_host
    fi
    say "" "The agent listens at $AGENT_GRPC_URL."
}

start_on_host() {
    local agent
    export AGENT_CVM_GRPC_URL AGENT_CVM_ID=cvm-1
    say "The log forwarder carries logs and events to it; the runner is the only one that runs foreign code."
    start log-forwarder "$BUILD/cocos-log-forwarder"
    wait_for "$tmp/log/log-forwarder" '"msg":"ready"' "the log forwarder listens" $!
    start runner "$BUILD/cocos-runner"
    wait_for "$tmp/log/runner" '"msg":"ready"' "the runner listens" $!

    say "The agent connects to cvms-test, takes the manifest and from then on listens for those it names."
    AGENT_GRPC_HOST=127.0.0.1 AGENT_GRPC_PORT=0 AGENT_LOG_LEVEL=info start agent "$BUILD/cocos-agent"
    agent=$!
    wait_for "$tmp/log/agent" '"msg":"ready"' "the agent has its manifest and listens" "$agent"
    wait_for "$tmp/log/cvms-test" 'event ReceivingAlgorithm/' "the agent asks for the algorithm" "$agent"
    AGENT_GRPC_URL=$(address_of "$tmp/log/agent")
    export AGENT_GRPC_URL
}

# What the manager is told: the guest that was built, started the fast way.
vm_settings() {
    local flavour=minimal
    [ "$KIND" = bin ] || flavour=python
    export MANAGER_QEMU_DISK_IMG_KERNEL_FILE=$BUILD/guest/vmlinux
    export MANAGER_QEMU_DISK_IMG_ROOTFS_FILE=$BUILD/guest/initrd-$flavour.cpio
    # Plain VMs, whatever the host has: nothing but packages is asked for.
    export MANAGER_QEMU_ENABLE_SEV_SNP=false MANAGER_QEMU_ENABLE_TDX=false MANAGER_QEMU_ENABLE_GPU=false
    export MANAGER_QEMU_BOOT=fast MANAGER_QEMU_MEMORY_SIZE=512M
    export MANAGER_QEMU_SMP_COUNT=1 MANAGER_QEMU_SMP_MAXCPUS=1 MANAGER_QEMU_HOST_FWD_ADDR=127.0.0.1
    export MANAGER_QEMU_KERNEL_CMDLINE="console=ttyS0 quiet panic=-1 cryptomgr.notests rodata=off \
no_timer_check tsc=unstable cocos.ip=10.0.2.15/24 cocos.gateway=10.0.2.2"
    export MANAGER_GRPC_HOST=127.0.0.1 MANAGER_GRPC_PORT=0 MANAGER_HTTP_HOST=127.0.0.1 MANAGER_HTTP_PORT=0
}

# Without what a VM needs the short way still shows the job. KVM is for the manager to try.
choose_mode() {
    [ "$MODE" = vm ] || return
    vm_settings
    MANAGER_QEMU_ENABLE_KVM=false run cocos-cli doctor >"$tmp/doctor" 2>&1 && return
    MODE=host
    say "No virtual machine can be started here, so the computation will run on this host, as MODE=host does." \
        "'cocos-cli doctor' says:"
    grep -A1 '^fail' "$tmp/doctor" | grep -v '^--$'
}

# Whether KVM works is found out by trying, which takes seconds where it does not: the answer, which names the
# boot of this machine and the QEMU, is kept beside the guest.
verdict_on_kvm() {
    local here=$BUILD/guest/kvm-probe.json there=$tmp/state/manager/kvm-probe.json
    case $1 in
    take) [ ! -f "$here" ] || { mkdir -m 700 "$tmp/state/manager" && cp "$here" "$there"; } ;;
    keep) [ ! -f "$there" ] || cp "$there" "$here" 2>/dev/null || : ;;
    esac
}

# The VM's own account of its start, as far as it goes: lines that were not shown yet. False when there is no VM.
show_console() {
    local line
    run cocos-cli vm console "$vm" >"$tmp/console" 2>/dev/null || return
    cp "$tmp/console" "$tmp/log/console"
    while IFS= read -r line; do
        [[ $line =~ boot\ +phase=([a-z-]+)\ +up_ms=([0-9]+) ]] || continue
        case " $phases_shown " in *" ${BASH_REMATCH[1]} "*) continue ;; esac
        phases_shown+=" ${BASH_REMATCH[1]}"
        printf '%s%s  console   | %2d.%03d s  %s%s\n' "$clear" "$dim" $((BASH_REMATCH[2] / 1000)) \
            $((BASH_REMATCH[2] % 1000)) "${BASH_REMATCH[1]}" "$plain"
    done <"$tmp/console"
}

start_in_vm() {
    local manager deadline phases_shown=
    say "" "The manager starts VMs on this host for whoever it serves. Each has a TPM of its own (swtpm)."
    watch_over </dev/null >/dev/null 2>&1 &
    guard=$!
    verdict_on_kvm take
    start manager "$BUILD/cocos-manager"
    manager=$!
    wait_for "$tmp/log/manager" '"msg":"ready"' "the manager listens" "$manager"
    verdict_on_kvm keep
    MANAGER_GRPC_URL=$(address_of "$tmp/log/manager")
    export MANAGER_GRPC_URL
    if grep -q '"accelerator":"tcg"' "$tmp/log/manager"; then
        say "KVM does not work here, so the VM runs under software emulation: slower, and all the same otherwise."
    fi
    # Within the VM, 10.0.2.2 is this host. The ttl is for the case that nobody removes it.
    shown cocos-cli create-vm --server-url "10.0.2.2:${AGENT_CVM_GRPC_URL##*:}" --ttl 15m
    run cocos-cli create-vm --server-url "10.0.2.2:${AGENT_CVM_GRPC_URL##*:}" --ttl 15m --json >"$tmp/vm.json" ||
        fail "no VM was created"
    vm=$(sed -n 's/.*"cvm_id":"\([^"]*\)".*/\1/p' "$tmp/vm.json")
    AGENT_GRPC_URL=127.0.0.1:$(sed -n 's/.*"forwarded_port":"\([0-9]*\)".*/\1/p' "$tmp/vm.json")
    export AGENT_GRPC_URL
    say "" "It boots; the log forwarder, the runner and the agent start in it, and the agent fetches the manifest."
    shown cocos-cli vm console "$vm"
    deadline=$((SECONDS + PATIENCE_S))
    # The agent may be heard of before its init says, by another way, that the start is complete.
    until [[ $phases_shown == *" complete"* ]] && grep -q 'event ReceivingAlgorithm/' "$tmp/log/cvms-test"; do
        show_console || fail "the VM has ended"
        [ "$SECONDS" -lt "$deadline" ] || fail "the agent asks for the algorithm: not within $PATIENCE_S s"
        sleep 0.2
    done
}

remove_vm() {
    [ -n "$vm" ] || return
    shown cocos-cli remove-vm "$vm"
    run cocos-cli remove-vm "$vm" || fail "the VM was not removed"
    vm=
}

wait_for_result() {
    local cvms=${daemons[0]%% *}
    if [ "$MODE" = vm ]; then
        title "4. The computation runs, in the VM"
    else
        title "4. The computation runs, in its own process"
    fi
    say "What the algorithm prints arrives here as log; each change of state arrives as an event."
    wait_for "$tmp/log/cvms-test" 'event (ConsumingResults|Failed)/' "the algorithm ends" "$cvms"
    ! grep -q 'event Failed/' "$tmp/log/cvms-test" || fail "the computation has failed"
}

# Every daemon ends on request, and with success.
end_platform() {
    local entry bad=
    wait_for "$tmp/log/cvms-test" 'event Complete/' "the end is reported" "${daemons[0]%% *}"
    remove_vm
    stop_daemons
    for entry in "${daemons[@]}"; do
        wait "${entry%% *}" || bad="$bad ${entry#* } ($?)"
    done
    daemons=()
    [ -z "$bad" ] || fail "ended with an error:$bad"
}

case $KIND in
bin | python) ;;
*) echo "demo: KIND=$KIND: bin or python is wanted" >&2 && exit 2 ;;
esac
case $MODE in
vm | host) ;;
*) echo "demo: MODE=$MODE: vm or host is wanted" >&2 && exit 2 ;;
esac
case $EXAMPLE in
linreg | two-providers) ;;
*) echo "demo: EXAMPLE=$EXAMPLE: linreg or two-providers is wanted" >&2 && exit 2 ;;
esac
for program in cvms-test cocos-manager cocos-log-forwarder cocos-runner cocos-agent cocos-cli; do
    [ -x "$BUILD/$program" ] || { echo "demo: $BUILD/$program is not built; run make" >&2 && exit 2; }
done
BUILD=$(cd "$BUILD" && pwd)
PATH=$BUILD:$PATH

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
mkdir -m 700 "$tmp" || exit 1
mkdir -m 700 "$tmp/r" "$tmp/state" "$tmp/work" "$tmp/log" || exit 1
export COCOS_RUN_DIR=$tmp/r COCOS_STATE_DIR=$tmp/state COCOS_WORK_DIR=$tmp/work

# shellcheck disable=SC1090 # one of the names above
. "examples/$EXAMPLE/play.sh"
choose_mode
play_prepare
start_platform
title "3. Algorithm and data come, straight from their owners to the agent"
play_upload
wait_for_result
title "5. The result, for its consumer only"
play_fetch
end_platform
title "Done. All programs have ended; $tmp is removed."
