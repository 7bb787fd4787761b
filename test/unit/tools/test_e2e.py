"""The harness of the stories notices what a story must not do, leaves nothing behind, and says what is missing.

Stories here need no VM: test/e2e/self/self.c, under the names of what they do,
and scripts that write the logs of one.
"""

import json
import os
import shutil
import signal
import subprocess
import xml.etree.ElementTree as ElementTree

import harness

SELF = os.path.join(harness.BUILD, "e2e-self")
SAYS_UP = "#!/bin/sh\necho up\n"

STORY = "#!/bin/sh\nname=$(basename \"$0\" | tr _ -)\n"
SAYS_OK = "echo \"ok 1 - $name\"\n"
CONSOLE = "mkdir -p $E2E_DIR/logs\ncat >$E2E_DIR/logs/console-00000001.log <<'END'\n{}\nEND\n"
MANAGER = "cat >$E2E_OUT/cocos-manager.log <<'END'\n{}\nEND\n"

# What stands in a log -> what it is called. Each alone fails a story that thinks all is well.
DAMAGE = (
    ("kernel_oops", CONSOLE, "[    3.1] Oops: 0000 [#1] PREEMPT SMP PTI", "damage in the guest's kernel"),
    ("kernel_bug", CONSOLE, "[    3.1] BUG: kernel NULL pointer dereference, address: 0000000000000000",
     "damage in the guest's kernel"),
    ("kernel_call_trace", CONSOLE, "[    3.1] Call Trace:", "damage in the guest's kernel"),
    ("kernel_warning", CONSOLE, "[    3.1] WARNING: CPU: 0 PID: 1 at kernel/fork.c:1", "damage in the guest's kernel"),
    ("kernel_panic", CONSOLE, "[    3.1] Kernel panic - not syncing: x", "damage in the guest's kernel"),
    ("guest_out_of_memory", CONSOLE, "[    3.1] Out of memory: Killed process 80 (cocos-agent)",
     "a process of the guest crashed"),
    ("guest_segfault", CONSOLE, "[    3.1] cocos-agent[80]: segfault at 0 ip 00007f sp 00007f error 4",
     "a process of the guest crashed"),
    ("guest_service_crash", CONSOLE, "21:31:01.492 ERROR agent was ended by signal 11; it starts again in 200 ms",
     "a service of the guest ended"),
    ("guest_service_exit", CONSOLE, "21:31:01.492 ERROR runner ended with status 1; it starts again in 200 ms",
     "a service of the guest ended"),
    ("guest_init_error", CONSOLE, "21:31:01.492 ERROR load /lib/modules/cocos/x.ko: Invalid argument",
     "process 1 of the guest reports an error"),
    ("guest_sanitizer", CONSOLE, "agent: ==80==ERROR: AddressSanitizer: heap-use-after-free", "a sanitizer's report"),
    ("guest_assertion", CONSOLE, "agent: cocos-agent: src/x.c:1: f: Assertion `x' failed.", "a crash"),
    ("leak", MANAGER, "==80==ERROR: LeakSanitizer: detected memory leaks", "a sanitizer's report"),
    ("undefined_behaviour", MANAGER, "src/base/buf.c:12:3: runtime error: load of null pointer", "a sanitizer's report"),
    ("broken_heap", MANAGER, "free(): double free detected in tcache 2", "a crash"),
    ("smashed_stack", MANAGER, "*** stack smashing detected ***: terminated", "a crash"),
    ("manager_error", MANAGER, '{"time":"x","level":"ERROR","msg":"x"}', "the manager reports an error"),
    ("vm_that_ended", MANAGER, '{"level":"INFO","msg":"VM 1-2 ended: QEMU was killed by signal 11"}',
     "a VM ended by itself"),
)

# What the load of a host does to a guest, and what happens in any run, is no damage.
FINE = (
    ("soft_lockup", CONSOLE, "[   30.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [swapper/0:1]"),
    ("tpm_message", CONSOLE, "[    1.1] tpm tpm0: A TPM error (256) occurred attempting the self test"),
    ("removed_vm", MANAGER, '{"level":"INFO","msg":"VM 1-2 ended: its removal was asked for"}'),
    ("allowed_damage", "echo 'ended by signal 9; it' >$E2E_OUT/allowed.txt\n" + CONSOLE,
     "21:31:01.492 ERROR agent was ended by signal 9; it starts again in 200 ms"),
)

