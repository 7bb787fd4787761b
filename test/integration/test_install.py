"""make install: programs, manual pages, the systemd unit and the settings that go with it."""

import os
import re
import shutil
import subprocess

import harness


class Install(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.outer = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}

    def install(self):
        root = os.path.join(self.dir, "root")
        # What is built is installed: nothing may be compiled below the tests that run beside this one.
        subprocess.run(["make", "-s", "-o", "all", "install", f"O={harness.BUILD}", f"DESTDIR={root}", "PREFIX=/usr"],
                       cwd=harness.ROOT, check=True, env=self.outer, timeout=harness.deadline(240))
        return root

    def read(self, *parts):
        with open(os.path.join(*parts), encoding="utf-8") as f:
            return f.read()

    def test_everything_has_its_place(self):
        root = self.install()
        usr = os.path.join(root, "usr")
        programs = sorted(os.listdir(os.path.join(usr, "bin")))
        self.assertIn("cocos-manager", programs)
        self.assertNotIn("cocos-init", programs)
        self.check_pages(usr, programs)
        self.check_unit(usr)
        self.check_settings(root, usr)

    def check_pages(self, usr, programs):
        man = os.path.join(usr, "share", "man")
        pages = {name: os.path.join(man, d, name) for d in os.listdir(man) for name in os.listdir(os.path.join(man, d))}
        for program in programs:
            section = 1 if program in ("cocos-cli", "cvms-test") else 8
            self.assertIn(f"{program}.{section}", pages)
        for page in ("cocos-cli-create-vm.1", "cocos-cli-vm.1", "cocos-cli-doctor.1"):
            self.assertIn(page, pages)
        manager = self.read(pages["cocos-manager.8"])
        help_text = self.run_program("cocos-manager", "--help").stdout
        for name in re.findall(r"^  (MANAGER_\w+)$", help_text, re.M):
            self.assertIn(f".B {name}\n", manager)
        for name, path in pages.items():
            text = self.read(path)
            self.assertTrue(text.startswith(".TH "), name)
            for part in ("NAME", "SYNOPSIS", "OPTIONS" if name != "cocos-cli.1" else "COMMANDS", "EXIT STATUS"):
                self.assertEqual(text.count(f".SH {part}\n"), 1, f"{part} of {name}")
            if shutil.which("groff"):
                said = subprocess.run(["groff", "-man", "-Tutf8", "-ww", path], capture_output=True, text=True,
                                      check=True).stderr
                self.assertEqual(said, "", name)

    def check_unit(self, usr):
        unit = self.read(usr, "lib/systemd/system/cocos-manager.service")
        self.assertIn("\nExecStart=/usr/bin/cocos-manager\n", unit)
        self.assertIn("\nEnvironmentFile=-/etc/cocos/cocos-manager.env\n", unit)
        self.assertIn("\nKillMode=process\n", unit)
        self.assertNotIn("@", unit)
        self.assertIn("\nu cocos-manager ", self.read(usr, "lib/sysusers.d/cocos-manager.conf"))

    def check_settings(self, root, usr):
        path = os.path.join(root, "etc/cocos/cocos-manager.env")
        text = self.read(path)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(text, self.read(usr, "share/doc/cocos-c/cocos-manager.env"))
        help_text = self.run_program("cocos-manager", "--help").stdout
        known = dict(re.findall(r"^  (MANAGER_\w+)\n +(.*)$", help_text, re.M))
        known.update(re.findall(r"\(environment (MANAGER_\w+); (.*\))$", help_text, re.M))
        for shown, name, value in re.findall(r"^(#?)(\w+)=(.*)$", text, re.M):
            self.assertIn(name, known)
            if shown and value and not value.startswith("/"):
                self.assertIn(f"default {value})", known[name], "what is shown is the default")
        # What somebody has set is kept.
        with open(path, "a", encoding="utf-8") as f:
            f.write("MANAGER_MAX_VMS=3\n")
        self.install()
        self.assertTrue(self.read(path).endswith("\nMANAGER_MAX_VMS=3\n"))


if __name__ == "__main__":
    harness.main()
