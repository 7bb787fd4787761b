#!/usr/bin/python3
"""
make e2e-snp and make e2e-tdx: what they say where the hardware is missing, and that the stories get VMs of the
right kind where host and QEMU have it. The host is a tree of files, and QEMU is the one of the unit tests.
"""

import os
import subprocess
import xml.etree.ElementTree as ET

import harness

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FAKE = os.path.join(harness.BUILD, "unit", "manager", "test_vm")
STORY = os.path.join(harness.BUILD, "e2e-bin", "direct_upload")

# Answers questions as a QEMU that can do it; a VM's command line is written down, and the VM fails.
QEMU = """#!/bin/sh
case $2 in
none,* | pc,*) exec {fake} "$@" tee={tee} ;;
esac
[ "$1" = -enable-kvm ] || {{ [ "$1" = --version ] && echo 'QEMU emulator version 10.2.0'; exit 0; }}
printf '%s\\n' "$@" >{dir}/arguments
exit 1
"""


class Gate(harness.TestCase):
    def setUp(self):
        super().setUp()
        for path in (FAKE, STORY):
            self.assertTrue(os.access(path, os.X_OK), f"{path} has not been built: run make unit-bins e2e-bins")
        self.build = self.make_dir("build")
        for name in os.listdir(harness.BUILD):
            if name not in ("e2e", "guest"):
                os.symlink(os.path.join(harness.BUILD, name), os.path.join(self.build, name))
        self.env = {"PATH": "/usr/bin:/bin", "TMPDIR": self.make_dir("tmp")}

    def host(self, kind):
        flag, module = {"snp": ("sev_snp", "kvm_amd/parameters/sev_snp"),
                        "tdx": ("tdx_host_platform", "kvm_intel/parameters/tdx"),
                        "none": ("fpu", "none/parameters/none")}[kind]
        self.make_file("host/proc/cpuinfo", f"model name\t: A CPU\nflags\t\t: fpu {flag}\n")
        self.make_file(f"host/sys/module/{module}", "Y\n")
        self.make_file("host/proc/meminfo", "MemAvailable: 8000000 kB\n")
        for device in ("kvm", "sev"):
            self.make_file(f"host/dev/{device}", "")
        firmware = self.make_file("firmware", "x")
        self.env.update(MANAGER_INSECURE_HOST_ROOT=os.path.join(self.dir, "host"), MANAGER_QEMU_IGVM_FILE=firmware,
                        MANAGER_QEMU_OVMF_FILE=firmware)

    def qemu(self, kind):
        path = self.make_file("qemu", QEMU.format(fake=FAKE, tee=kind, dir=self.dir))
        os.chmod(path, 0o755)
        self.env["MANAGER_QEMU_BIN_PATH"] = path
        return path

    def gate(self, kind, *command, **env):
        return subprocess.run(["/usr/bin/python3", os.path.join(ROOT, "test/e2e/hardware.py"), kind, "--build",
                               self.build, "--", *command], env={**self.env, **env}, cwd=ROOT, text=True,
                              capture_output=True, timeout=harness.deadline(60), check=False)

    def junit(self):
        return ET.parse(os.path.join(self.build, "e2e/junit.xml")).getroot()

    def test_missing_hardware_is_a_skip_with_its_reason(self):
        self.host("none")
        self.qemu("none")
        done = self.gate("snp", "false")
        self.assertEqual(done.returncode, 0, done.stderr)
        for text in ("1..0 # SKIP needs SEV-SNP: ", "'A CPU' has no flag sev_snp: an EPYC 7003",
                     "sev_snp: is not there: kvm_amd with sev=1", "QEMU 10.2.0 has no object sev-snp-guest: 9.1"):
            self.assertIn(text, done.stdout)
        suite = self.junit()
        self.assertEqual((suite.get("name"), suite.get("failures")), ("e2e-snp", "0"))
        self.assertEqual(suite.get("skipped"), suite.get("tests"))
        self.assertIn("direct-upload", [case.get("name") for case in suite])
        for case in suite:
            self.assertIn("no flag sev_snp", case.find("skipped").get("message"))

    def test_required_hardware_that_is_missing_is_a_failure(self):
        self.host("none")
        self.qemu("none")
        done = self.gate("tdx", "true", REQUIRE_HW="1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("not ok 1 - TDX is required (REQUIRE_HW)\n#   TDX: ", done.stdout)
        self.assertEqual(self.junit().get("failures"), self.junit().get("tests"))

    def test_old_qemu_on_a_capable_host_is_named(self):
        self.host("tdx")
        self.qemu("none")
        done = self.gate("tdx", "false")
        self.assertEqual(done.stdout, "1..0 # SKIP needs TDX: TDX: QEMU 10.2.0 has no object tdx-guest: 10.1 or later "
                                      "is needed (MANAGER_QEMU_BIN_PATH)\n")

    def test_missing_firmware_is_named(self):
        self.host("snp")
        self.qemu("snp")
        done = self.gate("snp", "false", MANAGER_QEMU_IGVM_FILE="/none")
        self.assertIn("SKIP needs SEV-SNP: SNP firmware: '/none' is not there", done.stdout)

    def test_command_runs_with_the_kind_and_its_exit_code_counts(self):
        self.host("snp")
        self.qemu("snp")
        done = self.gate("snp", "sh", "-c", "echo kind=$STORY_TEE; exit 5", REQUIRE_HW="1")
        self.assertEqual((done.returncode, done.stdout), (5, "kind=snp\n"), done.stderr)

    def arguments_of_a_story(self, kind):
        self.host(kind)
        qemu = self.qemu(kind)
        for name in ("vmlinuz", "initrd-minimal.cpio"):
            self.make_file(f"build/guest/{name}", "x")
        done = self.gate(kind, STORY, E2E_BUILD=self.build, E2E_GUEST_BUILD=self.build, E2E_OUT=self.make_dir("out"),
                  E2E_DIR=self.make_dir("d"), E2E_SCALE="300", E2E_QEMU=qemu)
        self.assertTrue(os.path.exists(os.path.join(self.dir, "arguments")), done.stdout + done.stderr)
        with open(os.path.join(self.dir, "arguments"), encoding="utf-8") as f:
            return f.read()

    def test_stories_get_snp_vms(self):
        argv = self.arguments_of_a_story("snp")
        self.assertIn("-object\nsev-snp-guest,id=sev0-", argv)
        self.assertIn(f"-object\nigvm-cfg,id=igvm0,file={self.dir}/firmware\n", argv)
        self.assertIn("-cpu\nEPYC-v4\n", argv)
        self.assertIn(f"-kernel\n{self.build}/guest/vmlinuz\n", argv)
        self.assertNotIn("qboot", argv)

    def test_stories_get_tdx_vms(self):
        argv = self.arguments_of_a_story("tdx")
        self.assertIn('-object\n{"qom-type":"tdx-guest","id":"tdx0-', argv)
        self.assertIn(f"-bios\n{self.dir}/firmware\n", argv)
        self.assertIn("-cpu\nhost\n", argv)


if __name__ == "__main__":
    harness.main()
