#!/usr/bin/python3
"""Runs the end-to-end stories.

  test/e2e/run.py                             all stories of build/
  test/e2e/run.py --story direct-upload       some of them, by name
  test/e2e/run.py --story direct-upload --repeat 20

TAP is on the screen; JUnit XML, times.json and index.html, a page that needs
nothing else, are in <build>/e2e/, with a folder for each story: its bundle.
Of one that failed, summary.txt comes first, then merged.log.

Each story is a program of test/e2e, run below a supervisor that adopts what it
leaves behind. Whatever the story says itself, it has failed when a process of
it outlives it, when one of its programs or its guest reports damage
(lib/damage.py), or when it takes too long. As many run at once as there are
cores, two at most: a guest under emulation keeps one core busy.

With --repeat one story is run again and again, until it fails for the first
time; repeat.json has the phases of all runs and their medians.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE / "lib"), str(HERE.parent / "lib")]

import bundle  # noqa: E402
import damage  # noqa: E402
import lock  # noqa: E402
import moments  # noqa: E402
import page  # noqa: E402
import sanitizers  # noqa: E402

PYTHON = "/usr/bin/python3"
SKIP_EXIT = 77
STORY_LIMIT_S = 120     # by 100 %, and more by the scale of deadlines
WHOLE_LIMIT_S = 1500    # .ci/run would end it later, and without a word
GRACE_S = 3             # for processes to end behind their story
EMULATED, SANITIZED = 3, 2  # how much slower than with KVM, and with sanitizers
LOADED_MAX = 4

# program -> (variable that names another, Debian package)
NEEDED = {"qemu-system-x86_64": ("MANAGER_QEMU_BIN_PATH", "qemu-system-x86"),
          "swtpm": ("MANAGER_SWTPM", "swtpm"), "gcc": (None, "gcc")}


def drop_cgroups(private):
    """Of VMs that a story which failed left behind; their processes have ended by now."""
    for note in pathlib.Path(private).glob("r/vms/*/cgroup"):
        with contextlib.suppress(OSError):
            os.rmdir(note.read_text(encoding="utf-8"))


class Missing(Exception):
    """Something that stories need is not on this machine."""


def find_program(name):
    variable, package = NEEDED[name]
    wanted = os.environ.get(variable or "", "") or name
    if variable == "MANAGER_SWTPM" and wanted in ("auto", "true", "false"):
        wanted = name
    path = shutil.which(wanted)
    if not path:
        told = f" ({variable})" if wanted != name else ""
        raise Missing(f"'{wanted}'{told} is not on this machine: apt-get install {package}, or make deps")
    return path


def need_guest(guest_build):
    for name in ("vmlinux", "initrd-minimal.cpio", "initrd-python.cpio"):
        path = guest_build / "guest" / name
        if not path.exists():
            raise Missing(f"{path} has not been made: run make guest")


def write_tool(source, target, program):
    """A wrapper, kept while it is the same: the manager's answer on KVM is for a program of this time."""
    wanted = source.read_text(encoding="utf-8").replace("@PROGRAM@", f"'{program}'")
    if not target.exists() or target.read_text(encoding="utf-8") != wanted:
        target.write_text(wanted, encoding="utf-8")
        target.chmod(0o755)
    return target


