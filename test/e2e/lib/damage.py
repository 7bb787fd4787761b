"""What no log of a story may hold, whatever the story is about.

A story that does damage on purpose says which lines it means (e2e_allow).
"""

import glob
import os
import re

import bundle
import sanitizers

# (files, pattern, what it is). Of consoles, only what is the guest's own fault: a kernel that complains of being
# stalled (soft lockup, RCU stall, hung task) tells about the load of its host.
RULES = [(re.compile(files), re.compile(pattern), what) for files, pattern, what in (
    (r".*\.log", r"(ERROR|WARNING): (Address|Leak|Thread|Memory)Sanitizer|(Address|Leak|Thread)Sanitizer:DEADLYSIGNAL"
     r"|^[\w./-]+:\d+:\d+: runtime error:", "a sanitizer's report"),
    (r".*\.log", r"Assertion .* failed|\*\*\* .* detected \*\*\*|core dumped|malloc\(\): |free\(\): (invalid|double)"
     r"|Segmentation fault", "a crash"),
    (r"console-.*", r"Kernel panic|Oops\b|\bBUG: (?!soft lockup|workqueue lockup)|Call Trace:|general protection fault"
     r"|Unable to handle kernel|WARNING: CPU: |kernel BUG at|double fault|UBSAN:|KASAN:|KFENCE:|Bad page state",
     "damage in the guest's kernel"),
    (r"console-.*", r"Out of memory: Killed|oom-kill:|segfault at|traps: .* trap ", "a process of the guest crashed"),
    (r"console-.*", r"; it (starts|is started) again", "a service of the guest ended"),
    (r"console-.*", r"^\d\d:\d\d:\d\d\.\d+ ERROR ", "process 1 of the guest reports an error"),
    (r"cocos-manager.*", r'"level":"ERROR"', "the manager reports an error"),
    (r"cocos-manager.*", r"VM \S+ ended: (?!its removal was asked for)", "a VM ended by itself"),
    (r"cocos-manager.*", r"(qemu|swtpm|QEMU|TPM).* was killed by signal (?!9\b|15\b)\d+", "a process of a VM crashed"),
)]
SHOWN_MAX = 400  # characters of a line


def allowed(out):
    path = os.path.join(out, "allowed.txt")
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as f:
        return [re.compile(line) for line in f.read().splitlines() if line]


def in_logs(out):
    """One line for each rule that a log of the bundle breaks: where, and what it says there."""
    fine = allowed(out)
    found = []
    for path in sorted(glob.glob(os.path.join(out, "*.log"))):
        name = os.path.basename(path)
        rules = [(pattern, what) for files, pattern, what in RULES if files.fullmatch(name)]
        if name == "merged.log":
            continue
        broken = set()
        with open(path, encoding="utf-8", errors="replace") as f:
            for number, line in enumerate(f, 1):
                for pattern, what in rules:
                    if what not in broken and pattern.search(line) and not any(a.search(line) for a in fine):
                        broken.add(what)
                        found.append(f"{what}: {name}:{number}: {bundle.short(line.strip())[:SHOWN_MAX]}")
    return found


def in_reports(out):
    """The files that sanitizers wrote."""
    for name, text in sanitizers.reports(out):
        head = next((line for line in text.splitlines() if "Sanitizer" in line or "runtime error" in line), "")
        yield f"a sanitizer's report: {name}: {head.strip()[:SHOWN_MAX]}"


def core_dumps(folders, since):
    """Core dumps in these folders that are younger than `since` (seconds of the wall clock)."""
    for folder in folders:
        for path in glob.glob(os.path.join(glob.escape(str(folder)), "core*")):
            with open(path, "rb") if os.path.isfile(path) else open(os.devnull, "rb") as f:
                if f.read(4) == b"\x7fELF" and os.stat(path).st_mtime >= since - 1:
                    yield path
