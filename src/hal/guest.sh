#!/bin/sh
# Builds the guest: a kernel from Debian's package, which is not installed, and
# an initramfs with our services and exactly what they need. No root.
#
#   guest.sh BUILD_DIR FLAVOUR OUT_DIR
#
# FLAVOUR is minimal (algorithms of type bin) or python (adds CPython and its
# standard library). OUT_DIR gets vmlinuz, vmlinux and initrd-FLAVOUR.cpio.
# Nothing is done when they were made from the same content before. The same
# content gives the same bytes.
set -eu
LC_ALL=C
TZ=UTC
export LC_ALL TZ
umask 022

build=$1 flavour=$2 out=$3
here=$(cd "$(dirname "$0")" && pwd)
case $flavour in minimal | python) ;; *)
    echo "guest: flavour '$flavour': minimal or python is wanted" >&2
    exit 2
    ;;
esac
mkdir -p "$out/cache"
out=$(cd "$out" && pwd)

fail() {
    echo "guest: $*" >&2
    exit 1
}

# ---------------------------------------------------------------- the kernel
kernel_package() {
    apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -n 1
}

fetch_kernel() {
    package=$(kernel_package)
    [ -n "$package" ] || fail "no Debian kernel is known here; run 'apt-get update' first"
    version=$(apt-cache policy "$package" | sed -n 's/^ *Candidate: //p')
    kernel=$out/cache/${package}_${version}
    [ -f "$kernel/complete" ] && return
    echo "guest: fetching $package $version"
    rm -rf "$kernel" "$kernel.new"
    mkdir -p "$kernel.new/deb"
    (cd "$kernel.new/deb" && apt-get download -q "$package" >/dev/null 2>"$kernel.new/log") ||
        fail "apt-get download $package: $(tail -n 2 "$kernel.new/log")"
    dpkg -x "$kernel.new"/deb/*.deb "$kernel.new/tree"
    rm -rf "$kernel.new/deb"
    cp "$kernel.new/tree"/boot/vmlinuz-* "$kernel.new/vmlinuz"
    unpack_kernel "$kernel.new/vmlinuz" "$kernel.new/vmlinux"
    touch "$kernel.new/complete"
    mv "$kernel.new" "$kernel"
}

# The ELF inside a bzImage: setup sectors at 0x1f1, payload offset and length at
# 0x248 and 0x24c of the setup header; the payload's last four bytes are its size.
# Booting it saves the guest three seconds of unpacking under TCG.
unpack_kernel() {
    sectors=$(od -An -tu1 -j 497 -N1 "$1" | tr -d ' ')
    offset=$(od -An -tu4 -j 584 -N4 "$1" | tr -d ' ')
    length=$(od -An -tu4 -j 588 -N4 "$1" | tr -d ' ')
    tail -c +$(((sectors + 1) * 512 + offset + 1)) "$1" | head -c $((length - 4)) | xz -dc >"$2" ||
        fail "the kernel's payload is not what was expected (xz)"
}

# -------------------------------------------------------------- the initramfs
# What the programs are linked to, with the loader.
libraries() {
    ldd "$@" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (.*/\1/p' | sort -u
}

add_file() { # source, path in the guest, mode
    mkdir -p "$root/$(dirname "$2")"
    cp -L "$1" "$root/$2"
    chmod "$3" "$root/$2"
}

add_libraries() {
    for lib in $(libraries "$@"); do
        [ -e "$root/$lib" ] || add_file "$lib" "${lib#/}" 755
    done
}

add_modules() {
    for list in first power rest; do
        add_file "$here/modules-$list" "lib/modules/cocos/$list.names" 644
        : >"$root/lib/modules/cocos/$list"
        while read -r name; do
            file=$(find "$kernel/tree/lib/modules" \( -name "$name.ko" -o -name "$(echo "$name" | tr _ -).ko" \
                -o -name "$(echo "$name" | tr - _).ko" \) | head -n 1)
            [ -n "$file" ] || fail "the kernel has no module $name"
            add_file "$file" "lib/modules/cocos/$(basename "$file")" 644
            basename "$file" >>"$root/lib/modules/cocos/$list"
        done <"$here/modules-$list"
        rm "$root/lib/modules/cocos/$list.names"
    done
}

