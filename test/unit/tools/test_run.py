"""The test runner notices what a test must not do, and counts right."""

import os
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import harness

BODY = "import os, subprocess, unittest\nclass T(unittest.TestCase):\n"

# name, a Python test file's body, the last line wanted, text wanted in the output
PYTHON_CASES = (
    ("passes_are_counted", "    def test_a(self): pass\n    def test_b(self): pass\n", "2 passed, 0 failed, 0 skipped",
     "ok"),
    ("failure_is_shown", "    def test_a(self): self.fail('because')\n", "0 passed, 1 failed, 0 skipped", "because"),
    ("skip_shows_its_reason", "    def test_a(self): self.skipTest('needs a TPM')\n", "0 passed, 0 failed, 1 skipped",
     "needs a TPM"),
    ("crash_names_the_test", "    def test_a(self): pass\n    def test_b(self): os.abort()\n",
     "1 passed, 1 failed, 0 skipped", "test_b"),
    ("deadline_names_the_test", "    # test-deadline: 1\n    def test_a(self): subprocess.run(['cat'], stdin=subprocess."
     "Popen(['tail', '-f', '/dev/null'], stdout=-1).stdout)\n", "0 passed, 1 failed, 0 skipped", "still running"),
    ("process_left_behind_fails", "    def test_a(self): subprocess.Popen(['env', '-i', 'setsid', 'tail', '-f',"
     " '/dev/null'], start_new_session=True)\n", "1 passed, 1 failed, 0 skipped", "tail -f /dev/null (begun "),
    ("file_left_behind_fails", "    def test_a(self): open(os.environ['TMPDIR'] + '/left', 'w').close()\n",
     "1 passed, 1 failed, 0 skipped", "left (begun during test_x.T.test_a)"),
    ("sanitizer_report_fails", "    def test_a(self):\n        with open(os.environ['ASAN_OPTIONS'].split('log_path=')[1]"
     ".split(':')[0] + '.7', 'w') as f: f.write('heap-use-after-free')\n", "1 passed, 1 failed, 0 skipped",
     "heap-use-after-free"),
    ("subtest_failure_is_one_failure", "    def test_a(self):\n        for i in range(3):\n            with self.subTest(i):"
     " self.assertEqual(i, 1)\n", "0 passed, 1 failed, 0 skipped", "0 != 1"),
    ("setup_class_failure_is_counted", "    @classmethod\n    def setUpClass(cls): raise OSError('no way')\n"
     "    def test_a(self): pass\n", "0 passed, 1 failed, 0 skipped", "no way"),
    ("empty_file_fails", "    pass\n", "0 passed, 1 failed, 0 skipped", "no test ran"),
    ("syntax_error_fails", "    def\n", "0 passed, 1 failed, 0 skipped", "SyntaxError"),
)

# name, what a cmocka program prints and does, last line, text
TAP_CASES = (
    ("tap_is_counted", "echo 1..3; echo ok 1 - a; echo why; echo 'not ok 2 # SKIP b'; echo ok 3 - c",
     "2 passed, 0 failed, 1 skipped", "why"),
    ("tap_failure_is_shown", "echo 1..1; echo not ok 1 - a; echo '# 0x1 != 0x2'; exit 1",
     "0 passed, 1 failed, 0 skipped", "0x1 != 0x2"),
    ("tap_cut_short_fails", "echo 1..3; echo ok 1 - a; exit 0", "1 passed, 1 failed, 0 skipped", "test 2 of 3"),
    ("tap_exit_code_alone_fails", "echo 1..1; echo ok 1 - a; exit 3", "1 passed, 1 failed, 0 skipped", "exit code 3"),
    ("tap_exit_77_is_a_skip", "echo needs root; exit 77", "0 passed, 0 failed, 1 skipped", "needs root"),
    ("tap_of_two_groups_is_added", "echo 1..1; echo ok 1 - a; echo 1..2; echo ok 1 - b; echo ok 2 - c",
     "3 passed, 0 failed, 0 skipped", "ok"),
)


