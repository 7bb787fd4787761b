#!/bin/sh
# Installs the Debian packages of ci/packages.txt that are missing, in one go.
#
# Says nothing when all are there. Root needs no question; anyone else is asked
# before sudo is used, and with CI=true nothing is asked at all.
#
#   ci/deps.sh          install what is missing
#   ci/deps.sh --check  only name what is missing; exit 1 when anything is
set -eu
cd "$(dirname "$0")/.."

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "deps: this is not a Debian system; have these, then run with DEPS=no:" >&2
    sed -n 's/^\([a-z0-9][^ ]*\)  *\(.*\)/  \1: \2/p' ci/packages.txt >&2
    exit 1
fi

wanted=$(sed -n 's/^\([a-z0-9][^ ]*\).*/\1/p' ci/packages.txt)
# shellcheck disable=SC2086 # one word a package
present=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' $wanted 2>/dev/null |
    sed -n 's/^[ih]i *//p') || true
missing=
for p in $wanted; do
    case "
$present
" in
    *"
$p
"*) ;;
    *) missing="$missing $p" ;;
    esac
done

[ -n "$missing" ] || exit 0
if [ "${1:-}" = --check ]; then
    echo "missing:$missing"
    exit 1
fi

as_root=
if [ "$(id -u)" != 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: not root and no sudo here; as root, run:" >&2
        echo "  apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    as_root=sudo
    echo "These Debian packages are missing:$missing"
    if [ "${CI:-}" != true ]; then
        if [ ! -t 0 ]; then
            echo "deps: nobody here to ask whether sudo may be used; run 'make deps' on a terminal, or with CI=true" >&2
            exit 1
        fi
        printf 'Install them with "sudo apt-get install"? [y/N] '
        read -r answer
        case $answer in
        [yY] | [yY][eE][sS]) ;;
        *)
            echo "deps: not installed" >&2
            exit 1
            ;;
        esac
    fi
fi

echo "Installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run_apt() {
    # shellcheck disable=SC2086 # $as_root may be no word at all
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        echo "deps: 'apt-get $1' failed; see above" >&2
        exit 1
    }
}
run_apt update
# shellcheck disable=SC2086
run_apt install -y --no-install-recommends $missing
