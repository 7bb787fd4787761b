#!/usr/bin/python3
"""Runs the end-to-end stories: TAP on the screen, JUnit XML, times and one page in build/e2e.

Each story is a program of test/e2e. As many run at once as there are cores, for a guest under software
emulation keeps one core busy. A story that fails leaves its bundle, with all its logs merged by time.
"""
import argparse
import concurrent.futures
import datetime
import html
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

# Longer than any story takes under emulation; a story's own deadlines end it long before.
STORY_LIMIT_S = 300


def merged_log(out):
    """All logs of the bundle, by time where a line says one, behind the name of its file."""
    lines = []
    for path in sorted(out.glob("*.log")):
        if path.name == "merged.log":
            continue
        last = ""
        for number, line in enumerate(path.read_text(errors="replace").splitlines()):
            when = re.search(r'"time":"([^"]+)"', line)
            last = when.group(1) if when else last
            lines.append((last, path.name, number, line))
    lines.sort(key=lambda row: (row[0], row[1], row[2]))
    return "".join(f"{name}: {line}\n" for _, name, _, line in lines)


def run_story(binary, build, out_root, scale):
    name = binary.name.replace("_", "-")
    out = out_root / name
    for old in out.glob("*"):
        old.unlink()
    out.mkdir(parents=True, exist_ok=True)
    env = dict(os.environ, E2E_BUILD=str(build), E2E_OUT=str(out_root), E2E_SCALE=str(scale))
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0")
    began = time.monotonic()
    process = subprocess.Popen([str(binary)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env,
                               start_new_session=True, errors="replace")
    try:
        said, _ = process.communicate(timeout=STORY_LIMIT_S * scale / 100)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        said += f"# killed after {STORY_LIMIT_S * scale // 100} s\n"
    took = time.monotonic() - began
    (out / "story.txt").write_text(said)
    marks = []
    if (out / "times.jsonl").exists():
        marks = [json.loads(line) for line in (out / "times.jsonl").read_text().splitlines()]
    ok = process.returncode == 0 and f"ok 1 - {name}" in said and f"not ok 1 - {name}" not in said
    if not ok:
        (out / "merged.log").write_text(merged_log(out))
    return {"name": name, "ok": ok, "seconds": took, "said": said, "marks": marks, "out": str(out)}


def boot_phases(out):
    """Milliseconds since the guest's kernel started, from the console that the story saved."""
    phases = {}
    for console in sorted(pathlib.Path(out).glob("console-*.log")):
        for phase, up_ms in re.findall(r"phase=(\S+)\s+up_ms=(\d+)", console.read_text(errors="replace")):
            phases.setdefault(phase, int(up_ms))
    return phases


def write_junit(results, path):
    suite = ET.Element("testsuite", name="e2e", tests=str(len(results)),
                       failures=str(sum(not r["ok"] for r in results)))
    for r in results:
        case = ET.SubElement(suite, "testcase", classname="e2e", name=r["name"], time=f"{r['seconds']:.3f}")
        if not r["ok"]:
            ET.SubElement(case, "failure", message=f"see {r['out']}").text = printable(r["said"])
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def printable(text):
    return re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd]", "?", text)


def write_page(results, path):
    """One self-contained page: a bar for each story with its moments on it."""
    longest = max((m["at_ms"] for r in results for m in r["marks"]), default=1)
    rows = []
    for r in results:
        ticks = "".join(
            f'<i style="left:{100 * m["at_ms"] / longest:.2f}%" title="{m["at_ms"]} ms: {html.escape(m["what"])}"></i>'
            for m in r["marks"])
        steps = "".join(f"<tr><td>{m['at_ms']}</td><td>{html.escape(m['what'])}</td></tr>" for m in r["marks"])
        width = 100 * max((m["at_ms"] for m in r["marks"]), default=0) / longest
        rows.append(
            f'<section class="{"ok" if r["ok"] else "bad"}"><h2>{html.escape(r["name"])} '
            f'<small>{"passed" if r["ok"] else "failed"} in {r["seconds"]:.1f} s</small></h2>'
            f'<div class="line"><b style="width:{width:.2f}%"></b>{ticks}</div>'
            f"<details><summary>moments (ms)</summary><table>{steps}</table></details>"
            + ("" if r["ok"] else f"<pre>{html.escape(r['said'][-4000:])}</pre>") + "</section>")
    path.write_text(
        "<!doctype html><meta charset=utf-8><title>end-to-end stories</title><style>"
        "body{font:15px sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}h2{font-size:1rem;margin:.6rem 0}"
        "small{font-weight:normal}.line{position:relative;height:1.2rem;background:#eee}"
        ".line b{position:absolute;height:100%;background:#9c9}.bad .line b{background:#e99}"
        ".line i{position:absolute;width:2px;height:100%;background:#333}pre{background:#f7f7f7;overflow:auto}"
        "td:first-child{text-align:right;padding-right:1rem}</style>"
        f"<h1>End-to-end stories</h1><p>{datetime.datetime.now().isoformat(timespec='seconds')}, "
        f"{sum(r['ok'] for r in results)} of {len(results)} passed.</p>" + "".join(rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--story", help="one story's name")
    parser.add_argument("--jobs", type=int, default=max(1, min(2, os.cpu_count() or 1)))
    parser.add_argument("--repeat", type=int, default=1)
    options = parser.parse_args()
    build = pathlib.Path(options.build)
    out_root = pathlib.Path("build/e2e")
    binaries = sorted((build / "e2e-bin").iterdir())
    if options.story:
        binaries = [b for b in binaries if b.name.replace("_", "-") == options.story]
        if not binaries:
            print(f"no story is called {options.story}", file=sys.stderr)
            return 2
    scale = int(os.environ.get("E2E_SCALE", "300" if "san" in build.name else "150"))
    results = []
    binaries = binaries * options.repeat
    print(f"1..{len(binaries)}")
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        jobs = 1 if options.repeat > 1 else options.jobs  # repeats share a bundle's directory
        futures = ([pool.submit(run_story, b, build, out_root, scale) for b in binaries] if jobs > 1
                   else (run_story(b, build, out_root, scale) for b in binaries))
        for number, future in enumerate(futures, 1):
            r = future.result() if hasattr(future, "result") else future
            r["boot"] = boot_phases(r["out"])
            results.append(r)
            print(f"{'ok' if r['ok'] else 'not ok'} {number} - {r['name']} ({r['seconds']:.1f} s)", flush=True)
            if not r["ok"]:
                for line in r["said"].splitlines()[-12:]:
                    print("#   " + line)
                print(f"#   everything about it: {r['out']}", flush=True)
    out_root.mkdir(parents=True, exist_ok=True)
    write_junit(results, out_root / "junit.xml")
    write_page(results, out_root / "index.html")
    (out_root / "times.json").write_text(json.dumps(
        [{k: r[k] for k in ("name", "ok", "seconds", "marks", "boot")} for r in results], indent=1))
    failed = sum(not r["ok"] for r in results)
    print(f"# page: {out_root / 'index.html'}")
    print(f"{len(results) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
