#!/bin/sh
# QEMU as the manager asks for it, and beside the manager its own witness: the
# whole console and what QEMU said are kept in the story's logs, whatever
# becomes of the VM's directory.
for word; do
    shift
    case $word in
    socket,id=console,*)
        dir=${word#*path=}
        dir=${dir%%,*}
        dir=${dir%/*}
        logs=${dir%/r/vms/*}/logs
        id=$(basename "$dir" | cut -c1-8)
        mkdir -p "$logs"
        ln "$dir/qemu.log" "$logs/qemu-$id.log" 2>/dev/null
        word="$word,logfile=$logs/console-$id.log"
        ;;
    esac
    set -- "$@" "$word"
done
exec @PROGRAM@ "$@"
