"""What a run of stories leaves beside their bundles: JUnit XML and one page with its timeline."""

import datetime
import html
import re
import xml.etree.ElementTree as ElementTree

import moments

COLOURS = {"before": "#d8d8d8", "QEMU start": "#b7c9e2", "init": "#8fb3e0", "network": "#6f9fd8",
           "agent connected": "#4f86c6", "run": "#7cc08a", "result": "#4ca567", "after": "#cbe3cf"}

STYLE = """
body{font:15px/1.4 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}
.row{display:grid;grid-template-columns:13rem 1fr 4.5rem;gap:.6rem;align-items:center;margin:.15rem 0}
.row a{color:inherit;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.row span{text-align:right;font-variant-numeric:tabular-nums}
.lane{position:relative;height:1.15rem;background:#f4f4f4}
.lane b,.lane i{position:absolute;top:0;height:100%}
.lane i{width:1px;background:#0006}
.failed .lane{outline:2px solid #c0392b}.failed a,.failed span{color:#c0392b;font-weight:bold}
.skipped{color:#777}
.axis{display:flex;justify-content:space-between;color:#777;font-size:.8rem;margin:0 5.1rem 0 13.6rem}
.key span{display:inline-block;margin-right:1rem}.key b{display:inline-block;width:.8rem;height:.8rem;margin-right:.3rem}
pre{background:#f7f7f7;overflow:auto;padding:.6rem;font-size:.8rem}
td,th{padding:0 .8rem;text-align:right;font-variant-numeric:tabular-nums}td:first-child,th:first-child{text-align:left}
td.what{text-align:left}details{margin:.3rem 0}
"""


def printable(text):
    return re.sub(r"[^\t\n\x20-\ud7ff\ue000-\ufffd]", "?", text)


def state(result):
    return "skipped" if result["skipped"] else "passed" if result["ok"] else "failed"


def junit(results, path):
    suite = ElementTree.Element("testsuite", name="e2e", tests=str(len(results)),
                                failures=str(sum(state(r) == "failed" for r in results)),
                                skipped=str(sum(state(r) == "skipped" for r in results)))
    for r in results:
        case = ElementTree.SubElement(suite, "testcase", classname="e2e", name=r["name"],
                                      time=f"{r['seconds']:.3f}")
        if state(r) == "failed":
            failure = ElementTree.SubElement(case, "failure", message=printable(r["causes"][0]))
            failure.text = printable("\n".join(r["summary"]))
        elif state(r) == "skipped":
            ElementTree.SubElement(case, "skipped", message=printable(r["skipped"]))
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def text(value):
    return html.escape(printable(str(value)))


def lane(result, began, whole):
    """One story on the time of the whole run: a stretch for each phase, a line for each moment."""
    start = result["began"] - began
    at = {m["what"]: m["at_ms"] / 1000 for m in reversed(result["marks"])}
    asked = at.get("create VM", result["seconds"])
    stretches = [("before", 0.0, min(asked, result["seconds"]))]
    reached = asked
    for phase in result["phases"]:
        until = asked + (result["phases"][0]["took_ms"] + phase["at_ms"]) / 1000
        stretches.append((phase["name"], reached, until))
        reached = until
    stretches.append(("after", reached, result["seconds"]))

    def place(left, right):
        return f"left:{100 * (start + left) / whole:.3f}%;width:{100 * max(0.0, right - left) / whole:.3f}%"
    bars = "".join(f'<b style="{place(a, b)};background:{COLOURS[name]}" title="{text(name)}: {b - a:.2f} s"></b>'
                   for name, a, b in stretches if b > a)
    lines = "".join(f'<i style="{place(m["at_ms"] / 1000, 0)}" title="{m["at_ms"]} ms: {text(m["what"])}"></i>'
                    for m in result["marks"])
    lines = lines.replace(";width:0.000%", "")
    return (f'<div class="row {state(result)}"><a href="#s{result["number"]}">{text(result["name"])}</a>'
            f'<div class="lane">{bars}{lines}</div><span>{result["seconds"]:.1f} s</span></div>')


def phase_table(results):
    head = "".join(f"<th>{text(name)}</th>" for name in moments.PHASES)
    rows = ""
    for r in results:
        reached = {p["name"]: p["at_ms"] for p in r["phases"]}
        cells = "".join(f"<td>{reached.get(name, '')}</td>" for name in moments.PHASES)
        rows += f"<tr><td>{text(r['name'])}</td>{cells}</tr>"
    return f"<table><tr><th>story</th>{head}</tr>{rows}</table>"


def section(result):
    moments_rows = "".join(f"<tr><td>{m['at_ms']}</td><td class=what>{text(m['what'])}</td></tr>"
                           for m in result["marks"])
    inner = f"<table><tr><th>ms</th><th class=what>moment</th></tr>{moments_rows}</table>"
    if state(result) == "skipped":
        inner = f"<p>skipped: {text(result['skipped'])}</p>"
    if state(result) == "failed":
        inner = f"<pre>{text(chr(10).join(result['summary']))}</pre>{inner}"
    return (f'<details id="s{result["number"]}"{" open" if state(result) == "failed" else ""}>'
            f"<summary>{text(result['name'])}: {state(result)}</summary>{inner}</details>")


def write(results, path):
    began = min((r["began"] for r in results), default=0.0)
    whole = max((r["began"] + r["seconds"] - began for r in results), default=1.0) or 1.0
    counts = [sum(state(r) == s for r in results) for s in ("passed", "failed", "skipped")]
    lanes = "".join(lane(r, began, whole) for r in sorted(results, key=lambda r: r["began"]))
    axis = "".join(f"<span>{whole * n / 5:.0f} s</span>" for n in range(6))
    key = "".join(f'<span><b style="background:{c}"></b>{text(name)}</span>' for name, c in COLOURS.items())
    when = datetime.datetime.now().astimezone().isoformat(timespec="seconds", sep=" ")
    path.write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>End-to-end stories</title><style>{STYLE}</style><h1>End-to-end stories</h1>"
        f"<p>{when}: {counts[0]} passed, {counts[1]} failed, {counts[2]} skipped in {whole:.0f} s.</p>"
        f"{''.join(section(r) for r in results if state(r) == 'failed')}"
        f"<h2>The run</h2><p class=key>{key}</p><div class=axis>{axis}</div>{lanes}"
        f"<h2>Phases: ms since QEMU was started</h2>{phase_table(results)}"
        f"<h2>Moments of each story</h2>{''.join(section(r) for r in results if state(r) != 'failed')}</html>\n",
        encoding="utf-8")