add_programs() {
    programs=
    for name in cocos-agent cocos-runner cocos-log-forwarder cocos-attestation-service; do
        [ -x "$build/$name" ] || continue
        add_file "$build/$name" "usr/bin/$name" 755
        strip -s "$root/usr/bin/$name"
        programs="$programs $build/$name"
    done
    add_file "$build/cocos-init" init 755
    strip -s "$root/init"
    # shellcheck disable=SC2086  # a list of paths without spaces
    add_libraries "$build/cocos-init" $programs
}

add_busybox() {
    add_file /bin/busybox bin/busybox 755
    for applet in sh cat ls mkdir mv rm ip udhcpc ps dmesg poweroff head tail wc sort cut grep sed awk; do
        ln -s busybox "$root/bin/$applet"
    done
    add_file "$here/udhcpc.script" usr/share/udhcpc/default.script 755
}

add_python() {
    stdlib=$out/cache/python
    version=$(dpkg-query -W -f '${Version}' libpython3.11-stdlib)
    if [ ! -f "$stdlib-$version/complete" ]; then
        echo "guest: compiling the standard library of Python $version"
        rm -rf "$stdlib-$version"
        mkdir -p "$stdlib-$version/lib"
        cp -rL /usr/lib/python3.11 "$stdlib-$version/lib/"
        lib=$stdlib-$version/lib/python3.11
        rm -rf "$lib/test" "$lib/idlelib" "$lib/lib2to3" "$lib/ensurepip" "$lib/pydoc_data" "$lib/turtledemo" \
            "$lib/tkinter" "$lib/__pycache__" "$lib/dist-packages" "$lib"/turtle.py "$lib"/config-*
        find "$lib" -name '__pycache__' -prune -exec rm -rf {} +
        find "$lib" -name '*test*.so' -delete
        (cd "$lib" && /usr/bin/python3.11 -S -E -m compileall -q -b -s "$lib" -p /usr/lib/python3.11 \
            --invalidation-mode unchecked-hash . >/dev/null)
        find "$lib" -name '*.py' -delete
        touch "$stdlib-$version/complete"
    fi
    mkdir -p "$root/usr/lib"
    cp -r "$stdlib-$version/lib/python3.11" "$root/usr/lib/"
    add_file /usr/bin/python3.11 usr/bin/python3.11 755
    ln -s python3.11 "$root/usr/bin/python3"
    # shellcheck disable=SC2046
    add_libraries /usr/bin/python3.11 $(find "$root/usr/lib/python3.11" -name '*.so')
}

pack() { # the same tree gives the same archive
    find "$root" -exec touch -h -d @0 {} +
    (cd "$root" && find . -print0 | sort -z |
        cpio --null -o -H newc --owner=0:0 --reproducible --quiet) >"$1.new"
    mv "$1.new" "$1"
}

fetch_kernel
cmp -s "$kernel/vmlinux" "$out/vmlinux" || cp "$kernel/vmlinux" "$out/vmlinux"
cmp -s "$kernel/vmlinuz" "$out/vmlinuz" || cp "$kernel/vmlinuz" "$out/vmlinuz"

# What is in the image: our files, the programs, and the libraries that are found for them now.
key=$({
    sha256sum "$here"/guest.sh "$here"/modules-* "$here"/udhcpc.script /bin/busybox
    for name in cocos-init cocos-agent cocos-runner cocos-log-forwarder cocos-attestation-service; do
        [ -x "$build/$name" ] || continue
        sha256sum <"$build/$name"
        libraries "$build/$name" | xargs sha256sum
    done
    basename "$kernel"
    [ "$flavour" = minimal ] || dpkg-query -W libpython3.11-stdlib python3.11-minimal
} | sed "s| .*/| |" | sha256sum | cut -c1-64)
image=$out/initrd-$flavour.cpio
[ -f "$image" ] && [ "$(cat "$image.key" 2>/dev/null)" = "$key" ] && exit 0

root=$(mktemp -d "$out/root-$flavour.XXXXXX")
trap 'rm -rf "$root"' EXIT
trap 'exit 1' INT TERM
for d in dev proc sys run tmp etc/cocos etc/certs var/lib/cocos var/log cocos usr/bin bin; do
    mkdir -p "$root/$d"
done
printf 'root:x:0:0:root:/cocos:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
printf 'cocos\n' >"$root/etc/hostname"
add_programs
add_busybox
add_modules
[ "$flavour" = minimal ] || add_python
pack "$image"
echo "$key" >"$image.key"
echo "guest: $image: $(stat -c %s "$image") bytes"
