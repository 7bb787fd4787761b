#!/bin/sh
# The fast checks: `make lint` runs this after it has compiled every header on
# its own. Changes nothing; `make format` mends what clang-format complains of.
set -u
cd "$(dirname "$0")/.." || exit 1
failed=0

"${PYTHON:-/usr/bin/python3}" ci/lint.py ${LINT_SOURCES:+--sources "$LINT_SOURCES"} || failed=1

git ls-files --cached --others --exclude-standard '*.c' '*.h' | while read -r f; do
    [ -f "$f" ] && echo "$f"
done | xargs -r -n 8 -P "$(nproc)" clang-format --dry-run -Werror || {
    echo "clang-format: run 'make format'"
    failed=1
}

for f in ci/*.sh man/*.sh src/hal/*.sh .ci/run; do
    [ ! -f "$f" ] || sh -n "$f" || failed=1
done

[ $failed = 0 ] || echo "lint: failed"
exit $failed
