"""make demo: it shows the right coefficients, and leaves nothing however it ends."""
# test-deadline: 900

import os
import re
import shutil
import signal
import subprocess
import unittest

import harness
import terminal

# The same line that any statistics program fits over these 342 penguins.
INTERCEPT, SLOPE, R_SQUARED = -5780.831358, 49.685566, 0.758993


class OfDemo(harness.TestCase):
    SCRIPT = os.path.join(harness.ROOT, "examples", "demo.sh")
    MODE = "host"

    def demo_env(self, example="linreg", kind="bin"):
        self.temp = self.make_dir("t")
        return {"BUILD": harness.BUILD, "EXAMPLE": example, "KIND": kind, "TMPDIR": self.temp, "NO_COLOR": "1",
                "MODE": self.MODE,
                "DEMO_PATIENCE_S": str(int(harness.deadline(60)))}

    def start(self, example="linreg", kind="bin", env=None):
        return self.daemon("/bin/bash", self.SCRIPT, env={**self.demo_env(example, kind), **(env or {})},
                           ready=False, label="demo")

    def on_terminal(self, keys=None):
        return terminal.run(["/bin/bash", self.SCRIPT], self.dir, self.environment(self.demo_env()), keys=keys)

    def processes_in_temp(self):
        """Whatever still works in the demo's directory or was started from it."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                cwd = os.readlink(f"/proc/{pid}/cwd")
                with open(f"/proc/{pid}/environ", "rb") as f:
                    environ = f.read()
            except OSError:
                continue
            if cwd.startswith(self.temp) or f"TMPDIR={self.temp}".encode() in environ:
                found.append(pid)
        return found

    @staticmethod
    def was_quicker(demo, code):
        """Whether it had ended by itself when a signal came; then the signal is worth another try."""
        return code == 0 and any(line.startswith("Done.") for line in demo.out)

    def check_nothing_left(self):
        harness.wait_until(lambda: not self.processes_in_temp(), 10, "the end of all processes")
        self.assertEqual(os.listdir(self.temp), [])


class Model:
    def check_model(self, demo):
        text = "\n".join(demo.out)
        seen = {name: float(value) for name, value in re.findall(r'"(\w+)": (-?[\d.]+)', text)}
        self.assertAlmostEqual(seen["intercept"], INTERCEPT, 5)
        self.assertAlmostEqual(seen["slope"], SLOPE, 5)
        self.assertAlmostEqual(seen["r_squared"], R_SQUARED, 5)
        self.assertEqual((seen["rows"], seen["skipped"]), (342, 2))
        # The run was seen from outside, too: what the algorithm printed, and how it went.
        self.assertIn("body_mass_g = -5780.8314 + 49.6856 * flipper_length_mm", text)
        events = re.findall(r"event (\w+/\w+)", text)
        self.assertEqual(events, ["ReceivingAlgorithm/InProgress", "ReceivingData/InProgress", "Running/Starting",
                                  "Running/InProgress", "Running/Completed", "ConsumingResults/Ready",
                                  "Complete/Completed"])

    def check_run(self, **how):
        demo = self.start(**how)
        self.assertEqual(demo.wait(180), 0, demo.text())
        self.check_model(demo)
        self.check_nothing_left()
        return demo


class Demo(OfDemo, Model):
    def test_c_program(self):
        self.check_run()

    def test_python_script(self):
        self.check_run(kind="python")

    def test_two_providers(self):
        demo = self.check_run(example="two-providers")
        self.assertIn("Failed to upload dataset due to error", demo.err)
        self.assertIn("Error retrieving computation result", demo.err)

    def test_on_a_terminal_with_bars(self):
        code, seen = self.on_terminal()
        self.assertEqual(code, 0, seen)
        for text in ("🚀 Uploading algorithm [", "📦 Uploading data [", "📥 Downloading result [", "] [100%]",
                     "cvms-test | ", '"slope": 49.685566'):
            self.assertIn(text, seen)
        self.check_nothing_left()

    def test_unknown_example_and_kind_are_bad_usage(self):
        self.assertEqual(self.start(example="../x").wait(), 2)
        self.assertEqual(self.start(kind="cobol").wait(), 2)
        self.assertEqual(self.start(env={"MODE": "cloud"}).wait(), 2)
        self.check_nothing_left()

    def test_without_a_build_it_says_what_to_do(self):
        demo = self.start(env={"BUILD": self.make_dir("empty")})
        self.assertEqual(demo.wait(), 2)
        self.assertIn("run make", demo.err)

    def test_program_that_does_not_start_is_shown_with_its_log(self):
        build = self.make_dir("build")
        for name in ("cvms-test", "cocos-manager", "cocos-log-forwarder", "cocos-agent", "cocos-cli"):
            os.symlink(harness.need_binary(name), os.path.join(build, name))
        os.makedirs(os.path.join(build, "examples", "linreg"))
        os.symlink(os.path.join(harness.BUILD, "examples/linreg/linreg"),
                   os.path.join(build, "examples/linreg/linreg"))
        runner = self.make_file("build/cocos-runner", "#!/bin/sh\necho 'no room on this machine' >&2\nexit 1\n")
        os.chmod(runner, 0o755)
        demo = self.start(env={"BUILD": build})
        self.assertEqual(demo.wait(60), 1)
        self.assertIn("demo: the runner listens: the program has ended", demo.err)
        self.assertIn("no room on this machine", demo.err)
        self.check_nothing_left()


class WithoutVm(OfDemo, Model):
    MODE = "vm"

    def test_without_qemu_it_says_so_and_goes_the_short_way(self):
        demo = self.check_run(env={"MANAGER_QEMU_BIN_PATH": "no-such-qemu"})
        text = "\n".join(demo.out)
        self.assertIn("No virtual machine can be started here", text)
        self.assertIn("'no-such-qemu' is not there", text)
        self.assertIn("fix: sudo apt-get install qemu-system-x86", text)
        self.assertIn("2. The platform: four programs", text)


@unittest.skipIf("san-" in harness.BUILD, "the guest is made from programs without sanitizers")
class InVm(OfDemo, Model):
    MODE = "vm"

    @classmethod
    def setUpClass(cls):
        made = subprocess.run(["sh", os.path.join(harness.ROOT, "src/hal/guest.sh"), harness.BUILD, "minimal",
                               os.path.join(harness.BUILD, "guest")], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise unittest.SkipTest(made.stderr.strip())

    def setUp(self):
        super().setUp()
        self.need_vm()

    def need_vm(self):
        for program in ("qemu-system-x86_64", "swtpm"):
            if not shutil.which(program):
                self.skipTest(f"{program} is not there")

    def test_c_program(self):
        demo = self.check_run()
        text = "\n".join(demo.out)
        for phase in ("init", "network", "agent", "complete"):
            self.assertRegex(text, rf"console   \| +\d+\.\d{{3}} s  {phase}\n")
        self.assertIn("✅ Virtual machine created successfully with id", demo.err)
        self.assertIn("✅ Virtual machine removed successfully", demo.err)

    def test_ctrl_c_while_the_vm_boots_and_runs(self):
        for moment in ("It boots", "3. Algorithm and data"):
            with self.subTest(moment):
                for _ in range(3):
                    demo = self.start()
                    demo.wait_text(moment, 120)
                    demo.expected_signals.add(signal.SIGINT)
                    os.killpg(demo.pid, signal.SIGINT)
                    ended = demo.wait(60)
                    self.check_nothing_left()
                    if not self.was_quicker(demo, ended):
                        break
                self.assertEqual(ended, 130, demo.text())

    def test_kill_9_of_the_script_leaves_nothing(self):
        demo = self.start()
        demo.wait_text("It boots", 120)
        demo.kill()
        harness.wait_until(lambda: not self.processes_in_temp(), 30, "the end of all processes")
        self.check_nothing_left()


class Interrupted(OfDemo):
    # What the screen shows when the signal comes.
    MOMENTS = ("1. A key pair", "2. The platform", "The log forwarder carries", "The agent connects",
               "The agent listens at", "3. Algorithm and data", "Uploading", "4. The computation",
               "5. The result", "results.zip holds", "Done.")

    def check(self, moment, number, code, to_group=False):
        for _ in range(10):
            demo = self.start()
            demo.wait_text(moment, 60)
            demo.expected_signals.add(number)
            if to_group:
                os.killpg(demo.pid, number)  # as a terminal does on Ctrl-C
            else:
                demo.send(number)
            ended = demo.wait(60)
            self.check_nothing_left()
            if moment == "Done." or not self.was_quicker(demo, ended):
                break
        self.assertIn(ended, (code, 0) if moment == "Done." else (code,), demo.text())

    def test_ctrl_c_at_each_step(self):
        for moment in self.MOMENTS:
            with self.subTest(moment):
                self.check(moment, signal.SIGINT, 130, to_group=True)

    def test_sigterm_to_the_script_alone(self):
        for moment in ("1. A key pair", "The agent connects", "4. The computation"):
            with self.subTest(moment):
                self.check(moment, signal.SIGTERM, 143)

    def test_ctrl_c_typed_on_a_terminal(self):
        for _ in range(10):
            code, seen = self.on_terminal(keys={"The agent listens at": "\x03"})
            if code != 0 or "\nDone." not in seen:  # or else it was quicker than the key
                break
        self.assertEqual(code, 130, seen)
        self.assertIn("demo: interrupted; all programs are stopped, all files removed", seen)
        self.check_nothing_left()

    def test_closed_terminal(self):
        self.check("3. Algorithm and data", signal.SIGHUP, 129)

    def test_kill_9_of_the_script_leaves_no_process(self):
        demo = self.start()
        demo.wait_text("3. Algorithm and data", 60)
        demo.kill()
        harness.wait_until(lambda: not self.processes_in_temp(), 15, "the end of all processes")


class Make(harness.TestCase):
    def test_demo_is_a_target_that_installs_first(self):
        done = subprocess.run(["make", "-n", "demo", "DEPS=no"], cwd=harness.ROOT, capture_output=True, text=True,
                              check=True, env={**os.environ, "MAKEFLAGS": ""})
        self.assertIn("demo-run", done.stdout)


if __name__ == "__main__":
    harness.main()
