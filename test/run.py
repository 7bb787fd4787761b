#!/usr/bin/python3
"""Runs the tests and counts them.

  test/run.py                        unit, integration and interop of build/
  test/run.py unit integration interop --build build/san-address-undefined
  test/run.py -k journal             only tests whose name has "journal" in it
  test/run.py unit --valgrind        unit tests under valgrind

Kinds:
  unit         build/unit/<room>/test_*, and the fuzz seeds through
               build/fuzz-replay/fuzz_*
  integration  test/integration/test_*.py: the real binaries together
  interop      test/interop/test_*.py: against software we did not write

Programs run side by side, each with a deadline, its own temporary folder
(TMPDIR) and a supervisor that adopts whatever it starts. A program fails when
a test of it fails, when it crashes, runs past its deadline, leaves a process
or a file behind, or when a sanitizer has something to say. Failures are shown
in full; the last line is `N passed, N failed, N skipped`. JUnit XML and logs
are in <build>/test/.

A source may say in its first lines, in a comment, `test-deadline: 900` (seconds)
or `test-alone` (nothing runs beside it). Deadlines end what hangs; nothing that
merely is slow, on a machine that does five other things, may meet one.
"""

import argparse
import concurrent.futures
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "test/lib"))

import lock  # noqa: E402
import sanitizers  # noqa: E402

PYTHON = "/usr/bin/python3"
KINDS = ("unit", "integration", "interop")
DEADLINE_S = {"unit": 180, "integration": 600, "interop": 600}
DEADLINE_MAX_S = 1200  # however slow this kind of build is
GRACE_S = 10
SKIP_EXIT = 77
SHOWN_MAX = 60_000  # characters of one program's output on the screen

# How much longer everything takes.
SLOWER = {"address": 3, "thread": 6, "valgrind": 20}


class Program:
    """One program to run: a cmocka binary, a replay of seeds, or a Python file."""

    def __init__(self, kind, name, source, argv, form):
        self.kind, self.name, self.source, self.argv, self.form = kind, name, source, argv, form
        self.deadline_s, self.alone = DEADLINE_S[kind], False
        with open(os.path.join(ROOT, source), encoding="utf-8") as f:
            head = f.read(4096)
        match = re.search(r"^\W*test-deadline: (\d+)", head, re.M)
        if match:
            self.deadline_s = int(match.group(1))
        self.alone = re.search(r"^\W*test-alone\b", head, re.M) is not None


class Case:
    def __init__(self, name, outcome, seconds=0.0, text=""):
        self.name, self.outcome, self.seconds, self.text = name, outcome, seconds, text


class Outcome:
    def __init__(self, program):
        self.program, self.cases, self.output, self.seconds = program, [], "", 0.0

    def fail(self, name, text):
        self.cases.append(Case(name, "failed", 0.0, text))

    def end_early(self, name, text):
        """A test that told where it was when its time was over (see pyrun.py) is not counted twice."""
        last = self.cases[-1] if self.cases else None
        if last and last.outcome == "failed" and "TooLate: " in last.text:
            last.text += text
        else:
            self.fail(name, text)

    def count(self, outcome):
        return sum(1 for c in self.cases if c.outcome == outcome)


def discover(kinds, build, names):
    programs = []
    if "unit" in kinds:
        for source in sorted(glob.glob("test/unit/*/test_*.c", root_dir=ROOT)):
            name = source[len("test/"):-2]
            programs.append(Program("unit", name, source, [os.path.join(build, name)], "tap"))
        # Our own scripts are the same whatever the binaries were built with.
        for source in [] if "san-" in build else sorted(glob.glob("test/unit/*/test_*.py", root_dir=ROOT)):
            programs.append(Program("unit", source[len("test/"):-3], source, [source], "python"))
        for source in sorted(glob.glob("test/fuzz/fuzz_*.c", root_dir=ROOT)):
            name = os.path.basename(source)[:-2]
            corpus = "test/fuzz/corpus/" + name[len("fuzz_"):]
            programs.append(Program("unit", "seeds/" + name, source,
                                    [os.path.join(build, "fuzz-replay", name), corpus], "tap"))
    for kind in ("integration", "interop"):
        if kind in kinds:
            for source in sorted(glob.glob(f"test/{kind}/test_*.py", root_dir=ROOT)):
                programs.append(Program(kind, source[len("test/"):-3], source, [source], "python"))
    if names:
        programs = [p for p in programs if p.form == "python" or any(n in p.name for n in names)]
    return programs


