#!/bin/bash
# The main job on a screen: make demo [EXAMPLE=linreg|two-providers] [KIND=bin|python]
#
# Starts the real programs on free ports in a private directory, plays an
# example against them and takes everything down again. However it ends, also
# by Ctrl-C, it leaves no process and no file. examples/<name>/play.sh holds
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
PATIENCE_S=${DEMO_PATIENCE_S:-30} # for each thing that is waited for

tmp=${TMPDIR:-/tmp}/cocos-demo.$(od -An -N6 -tx1 /dev/urandom | tr -d ' ')
daemons=() # "pid name" of what has been started, in that order
foreground=
reader=
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
    if [ -O "$tmp" ]; then
        for pid in $(strays); do
            kill -KILL "$pid" 2>/dev/null
        done
        chmod -R u+rwX "$tmp" 2>/dev/null
        rm -rf "$tmp"
    fi
    [ "$status" -lt 128 ] || printf '%sdemo: interrupted; all programs are stopped, all files removed\n' "$clear" >&2
    exit "$status"
}

# Processes that still work in our directory: an algorithm that outlived its runner, say.
strays() {
    local cwd
    for cwd in /proc/[0-9]*/cwd; do
        case $(readlink "$cwd" 2>/dev/null) in
        "$tmp" | "$tmp"/*)
            cwd=${cwd#/proc/}
            [ "${cwd%/cwd}" = $$ ] || printf '%s\n' "${cwd%/cwd}"
            ;;
        esac
    done
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
    [ -z "$reader" ] || wait "$reader" 2>/dev/null
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
    local cvms agent
    title "2. The platform: four programs, each in its own process"
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

    export AGENT_CVM_GRPC_URL AGENT_CVM_ID=cvm-1
    AGENT_CVM_GRPC_URL=$(address_of "$tmp/log/cvms-test")
    say "The log forwarder carries logs and events to it; the runner is the only one that runs foreign code."
    start log-forwarder "$BUILD/cocos-log-forwarder"
    wait_for "$tmp/log/log-forwarder" '"msg":"ready"' "the log forwarder listens" $!
    start runner "$BUILD/cocos-runner"
    wait_for "$tmp/log/runner" '"msg":"ready"' "the runner listens" $!

    say "The agent connects to cvms-test, takes the manifest and from then on listens for those it names."
    AGENT_GRPC_HOST=127.0.0.1 AGENT_GRPC_PORT=0 AGENT_LOG_LEVEL=info start agent "$BUILD/cocos-agent"
    agent=$!
    wait_for "$tmp/log/agent" '"msg":"ready"' "the agent has its manifest and listens" "$agent"
    wait_for "$tmp/log/cvms-test" 'event ReceivingAlgorithm/' "the agent asks for the algorithm" "$cvms"
    AGENT_GRPC_URL=$(address_of "$tmp/log/agent")
    export AGENT_GRPC_URL
    say "" "The agent listens at $AGENT_GRPC_URL."
}

wait_for_result() {
    local cvms=${daemons[0]%% *}
    title "4. The computation runs, in its own process"
    say "What the algorithm prints arrives here as log; each change of state arrives as an event."
    wait_for "$tmp/log/cvms-test" 'event (ConsumingResults|Failed)/' "the algorithm ends" "$cvms"
    ! grep -q 'event Failed/' "$tmp/log/cvms-test" || fail "the computation has failed"
}

# Every daemon ends on request, and with success.
end_platform() {
    local entry bad=
    wait_for "$tmp/log/cvms-test" 'event Complete/' "the end is reported" "${daemons[0]%% *}"
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
case $EXAMPLE in
linreg | two-providers) ;;
*) echo "demo: EXAMPLE=$EXAMPLE: linreg or two-providers is wanted" >&2 && exit 2 ;;
esac
for program in cvms-test cocos-log-forwarder cocos-runner cocos-agent cocos-cli; do
    [ -x "$BUILD/$program" ] || { echo "demo: $BUILD/$program is not built; run make" >&2 && exit 2; }
done
BUILD=$(cd "$BUILD" && pwd)
PATH=$BUILD:$PATH

trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP
mkdir -m 700 "$tmp" || exit 1
mkdir -m 700 "$tmp/run" "$tmp/state" "$tmp/work" "$tmp/log" || exit 1
export COCOS_RUN_DIR=$tmp/run COCOS_STATE_DIR=$tmp/state COCOS_WORK_DIR=$tmp/work

# shellcheck disable=SC1090 # one of the names above
. "examples/$EXAMPLE/play.sh"
play_prepare
start_platform
title "3. Algorithm and data come, straight from their owners to the agent"
play_upload
wait_for_result
title "5. The result, for its consumer only"
play_fetch
end_platform
title "Done. All programs have ended; $tmp is removed."
