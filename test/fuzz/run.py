#!/usr/bin/python3
"""Looks for inputs that break a parser: every fuzz target for a while.

  test/fuzz/run.py --seconds 60            all targets of build/fuzz
  test/fuzz/run.py --seconds 600 zip json  fuzz_zip and fuzz_json
  test/fuzz/run.py --merge                 keep what earlier runs found, as new seeds

Targets run side by side, one a core. What a run finds is kept in
build/fuzz/corpus/<format> (or below FUZZ_CORPUS), where the next run starts; test/fuzz/corpus holds
the seeds that everyone replays, and --merge adds to it only what reaches new
code. An input that breaks a target lands in build/fuzz/broken and is shown
with the command that repeats it. The last line is `N passed, N failed,
N skipped`.
"""

import argparse
import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ONE_INPUT_S = 60       # longest time one input may take, on a machine that is busy
MEMORY_MIB = 1024      # most memory a target may use
INPUT_MAX = 256 * 1024  # bytes


class Fuzz:
    def __init__(self, args):
        self.build, self.seconds, self.merge = os.path.abspath(args.build), args.seconds, args.merge
        self.children, self.lock = set(), threading.Lock()

    def environment(self):
        env = dict(os.environ)
        env["ASAN_OPTIONS"] = "detect_leaks=1:abort_on_error=1:strict_string_checks=1:" \
                              "detect_stack_use_after_return=1:allocator_may_return_null=1"
        env["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1:abort_on_error=1"
        return env

    def run(self, source):
        """(name, passed, a line of what was done, the log)."""
        name = os.path.basename(source)[len("fuzz_"):-2]
        binary = os.path.join(self.build, "fuzz-bin", "fuzz_" + name)
        seeds = os.path.join(ROOT, "test/fuzz/corpus", name)
        found = os.path.join(os.environ.get("FUZZ_CORPUS") or os.path.join(self.build, "corpus"), name)
        broken = os.path.join(self.build, "broken", name)
        log_path = os.path.join(self.build, "log", name)
        for folder in (found, broken, os.path.dirname(log_path)):
            os.makedirs(folder, exist_ok=True)
        common = [f"-timeout={ONE_INPUT_S}", f"-rss_limit_mb={MEMORY_MIB}", f"-max_len={INPUT_MAX}",
                  f"-artifact_prefix={broken}/"]
        if self.merge:
            argv = [binary, "-merge=1", *common, seeds, found]
        else:
            argv = [binary, f"-max_total_time={self.seconds}", "-print_final_stats=1", *common, found, seeds]
        dictionary = os.path.join(ROOT, "test/fuzz", name + ".dict")
        if os.path.exists(dictionary):
            argv.insert(1, f"-dict={dictionary}")
        with open(log_path, "wb") as log:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                     env=self.environment(), cwd=self.build)
            with self.lock:
                self.children.add(child)
            code = child.wait()
            with self.lock:
                self.children.discard(child)
        with open(log_path, encoding="utf-8", errors="replace") as f:
            text = f.read()
        runs = re.search(r"number_of_executed_units:\s*(\d+)", text)
        cover = re.findall(r"cov: (\d+)", text)
        summary = f"{runs.group(1) if runs else '?'} inputs, {cover[-1] if cover else '?'} edges, " \
                  f"{len(os.listdir(found))} kept"
        if code != 0:
            for path in sorted(glob.glob(broken + "/*")):
                text += f"\nrepeat it: {os.path.relpath(binary, ROOT)} {os.path.relpath(path, ROOT)}"
        return name, code == 0, summary, text

    def stop(self):
        with self.lock:
            for child in self.children:
                child.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", metavar="format", help="targets, without fuzz_ (default: all)")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default: 60)")
    parser.add_argument("--build", default="build/fuzz")
    parser.add_argument("--merge", action="store_true")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 2)
    args = parser.parse_args()
    os.chdir(ROOT)

    sources = sorted(glob.glob("test/fuzz/fuzz_*.c"))
    known = {os.path.basename(s)[len("fuzz_"):-2] for s in sources}
    for wanted in args.formats:
        if wanted not in known:
            parser.error(f"format '{wanted}': one of {', '.join(sorted(known))} is wanted")
    if args.formats:
        sources = [s for s in sources if os.path.basename(s)[len("fuzz_"):-2] in args.formats]

    fuzz, passed, failed, started = Fuzz(args), 0, 0, time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        try:
            for future in concurrent.futures.as_completed([pool.submit(fuzz.run, s) for s in sources]):
                name, good, summary, text = future.result()
                passed, failed = passed + good, failed + (not good)
                print(f"{'ok  ' if good else 'FAIL'} fuzz_{name}: {summary}", flush=True)
                if not good:
                    print(text[-20000:], flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            fuzz.stop()
            print("interrupted", file=sys.stderr)
            return 130
    print(f"{len(sources)} targets in {time.monotonic() - started:.0f} s; findings in {args.build}/broken")
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