class Runner:
    def __init__(self, args):
        self.build = os.path.abspath(args.build)
        self.names = args.k
        self.valgrind = args.valgrind
        self.stopping = threading.Event()
        self.children = set()
        self.lock = threading.Lock()
        self.scale = float(os.environ.get("TEST_TIME_SCALE", "1"))
        for word, factor in SLOWER.items():
            if word in os.path.basename(self.build) or (word == "valgrind" and args.valgrind):
                self.scale *= factor
        self.out = os.path.join(self.build, "test")

    def environment(self, program, tmp, logs):
        # Tests see nothing of where they are started from but what programs are there.
        env = {k: v for k, v in os.environ.items() if k in ("PATH", "CI", "REQUIRE_HW")}
        env.update({
            "TMPDIR": tmp,
            "HOME": tmp,
            "TERM": "xterm",
            "LC_ALL": "C.UTF-8",
            "COCOS_TEST_BUILD": self.build,
            "TEST_TIME_SCALE": f"{self.scale:g}",
            "CMOCKA_MESSAGE_OUTPUT": "TAP",
            "PYTHONDONTWRITEBYTECODE": "1",
            **sanitizers.environment(logs),
        })
        if "san-" in os.path.basename(self.build):
            env["TEST_FIXED_ADDRESSES"] = "1"
        if program.form == "python":
            env["TEST_TELLS"] = "1"
        return env

    def deadline_of(self, program):
        return min(program.deadline_s * self.scale, max(DEADLINE_MAX_S, program.deadline_s))

    def command(self, program, logs):
        if program.form == "python":
            names = [] if any(n in program.name for n in self.names) else \
                [word for n in self.names for word in ("-k", n)]
            return [PYTHON, os.path.join(ROOT, "test/lib/pyrun.py"), program.argv[0],
                    os.path.join(logs, "results")] + names
        if self.valgrind:
            return ["valgrind", "-q", "--error-exitcode=98", "--leak-check=full",
                    "--show-leak-kinds=definite,indirect", "--errors-for-leak-kinds=definite,indirect",
                    "--num-callers=30", f"--suppressions={ROOT}/test/lib/valgrind.supp",
                    f"--log-file={logs}/valgrind.%p"] + program.argv
        return program.argv

    def run(self, program):
        outcome = Outcome(program)
        if self.stopping.is_set():
            return outcome
        if program.form == "tap" and not os.path.exists(program.argv[0]):
            outcome.fail("build", f"{program.argv[0]} has not been built")
            return outcome
        logs = os.path.join(self.out, "log", program.name)
        shutil.rmtree(logs, ignore_errors=True)
        os.makedirs(logs)
        # Short: a unix socket's path has room for 107 bytes.
        tmp = tempfile.mkdtemp(prefix="ct", dir="/tmp")
        report_path = os.path.join(logs, "report")
        try:
            with open(os.path.join(logs, "output"), "wb") as output:
                child = subprocess.Popen(
                    [PYTHON, "-S", "-E", os.path.join(ROOT, "test/lib/supervise.py"), report_path,
                     str(self.deadline_of(program)), str(GRACE_S * self.scale)] +
                    self.command(program, logs),
                    stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT,
                    env=self.environment(program, tmp, logs), start_new_session=True)
                with self.lock:
                    self.children.add(child)
                child.wait()
                with self.lock:
                    self.children.discard(child)
            self.judge(program, outcome, logs, report_path, tmp)
        finally:
            shutil.rmtree(tmp, ignore_errors=True)
        return outcome

    # ----------------------------------------------------------- judging

    def judge(self, program, outcome, logs, report_path, tmp):
        with open(os.path.join(logs, "output"), encoding="utf-8", errors="replace") as f:
            outcome.output = f.read()
        try:
            with open(report_path, encoding="utf-8") as f:
                report = json.load(f)
        except (OSError, ValueError):
            outcome.fail("supervisor", "the supervisor died: see the output")
            return
        outcome.seconds = report["seconds"]
        tests = []  # (name, began, ended) of those that tell
        running = self.read_python(outcome, logs, tests) if program.form == "python" else read_tap(outcome)
        where = f" (load {report['load']:.1f}):\n  " + "\n  ".join(report["running"])
        if report["timed_out"]:
            outcome.end_early(running or "deadline", f"still running after {self.deadline_of(program):g} s{where}")
        elif report["interrupted"]:
            outcome.end_early(running or "interrupted", f"told to end after {report['seconds']:.1f} s{where}")
        elif report["signal"]:
            outcome.fail(running or "crash", f"killed by {signal.Signals(report['signal']).name}")
        elif report["exit"] == SKIP_EXIT:
            lines = outcome.output.strip().splitlines()
            outcome.cases = [Case(program.name, "skipped", 0.0, lines[-1] if lines else "no reason given")]
        elif report["exit"] != 0 and outcome.count("failed") == 0:
            outcome.fail(running or "exit", f"exit code {report['exit']}")
        elif running:
            outcome.fail(running, f"the program ended here, with exit code {report['exit']}")
        if report["left"]:
            outcome.fail("processes left behind", "\n".join(
                cmdline + who_was_running(tests, began) for cmdline, began in report["left"]))
        if report["exit"] is not None and not report["timed_out"] and not report["interrupted"]:
            self.judge_files(outcome, tmp, tests)
        self.judge_reports(outcome, logs)
        if not outcome.cases and not self.names:
            outcome.fail("empty", "no test ran")

    @staticmethod
    def judge_files(outcome, tmp, tests):
        to_boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        left = []
        for at, dirs, files in os.walk(tmp):
            for path in (os.path.join(at, n) for n in files + dirs):
                left.append(os.path.relpath(path, tmp) + who_was_running(tests, os.lstat(path).st_ctime - to_boot))
        if left:
            outcome.fail("files left behind", "\n".join(sorted(left)[:50]))

    @staticmethod
    def judge_reports(outcome, logs):
        for name in sorted(os.listdir(logs)):
            if name.startswith(("sanitizer.", "valgrind.")):
                with open(os.path.join(logs, name), encoding="utf-8", errors="replace") as f:
                    text = f.read()
                # What valgrind says of itself, of a system call that it does not know for instance.
                text = re.sub(r"^--\d+-- .*\n?", "", text, flags=re.M)
                if text.strip():
                    outcome.fail(name, text)
        for core in glob.glob(os.path.join(ROOT, "core*")):
            if os.path.isfile(core) and not core.endswith((".c", ".h", ".md")):
                outcome.fail("core dump", core)
                os.unlink(core)

    @staticmethod
    def read_python(outcome, logs, tests):
        """Fills the cases; returns the test that was running at the end, if one was."""
        running = None
        path = os.path.join(logs, "results")
        if not os.path.exists(path):
            return None
        with open(path, encoding="utf-8") as f:
            for line in f:
                record = json.loads(line)
                if "start" in record:
                    running = record["start"]
                else:
                    running = None
                    outcome.cases.append(Case(record["id"], record["outcome"], record["seconds"], record["text"]))
                    tests.append((record["id"], record["began"], record["ended"]))
        return running

    # ----------------------------------------------------------- the whole

    def stop(self):
        """Those that run say where they are, no other begins."""
        self.stopping.set()
        with self.lock:
            for child in self.children:
                child.terminate()