class Run:
    def __init__(self, options):
        self.build = pathlib.Path(options.build)
        self.guest_build = pathlib.Path(options.guest_build or options.build)
        self.out = self.build.absolute() / "e2e"
        self.names = set(options.story.replace(",", " ").split())
        self.sanitized = "san-" in self.build.name
        self.stopping = threading.Event()
        self.children = set()
        self.mutex = threading.Lock()
        self.tools = {}
        self.ends = time.monotonic() + options.limit

    def stories(self):
        """Files of story programs, by name."""
        found = {p.name.replace("_", "-"): p for p in (self.build / "e2e-bin").glob("*") if os.access(p, os.X_OK)}
        unknown = self.names - set(found)
        if unknown:
            raise LookupError(f"no story is called {', '.join(sorted(unknown))}: there are {', '.join(sorted(found))}")
        return [found[n] for n in sorted(self.names or found)]

    def prepare(self):
        programs = {name: find_program(name) for name in NEEDED}
        need_guest(self.guest_build)
        tools = self.out / "tools"
        tools.mkdir(parents=True, exist_ok=True)
        self.tools["E2E_QEMU"] = str(write_tool(HERE / "lib/qemu.sh", tools / "qemu", programs["qemu-system-x86_64"]))
        self.tools["E2E_SWTPM"] = str(write_tool(HERE / "lib/swtpm.sh", tools / "swtpm", programs["swtpm"]))
        if os.environ.get("MANAGER_SWTPM") == "false":
            self.tools["E2E_SWTPM"] = "false"

    # ------------------------------------------------------------ one story

    def scale(self):
        """Percent of the deadlines, which are written for KVM on an idle machine."""
        if "E2E_SCALE" in os.environ:
            return int(os.environ["E2E_SCALE"])
        try:
            kvm = json.loads((self.out / "kvm-probe.json").read_text(encoding="utf-8"))["works"]
        except (OSError, ValueError, KeyError):
            kvm = False
        busy = min(LOADED_MAX, max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1)))
        return int(100 * busy * (1 if kvm else EMULATED) * (SANITIZED if self.sanitized else 1))

    def environment(self, out, private, scale):
        env = {k: v for k, v in os.environ.items() if k in ("PATH", "CI", "REQUIRE_HW") or k.startswith("MANAGER_")}
        env.update(sanitizers.environment(out))
        env.update(self.tools)
        env.update({"E2E_BUILD": str(self.build), "E2E_GUEST_BUILD": str(self.guest_build), "E2E_OUT": str(out),
                    "E2E_DIR": private, "E2E_SCALE": str(scale), "TMPDIR": private, "LC_ALL": "C.UTF-8"})
        if self.sanitized:
            env["TEST_FIXED_ADDRESSES"] = "1"
        return env

    def lend_probe(self, private):
        """What a manager found out about KVM takes seconds and holds for the next one."""
        folder = pathlib.Path(private, "s", "manager")
        folder.mkdir(parents=True, mode=0o700)
        if (self.out / "kvm-probe.json").exists():
            shutil.copyfile(self.out / "kvm-probe.json", folder / "kvm-probe.json")

    def keep_probe(self, private):
        path, kept = pathlib.Path(private, "s", "manager", "kvm-probe.json"), self.out / "kvm-probe.json"
        with self.mutex:  # a manager of another boot of this host has asked anew
            if path.exists() and (not kept.exists() or path.read_bytes() != kept.read_bytes()):
                os.replace(shutil.copyfile(path, self.out / "kvm-probe.new"), kept)

    def run(self, binary, number):
        name = binary.name.replace("_", "-")
        out = self.out / name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        result = {"name": name, "number": number, "ok": False, "skipped": "", "seconds": 0.0, "marks": [],
                  "phases": [], "causes": [], "summary": [], "out": str(out), "began": time.time(), "said": ""}
        limit = min(STORY_LIMIT_S * self.scale() / 100, self.ends - time.monotonic())
        if self.stopping.is_set() or limit <= 0:
            result["causes"] = ["it was not run: the time for all stories is over"]
            result["summary"] = result["causes"]
            return result
        private = tempfile.mkdtemp(prefix="e2e-", dir="/tmp")  # short: a unix socket's path has room for 107 bytes
        try:
            self.lend_probe(private)
            report = self.supervise(binary, out, private, limit)
            if self.stopping.is_set() and not report.get("timed_out"):
                result["causes"] = ["interrupted"]
                return result
            self.keep_probe(private)
            bundle.collect(out, private)
            self.judge(result, report, private)
        finally:
            drop_cgroups(private)
            shutil.rmtree(private, ignore_errors=True)
        return result

    def supervise(self, binary, out, private, limit):
        report_path = out / "supervisor.json"
        scale = self.scale()
        with open(out / "story.txt", "wb") as said, self.mutex:
            child = subprocess.Popen(
                [PYTHON, "-S", "-E", str(ROOT / "test/lib/supervise.py"), str(report_path), str(limit),
                 str(GRACE_S * scale / 100), str(binary.absolute())],
                stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True,
                env=self.environment(out, private, scale))
            self.children.add(child)
            if self.stopping.is_set():
                child.terminate()
        child.wait()
        with self.mutex:
            self.children.discard(child)
        try:
            return json.loads(report_path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        finally:
            report_path.unlink(missing_ok=True)

    def judge(self, result, report, private):
        out, name = result["out"], result["name"]
        said = pathlib.Path(out, "story.txt").read_text(encoding="utf-8", errors="replace")
        named = moments.marks(out)
        result.update({
            "said": said, "seconds": report.get("seconds", 0.0), "phases": moments.phases(out),
            "marks": [{"at_ms": at_ms, "what": what} for _, at_ms, what in named]})
        skip = re.search(r"^ok 1 - \S+ # SKIP (.*)$", said, re.M)
        causes = moments.lines_of(os.path.join(out, "failure.txt"))
        how = self.how_it_ended(report, said, name)
        causes += how if not causes or report.get("exit") != 1 else []  # 1: it has said why
        causes += [f"a process was left behind: {line}" for line, _ in report.get("left", [])]
        causes += [f"a process that was left behind crashed: {line}" for line in report.get("crashed", [])]
        causes += damage.in_reports(out)
        causes += damage.in_logs(out)
        for core in damage.core_dumps([ROOT, private, out], result["began"]):
            causes.append(f"a core dump: {core}")
        if skip and report.get("exit") == SKIP_EXIT and not causes:
            result["skipped"] = skip.group(1)
        result["ok"] = not causes
        result["causes"] = causes
        result["summary"] = bundle.finish(out, name, causes, bundle.again(
            name, {"san": self.build.name[len("san-"):].replace("-", ",") if self.sanitized else None}))

    @staticmethod
    def how_it_ended(report, said, name):
        if not report:
            return ["its supervisor died"]
        if report["timed_out"]:
            return ["it took too long; when its time was over, there ran: " + "; ".join(report["running"])]
        if report["signal"]:
            return [f"the story's own program was killed by {signal.Signals(report['signal']).name}"]
        if report["exit"] == SKIP_EXIT and re.search(r"^ok 1 - \S+ # SKIP ", said, re.M):
            return []
        if report["exit"] != 0:
            return [f"the story ended with exit code {report['exit']}"]
        if f"\nok 1 - {name}\n" not in "\n" + said:
            return ["the story ended without saying that it is over"]
        return []

    # ------------------------------------------------------------ all of them

    def stop(self):
        self.stopping.set()
        with self.mutex:
            for child in self.children:
                child.terminate()


def show(result, number):
    state = page.state(result)
    verdict = "not ok" if state == "failed" else "ok"
    skip = f" # SKIP {result['skipped']}" if state == "skipped" else ""
    print(f"{verdict} {number} - {result['name']} ({result['seconds']:.1f} s){skip}", flush=True)
    if state == "failed":
        for line in result["summary"]:
            print(f"#   {line}", flush=True)


def all_at_once(run, binaries, jobs, results):
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run.run, b, n) for n, b in enumerate(binaries, 1)]
        try:
            for number, future in enumerate(futures, 1):
                results.append(future.result())
                show(results[-1], number)
        except KeyboardInterrupt:
            run.stop()
            raise


