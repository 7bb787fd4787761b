"""cocos-cli doctor: each check sees what is wrong, and names a command that mends it."""

import json
import os
import shutil
import socket
import unittest

import harness

ELF = b"\x7fELF" + bytes(1024)
BZIMAGE = bytes(0x202) + b"HdrS" + bytes(64)
CPIO = b"070701" + b"0" * 104

# Says what QEMU says; under the probe it ends as the probe guest makes QEMU end, or not.
FAKE_QEMU = """#!/bin/sh
case $1 in
--version) echo 'QEMU emulator version {version} (fake)' ;;
-device) echo '{devices}' ;;
-L) printf '/none\\n{data}\\n' ;;
*)  case $2 in none,*) exec {fake} "$@" tee={tee} ;; esac
    exit {status} ;;
esac
"""
FAKE = os.path.join(harness.BUILD, "unit", "manager", "test_vm")  # talks QMP: test/unit/manager/fake_qemu.c

DEVICES = 'name "virtio-9p-pci", bus PCI, name "virtio-net-pci", name "tpm-crb"'


class Doctor(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.temp = self.make_dir("tmp")
        self.env = {
            "TMPDIR": self.temp,
            "MANAGER_QEMU_BIN_PATH": self.fake_qemu(),
            "MANAGER_QEMU_ENABLE_KVM": "false",
            "MANAGER_QEMU_BOOT": "fast",
            "MANAGER_QEMU_MEMORY_SIZE": "1M",
            "MANAGER_QEMU_DISK_IMG_KERNEL_FILE": self.make_file("vmlinux", ELF),
            "MANAGER_QEMU_DISK_IMG_ROOTFS_FILE": self.make_file("initrd", CPIO),
            "MANAGER_QEMU_HOST_FWD_ADDR": "127.0.0.1",
            "MANAGER_SWTPM": self.script("swtpm", "#!/bin/sh\necho 'TPM emulator version 9.9, Copyright'\n"),
            "MANAGER_GRPC_PORT": "0",
            "MANAGER_HTTP_PORT": "0",
            "COCOS_RUN_DIR": os.path.join(self.dir, "run", "deep"),
            "COCOS_STATE_DIR": os.path.join(self.dir, "state"),
        }

    def script(self, name, text):
        path = self.make_file(name, text)
        os.chmod(path, 0o755)
        return path

    def fake_qemu(self, version="7.2.0", devices=DEVICES, status=65, tee="none"):
        self.assertTrue(os.access(FAKE, os.X_OK), f"{FAKE} has not been built: run make unit-bins")
        return self.script("qemu", FAKE_QEMU.format(version=version, devices=devices, status=status, tee=tee, fake=FAKE,
                                                     data=os.path.dirname(self.make_file("data/qboot.rom", "x"))))

    def doctor(self, expect=0, **env):
        done = self.run_program("cocos-cli", "doctor", "--json", env={**self.env, **env}, expect=expect)
        record = json.loads(done.stdout)
        self.assertEqual(record["can_run_vms"], expect == 0)
        for row in record["checks"]:
            self.assertIn(row["level"], ("ok", "warn", "fail"))
            self.assertEqual(row["level"] == "ok", row["fix"] == "", row)
        self.assertEqual(os.listdir(self.temp), [], "nothing may be left")
        return {row["check"]: row for row in record["checks"]}

    def check(self, what, level, found, fix, **env):
        row = self.doctor(expect=1 if level == "fail" else 0, **env)[what]
        self.assertEqual(row["level"], level, row)
        self.assertIn(found, row["found"])
        self.assertIn(fix, row["fix"])

    def test_ctrl_c_while_an_accelerator_is_tried_leaves_no_file(self):
        """The signal comes while QEMU runs; the directory of the probe goes before the program does."""
        qemu = self.script("qemu", "#!/bin/sh\ncase $1 in --version) echo 'QEMU emulator version 7.2.0' ;;\n"
                                   "-device) ;;\n*) kill -INT $PPID; exit 65 ;; esac\n")
        self.run_program("cocos-cli", "doctor", env={**self.env, "MANAGER_QEMU_BIN_PATH": qemu}, expect=130)
        self.assertEqual(os.listdir(self.temp), [])

    def test_all_is_well(self):
        rows = self.doctor()
        self.assertEqual({row["level"] for row in rows.values()}, {"ok"}, rows)
        self.assertLessEqual({"QEMU", "9p", "KVM", "TCG", "OVMF", "swtpm", "guest kernel", "guest initramfs",
                              "room for VMs", "ports for agents"}, set(rows))
        self.assertIn("TPM emulator version 9.9", rows["swtpm"]["found"])

    def test_for_people(self):
        done = self.run_program("cocos-cli", "doctor", env={**self.env, "MANAGER_SWTPM": "/none"}, expect=1)
        self.assertIn("ok    QEMU  ", done.stdout)
        self.assertIn("fail  swtpm  ", done.stdout)
        self.assertIn("      fix: sudo apt-get install swtpm\n", done.stdout)
        self.assertIn("This host can't run VMs yet: 1 of ", done.stderr)

    def test_no_qemu(self):
        self.check("QEMU", "fail", "'no-such-qemu' is not there", "apt-get install qemu-system-x86",
                   MANAGER_QEMU_BIN_PATH="no-such-qemu")

    def test_qemu_that_fails(self):
        self.check("QEMU", "fail", "fails", "--reinstall", MANAGER_QEMU_BIN_PATH="/bin/false")

    def test_something_else_than_qemu(self):
        self.check("QEMU", "fail", "does not say that it is QEMU", "MANAGER_QEMU_BIN_PATH",
                   MANAGER_QEMU_BIN_PATH="/bin/true")

    def test_old_and_new_qemu(self):
        self.fake_qemu(version="6.2.0")
        self.check("QEMU", "warn", "older than 7", "apt-get install")
        self.fake_qemu(version="10.1.0")
        self.assertEqual(self.doctor()["QEMU"]["level"], "ok")

    def test_qemu_without_9p(self):
        self.fake_qemu(devices='name "virtio-net-pci", name "tpm-crb"')
        self.check("9p", "fail", 'lacks "virtio-9p-pci"', "apt-get install")

    def host(self, flag, module=None, device=None):
        """A tree that stands for a host whose CPU, module and device are these."""
        self.make_file("host/proc/cpuinfo", f"model name\t: A CPU\nflags\t\t: fpu {flag}\n")
        self.make_file("host/dev/kvm", "")
        if module:
            self.make_file(f"host/sys/module/{module}", "Y\n")
        if device:
            self.make_file(f"host/dev/{device}", "")
        self.env["MANAGER_INSECURE_HOST_ROOT"] = os.path.join(self.dir, "host")

    def test_snp_of_host_and_qemu(self):
        self.host("sev_snp", "kvm_amd/parameters/sev_snp", "sev")
        self.fake_qemu(version="10.2.0", tee="snp")
        self.env["MANAGER_QEMU_ENABLE_KVM"] = "true"
        self.check("SNP firmware", "fail", "'/none' is not there", "MANAGER_QEMU_IGVM_FILE=",
                   MANAGER_QEMU_IGVM_FILE="/none")
        self.env["MANAGER_QEMU_IGVM_FILE"] = self.make_file("svsm.igvm", "x")
        rows = self.doctor()
        self.assertEqual(rows["SEV-SNP"]["found"], "this host and QEMU 10.2.0 have it")
        self.assertIn("no flag tdx_host_platform", rows["TDX"]["found"])
        self.require("snp", 0)
        self.assertIn("tdx-guest", self.require("tdx", 1)["TDX"]["found"])
        self.env["MANAGER_QEMU_ENABLE_KVM"] = "false"
        self.assertIn("need KVM", self.require("snp", 1)["KVM"]["found"])

    def test_snp_host_whose_qemu_is_too_old(self):
        self.host("sev_snp", "kvm_amd/parameters/sev_snp", "sev")
        self.check("SEV-SNP", "warn", "has no object sev-snp-guest", "MANAGER_QEMU_BIN_PATH=")
        self.assertEqual(self.require("snp", 1)["SEV-SNP"]["level"], "fail")
        self.check("SEV-SNP", "fail", "has no object sev-snp-guest", "MANAGER_QEMU_BIN_PATH=",
                   MANAGER_QEMU_ENABLE_SEV_SNP="true")
        self.check("SEV-SNP", "ok", "is false", "", MANAGER_QEMU_ENABLE_SEV_SNP="false")

    def test_required_tee_that_is_not_there(self):
        self.host("fpu")
        self.env["MANAGER_QEMU_IGVM_FILE"] = "/none"
        rows = self.require("snp", 1)
        self.assertEqual(rows["SNP firmware"]["level"], "fail")
        row = rows["SEV-SNP"]
        self.assertEqual(row["level"], "fail")
        for text in ("'A CPU' has no flag sev_snp", "/sys/module/kvm_amd/parameters/sev_snp: is not there",
                     "/dev/sev is not there"):
            self.assertIn(text, row["found"])
        done = self.run_program("cocos-cli", "doctor", "--require", "sgx", env=self.env, expect=2)
        self.assertIn("'sgx': snp or tdx is wanted", done.stderr)

    def require(self, kind, expect):
        done = self.run_program("cocos-cli", "doctor", "--json", "--require", kind, env=self.env, expect=expect)
        return {row["check"]: row for row in json.loads(done.stdout)["checks"]}

    def test_gpu(self):
        self.host("fpu")
        device = os.path.join(self.dir, "host/sys/bus/pci/devices/0000:41:00.0")
        self.make_file(os.path.join(device, "vendor"), "0x10de\n")
        self.make_file(os.path.join(device, "class"), "0x030200\n")
        self.check("GPU", "ok", "0000:41:00.0 is bound to no driver", "")
        self.check("GPU", "fail", "bound to no driver", "driverctl set-override 41:00.0 vfio-pci",
                   MANAGER_QEMU_GPU_BDF="41:00.0")
        os.symlink("../../drivers/vfio-pci", os.path.join(device, "driver"))
        self.check("GPU", "ok", "0000:41:00.0 is there for VMs", "")

    def test_probe_guest_that_does_not_do_its_work(self):
        self.fake_qemu(status=1)
        self.check("TCG", "fail", "status 1", "--reinstall")

    def test_ovmf(self):
        self.env["MANAGER_QEMU_BOOT"] = "measured"
        self.env["MANAGER_QEMU_DISK_IMG_KERNEL_FILE"] = self.make_file("vmlinuz", BZIMAGE)
        there = self.make_file("ovmf.fd", "x")
        self.check("OVMF", "ok", there, "", MANAGER_QEMU_OVMF_CODE_FILE=there, MANAGER_QEMU_OVMF_VARS_FILE=there)
        self.check("OVMF variables", "fail", "/none is not there", "apt-get install ovmf",
                   MANAGER_QEMU_OVMF_CODE_FILE=there, MANAGER_QEMU_OVMF_VARS_FILE="/none")

    def test_no_firmware_for_the_fast_boot(self):
        os.remove(os.path.join(self.dir, "data", "qboot.rom"))
        self.check("qboot", "fail", "no qboot.rom", "apt-get install qemu-system-data")

    def test_unknown_boot(self):
        self.check("OVMF", "fail", "'slow'", "MANAGER_QEMU_BOOT=measured", MANAGER_QEMU_BOOT="slow")

    def test_swtpm(self):
        self.check("swtpm", "fail", "/none", "apt-get install swtpm", MANAGER_SWTPM="/none")
        self.check("swtpm", "warn", "no TPM", "unset MANAGER_SWTPM", MANAGER_SWTPM="false")
        self.check("swtpm_setup", "fail", "swtpm_setup is not there", "apt-get install swtpm-tools",
                   MANAGER_SWTPM_EK_CERT="true", PATH="/none")

    def test_kernel(self):
        bz = self.make_file("vmlinuz", BZIMAGE)
        garbage = self.make_file("garbage", "x")
        ovmf = {"MANAGER_QEMU_OVMF_CODE_FILE": bz, "MANAGER_QEMU_OVMF_VARS_FILE": bz}
        for path, boot, level, found in ((bz, "fast", "warn", "is packed"), (garbage, "fast", "fail", "no kernel"),
                                         ("/none", "fast", "fail", "No such file"),
                                         (bz, "measured", "ok", "bzImage"),
                                         (self.env["MANAGER_QEMU_DISK_IMG_KERNEL_FILE"], "measured", "fail", "ELF")):
            with self.subTest(path=path, boot=boot):
                self.check("guest kernel", level, found, "" if level == "ok" else "build/guest/vmlin",
                           MANAGER_QEMU_DISK_IMG_KERNEL_FILE=path, MANAGER_QEMU_BOOT=boot, **ovmf)

    def test_initramfs(self):
        for path, found in (("/none", "No such file"), (self.make_file("garbage", "x"), "is no initramfs")):
            with self.subTest(path=path):
                self.check("guest initramfs", "fail", found, "make guest", MANAGER_QEMU_DISK_IMG_ROOTFS_FILE=path)

    @unittest.skipIf(os.geteuid() == 0, "root writes anywhere")
    def test_directory_of_another_user(self):
        self.check("room for VMs", "fail", "can't be written to", "install -d", COCOS_RUN_DIR="/proc/cocos")

    def test_directory_too_deep_for_sockets(self):
        self.check("path for sockets", "fail", "is too long", "COCOS_RUN_DIR=/run/cocos", COCOS_RUN_DIR="/" + 90 * "x")

    def test_memory(self):
        self.check("memory", "fail", "a VM takes", "MANAGER_QEMU_MEMORY_SIZE=", MANAGER_QEMU_MEMORY_SIZE="900T")
        self.check("memory", "fail", "'much'", "2048M", MANAGER_QEMU_MEMORY_SIZE="much")

    def test_ports(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.check("ports for agents", "fail", "none is free", "ss -ltnp",
                       MANAGER_QEMU_HOST_FWD_RANGE=f"{port}-{port}")
            self.check("gRPC port", "warn", "a running manager may have it", "MANAGER_GRPC_PORT",
                       MANAGER_GRPC_PORT=str(port), MANAGER_GRPC_HOST="127.0.0.1")
        self.check("ports for agents", "fail", "the lower one first", "6100-6200",
                   MANAGER_QEMU_HOST_FWD_RANGE="6200-6100")

    def test_no_room_for_the_probe(self):
        self.env["TMPDIR"] = "/none"
        self.run_program("cocos-cli", "doctor", env=self.env, expect=1)

    def test_bad_usage(self):
        self.run_program("cocos-cli", "doctor", "now", env=self.env, expect=2)
        self.run_program("cocos-cli", "doctor", env={**self.env, "MANAGER_GRPC_PORT": "70000"}, expect=2)

    @unittest.skipUnless(shutil.which("qemu-system-x86_64"), "there is no QEMU here")
    def test_this_qemu(self):
        rows = self.doctor(MANAGER_QEMU_BIN_PATH="qemu-system-x86_64")
        for what in ("QEMU", "9p", "network device", "TPM device", "TCG"):
            self.assertEqual(rows[what]["level"], "ok", rows[what])


if __name__ == "__main__":
    harness.main()