def who_was_running(tests, when):
    """Names the test that ran at a time of CLOCK_BOOTTIME, or had just ended."""
    begun = [t for t in tests if t[1] - 0.02 <= when]  # the kernel counts in hundredths
    if not begun:
        return ""
    name, _, ended = begun[-1]
    return f" (begun {'during' if when <= ended else 'after'} {name})"


def read_tap(outcome):
    """Fills the cases from cmocka's TAP; returns a name when fewer ran than were planned."""
    planned, before = 0, ""
    case = None
    for line in outcome.output.splitlines():
        plan = re.match(r"1\.\.(\d+)$", line)
        result = re.match(r"(not )?ok (\d+)(?: -)? (.*)$", line)
        if plan:
            planned += int(plan.group(1))
            case = None
        elif result:
            name = result.group(3)
            if name.startswith("# SKIP"):
                case = Case(name[len("# SKIP"):].strip(), "skipped", 0.0, before or "no reason given")
            else:
                case = Case(name, "failed" if result.group(1) else "passed")
            outcome.cases.append(case)
            before = ""
        elif line.startswith("#") and case is not None and case.outcome == "failed":
            case.text += line + "\n"
        else:
            before = line
    ran = len(outcome.cases)
    return f"test {ran + 1} of {planned}" if ran < planned else None


