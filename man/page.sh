#!/bin/sh
# A manual page on stdout, from what a program says of itself with --help.
#
#   page.sh SECTION PROGRAM [COMMAND]
#
# PROGRAM is a path. man/<name>.more, if there, is added: roff that --help has no place for.
set -eu
LC_ALL=C.UTF-8
export LC_ALL
section=$1 program=$2 command=${3:-}
here=$(cd "$(dirname "$0")" && pwd)
name=$(basename "$program")${command:+-$command}
version=$("$program" --version | head -n 1)

# shellcheck disable=SC2086 # no command is no argument
help=$("$program" $command --help) || {
    echo "page.sh: $program $command --help fails" >&2
    exit 1
}
printf '%s\n' "$help" | awk -v section="$section" -v name="$name" -v version="$version" '
function safe(text) {
    gsub(/\\/, "\\e", text)
    gsub(/-/, "\\-", text)
    gsub(/\x27/, "\\(aq", text)
    if (text ~ /^\./)
        text = "\\&" text
    return text
}
function begin(what) {
    if (plain)
        print ".fi"
    plain = 0
    print ".SH " what
    part = what
}
/^Usage: / { usage = substr($0, 8); next }
!part && $0 == "" { next }
!part {
    # The first line is what the name stands for; more of it is the description.
    printf ".TH %s %s \"\" \"%s\" \"cocos-c\"\n", toupper(safe(name)), section, safe(version)
    print ".SH NAME"
    summary = $0
    sub(/\.$/, "", summary)
    print safe(name) " \\- " safe(summary)
    print ".SH SYNOPSIS"
    print safe(usage)
    part = "SYNOPSIS"
    next
}
/^Flags:$/ { begin("OPTIONS"); next }
/^Environment only:$/ { begin("ENVIRONMENT"); next }
/^Commands:$/ { begin("COMMANDS"); next }
/^Examples:$/ { begin("EXAMPLES"); print ".nf"; plain = 1; next }
part == "EXAMPLES" { sub(/^  /, ""); print safe($0); next }
part == "COMMANDS" && /^  [a-z]/ {
    print ".TP"
    print ".B " safe($1)
    sub(/^ *[a-z-]+ +/, "")
    print safe($0)
    next
}
/^  +-?-?[A-Za-z]/ && !/^        / {
    sub(/^ +/, "")
    print ".TP"
    print ".B " safe($0)
    next
}
$0 == "" { next }
{
    if (part == "SYNOPSIS" || part == "COMMANDS") {
        print part == "COMMANDS" ? ".PP" : ".SH DESCRIPTION"
        if (part == "SYNOPSIS")
            part = "DESCRIPTION"
    }
    sub(/^ +/, "")
    print safe($0)
}
END { if (plain) print ".fi" }'
cat <<'END'
.SH EXIT STATUS
0 when it did what was asked, 1 when that failed, 2 for bad usage or settings.
END
[ ! -f "$here/$name.more" ] || cat "$here/$name.more"