# The story of self.c, its program, what is said of it.
PROGRAMS = (
    ("crash_behind_the_story", "does-not-look", SAYS_UP + "kill -SEGV $$\n", "program was killed by signal 11"),
    ("crash_while_it_is_waited_for", "waits-for-its-end", SAYS_UP + "kill -ABRT $$\n",
     "program was killed by signal 6"),
    ("exit_code_on_SIGTERM", "starts-one", "#!/bin/sh\ntrap 'kill $!; exit 3' TERM\ntail -f /dev/null & echo up\nwait\n",
     "program ended with exit code 3 on SIGTERM"),
    ("end_that_nobody_asked_for", "does-not-look", SAYS_UP + "exit 4\n", "program ended with exit code 4"),
    ("default_action_of_SIGTERM", "starts-one", SAYS_UP + "exec tail -f /dev/null\n",
     "program was killed by signal 15 on SIGTERM"),
    ("deaf_to_SIGTERM", "starts-one", "#!/bin/sh\ntrap '' TERM\necho up\nexec tail -f /dev/null\n",
     "program did not end within"),
    ("silence", "waits-for-a-line", SAYS_UP + "exec tail -f /dev/null\n", "program did not say /never said/"),
    ("orphan", "kills-it", "#!/bin/sh\ntail -f /dev/null & echo up\nwait\n",
     "a process was left behind: tail -f /dev/null"),
    ("orphan_in_its_own_session", "kills-it",
     "#!/bin/sh\nenv -i setsid tail -f /dev/null & echo up\nwait\n", "a process was left behind: tail -f /dev/null"),
    ("orphan_of_an_orphan", "kills-it",
     "#!/bin/sh\n(setsid sh -c 'env -i tail -f /dev/null & exit' &)\necho up\nexec tail -f /dev/full\n",
     "a process was left behind: tail -f /dev/null"),
    ("abort_of_the_story", "aborts", SAYS_UP, "the story's own program was killed by SIGABRT"),
    ("early_end_of_the_story", "ends-early", SAYS_UP, "without saying that it is over"),
)


