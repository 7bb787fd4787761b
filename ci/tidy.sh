#!/bin/sh
# clang-tidy and cppcheck over everything the build compiles. `make tidy` calls
# it with TIDY_SOURCES, TIDY_FLAGS and O; slower than lint, so not in it.
set -u
cd "$(dirname "$0")/.." || exit 1
: "${TIDY_SOURCES:?run it by make tidy}" "${TIDY_FLAGS:?}" "${O:?}"
failed=0
jobs=$(nproc)

# Each check that is off in a .clang-tidy has its reason there, in a comment.
for f in .clang-tidy test/.clang-tidy; do
    for check in $(sed -n 's/^ *-\([a-z][A-Za-z0-9.-]*\),*$/\1/p' "$f"); do
        grep -q "^#.*\b$check\b" "$f" || {
            echo "$f: -$check has no reason beside it"
            failed=1
        }
    done
done

log=$(mktemp)
trap 'rm -f "$log"' EXIT
export TIDY_FLAGS
# shellcheck disable=SC2086,SC2016 # words are wanted; the inner shell expands
printf '%s\n' $TIDY_SOURCES | xargs -n 2 -P "$jobs" sh -c 'eval exec clang-tidy --quiet \"\$@\" -- "$TIDY_FLAGS" 2>/dev/null' sh >"$log" || failed=1
# A header is seen by many files and complained of once.
grep -E -A 3 '(warning|error):' "$log" | awk '/(warning|error):/ { show = !seen[$0]++ } show'
if [ $failed = 1 ] && ! grep -q -E '(warning|error):' "$log"; then
    cat "$log"
fi

# shellcheck disable=SC2086
cppcheck --quiet --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -j "$jobs" \
    --std=c11 --language=c --suppressions-list=ci/cppcheck.txt --template=gcc -D_GNU_SOURCE -D'COCOS_VERSION=""' \
    -D__linux__ -Isrc -Itest $TIDY_SOURCES || failed=1

# In a room two things may change for as long as a process lives: where the log
# goes, and the number OpenSSL gave us for our own data. A program's main.c may
# keep the program's own object.
allowed='base/log.o target|tls/conn.o index_once|tls/conn.o index_value'
find "$O/obj/src" -name '*.o' ! -name main.o 2>/dev/null | sort | while read -r object; do
    nm -f sysv "$object" | awk -F '|' -v object="${object#"$O"/obj/src/}" \
        '$7 ~ /^\.(data|bss)/ && $7 !~ /^\.data\.rel\.ro/ && $1 !~ /^[.]/ { gsub(/ /, "", $1); sub(/\.[0-9]+$/, "", $1); print object " " $1 }'
done | grep -v -x -E "$allowed" | sed 's/$/: a mutable global/' | grep . && failed=1

[ $failed = 0 ] || echo "tidy: failed"
exit $failed
