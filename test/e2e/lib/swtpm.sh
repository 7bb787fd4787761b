#!/bin/sh
# swtpm as the manager asks for it, with its log in the story's logs.
for word; do
    case $word in
    type=unixio,path=*/r/vms/*)
        dir=${word#*path=}
        dir=${dir%%,*}
        dir=${dir%/*}
        logs=${dir%/r/vms/*}/logs
        mkdir -p "$logs"
        set -- "$@" --log "file=$logs/swtpm-$(basename "$dir" | cut -c1-8).log,level=1"
        break
        ;;
    esac
done
exec @PROGRAM@ "$@"
