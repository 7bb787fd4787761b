#!/bin/sh
# Builds the guest twice from the same binaries, in two directories, and
# compares: the same content must give the same bytes.
set -eu
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
for n in 1 2; do
    mkdir -p "$work/$n"
    # The kernel and the compiled library are taken over; making them again proves nothing about us.
    [ ! -d "$build/guest/cache" ] || cp -r "$build/guest/cache" "$work/$n/"
    for flavour in minimal python; do
        sh src/hal/guest.sh "$build" "$flavour" "$work/$n" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    done
done
for file in vmlinuz vmlinux initrd-minimal.cpio initrd-python.cpio; do
    cmp "$work/1/$file" "$work/2/$file"
    echo "$file $(sha256sum <"$work/1/$file" | cut -c1-64)"
done
