"""What a story leaves for the one who looks into it: everything by time, and what to read first."""

import glob
import json
import os
import re
import shutil

import moments

TAIL = 15         # lines of the merged log in the summary
ID = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
DAMAGE = re.compile(r".*: (\S+)\.log:\d+: (.*)")
LINE_MAX = 2000   # characters; a run of the CVMS prints whole manifests


def readable(line):
    """A JSON record as a person writes it; any other line as it is."""
    prefix, brace, rest = line.partition("{")
    try:
        record = json.loads(brace + rest)
    except ValueError:
        return line
    if not isinstance(record, dict):
        return line
    for key in ("time", "program", "peer", "job_id"):
        record.pop(key, None)
    words = [str(record.pop(k)) for k in ("level", "msg") if k in record]
    return prefix + " ".join(words + [f"{k}={v}" for k, v in record.items()])


def short(line):
    """Without what every line of a merged log has: stamps, and ids at their whole length."""
    note = moments.NOTE.match(line)
    line = line[note.end():] if note else readable(line)
    line = CONTROL.sub(lambda m: f"\\x{ord(m[0]):02x}", line)  # a guest's bytes reach no terminal, nor TAP as a line
    return ID.sub(r"\1", line)[:LINE_MAX]


def timed_lines(out):
    """(seconds or None, source, line) of each log, in the order of its file."""
    for when, _, what in moments.marks(out):
        yield when, "story", f"---- {what}"
    consoles = moments.consoles(out)
    for path in sorted(glob.glob(os.path.join(out, "*.log"))):
        name = os.path.basename(path)
        if name in ("merged.log", "qmp.log"):
            continue
        if name in consoles:
            for when, line in consoles[name].timed():
                yield when, name[:-len(".log")], line
            continue
        written = os.stat(path).st_mtime if name.startswith(("qemu-", "swtpm-")) else None  # these tell no time
        for line in moments.lines_of(path):
            found = moments.NOTE.match(line) or moments.STAMP.search(line)
            yield (moments.seconds(found.group(1)) if found else written), name[:-len(".log")], line


def merged(out):
    """All logs by the host's time. A line without one stays behind the line before it."""
    rows, last = [], {}
    for number, (when, source, line) in enumerate(timed_lines(out)):
        if when is not None:
            last[source] = when
        rows.append((last.get(source, 0.0), number, source, line))
    rows.sort(key=lambda row: row[:2])
    begin = next((row[0] for row in rows if row[0]), 0.0)
    return [f"{moments.clock(when) if when else '--:--:--.---'} {when - begin if when else 0:+9.3f}  {source:<18} "
            f"{short(line)}" for when, _, source, line in rows]


def qmp_events(out):
    return [line for line in moments.lines_of(os.path.join(out, "cocos-manager.log")) if "QEMU says" in line]


def collect(out, private):
    """Logs that were written into the private folder: consoles, QEMU, swtpm."""
    for path in sorted(glob.glob(os.path.join(private, "logs", "*"))):
        if os.path.isfile(path):
            shutil.copy2(path, os.path.join(out, os.path.basename(path)))


def write(path, lines):
    with open(path, "w", encoding="utf-8", errors="replace") as f:
        f.writelines(line + "\n" for line in lines)


def how_far(out):
    """The phases of a run in one line, so that it is seen where it stopped."""
    reached = {p["name"]: p["at_ms"] for p in moments.phases(out)}
    return ", ".join(f"{name} {reached[name]} ms" if name in reached else f"{name} -" for name in moments.PHASES)


def again(story, options):
    """The command that runs it again."""
    words = [f"{k}={v}" for k, v in (("SAN", options.get("san")), ("GUEST", options.get("guest"))) if v]
    return " ".join(["make e2e", *words, f"STORY={story}"])


def where(everything, cause):
    """How many lines of the merged log lead to the failure; what follows them is only cleaning up."""
    name, _, line = DAMAGE.sub(r"\1|\2", cause).partition("|")
    for number, text in enumerate(everything, 1):
        if re.search(r"  story +---- failed$", text):
            return number - 1
        if line and f"  {name} " in text and line[:100] in text:
            return number
    return len(everything)


def finish(out, story, causes, command):
    """Completes the bundle of a story. Returns the lines of its summary."""
    everything = merged(out)
    write(os.path.join(out, "merged.log"), everything)
    write(os.path.join(out, "qmp.log"), qmp_events(out))
    files = sorted(n for n in os.listdir(out) if n not in ("summary.txt", "allowed.txt"))
    if not causes:
        return []
    summary = [f"story      {story}", "failed     " + causes[0]] + ["also       " + c for c in causes[1:]]
    end = where(everything, causes[0])
    summary += ["reached    " + how_far(out), f"again      {command}", f"bundle     {out}: {' '.join(files)}",
                f"merged.log, which is all logs by the host's time, up to where it failed (line {end}):"]
    summary += ["  " + line[:300] for line in everything[max(0, end - TAIL):end]]
    write(os.path.join(out, "summary.txt"), summary)
    return summary