def again_and_again(run, binary, times, results):
    """In a row, for runs share the folder of their bundle; the first failure is the last run."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for number in range(1, times + 1):
            future = pool.submit(run.run, binary, number)
            try:
                results.append(future.result())
            except KeyboardInterrupt:
                run.stop()
                raise
            show(results[-1], number)
            if not results[-1]["ok"]:
                return


def medians(results):
    """{phase: {at_ms, took_ms: {median, min, max}}} over the runs that passed."""
    table = {}
    for name in moments.PHASES:
        found = [p for r in results if r["ok"] for p in r["phases"] if p["name"] == name]
        if found:
            table[name] = {key: {"median": statistics.median(p[key] for p in found), "min": min(p[key] for p in found),
                                 "max": max(p[key] for p in found)} for key in ("at_ms", "took_ms")}
    return table


def write_repeat(results, wanted, path):
    table = medians(results)
    path.write_text(json.dumps({
        "story": results[0]["name"], "wanted": wanted, "passed": sum(r["ok"] for r in results), "phases": table,
        "runs": [{k: r[k] for k in ("ok", "seconds", "phases")} for r in results]}, indent=1), encoding="utf-8")
    print(f"# {'ms since QEMU was started':<26} {'median':>8} {'min':>8} {'max':>8}")
    for name, row in table.items():
        print("# {:<26} {:>8.0f} {:>8} {:>8}".format(name, *(row["at_ms"][k] for k in ("median", "min", "max"))))
    print(f"# all runs: {path}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build", help="folder of the host's programs (default: build)")
    parser.add_argument("--guest-build", help="folder of the guest and its algorithms (default: the same)")
    parser.add_argument("--story", default="", help="names of stories; default: all")
    parser.add_argument("--jobs", type=int, default=max(1, min(2, os.cpu_count() or 1)), help="stories side by side")
    parser.add_argument("--repeat", type=int, default=1, help="run one story that often, until it fails")
    parser.add_argument("--limit", type=float, default=WHOLE_LIMIT_S, help="seconds for all of it")
    options = parser.parse_args()
    if options.repeat < 1 or options.jobs < 1:
        parser.error("--repeat and --jobs: at least 1")
    if options.repeat > 1 and len(options.story.replace(",", " ").split()) != 1:
        parser.error("--repeat: one --story is wanted")
    return options


def main():
    options = parse()
    os.chdir(ROOT)
    run = Run(options)
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    results = []
    try:
        with lock.hold(run.out, "a run of stories"):
            binaries = run.stories()
            run.prepare()
            print(f"1..{len(binaries) * options.repeat}", flush=True)
            if options.repeat > 1:
                again_and_again(run, binaries[0], options.repeat, results)
                write_repeat(results, options.repeat, run.out / "repeat.json")
            else:
                all_at_once(run, binaries, options.jobs, results)
            page.junit(results, run.out / "junit.xml")
            page.write(results, run.out / "index.html")
            (run.out / "times.json").write_text(json.dumps(
                [{k: r[k] for k in ("name", "ok", "seconds", "phases", "marks")} for r in results], indent=1),
                encoding="utf-8")
    except Missing as e:
        print(f"e2e: {e}", file=sys.stderr)
        return 1
    except LookupError as e:
        print(f"e2e: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        run.stop()
        print("interrupted", file=sys.stderr)
        return 130
    states = [page.state(r) for r in results]
    print(f"# page: {os.path.relpath(run.out / 'index.html')}")
    print(", ".join(f"{states.count(s)} {s}" for s in ("passed", "failed", "skipped")))
    return 1 if "failed" in states else 0


if __name__ == "__main__":
    sys.exit(main())