class Run(harness.TestCase):
    def setUp(self):
        super().setUp()
        shutil.copytree(os.path.join(harness.ROOT, "test/lib"), os.path.join(self.dir, "test/lib"))
        shutil.copy(os.path.join(harness.ROOT, "test/run.py"), os.path.join(self.dir, "test/run.py"))
        self.make_dir("build")

    def run_tests(self, *args):
        env = self.environment()
        env["TEST_TIME_SCALE"] = "1"
        return subprocess.run([os.path.join(self.dir, "test/run.py"), *args], capture_output=True, text=True, env=env,
                              check=False)

    def check(self, done, last, text):
        self.assertEqual(done.stdout.strip().splitlines()[-1], last, done.stdout + done.stderr)
        self.assertIn(text, done.stdout)
        self.assertEqual(done.returncode, 0 if " 0 failed" in last else 1)

    def check_python(self, body, last, text):
        self.make_file("test/integration/test_x.py", BODY + body)
        self.check(self.run_tests("integration"), last, text)

    def make_program(self, script):
        self.make_file("test/unit/room/test_x.c", "int x;\n")
        os.chmod(self.make_file("build/unit/room/test_x", "#!/bin/sh\n" + script + "\n"), 0o755)

    def check_tap(self, script, last, text):
        self.make_program(script)
        self.check(self.run_tests("unit"), last, text)

    def test_source_without_its_binary_fails(self):
        self.make_file("test/unit/room/test_x.c", "int x;\n")
        self.check(self.run_tests("unit"), "0 passed, 1 failed, 0 skipped", "has not been built")

    def test_name_selects_one_test(self):
        self.make_file("test/integration/test_x.py", BODY + "    def test_a(self): pass\n    def test_b(self): pass\n")
        self.make_program("echo 1..1; echo ok 1 - a")
        self.check(self.run_tests("-k", "test_b"), "1 passed, 0 failed, 0 skipped", "integration/test_x")

    def test_name_without_a_test_fails(self):
        done = self.run_tests("-k", "nothing")
        self.assertEqual((done.returncode, done.stderr), (1, "no test has nothing in its name\n"))

    def test_unknown_kind_is_bad_usage(self):
        self.assertEqual(self.run_tests("unitt").returncode, 2)

    def test_place_it_is_started_from_changes_nothing(self):
        self.make_file("test/integration/test_x.py", "import os, resource, signal, unittest\nclass T(unittest.TestCase):\n"
                       "    def test_a(self):\n"
                       "        self.assertEqual(signal.getsignal(signal.SIGHUP), signal.SIG_DFL)\n"
                       "        self.assertEqual(signal.getsignal(signal.SIGINT), signal.default_int_handler)\n"
                       "        self.assertEqual(os.umask(0), 0o022)\n"
                       "        self.assertEqual(resource.getrlimit(resource.RLIMIT_CORE)[0], 0)\n"
                       "        self.assertNotIn('AGENT_LOG_LEVEL', os.environ)\n")
        done = subprocess.run(["/bin/sh", "-c", "trap '' INT HUP; umask 077; export AGENT_LOG_LEVEL=x; exec \"$0\" integration",
                               os.path.join(self.dir, "test/run.py")], capture_output=True, text=True, check=False)
        self.check(done, "1 passed, 0 failed, 0 skipped", "ok")

    def test_told_to_end_it_says_where_it_was(self):
        self.make_file("test/integration/test_x.py", BODY + "    def test_a(self):\n        print('begun', flush=True)\n"
                       "        subprocess.run(['tail', '-f', '/dev/null'])\n")
        runner = self.daemon(os.path.join(self.dir, "test/run.py"), "integration", ready=False)
        output = os.path.join(self.dir, "build/test/log/integration/test_x/output")
        harness.wait_until(lambda: os.path.exists(output) and "begun" in open(output, encoding="utf-8").read(), 20,
                           "the test's beginning")
        self.assertEqual(runner.stop(), 130)
        text = "\n".join(runner.out)
        self.assertIn("---- integration/test_x: test_x.T.test_a", text)
        self.assertIn("told to end after", text)
        self.assertIn("TooLate", text)
        self.assertIn("interrupted after", runner.err)

    def test_junit_counts_agree(self):
        self.make_program("echo 1..2; echo ok 1 - a; echo not ok 2 - b; exit 1")
        self.run_tests("unit")
        suite = ElementTree.parse(os.path.join(self.dir, "build/test/unit.xml")).getroot().find("testsuite")
        self.assertEqual((suite.get("tests"), suite.get("failures"), suite.get("skipped")), ("2", "1", "0"))


def add(name, method, *args):
    setattr(Run, "test_" + name, lambda self: getattr(self, method)(*args))


for case in PYTHON_CASES:
    add(case[0], "check_python", *case[1:])
for case in TAP_CASES:
    add(case[0], "check_tap", *case[1:])


if __name__ == "__main__":
    harness.main()
