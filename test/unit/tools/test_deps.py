"""make deps: silent when all is there, asks before sudo, one apt-get call."""

import os
import pty
import subprocess

import harness

SCRIPT = os.path.join(harness.ROOT, "ci/deps.sh")


def packages():
    with open(os.path.join(harness.ROOT, "ci/packages.txt"), encoding="utf-8") as f:
        return [line.split() for line in f if line.strip() and not line.startswith("#")]


class Deps(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.bin = self.make_dir("bin")
        self.calls = os.path.join(self.dir, "calls")
        for name in ("sh", "sed", "grep", "mktemp", "rm", "cat", "env", "dirname"):
            os.symlink(f"/usr/bin/{name}" if os.path.exists(f"/usr/bin/{name}") else f"/bin/{name}",
                       os.path.join(self.bin, name))
        self.fake("apt-get", f'echo "apt-get $*" >> {self.calls}; exit ${{APT_EXIT:-0}}')
        self.installed([])

    def fake(self, name, script):
        path = os.path.join(self.bin, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\n" + script + "\n")
        os.chmod(path, 0o755)

    def installed(self, names, state="ii "):
        lines = "".join(f"echo '{state} {n}'\n" for n in names)
        self.fake("dpkg-query", lines + "exit 1")

    def root(self, yes, sudo=True):
        self.fake("id", "echo 0" if yes else "echo 1000")
        if sudo and not yes:
            self.fake("sudo", f'echo "sudo" >> {self.calls}; exec "$@"')

    def run_script(self, *args, answer=None, ci=None, apt_exit=0):
        env = {"PATH": self.bin, "APT_EXIT": str(apt_exit), "TMPDIR": self.dir}
        if ci:
            env["CI"] = ci
        stdin, other = subprocess.DEVNULL, None
        if answer is not None:
            other, stdin = pty.openpty()
            os.write(other, (answer + "\n").encode())
        try:
            return subprocess.run([SCRIPT, *args], stdin=stdin, capture_output=True, text=True, env=env, check=False)
        finally:
            if other is not None:
                os.close(other)
                os.close(stdin)

    def called(self):
        if not os.path.exists(self.calls):
            return []
        with open(self.calls, encoding="utf-8") as f:
            return f.read().splitlines()

    def test_every_package_has_its_reason(self):
        for words in packages():
            self.assertGreater(len(words), 2, words)

    def test_all_there_is_silent(self):
        self.installed([w[0] for w in packages()])
        self.root(False)
        done = self.run_script()
        self.assertEqual((done.returncode, done.stdout, done.stderr, self.called()), (0, "", "", []))

    def test_held_package_counts_as_there(self):
        self.installed([w[0] for w in packages()], state="hi ")
        self.root(True)
        self.assertEqual(self.run_script("--check").returncode, 0)

    def test_removed_package_counts_as_missing(self):
        self.installed([w[0] for w in packages()], state="rc ")
        self.root(True)
        self.assertEqual(self.run_script("--check").returncode, 1)

    def test_root_installs_what_is_missing_in_one_call(self):
        self.installed([w[0] for w in packages()[2:]])
        self.root(True)
        done = self.run_script()
        self.assertEqual(done.returncode, 0, done.stderr)
        update, install = self.called()
        self.assertTrue(update.endswith(" update"))
        missing = [w[0] for w in packages()[:2]]
        self.assertTrue(install.endswith("install -y --no-install-recommends " + " ".join(missing)), install)

    def test_user_is_asked_and_says_yes(self):
        self.root(False)
        done = self.run_script(answer="y")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("sudo apt-get install", done.stdout)
        self.assertEqual([c.split()[0] for c in self.called()], ["sudo", "apt-get", "sudo", "apt-get"])

    def test_user_says_no_and_nothing_is_done(self):
        self.root(False)
        done = self.run_script(answer="")
        self.assertEqual((done.returncode, self.called()), (1, []))

    def test_user_without_a_terminal_is_told_and_nothing_is_done(self):
        self.root(False)
        done = self.run_script()
        self.assertEqual((done.returncode, self.called()), (1, []))
        self.assertIn("on a terminal", done.stderr)

    def test_ci_is_not_asked(self):
        self.root(False)
        self.assertEqual(self.run_script(ci="true").returncode, 0)
        self.assertEqual(len(self.called()), 4)

    def test_user_without_sudo_is_told_the_command(self):
        self.root(False, sudo=False)
        done = self.run_script(ci="true")
        self.assertEqual((done.returncode, self.called()), (1, []))
        self.assertIn("apt-get install --no-install-recommends gcc", done.stderr)

    def test_apt_failure_is_shown_and_fails(self):
        self.root(True)
        done = self.run_script(apt_exit=100)
        self.assertEqual(done.returncode, 1)
        self.assertIn("'apt-get update' failed", done.stderr)

    def test_other_systems_get_the_list(self):
        os.unlink(os.path.join(self.bin, "apt-get"))
        done = self.run_script()
        self.assertEqual(done.returncode, 1)
        self.assertIn("libnghttp2-dev: HTTP/2", done.stderr)


if __name__ == "__main__":
    harness.main()
