"""Runs the unittest cases of one file and writes what became of each.

usage: pyrun.py FILE RESULTS [-k NAME]...

RESULTS gets JSON lines: {"start": id}, then {"id", "outcome", "seconds",
"text", "began", "ended"} with outcome passed, failed or skipped; the last two
are times on CLOCK_BOOTTIME. A start without its end is the test during which
the program died.

On SIGUSR2 the running test fails where it is, so that it tells what it waited
for and shows what its processes wrote.
"""

import faulthandler
import importlib.util
import json
import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class TooLate(Exception):
    """The time of the whole program is over."""


def too_late(*_):
    faulthandler.dump_traceback()
    raise TooLate("the program's time is over, or it was told to end")


class Result(unittest.TestResult):
    def __init__(self, out):
        super().__init__()
        self.out = out
        self.started = None
        self.outcome = None

    def say(self, record):
        self.out.write(json.dumps(record) + "\n")
        self.out.flush()

    def startTest(self, test):
        super().startTest(test)
        self.started = now()
        self.outcome = ("passed", "")
        print(f"--- {test.id()}", flush=True)
        self.say({"start": test.id()})

    def end(self, name, outcome, text):
        ended = now()
        began = ended if self.started is None else self.started
        if outcome == "failed":
            text += f"({ended - began:.1f} s after the test began; load {os.getloadavg()[0]:.1f})\n"
        self.say({"id": name, "outcome": outcome, "text": text, "seconds": ended - began, "began": began,
                  "ended": ended})

    def stopTest(self, test):
        super().stopTest(test)
        self.end(test.id(), *self.outcome)
        self.started = self.outcome = None

    def note(self, test, outcome, text):
        """A fault outside any test (setUpClass, setUpModule) is one of its own."""
        if self.outcome is None:
            self.end(str(test), outcome, text)
        elif self.outcome[0] == "failed":
            self.outcome = ("failed", self.outcome[1] + "\n" + text)
        else:
            self.outcome = (outcome, text)

    def addError(self, test, err):
        super().addError(test, err)
        self.note(test, "failed", self._exc_info_to_string(err, test))
        if issubclass(err[0], TooLate):
            self.stop()

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.note(test, "failed", self._exc_info_to_string(err, test))

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note(subtest, "failed", f"{subtest}\n" + self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.note(test, "skipped", reason)

    def addExpectedFailure(self, test, err):
        self.note(test, "failed", "expectedFailure is not used here: a test passes, fails or skips")

    def addUnexpectedSuccess(self, test):
        self.note(test, "failed", "unexpected success")


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def main():
    path, results, names = sys.argv[1], sys.argv[2], sys.argv[3:]
    names = [n for n in names if n != "-k"]
    signal.signal(signal.SIGUSR2, too_late)
    name = os.path.splitext(os.path.basename(path))[0]
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with open(results, "a", encoding="utf-8") as out:
        result = Result(out)
        try:
            spec.loader.exec_module(module)
        except unittest.SkipTest as e:
            result.end(name, "skipped", str(e))
            return 0
        tests = list(flatten(unittest.defaultTestLoader.loadTestsFromModule(module)))
        if names:
            tests = [t for t in tests if any(n in t.id() for n in names)]
        unittest.TestSuite(tests).run(result)
        return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
