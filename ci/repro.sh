#!/bin/sh
# Builds the guest's programs and images twice, from two copies of the source
# in two directories, and compares: the same source must give the same bytes.
# The minimal image, all of which has to be trusted, stays within its size.
set -eu
build=$1
minimal_max=16000000 # bytes
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

for n in 1 2; do
    # The second path is longer, as a path that is left in a binary would show.
    source=$work/$n$([ "$n" = 1 ] || echo /another/place)/source
    mkdir -p "$source" "$work/guest$n"
    git ls-files -z --cached --others --exclude-standard | xargs -0 sh -c \
        'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' sh | tar --null -T - -c | tar -x -C "$source"
    make -s -C "$source" -j"$(nproc)" build/cocos-init build/cocos-agent build/cocos-runner \
        build/cocos-log-forwarder >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    # Kernel and compiled library are taken over; making them again proves nothing about us.
    [ ! -d "$build/guest/cache" ] || cp -r "$build/guest/cache" "$work/guest$n/"
    for flavour in minimal python; do
        sh "$source/src/hal/guest.sh" "$source/build" "$flavour" "$work/guest$n" >"$work/log" 2>&1 ||
            { cat "$work/log" >&2; exit 1; }
    done
done
for file in vmlinuz vmlinux initrd-minimal.cpio initrd-python.cpio; do
    cmp "$work/guest1/$file" "$work/guest2/$file"
    echo "$file $(sha256sum <"$work/guest1/$file" | cut -c1-64)"
done
bytes=$(stat -c %s "$work/guest1/initrd-minimal.cpio")
if [ "$bytes" -gt "$minimal_max" ]; then
    echo "initrd-minimal.cpio has $bytes bytes, more than the $minimal_max that are agreed on" >&2
    exit 1
fi