def show(outcome, screen):
    program = outcome.program
    failed, skipped = outcome.count("failed"), outcome.count("skipped")
    with screen:
        state = "FAIL" if failed else "ok  "
        extra = (f", {failed} failed" if failed else "") + (f", {skipped} skipped" if skipped else "")
        if outcome.cases:
            print(f"{state} {program.name}: {outcome.count('passed')} passed{extra} ({outcome.seconds:.2f} s"
                  f"{f', load {os.getloadavg()[0]:.1f}' if failed else ''})")
        for case in outcome.cases:
            if case.outcome == "skipped":
                print(f"     skipped {case.name}: {case.text.strip()}")
        if failed:
            for case in outcome.cases:
                if case.outcome == "failed":
                    print(f"---- {program.name}: {case.name}")
                    print(case.text.rstrip())
            print(f"---- output of {program.name}")
            text = outcome.output
            if len(text) > SHOWN_MAX:
                text = f"[... {len(text) - SHOWN_MAX} characters more in the log ...]\n" + text[-SHOWN_MAX:]
            print(text.rstrip())
            print(f"---- end of {program.name}")
        sys.stdout.flush()


def clean_xml(text):
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd]", "\ufffd", text)


def write_junit(path, outcomes):
    root = ElementTree.Element("testsuites")
    for o in outcomes:
        suite = ElementTree.SubElement(root, "testsuite", name=o.program.name, tests=str(len(o.cases)),
                                       failures=str(o.count("failed")), skipped=str(o.count("skipped")),
                                       time=f"{o.seconds:.3f}")
        for case in o.cases:
            element = ElementTree.SubElement(suite, "testcase", classname=o.program.name.replace("/", "."),
                                             name=clean_xml(case.name), time=f"{case.seconds:.3f}")
            if case.outcome == "failed":
                ElementTree.SubElement(element, "failure", message=clean_xml(case.text[:200])).text = \
                    clean_xml(case.text)
            elif case.outcome == "skipped":
                ElementTree.SubElement(element, "skipped", message=clean_xml(case.text))
        if o.count("failed"):
            ElementTree.SubElement(suite, "system-out").text = clean_xml(o.output)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="kind", help="unit, integration, interop (default: all)")
    parser.add_argument("--build", default="build", help="folder of the binaries (default: build)")
    parser.add_argument("-k", action="append", default=[], metavar="NAME",
                        help="only tests whose name contains NAME; may be repeated")
    parser.add_argument("-j", "--jobs", type=int, default=max(2, (os.cpu_count() or 2) * 3 // 2),
                        help="programs side by side (default: three for two cores, as tests wait a lot)")
    parser.add_argument("--valgrind", action="store_true", help="unit binaries under valgrind")
    args = parser.parse_args()
    for kind in args.kinds:
        if kind not in KINDS:
            parser.error(f"kind '{kind}': one of {', '.join(KINDS)} is wanted")
    if not os.path.isdir(args.build):
        parser.error(f"--build {args.build}: no such folder; run make first")
    return args


def main():
    args = parse()
    os.chdir(ROOT)
    kinds = args.kinds or KINDS
    runner = Runner(args)
    held = lock.hold(runner.out, "test/run.py")  # its logs are of one run
    programs = discover(kinds, runner.build, args.k)
    if args.valgrind:
        programs = [p for p in programs if p.form == "tap"]
    screen = threading.Lock()
    outcomes = []
    started = time.monotonic()

    def work(program):
        outcome = runner.run(program)
        outcomes.append(outcome)
        show(outcome, screen)

    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        # The slowest first, so that none of them is alone at the end.
        side_by_side = sorted((p for p in programs if not p.alone),
                              key=lambda p: (p.kind == "unit", -p.deadline_s, -os.path.getsize(p.source)))
        with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
            try:
                for future in [pool.submit(work, p) for p in side_by_side]:
                    future.result()
                for program in programs:
                    if program.alone:
                        pool.submit(work, program).result()
            except KeyboardInterrupt:
                runner.stop()
                raise
    except KeyboardInterrupt:
        print(f"interrupted after {time.monotonic() - started:.1f} s, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        return 130

    outcomes.sort(key=lambda o: o.program.name)
    write_junit(os.path.join(runner.out, "-".join(kinds) + ("-valgrind" if args.valgrind else "") + ".xml"),
                outcomes)
    passed, failed, skipped = (sum(o.count(c) for o in outcomes) for c in ("passed", "failed", "skipped"))
    if failed:
        print("\nfailed:")
        for o in outcomes:
            for case in o.cases:
                if case.outcome == "failed":
                    print(f"  {o.program.name}: {case.name}")
    slowest = sorted(outcomes, key=lambda o: -o.seconds)[:3]
    print("longest: " + ", ".join(f"{o.program.name} {o.seconds:.1f} s" for o in slowest) +
          f"; load {os.getloadavg()[0]:.1f}")
    print(f"{len(programs)} programs in {time.monotonic() - started:.1f} s; logs in {runner.out}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    if args.k and not passed + failed + skipped:
        print(f"no test has {' or '.join(args.k)} in its name", file=sys.stderr)
        return 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