class E2e(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.build = self.make_dir("b")
        for name in ("vmlinux", "initrd-minimal.cpio", "initrd-python.cpio"):
            self.make_file(f"b/guest/{name}", "")
        self.tools = self.make_dir("tools")
        for name in ("qemu-system-x86_64", "swtpm", "gcc"):
            self.make_script(f"tools/{name}", "#!/bin/sh\nexit 1\n")

    def make_script(self, path, text):
        made = self.make_file(path, text)
        os.chmod(made, 0o755)
        return made

    def story(self, name, text):
        return self.make_script(f"b/e2e-bin/{name}", STORY + text)

    def self_story(self, name, program):
        self.assertTrue(os.access(SELF, os.X_OK), f"{SELF} has not been built: run make unit-bins")
        self.make_dir("b", "e2e-bin")
        shutil.copy(SELF, os.path.join(self.build, "e2e-bin", name))
        self.make_script("b/program", program)

    def command(self, *args):
        return [os.path.join(harness.ROOT, "test/e2e/run.py"), "--build", self.build, *args]

    def stories_env(self, **more):
        env = self.environment({"E2E_SCALE": "300", **more})
        env["PATH"] = more.get("PATH", f"{self.tools}:/usr/bin:/bin")
        return env

    def run_stories(self, *args, **more):
        return subprocess.run(self.command(*args), capture_output=True, text=True, errors="replace", check=False,
                              env=self.stories_env(**more), timeout=harness.deadline(60))

    def check(self, done, last, text):
        self.assertIn(last, done.stdout.splitlines(), done.stdout + done.stderr)
        self.assertIn(text, done.stdout + done.stderr)
        self.assertEqual(done.returncode, 0 if " 0 failed" in last else 1)

    def test_damage_in_a_log_fails_and_what_looks_like_it_does_not(self):
        """All in one run: each is a story that thinks all is well."""
        for name, form, line, *_ in DAMAGE + FINE:
            self.story(name, form.format(line) + SAYS_OK)
        done = self.run_stories()
        self.check(done, f"{len(FINE)} passed, {len(DAMAGE)} failed, 0 skipped", "ok")
        for name, _, _, what in DAMAGE:
            with self.subTest(name):
                with open(os.path.join(self.build, "e2e", name.replace("_", "-"), "summary.txt"), encoding="utf-8") as f:
                    self.assertIn(f"failed     {what}: ", f.read())
        for name, *_ in FINE:
            with self.subTest(name):
                self.assertIn(f" - {name.replace('_', '-')} ", done.stdout)
                self.assertNotRegex(done.stdout, f"not ok [0-9]+ - {name.replace('_', '-')} ")

    def check_program(self, name, program, text):
        self.self_story(name, program)
        self.check(self.run_stories(**({"E2E_SCALE": "100"} if "tail -f" in program else {})), "0 passed, 1 failed, 0 skipped", text)

    def test_story_that_goes_well_passes(self):
        self.self_story("goes-well", "")
        self.check(self.run_stories(), "1 passed, 0 failed, 0 skipped", "ok 1 - goes-well")

    def test_program_that_ends_in_order_passes(self):
        self.self_story("starts-one", "#!/bin/sh\ntrap 'kill $!; exit 0' TERM\ntail -f /dev/null & echo up\nwait\n")
        self.check(self.run_stories(), "1 passed, 0 failed, 0 skipped", "ok 1 - starts-one")

    def test_skipped_story_says_why(self):
        self.self_story("skips", "")
        self.check(self.run_stories(), "0 passed, 0 failed, 1 skipped", "# SKIP needs a part that no machine has")

    def test_leak_that_only_a_sanitizer_sees_fails(self):
        source = self.make_file("leak.c", "#include <stdlib.h>\n#include <unistd.h>\nchar *volatile p;\n"
                                "int main(void) { p = malloc(9); p = 0; return write(1, \"up\\n\", 3) != 3; }\n")
        self.self_story("waits-for-its-end", "")
        subprocess.run(["gcc", "-fsanitize=address", "-o", os.path.join(self.build, "program"), source], check=True)
        self.check(self.run_stories(), "0 passed, 1 failed, 0 skipped", "LeakSanitizer: detected memory leaks")

    def test_core_dump_fails(self):
        self.story("story", "printf '\\177ELF' >$E2E_DIR/core.7\n" + SAYS_OK)
        self.check(self.run_stories(), "0 passed, 1 failed, 0 skipped", "a core dump: ")

    def test_story_without_end_is_ended_and_names_what_ran(self):
        self.story("story", "exec tail -f /dev/null\n")
        self.check(self.run_stories("--limit", "6"), "0 passed, 1 failed, 0 skipped", "there ran: tail -f /dev/null")

    def test_time_for_all_stories_is_bounded(self):
        for name in ("one", "two"):
            self.story(name, "exec tail -f /dev/null\n")
        self.check(self.run_stories("--limit", "1", "--jobs", "1"), "0 passed, 2 failed, 0 skipped",
                   "it was not run: the time for all stories is over")

    def test_stories_run_side_by_side(self):
        """Each waits for the other one's file."""
        for mine, other in (("one", "two"), ("two", "one")):
            self.story(mine, f"touch $E2E_OUT/here\nuntil [ -e $E2E_OUT/../{other}/here ]; do :; done\n" + SAYS_OK)
        self.check(self.run_stories("--jobs", "2"), "2 passed, 0 failed, 0 skipped", "ok 2 - two")

    def test_repeat_ends_at_the_first_flake_and_keeps_its_bundle(self):
        count = os.path.join(self.dir, "count")
        self.story("story", f"echo x >>{count}\n[ $(wc -l <{count}) -lt 3 ] || exit 1\n" + SAYS_OK)
        done = self.run_stories("--story", "story", "--repeat", "9")
        self.check(done, "2 passed, 1 failed, 0 skipped", "not ok 3 - story")
        self.assertTrue(os.path.exists(os.path.join(self.build, "e2e/story/summary.txt")))
        with open(os.path.join(self.build, "e2e/repeat.json"), encoding="utf-8") as f:
            told = json.load(f)
        self.assertEqual((told["story"], told["wanted"], told["passed"], len(told["runs"])), ("story", 9, 2, 3))

    def test_results_are_junit_and_a_page_that_needs_nothing_else(self):
        self.story("good", SAYS_OK)
        self.story("bad", "echo '<b>' >$E2E_OUT/failure.txt\nexit 1\n")
        self.run_stories()
        suite = ElementTree.parse(os.path.join(self.build, "e2e/junit.xml")).getroot()
        self.assertEqual((suite.get("tests"), suite.get("failures"), suite.get("skipped")), ("2", "1", "0"))
        with open(os.path.join(self.build, "e2e/index.html"), encoding="utf-8") as f:
            text = f.read()
        for word in ("src=", "http:", "https:", "url(", "<script", "failed     <b>"):
            self.assertNotIn(word, text)
        self.assertIn("failed     &lt;b&gt;", text)

    def test_missing_program_is_named_with_its_package_and_is_no_pass(self):
        for name, package in (("qemu-system-x86_64", "qemu-system-x86"), ("swtpm", "swtpm")):
            with self.subTest(name=name):
                self.story("story", SAYS_OK)
                os.rename(os.path.join(self.tools, name), os.path.join(self.dir, name))
                done = self.run_stories(PATH=self.tools)
                os.rename(os.path.join(self.dir, name), os.path.join(self.tools, name))
                self.assertEqual((done.returncode, done.stderr), (
                    1, f"e2e: '{name}' is not on this machine: apt-get install {package}, or make deps\n"))

    def test_bytes_of_a_guest_stay_on_one_line_of_the_summary(self):
        self.story("story", CONSOLE.format('agent: {"level":"INFO","msg":"a\\nok 9 - b\\u001b[2J"}') + "exit 1\n")
        done = self.run_stories()
        self.assertIn("INFO a\\x0aok 9 - b\\x1b[2J", done.stdout)
        self.assertNotIn("\nok 9", done.stdout)

    def test_missing_guest_is_named(self):
        self.story("story", SAYS_OK)
        os.unlink(os.path.join(self.build, "guest/vmlinux"))
        done = self.run_stories()
        self.assertEqual((done.returncode, done.stderr),
                         (1, f"e2e: {self.build}/guest/vmlinux has not been made: run make guest\n"))

    def test_unknown_story_is_bad_usage(self):
        self.story("story", SAYS_OK)
        done = self.run_stories("--story", "stroy")
        self.assertEqual((done.returncode, done.stderr), (2, "e2e: no story is called stroy: there are story\n"))

    # ------------------------------------------------- interrupted, and two at once

    def start(self, *args):
        return self.daemon(*self.command(*args)[:1], *self.command(*args)[1:], env=self.stories_env(), ready=False)

    def left(self):
        """Processes of stories of this test, and their folders."""
        found = []
        for pid in (n for n in os.listdir("/proc") if n.isdigit()):
            try:
                with open(f"/proc/{pid}/environ", "rb") as f:
                    if f"E2E_BUILD={self.build}".encode() in f.read().split(b"\0"):
                        found.append(pid)
            except OSError:
                pass
        return found

    def check_interrupt(self, number, code):
        marker = os.path.join(self.dir, "up")
        self.story("story", f"setsid tail -f /dev/null &\necho $E2E_DIR >{marker}.new; mv {marker}.new {marker}\n"
                   "trap '' INT TERM\nwhile :; do wait; done\n")
        run = self.start()
        harness.wait_until(lambda: os.path.exists(marker), what="the story")
        run.send(number)
        self.assertEqual(run.wait(), code)
        if number == signal.SIGKILL:  # its supervisor has yet to notice
            harness.wait_until(lambda: not self.left(), what="the end of all processes")
        self.assertEqual(self.left(), [])
        with open(marker, encoding="utf-8") as f:
            folder = f.read().strip()
        shutil.rmtree(folder, ignore_errors=number == signal.SIGKILL) if number == signal.SIGKILL else \
            self.assertFalse(os.path.exists(folder))

    def test_SIGINT_leaves_nothing(self):
        self.check_interrupt(signal.SIGINT, 130)

    def test_SIGTERM_leaves_nothing(self):
        self.check_interrupt(signal.SIGTERM, 130)

    def test_kill_9_leaves_no_process(self):
        self.check_interrupt(signal.SIGKILL, -signal.SIGKILL)

    def test_second_run_waits_for_the_first_and_says_so(self):
        go = os.path.join(self.dir, "go")
        self.story("story", f"echo x >>{go}.up\nuntil [ -e {go} ]; do :; done\n" + SAYS_OK)
        first = self.start()
        harness.wait_until(lambda: os.path.exists(go + ".up"), what="the first run")
        second = self.start()
        second.wait_text(f"waiting: a run of stories, process {first.pid}, works in {self.build}/e2e")
        self.make_file("go", "")
        self.assertEqual((first.wait(), second.wait()), (0, 0))


def add(name, method, *args):
    setattr(E2e, "test_" + name, lambda self: getattr(self, method)(*args))


for case in PROGRAMS:
    add(case[0] + "_fails", "check_program", *case[1:])


if __name__ == "__main__":
    harness.main()
