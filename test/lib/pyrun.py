"""Runs the unittest cases of one file and writes what became of each.

usage: pyrun.py FILE RESULTS [-k NAME]...

RESULTS gets JSON lines: {"start": id}, then {"id", "outcome", "seconds",
"text"} with outcome passed, failed or skipped. A start without its end is the
test during which the program died.
"""

import importlib.util
import json
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


class Result(unittest.TestResult):
    def __init__(self, out):
        super().__init__()
        self.out = out
        self.started = 0.0
        self.outcome = None

    def say(self, record):
        self.out.write(json.dumps(record) + "\n")
        self.out.flush()

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()
        self.outcome = ("passed", "")
        print(f"--- {test.id()}", flush=True)
        self.say({"start": test.id()})

    def end(self, name, outcome, text):
        self.say({"id": name, "outcome": outcome, "text": text,
                  "seconds": time.monotonic() - self.started if self.started else 0.0})

    def stopTest(self, test):
        super().stopTest(test)
        self.end(test.id(), *self.outcome)
        self.outcome = None

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
