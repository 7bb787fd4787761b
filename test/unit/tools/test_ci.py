""".ci/run adds up what its stages counted, and fails when one of them does."""

import os
import shutil
import subprocess

import harness

COUNTS = "3 passed, 0 failed, 1 skipped"


class Ci(harness.TestCase):
    def setUp(self):
        super().setUp()
        shutil.copytree(os.path.join(harness.ROOT, ".ci"), os.path.join(self.dir, ".ci"))
        self.make_file("ci/deps.sh", "exit 0\n")
        self.make_file("test/run.py", f"print('{COUNTS}')\n")
        self.make("exit 0")

    def make(self, script):
        os.chmod(self.make_file("bin/make", "#!/bin/sh\n" + script + "\n"), 0o755)

    def run_ci(self, *stages):
        env = self.environment({"PATH": os.path.join(self.dir, "bin") + ":" + os.environ["PATH"]})
        done = subprocess.run([os.path.join(self.dir, ".ci/run"), *stages], capture_output=True, text=True, env=env,
                              check=False)
        return done.returncode, done.stdout.strip().splitlines()[-1], done.stdout

    def test_stages_are_added_up(self):
        code, last, out = self.run_ci("build", "lint", "asan", "tsan")
        self.assertEqual((code, last), (0, "8 passed, 0 failed, 2 skipped"), out)

    def test_a_failing_stage_is_a_failure_and_shows_its_log(self):
        self.make('case "$*" in *lint*) echo because; exit 1 ;; esac')
        code, last, out = self.run_ci("build", "lint", "asan")
        self.assertEqual((code, last), (1, "4 passed, 1 failed, 1 skipped"), out)
        self.assertIn("because", out)

    def test_counted_failures_are_not_counted_twice(self):
        self.make_file("test/run.py", "import sys\nprint('3 passed, 2 failed, 1 skipped')\nsys.exit(1)\n")
        code, last, out = self.run_ci("asan")
        self.assertEqual((code, last), (1, "3 passed, 2 failed, 1 skipped"), out)

    def test_failure_outside_the_counted_is_a_failure(self):
        self.make_file("test/run.py", f"import sys\nprint('{COUNTS}')\nsys.exit(1)\n")
        code, last, out = self.run_ci("asan")
        self.assertEqual((code, last), (1, "3 passed, 1 failed, 1 skipped"), out)

    def test_counted_failures_fail_whatever_the_exit_code(self):
        self.make_file("test/run.py", "print('3 passed, 2 failed, 1 skipped')\n")
        code, last, out = self.run_ci("asan")
        self.assertEqual((code, last), (1, "3 passed, 2 failed, 1 skipped"), out)

    def test_reasons_of_skips_are_shown(self):
        self.make_file("test/run.py", f"print('     skipped a: needs a TPM\\n{COUNTS}')\n")
        self.assertIn("needs a TPM", self.run_ci("asan")[2])

    def test_unknown_stage_is_bad_usage(self):
        self.assertEqual(self.run_ci("lint", "polish")[0], 2)

    def test_nothing_goes_on_without_a_build(self):
        self.make("exit 1")
        code, last, out = self.run_ci("build", "asan")
        self.assertEqual((code, last), (1, "0 passed, 1 failed, 0 skipped"), out)


if __name__ == "__main__":
    harness.main()
