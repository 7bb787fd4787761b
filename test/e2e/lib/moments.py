"""When things happened: all clocks of a story brought to the host's.

The guest's clock starts where its host's stood to the second, and then is its
own. Each message that reaches the CVMS has the time of both: the fastest one
tells how far they are apart, to within the milliseconds it was under way.
"""

import datetime
import glob
import json
import os
import re

PHASES = ("QEMU start", "init", "network", "agent connected", "run", "result")

MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"  # the console of a guest may be torn within a line
NOTE = re.compile(rf"# ({MOMENT}) ")
STAMP = re.compile(rf'"time":"({MOMENT})"')
INIT = re.compile(r"([01]\d|2[0-3]):([0-5]\d):([0-5]\d\.\d+) [A-Z]+ +")
BOOT = re.compile(r"phase=(\S+)\s+up_ms=(\d+)")
QEMU = re.compile(r"VM (\S+): qemu runs as process")
KERNEL = re.compile(r"\[ *(\d+\.\d+)\]")


def seconds(stamp):
    """Seconds since 1970 of a stamp like 2026-01-02T03:04:05.000000006Z."""
    whole, _, rest = stamp.rstrip("Z").partition(".")
    moment = datetime.datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=datetime.timezone.utc)
    return moment.timestamp() + (float("0." + rest) if rest else 0.0)


def clock(when):
    moment = datetime.datetime.fromtimestamp(when, datetime.timezone.utc)
    return moment.strftime("%H:%M:%S.") + f"{moment.microsecond // 1000:03d}"


def lines_of(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read().splitlines()
    except FileNotFoundError:
        return []


def records(path):
    """The JSON objects among a log's lines."""
    for line in lines_of(path):
        if line.startswith("{"):
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def marks(out):
    """[(seconds, at_ms, what)] that the story named."""
    return [(seconds(m["time"]), m["at_ms"], m["what"]) for m in records(os.path.join(out, "times.jsonl"))]


def guest_lag(out):
    """Seconds to add to the guest's clock; 0 when nothing came from it."""
    lags = [seconds(r["time"]) - seconds(r["timestamp"])
            for r in records(os.path.join(out, "cvms-test.log")) if re.fullmatch(MOMENT, r.get("timestamp", ""))]
    return min(lags, default=0.0)


class Console:
    """The console of one VM, each line at its time on the host."""

    def __init__(self, path, lag, about):
        """about: a moment near the story, for lines that have the time of day only."""
        self.lines = lines_of(path)
        self.lag = lag
        self.phases = {}  # name -> seconds, the first time
        self.booted = about
        day = about - about % 86400
        for line in self.lines:
            init, boot = INIT.match(line), BOOT.search(line)
            if init and boot:
                hours, minutes, rest = init.groups()
                when = self._nearest(day + int(hours) * 3600 + int(minutes) * 60 + float(rest), about)
                self.booted = when - int(boot.group(2)) / 1000
                self.phases.setdefault(boot.group(1), when + lag)

    @staticmethod
    def _nearest(when, about):
        return min((when - 86400, when, when + 86400), key=lambda w: abs(w - about))

    def timed(self):
        """[(seconds or None, line)]; None: no time of its own."""
        day = self.booted - self.booted % 86400
        for line in self.lines:
            init, kernel, record = INIT.match(line), KERNEL.match(line), STAMP.search(line)
            when = None
            if init:
                hours, minutes, rest = init.groups()
                when = self._nearest(day + int(hours) * 3600 + int(minutes) * 60 + float(rest), self.booted)
            elif kernel:
                when = self.booted + float(kernel.group(1))
            elif record:
                when = seconds(record.group(1))
            yield (None if when is None else when + self.lag), line


def consoles(out):
    """name of the file -> Console, of all VMs of a story."""
    named = marks(out)
    about = named[0][0] if named else 0.0
    lag = guest_lag(out)
    return {os.path.basename(p): Console(p, lag, about) for p in sorted(glob.glob(os.path.join(out, "console-*.log")))}


def first(items):
    return next(iter(items), None)


def phases(out):
    """
    [{"name", "at_ms", "took_ms"}] of the story's first VM, as far as it came:
    at_ms since QEMU was started, took_ms since the phase before; the first
    one took what the manager did before it started QEMU.
    """
    named = marks(out)
    asked = first(when for when, _, what in named if what == "create VM")
    began = first((seconds(r["time"]), QEMU.match(r["msg"]).group(1))
                  for r in records(os.path.join(out, "cocos-manager.log")) if QEMU.match(r.get("msg", "")))
    if asked is None or began is None:
        return []
    qemu, vm = began
    lag = guest_lag(out)
    boot = consoles(out).get(f"console-{vm[:8]}.log")
    cvms = [r for r in records(os.path.join(out, "cvms-test.log")) if r.get("job_id", vm) == vm]
    moments = {
        "QEMU start": qemu,
        "init": boot.phases.get("init") if boot else None,
        "network": boot.phases.get("network") if boot else None,
        "agent connected": first(seconds(r["time"]) for r in cvms if r.get("stream") == "agent"),
        "run": first(seconds(r["timestamp"]) + lag for r in cvms
                     if r.get("event_type") == "Running" and r.get("status") == "InProgress"),
        "result": first(when for when, _, what in named if what == "result fetched"),
    }
    found, before = [], asked
    for name in PHASES:
        if moments[name] is not None:
            found.append({"name": name, "at_ms": round((moments[name] - qemu) * 1000),
                          "took_ms": round((moments[name] - before) * 1000)})
            before = moments[name]
    return found
