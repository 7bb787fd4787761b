#!/usr/bin/python3
"""
The manager's gRPC services, driven by grpcio, over VMs whose QEMU and swtpm
are the ones of the unit tests (test/unit/manager/fake_qemu.c): all that the
manager sees of a VM, without its weight. Real ones run in test/e2e.
"""

import concurrent.futures
import contextlib
import datetime
import errno
import glob
import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import grpc

import harness

FAKE = os.path.join(harness.BUILD, "unit", "manager", "test_vm")
STEPS = ["admission", "space", "directory", "shares", "port", "firmware", "disk", "cgroup", "tpm", "qemu", "attach", "run", "record"]
URL = "10.0.2.2:7001"


def cmdline(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().decode(errors="replace")
    except OSError:
        return ""


def is_gone(cgroup):
    """Removes it when nothing in it lives any more."""
    try:
        os.rmdir(cgroup)
    except FileNotFoundError:
        return True
    except OSError as e:
        if e.errno != errno.EBUSY:
            raise
        return False
    return True


class ManagerTestCase(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.assertTrue(os.access(FAKE, os.X_OK), f"{FAKE} has not been built: run make unit-bins")
        for name in ("kernel", "initrd", "vars.fd", "code.fd"):
            self.make_file(name, name)
        self.addCleanup(self.end_vms)

    def env(self, **more):
        with socket.socket() as s:  # where the kernel has free ports now, there are some for VMs
            s.bind(("127.0.0.1", 0))
            first = min(s.getsockname()[1], 60000)
        return {"MANAGER_GRPC_HOST": "127.0.0.1", "MANAGER_GRPC_PORT": "0", "MANAGER_HTTP_HOST": "127.0.0.1",
                "MANAGER_HTTP_PORT": "0", "MANAGER_QEMU_BIN_PATH": FAKE, "MANAGER_SWTPM": FAKE,
                "MANAGER_QEMU_ENABLE_KVM": "false", "MANAGER_QEMU_MEMORY_SIZE": "16M",
                "MANAGER_QEMU_HOST_FWD_ADDR": "127.0.0.1", "MANAGER_QEMU_HOST_FWD_RANGE": f"{first}-{first + 2000}",
                "MANAGER_QEMU_DISK_IMG_KERNEL_FILE": "kernel", "MANAGER_QEMU_DISK_IMG_ROOTFS_FILE": "initrd",
                "MANAGER_QEMU_OVMF_CODE_FILE": "code.fd", "MANAGER_QEMU_OVMF_VARS_FILE": "vars.fd", **more}

    def manager(self, credentials=None, faketime=None, **env):
        self.process = self.daemon("cocos-manager", env=self.env(**env), faketime=faketime)
        self.connect(credentials)

    def connect(self, credentials=None):
        address = self.process.ready()["addr"]
        if credentials:
            address = "localhost:" + address.rsplit(":", 1)[1]
        self.channel = harness.channel(address, credentials)
        self.addCleanup(self.channel.close)
        self.pb, self.more = harness.proto("manager"), harness.proto("extensions")
        self.stub = harness.Stub(self.channel, self.pb, "ManagerService")
        self.vms = harness.Stub(self.channel, self.more, "VirtualMachines")

    def create(self, **members):
        return self.stub.CreateVm(self.pb.CreateReq(agent_cvm_server_url=URL, **members),
                                  timeout=harness.deadline(60))

    def remove(self, name):
        return self.stub.RemoveVm(self.pb.RemoveReq(cvm_id=name), timeout=harness.deadline(30))

    def list(self):
        return {v.id: v for v in self.vms.List(self.more.ListRequest(), timeout=harness.deadline(10)).vms}

    def processes(self):
        """Of VMs of this test, with their arguments."""
        found = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            line = cmdline(name)  # once: it may be gone the next time
            if f"{self.run_dir}/vms/" in line and FAKE in line:
                found[int(name)] = line.split("\0")
        return found

    def left(self):
        """Everything there is of VMs."""
        return (list(self.processes()), os.listdir(f"{self.run_dir}/vms"),
                [f for f in os.listdir(f"{self.state_dir}/manager") if not f.startswith("kvm-probe.")])

    def wait_clean(self):
        harness.wait_until(lambda: self.left() == ([], [], []), what="the end of all VMs")

    def end_vms(self):
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.end_cgroups()

    def end_cgroups(self):
        """Those of VMs that were left to a manager that never came."""
        for note in glob.glob(f"{self.run_dir}/vms/*/cgroup"):
            with open(note, encoding="utf-8") as f:
                cgroup = f.read()
            harness.wait_until(lambda path=cgroup: is_gone(path), what=f"the end of all in {cgroup}")

    def fails(self, code, text, call, *args, **members):
        with self.assertRaises(grpc.RpcError) as caught:
            call(*args, **members)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assertIn(text, caught.exception.details())


class Calls(ManagerTestCase):
    def check_prediction(self, facts):
        """PCR 9 of the measured boot, by hand; the kernel is none, so PCR 4 can't be told."""
        events = [hashlib.sha256((facts["cmdline"] + " initrd=initrd\0").encode("utf-16-le")).digest(),
                  hashlib.sha256(b"initrd").digest()]
        value = bytes(32)
        for event in events:
            value = hashlib.sha256(value + event).digest()
        self.assertEqual(facts["pcr9_sha256_events"], [event.hex() for event in events])
        self.assertEqual(facts["pcrs_sha256"], {"9": value.hex()})
        self.assertIn("no PE header", facts["pcr4_unpredicted"])
        self.assertEqual(facts["initrd"]["sha256"], events[1].hex())

    def test_fast_boot_predicts_no_pcrs(self):
        self.manager(MANAGER_QEMU_BOOT="fast")
        facts = json.loads(self.stub.AttestationPolicy(
            self.pb.AttestationPolicyReq(id=self.create().cvm_id)).info)
        self.assertEqual(facts["boot"], "fast")
        self.assertFalse([key for key in facts if "pcr" in key])

    def test_all_calls_on_a_vm(self):
        self.manager(MANAGER_QEMU_OVMF_VERSION="edk2", MANAGER_EOS_VERSION="eos")
        made = self.create()
        vm = self.list()[made.cvm_id]
        self.assertEqual((vm.state, str(vm.agent_port)), ("VmRunning", made.forwarded_port))
        info = self.stub.CVMInfo(self.pb.CVMInfoReq(id="any"))
        self.assertEqual((info.id, info.ovmf_version, info.cpu_num, info.eos_version), ("any", "edk2", 4, "eos"))
        policy = self.stub.AttestationPolicy(self.pb.AttestationPolicyReq(id=made.cvm_id))
        self.assertEqual(policy.id, made.cvm_id)
        self.assertEqual(json.loads(policy.info)["vm"], made.cvm_id)
        self.check_prediction(json.loads(policy.info))
        self.fails(grpc.StatusCode.UNKNOWN, "computationId nobody not found", self.stub.AttestationPolicy,
                   self.pb.AttestationPolicyReq(id="nobody"))
        harness.wait_until(lambda: self.vms.Console(self.more.ConsoleRequest(id=made.cvm_id)).tail ==
                           b"guest boots\n", what="the console")
        self.fails(grpc.StatusCode.NOT_FOUND, "no VM has the id 'nobody'", self.vms.Console,
                   self.more.ConsoleRequest(id="nobody"))
        metrics = urllib.request.urlopen(f"http://{self.process.ready()['http']}/metrics", timeout=harness.deadline(10)).read()
        self.assertIn(b"VmRunning", metrics)
        self.remove(made.cvm_id)
        self.fails(grpc.StatusCode.UNKNOWN, "entity not found", self.remove, made.cvm_id)
        self.wait_clean()

    def test_http_side_ends_silent_clients_and_long_heads(self):
        self.manager(MANAGER_HTTP_SERVER_READ_HEADER_TIMEOUT="3s", MANAGER_HTTP_SERVER_MAX_HEADER_BYTES="4096")
        host, port = self.process.ready()["http"].rsplit(":", 1)
        limit = harness.deadline(20)
        with socket.create_connection((host, int(port)), timeout=limit) as silent:
            self.assertEqual(silent.recv(1), b"")
        with socket.create_connection((host, int(port)), timeout=limit) as long:
            long.sendall(b"GET /health HTTP/1.1\r\nX: " + b"x" * 8000)
            self.assertRegex(long.recv(100), b"^HTTP/1.1 4")
        with socket.create_connection((host, int(port)), timeout=limit) as other:
            other.sendall(b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
            self.assertRegex(other.recv(100), b"^HTTP/1.1 405")
        with socket.create_connection((host, int(port)), timeout=limit) as twice:
            for _ in range(2):  # one connection, two requests
                twice.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
                got = b""
                while not got.endswith(b"}\n"):
                    piece = twice.recv(1000)
                    self.assertTrue(piece, got)
                    got += piece
                self.assertRegex(got, b"^HTTP/1.1 200")

    def page(self, path):
        with urllib.request.urlopen(f"http://{self.process.ready()['http']}{path}", timeout=10) as answer:
            return answer.read().decode()

    def ready_page(self):
        try:
            code, page = 200, self.page("/ready")
        except urllib.error.HTTPError as e:
            code, page = e.code, e.read().decode()
        page = json.loads(page)
        self.assertEqual(page["ready"], code == 200)
        return page["ready"], {d["name"]: d for d in page["dependencies"]}

    def test_ready_tells_each_dependency_with_its_last_error(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
            self.manager(MANAGER_QEMU_HOST_FWD_RANGE=f"{port}-{port}")
            ready, parts = self.ready_page()
            self.assertFalse(ready)
            self.assertEqual({n for n, d in parts.items() if not d["ok"]}, {"ports"})
            self.assertEqual({d["last_error"] for d in parts.values()}, {""})
            self.fails(grpc.StatusCode.UNKNOWN, "failed to find free port", self.create)
        ready, parts = self.ready_page()
        self.assertTrue(ready, parts)
        self.assertLessEqual({"qemu", "swtpm", "kernel", "initrd", "firmware", "disk", "records", "memory", "ports",
                              "kvm"}, set(parts))
        self.assertEqual({n for n, d in parts.items() if d["last_error"]}, {"ports"})
        self.assertIn(f"failed to find free port in range {port}-{port}", parts["ports"]["last_error"])
        os.remove(os.path.join(self.dir, "vars.fd"))
        self.fails(grpc.StatusCode.UNKNOWN, "vars.fd", self.create)
        self.assertIn("vars.fd", self.ready_page()[1]["firmware"]["last_error"])
        os.remove(os.path.join(self.dir, "initrd"))
        ready, parts = self.ready_page()
        self.assertFalse(ready)
        self.assertIn("No such file", parts["initrd"]["detail"])

    def test_metrics_are_what_prometheus_reads(self):
        try:
            from prometheus_client import parser  # pylint: disable=import-outside-toplevel
        except ImportError:
            self.skipTest("needs python3-prometheus-client")
        self.manager(MANAGER_MAX_VMS="2")
        made = self.create()
        self.create()
        self.fails(grpc.StatusCode.UNKNOWN, "maximum number of VMs exceeded", self.create)
        self.remove(made.cvm_id)
        os.remove(os.path.join(self.dir, "vars.fd"))
        self.fails(grpc.StatusCode.UNKNOWN, "vars.fd", self.create)
        families = {f.name: f for f in parser.text_string_to_metric_families(self.page("/metrics"))}

        def value(name, family=None, **labels):
            samples = [s.value for s in families[family or name].samples if s.name == name and s.labels == labels]
            self.assertEqual(len(samples), 1, (name, labels))
            return samples[0]
        self.assertEqual({n: f.type for n, f in families.items()},
                         {"cocos_manager_vms": "gauge", "cocos_manager_create_seconds": "histogram",
                          "cocos_manager_create_failures": "counter", "cocos_manager_create_failed_steps": "counter",
                          "cocos_manager_vms_ended": "counter", "manager_api_request_count": "counter",
                          "manager_api_request_latency_microseconds": "summary"})
        self.assertEqual([value("cocos_manager_vms", state=s) for s in ("VmProvision", "VmRunning",
                                                                        "StopComputationRun")], [0, 1, 0])
        histogram = [(float(s.labels["le"]), s.value) for s in families["cocos_manager_create_seconds"].samples
                     if s.name.endswith("_bucket")]
        self.assertEqual(histogram, sorted(histogram))
        self.assertEqual([n for _, n in histogram], sorted(n for _, n in histogram))
        self.assertEqual(histogram[-1], (float("inf"), 2))
        self.assertEqual(value("cocos_manager_create_seconds_count", "cocos_manager_create_seconds"), 2)
        self.assertGreater(value("cocos_manager_create_seconds_sum", "cocos_manager_create_seconds"), 0)
        self.assertEqual(value("cocos_manager_create_failed_steps_total", "cocos_manager_create_failed_steps",
                               step="firmware"), 1)
        self.assertEqual(sum(s.value for s in families["cocos_manager_create_failures"].samples), 2)
        self.assertEqual(value("manager_api_request_latency_microseconds_count",
                               "manager_api_request_latency_microseconds", method="Stop"), 1)
        self.assertEqual(value("manager_api_request_latency_microseconds_count",
                               "manager_api_request_latency_microseconds", method="Run"), 4)

    def test_health_and_reflection(self):
        self.manager()
        check = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        self.assertEqual(check(b"\x0a\x07manager", timeout=harness.deadline(10)), b"\x08\x01")  # SERVING
        ask = self.channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        answer = next(ask(iter([b"\x3a\x00"]), timeout=harness.deadline(10)))  # list_services
        self.assertIn(b"manager.ManagerService", answer)
        self.assertIn(b"cocos_c.v1.VirtualMachines", answer)

    def test_bad_request_is_refused_before_anything_is_made(self):
        self.manager()
        for text, members in (("agent_cvm_ca_url: byte 0x0a", {"agent_cvm_ca_url": "a\nb"}),
                              ("aa_kbs_params: byte 0x20", {"aa_kbs_params": "a init=/bin/sh"}),
                              ("ttl: ", {"ttl": "soon"})):
            self.fails(grpc.StatusCode.INVALID_ARGUMENT, text, self.create, **members)
        self.fails(grpc.StatusCode.INVALID_ARGUMENT, "agent_cvm_server_url: byte 0x0a", self.stub.CreateVm,
                   self.pb.CreateReq(agent_cvm_server_url="x:1\nLD_PRELOAD=/x"))
        self.assertEqual(self.left(), ([], [], []))

    def test_MG_3_fifty_creates_at_once(self):
        self.manager(MANAGER_MAX_VMS="20")
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            calls = [pool.submit(self.create) for _ in range(50)]
            faults = [c.exception() for c in calls if c.exception()]
            made = [c.result() for c in calls if not c.exception()]
        self.assertEqual(len(made), 20)
        self.assertEqual({f.details() for f in faults}, {"maximum number of VMs exceeded"})
        self.assertEqual(len({m.forwarded_port for m in made}), 20)
        self.assertEqual(len({m.cvm_id for m in made}), 20)
        self.assertEqual(len(os.listdir(f"{self.run_dir}/vms")), 20)
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda m: self.remove(m.cvm_id), made))
        self.wait_clean()

    def test_MG_3_fifty_creates_at_once_get_no_more_memory_than_there_is(self):
        root = os.path.join(self.dir, "host")
        self.make_file("host/proc/meminfo", f"MemAvailable: {5 * 2**20 + 2**19} kB\n")
        self.make_file("host/proc/cpuinfo", "flags\t\t: fpu\n")
        self.manager(MANAGER_MAX_VMS="0", MANAGER_QEMU_MEMORY_SIZE="1G", MANAGER_INSECURE_HOST_ROOT=root)
        with concurrent.futures.ThreadPoolExecutor(50) as pool:
            calls = [pool.submit(self.create) for _ in range(50)]
            faults = [c.exception() for c in calls if c.exception()]
            made = [c.result() for c in calls if not c.exception()]
        self.assertEqual(len(made), 5)
        for fault in faults:
            self.assertRegex(fault.details(), "^a VM has 1024 MiB of memory [(]MANAGER_QEMU_MEMORY_SIZE[)], 5632 MiB are "
                                              "free on this host, and [0-9]+ MiB of them belong to other VMs")
        self.remove(made[0].cvm_id)
        self.remove(self.create().cvm_id)  # there is room again
        for m in made[1:]:
            self.remove(m.cvm_id)
        self.wait_clean()

    def test_MG_8_killed_tpm_stops_the_vm(self):
        self.manager()
        made = self.create()
        tpm = [pid for pid, argv in self.processes().items() if argv[1] == "socket"]
        os.kill(tpm[0], signal.SIGKILL)
        self.process.wait_log(contains="ended: the software TPM (swtpm) was killed by signal 9")
        self.assertNotIn(made.cvm_id, self.list())
        self.wait_clean()

    def test_TP_9_swtpm_that_is_silent_is_named_and_nothing_is_left(self):
        path = self.make_file("silent-swtpm", f'#!/bin/sh\nexec {FAKE} "$@" swtpm=silent\n')
        os.chmod(path, 0o755)
        self.manager(MANAGER_SWTPM=path, MANAGER_SWTPM_TIMEOUT="5s")
        self.fails(grpc.StatusCode.UNKNOWN, "the software TPM (swtpm) does not answer at "
                   f"{self.run_dir}/vms/", self.create)
        self.wait_clean()

    def test_MG_9_flood_on_the_console_is_bounded(self):
        """Of 64 MiB the last lines are kept; the manager does not grow and goes on answering."""
        self.manager(MANAGER_QEMU_KERNEL_CMDLINE="fake=floods")
        before = self.process.status("VmRSS")
        made = self.create()

        def tail():
            self.assertIn(made.cvm_id, self.list())
            return self.vms.Console(self.more.ConsoleRequest(id=made.cvm_id), timeout=harness.deadline(30)).tail
        harness.wait_until(lambda: tail().endswith(b"the flood is over\n"), 120, "the end of the flood")
        self.assertLessEqual(len(tail()), 64 * 1024)
        self.assertLess(self.process.status("VmHWM") - before, 16 * 1024)
        self.remove(made.cvm_id)
        self.wait_clean()

    def test_MG_10_ttl_does_not_care_for_jumps_of_the_clock(self):
        clock = self.make_file("clock", "+0")
        self.manager(faketime="+0", FAKETIME=None, FAKETIME_TIMESTAMP_FILE=clock, FAKETIME_NO_CACHE="1")

        def jump(offset, vm_ttl):
            """A VM of this ttl, and then another time of day; returns its id and by how many seconds the log jumped."""
            made = self.create(ttl=vm_ttl)
            self.make_file("clock", offset)
            at = len(self.process.records)
            self.fails(grpc.StatusCode.UNKNOWN, "not found", self.remove, "nobody")
            other = self.create()
            when = self.process.wait_log(after=at, contains="runs; its agent")["time"]
            self.remove(other.cvm_id)
            return made.cvm_id, datetime.datetime.fromisoformat(when[:19] + "+00:00").timestamp() - time.time()
        stays, jumped = jump("+2d", "24h")
        self.assertGreater(jumped, 24 * 3600)  # or else nothing has been shown
        self.assertIn(stays, self.list())
        ends, jumped = jump("-2d", "3s")
        self.assertLess(jumped, -24 * 3600)
        self.process.wait_log(contains=f"VM {ends} ended: its time to live is over", seconds=60)
        self.remove(stays)
        self.wait_clean()

    def test_MG_11_secrets_are_nowhere_but_in_the_guests_files(self):
        self.manager(MANAGER_LOG_LEVEL="debug")
        secret = "s3cr3t-value"
        self.create(aws_secret_access_key=secret, aws_access_key_id=secret, agent_certs_token=secret,
                    agent_cvm_client_key=secret.encode(), agent_cvm_client_cert=b"cert")
        for pid, argv in self.processes().items():
            self.assertNotIn(secret, " ".join(argv))
            with open(f"/proc/{pid}/environ", "rb") as f:
                self.assertNotIn(secret.encode(), f.read())
        holders = set()
        for folder, _, names in os.walk(self.dir):
            for path in (os.path.join(folder, n) for n in names):
                if os.path.isfile(path) and secret.encode() in open(path, "rb").read():
                    holders.add(os.path.basename(path))
                    self.assertEqual(os.stat(path).st_mode & 0o777, 0o600, path)
        self.assertEqual(holders, {"environment", "key.pem"})
        self.assertNotIn(secret, self.process.text())
        self.process.wait_log(contains=" -smp 4,maxcpus=64 -m 16M,slots=5,maxmem=30G -drive ")

    def test_no_free_port_is_one_clear_error(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
            self.manager(MANAGER_QEMU_HOST_FWD_RANGE=f"{port}-{port}")
            self.fails(grpc.StatusCode.UNKNOWN, f"failed to find free port in range {port}-{port}", self.create)
        self.wait_clean()

    def test_full_disk_is_one_clear_error(self):
        self.manager()
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (8, resource.RLIM_INFINITY))
        self.fails(grpc.StatusCode.UNKNOWN, "write environment: ", self.create)
        self.wait_clean()
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.remove(self.create().cvm_id)
        self.wait_clean()

    def test_MG_12_disk_is_copied_and_one_with_a_backing_file_is_refused(self):
        for args in (["whole.qcow2", "1G"], ["-b", "whole.qcow2", "-F", "qcow2", "backed.qcow2"]):
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *args], cwd=self.dir, check=True)
        self.manager(MANAGER_QEMU_ENABLE_DISK="true", MANAGER_QEMU_SRC_DISK_FILE="whole.qcow2")
        made = self.create()
        copy = json.loads(subprocess.run(["qemu-img", "info", "--output=json",
                                          f"{self.run_dir}/vms/{made.cvm_id}/disk.qcow2"],
                                         check=True, capture_output=True).stdout)
        self.assertEqual(copy["virtual-size"], 2 << 30)
        self.remove(made.cvm_id)
        self.wait_clean()
        self.process.stop()
        self.manager(MANAGER_QEMU_ENABLE_DISK="true", MANAGER_QEMU_SRC_DISK_FILE="backed.qcow2")
        self.fails(grpc.StatusCode.UNKNOWN, "has a backing file", self.create)
        self.wait_clean()

    def test_TLS_and_mTLS(self):
        ca = harness.Authority(os.path.join(self.dir, "ca"))
        cert, key = ca.issue("localhost")
        mine, my_key = ca.issue("client", usage="client")

        def read(path):
            with open(path, "rb") as f:
                return f.read()
        tls = {"MANAGER_GRPC_SERVER_CERT": cert, "MANAGER_GRPC_SERVER_KEY": key}
        self.manager(grpc.ssl_channel_credentials(read(ca.path)), **tls)
        self.assertEqual(self.process.ready()["security"], "with TLS")
        self.assertEqual(self.list(), {})
        self.process.stop()
        self.manager(grpc.ssl_channel_credentials(read(ca.path), read(my_key), read(mine)),
                     MANAGER_GRPC_CLIENT_CA_CERTS=ca.path, **tls)
        self.assertEqual(self.process.ready()["security"], "with mTLS")
        self.assertEqual(self.list(), {})
        address = "localhost:" + self.process.ready()["addr"].rsplit(":", 1)[1]
        with grpc.secure_channel(address, grpc.ssl_channel_credentials(read(ca.path)), harness.CHANNEL_OPTIONS) as bare:
            stub = harness.Stub(bare, self.more, "VirtualMachines")
            self.fails(grpc.StatusCode.UNAVAILABLE, "", stub.List, self.more.ListRequest(), timeout=harness.deadline(10))


class RealTpm(ManagerTestCase):
    """swtpm itself, and swtpm_setup, under a QEMU of a few lines."""

    def setUp(self):
        super().setUp()
        missing = [p for p in ("swtpm", "swtpm_setup", "swtpm_localca") if not shutil.which(p)]
        if missing:
            self.skipTest(f"needs {', '.join(missing)} (packages swtpm and swtpm-tools)")

    def of_vms(self):
        """Process ids of whatever names a directory of our VMs."""
        return [int(n) for n in filter(str.isdigit, os.listdir("/proc")) if f"{self.run_dir}/vms/" in cmdline(n)]

    def end_vms(self):
        for pid in self.of_vms():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.end_cgroups()

    def wait_clean(self):
        super().wait_clean()
        harness.wait_until(lambda: not self.of_vms(), what="the end of every swtpm")

    def test_each_vm_has_a_state_of_its_own_that_goes_with_it(self):
        self.manager(MANAGER_SWTPM="true")
        folders = [f"{self.run_dir}/vms/{self.create().cvm_id}" for _ in range(2)]
        for folder in folders:
            for path in (folder, f"{folder}/tpm"):
                self.assertEqual(os.stat(path).st_mode & 0o777, 0o700, path)
            chips = [pid for pid in self.of_vms() if f"dir={folder}/tpm" in cmdline(pid)]
            self.assertEqual(len(chips), 1)
            self.assertFalse(os.path.exists(f"{folder}/ca"))
            self.remove(os.path.basename(folder))
        self.wait_clean()

    def test_ek_certificate_is_by_a_ca_of_the_vm_alone(self):
        self.manager(MANAGER_SWTPM="true", MANAGER_SWTPM_EK_CERT="true")
        roots = set()
        for _ in range(2):
            vm = self.create().cvm_id
            ca = f"{self.run_dir}/vms/{vm}/ca"
            self.assertEqual(os.stat(ca).st_mode & 0o777, 0o700)
            root = f"{ca}/swtpm-localca-rootca-cert.pem"
            subprocess.run(["openssl", "verify", "-CAfile", root, f"{ca}/issuercert.pem"], check=True,
                           capture_output=True, timeout=harness.deadline(30))
            with open(root, "rb") as f:
                roots.add(f.read())
            self.remove(vm)
        self.assertEqual(len(roots), 2)
        self.wait_clean()

    def test_MG_6_manager_killed_while_the_certificate_is_made_leaves_nothing_to_the_next(self):
        self.manager(MANAGER_SWTPM="true", MANAGER_SWTPM_EK_CERT="true")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            call = pool.submit(self.create)
            harness.wait_until(self.of_vms, what="swtpm_setup")
            self.process.kill()
            self.assertIsNotNone(call.exception())
        self.manager(MANAGER_SWTPM="true")
        for name in self.list():  # it was faster, and the VM is whole
            self.remove(name)
        self.wait_clean()


class FullDisk(ManagerTestCase):
    """Directories of the manager on a small file system of its own, in a mount namespace."""

    def small(self, where, options, **env):
        """A manager for whom this directory is a tmpfs of that size."""
        folder = self.make_dir(where)
        enter = ["/usr/bin/unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"', "sh",
                 options, folder]
        tried = subprocess.run(enter + ["true"], capture_output=True, text=True, check=False)
        if tried.returncode != 0:
            self.skipTest(f"needs a mount namespace of its own: {tried.stderr.strip()}")
        self.process = self.daemon(*enter, os.path.join(harness.BUILD, "cocos-manager"), env=self.env(**env),
                                   label="cocos-manager")
        self.connect()
        return f"/proc/{self.process.pid}/root{folder}"

    def fill(self, folder):
        """Takes what is left of the bytes, then of the names; returns what gives them back."""
        made = []
        while True:
            made.append(os.path.join(folder, f"filler-{len(made)}"))
            try:
                with open(made[-1], "wb"):
                    pass
            except OSError as e:
                self.assertEqual(e.errno, errno.ENOSPC)
                break
        made.pop()
        return lambda: [os.remove(path) for path in made]

    def test_directory_of_vms_without_room_is_refused_before_anything_is_made(self):
        seen = self.small("run", "size=1m", COCOS_RUN_DIR=os.path.join(self.dir, "run"))
        with open(os.path.join(seen, "filler"), "wb") as f:
            f.write(bytes(600 << 10))
        self.fails(grpc.StatusCode.UNKNOWN, f"{self.dir}/run/vms has ", self.create)
        self.fails(grpc.StatusCode.UNKNOWN, "there: make room, or name another directory with COCOS_RUN_DIR", self.create)
        self.assertEqual(os.listdir(os.path.join(seen, "vms")), [])
        self.assertEqual(self.processes(), {})

    def test_ENOSPC_while_a_vm_is_made_names_the_path_and_leaves_nothing(self):
        seen = self.small("run", "size=8m,nr_inodes=40", COCOS_RUN_DIR=os.path.join(self.dir, "run"))
        give_back = self.fill(seen)
        self.fails(grpc.StatusCode.UNKNOWN, f"{self.dir}/run/vms/", self.create)
        self.fails(grpc.StatusCode.UNKNOWN, "No space left on device", self.create)
        self.assertEqual(os.listdir(os.path.join(seen, "vms")), [])
        self.assertEqual(self.processes(), {})
        give_back()
        made = self.create()
        self.assertEqual(os.listdir(os.path.join(seen, "vms")), [made.cvm_id])
        self.remove(made.cvm_id)
        self.assertEqual(os.listdir(os.path.join(seen, "vms")), [])

    def test_ENOSPC_at_the_record_ends_the_vm_that_runs_by_then(self):
        seen = self.small("state", "size=8m,nr_inodes=40", COCOS_STATE_DIR=os.path.join(self.dir, "state"))
        give_back = self.fill(seen)
        self.fails(grpc.StatusCode.UNKNOWN, "write the record of VM ", self.create)
        self.fails(grpc.StatusCode.UNKNOWN, "No space left on device", self.create)
        self.assertEqual(os.listdir(os.path.join(seen, "manager")), [])
        self.assertEqual((os.listdir(f"{self.run_dir}/vms"), self.processes()), ([], {}))
        give_back()
        self.remove(self.create().cvm_id)
        self.assertEqual(os.listdir(os.path.join(seen, "manager")), [])


class BadSettings(ManagerTestCase):
    def test_each_is_one_clear_error_before_anything_is_started(self):
        cases = (({"MANAGER_MAX_VMS": "ten"}, 2, "MANAGER_MAX_VMS: 'ten'"),
                 ({"MANAGER_QEMU_HOST_FWD_RANGE": "6200-6100"}, 2, "'6200-6100': the range runs backwards"),
                 ({"MANAGER_QEMU_DISK_IMG_KERNEL_FILE": "none"}, 1, "'none': no such readable file"),
                 ({"MANAGER_QEMU_BIN_PATH": "/none/qemu"}, 1, "'/none/qemu': no such executable file"),
                 ({"MANAGER_QEMU_BIN_PATH": "/bin/true"}, 1, "does not answer as QEMU does: it ended with status 0"),
                 ({"MANAGER_QEMU_MACHINE": "nonsense"}, 1, "'nonsense': QEMU 10.2.0 has no such machine"),
                 ({"MANAGER_QEMU_NETDEV_ID": "a,b"}, 2, "MANAGER_QEMU_NETDEV_ID: 'a,b': letters, digits,"),
                 ({"MANAGER_QEMU_OVMF_CODE_FILE": "a\nb"}, 2, "byte 0x0a has no place in a QEMU option"),
                 ({"MANAGER_CORIM_SIGNING_KEY": "kernel"}, 1, "failed to load signing key: "),
                 ({"COCOS_RUN_DIR": self.dir + "/" + "d" * 60}, 2, "is too long for the sockets of VMs: at most"),
                 ({"COCOS_RUN_DIR": self.dir + "/a,b"}, 2, "/a,b': a ',' ends an option of swtpm"),
                 ({"MANAGER_GRPC_PORT": "http"}, 2, "MANAGER_GRPC_PORT: 'http': a whole number"),
                 ({"MANAGER_SWTPM": "/none/swtpm"}, 1, "swtpm is not there"),
                 ({"MANAGER_INSECURE_FAILPOINT": "nowhere"}, 2, "'nowhere': no step has that name"))
        bare = self.make_file("qemu-bare", f'#!/bin/sh\nexec {FAKE} "$@" tee=bare\n')
        os.chmod(bare, 0o755)
        cases += (({"MANAGER_QEMU_BIN_PATH": bare}, 1, "QEMU 10.2.0 has no device virtio-9p-pci"),)
        for env, code, text in cases:
            done = self.run_program("cocos-manager", env=self.env(**env), expect=code)
            self.assertEqual((done.stdout + done.stderr).count(text), 1, done.stdout + done.stderr)
            self.assertEqual(self.processes(), {})


class Hardware(ManagerTestCase):
    """TEEs and GPUs, on a tree of files that stands for a host, and with a QEMU that says it can use them."""

    def host(self, flag, module, *devices):
        self.make_file("host/proc/cpuinfo", f"model name\t: A CPU\nflags\t\t: fpu {flag}\n")
        self.make_file(f"host/sys/module/{module}", "Y\n")
        for name in ("kvm",) + devices:
            self.make_file(f"host/dev/{name}", "")
        self.make_file("host/proc/meminfo", "MemAvailable: 8000000 kB\n")
        return os.path.join(self.dir, "host")

    def qemu(self, tee):
        path = self.make_file(f"qemu-{tee}", f'#!/bin/sh\nexec {FAKE} "$@" tee={tee}\n')
        os.chmod(path, 0o755)
        return path

    def snp(self, tee="snp", **env):
        return {"MANAGER_INSECURE_HOST_ROOT": self.host("sev_snp", "kvm_amd/parameters/sev_snp", "sev"),
                "MANAGER_QEMU_BIN_PATH": self.qemu(tee), "MANAGER_QEMU_ENABLE_KVM": "true",
                "MANAGER_QEMU_IGVM_FILE": self.make_file("svsm.igvm", "x"), "MANAGER_SWTPM": "auto", **env}

    def arguments(self):
        """Of the one QEMU that runs: pairs of flag and value."""
        argv = [a for a in self.processes().values() if "-qmp" in a]
        self.assertEqual(len(argv), 1)
        return list(zip(argv[0], argv[0][1:]))

    def refused(self, text, code=1, **env):
        done = self.run_program("cocos-manager", env=self.env(**env), expect=code)
        said = done.stdout + done.stderr
        self.assertEqual(said.count(text), 1, said)
        self.assertEqual(self.processes(), {})

    def test_snp_is_found_and_used(self):
        self.manager(**self.snp(MANAGER_QEMU_ENABLE_HOST_DATA="true"))
        self.process.wait_log(contains="VMs are SEV-SNP ones (QEMU 10.2.0)")
        made = self.create()
        argv = self.arguments()
        objects = [v for f, v in argv if f == "-object"]
        self.assertRegex(objects[1], "^sev-snp-guest,id=sev0-[0-9a-f-]{36},cbitpos=51,reduced-phys-bits=1,"
                                     "host-data=tDLZRaBAhyc/SMyeaTKZo/1iuGddXiA77uGgPH3q[+]Mg=$")
        self.assertEqual(objects[2], f"igvm-cfg,id=igvm0,file={self.dir}/svsm.igvm")
        self.assertNotIn("-tpmdev", [f for f, _ in argv])  # the SVSM has the TPM
        self.assertIn("-enable-kvm", [f for f, _ in argv])
        self.assertEqual(json.loads(self.stub.AttestationPolicy(
            self.pb.AttestationPolicyReq(id=made.cvm_id)).info)["platform"], "snp")
        self.remove(made.cvm_id)
        self.wait_clean()

    def test_tdx_is_found_and_used(self):
        root = self.host("tdx_host_platform", "kvm_intel/parameters/tdx")
        self.manager(MANAGER_INSECURE_HOST_ROOT=root, MANAGER_QEMU_BIN_PATH=self.qemu("tdx"), MANAGER_SWTPM="auto",
                     MANAGER_QEMU_ENABLE_KVM="true", MANAGER_QEMU_OVMF_FILE=self.make_file("ovmf.fd", "x"))
        made = self.create()
        self.assertIn('"qom-type":"tdx-guest"', dict(reversed(self.arguments()))["-object"])
        self.remove(made.cvm_id)
        self.wait_clean()

    def test_host_with_snp_never_makes_lesser_vms_unasked(self):
        self.refused("QEMU 10.2.0 has no object sev-snp-guest", **self.snp(tee="none"))
        self.refused("SEV-SNP VMs need KVM: MANAGER_QEMU_ENABLE_KVM is false",
                     **self.snp(MANAGER_QEMU_ENABLE_KVM="false"))
        self.refused("svsm.none': no such readable file", **self.snp(MANAGER_QEMU_IGVM_FILE="svsm.none"))
        self.manager(**self.snp(tee="none", MANAGER_QEMU_ENABLE_SEV_SNP="false", MANAGER_SWTPM=FAKE))
        self.process.wait_log(contains="MANAGER_QEMU_ENABLE_SEV_SNP is false")
        self.remove(self.create().cvm_id)
        self.wait_clean()

    def test_tee_that_is_demanded_and_not_there(self):
        root = self.host("fpu", "none/parameters/none")
        self.refused("'A CPU' has no flag sev_snp", MANAGER_INSECURE_HOST_ROOT=root, MANAGER_QEMU_ENABLE_SEV_SNP="true")
        self.refused("no object tdx-guest", MANAGER_INSECURE_HOST_ROOT=root, MANAGER_QEMU_ENABLE_TDX="true")

    def gpu(self, bdf, driver=None):
        path = self.make_file(f"host/sys/bus/pci/devices/{bdf}/vendor", "0x10de\n")
        self.make_file(f"host/sys/bus/pci/devices/{bdf}/class", "0x030200\n")
        if driver:
            os.symlink(f"../../drivers/{driver}", os.path.join(os.path.dirname(path), "driver"))

    def test_gpu_is_found_and_given_to_a_vm(self):
        root = self.host("fpu", "none/parameters/none")
        self.gpu("0000:41:00.0", "nvidia")
        self.refused("'41:00.0' is bound to nvidia, not to vfio-pci", MANAGER_INSECURE_HOST_ROOT=root,
                     MANAGER_QEMU_GPU_BDF="41:00.0")
        self.refused("0000:41:00.0 is bound to nvidia", MANAGER_INSECURE_HOST_ROOT=root, MANAGER_QEMU_ENABLE_GPU="true")
        self.gpu("0000:c1:00.0", "vfio-pci")
        self.manager(MANAGER_INSECURE_HOST_ROOT=root)
        self.process.wait_log(contains="VMs get the GPU 0000:c1:00.0")
        made = self.create()
        self.assertIn(("-device", "vfio-pci,host=0000:c1:00.0,bus=pci.1"), self.arguments())
        self.remove(made.cvm_id)
        self.wait_clean()
        self.process.stop()
        self.manager(MANAGER_INSECURE_HOST_ROOT=root, MANAGER_QEMU_ENABLE_GPU="false")
        self.create()
        self.assertNotIn("vfio", str(self.arguments()))


class Restart(ManagerTestCase):
    def test_MG_6_killed_manager_finds_its_vms_again(self):
        self.manager()
        made = [self.create(), self.create()]
        before = self.processes()
        self.process.kill()
        self.manager()
        self.assertEqual({i: str(v.agent_port) for i, v in self.list().items()},
                         {m.cvm_id: m.forwarded_port for m in made})
        self.assertEqual(self.processes(), before)
        for m in made:
            self.remove(m.cvm_id)
        self.wait_clean()

    def test_SIGTERM_leaves_running_vms_to_the_next_manager(self):
        self.manager()
        made = self.create()
        self.assertEqual(self.process.stop(), 0)
        self.assertEqual(len(self.processes()), 2)
        self.manager()
        self.assertIn(made.cvm_id, self.list())

    def test_second_manager_in_a_directory_of_the_first_is_refused(self):
        self.manager()
        made = self.create()
        for env, setting in (({"COCOS_STATE_DIR": self.dir + "/other"}, "COCOS_RUN_DIR"),
                             ({"COCOS_RUN_DIR": self.dir + "/other"}, "COCOS_STATE_DIR")):
            done = self.run_program("cocos-manager", env=self.env(**env), expect=1)
            self.assertIn(f"another manager uses it; give each a {setting}", done.stdout + done.stderr)
        self.assertIn(made.cvm_id, self.list())
        self.assertEqual(len(self.processes()), 2)

    def test_SIGTERM_while_a_vm_is_being_made_ends_it(self):
        self.manager(MANAGER_QEMU_KERNEL_CMDLINE="fake=mute")
        call = self.stub.CreateVm.future(self.pb.CreateReq(agent_cvm_server_url=URL))
        harness.wait_until(lambda: len(self.processes()) == 2, what="QEMU and swtpm")
        self.assertEqual(self.process.stop(), 0)
        self.assertIsNotNone(call.exception(harness.deadline(10)))
        self.assertEqual(self.left(), ([], [], []))

    def test_kill_9_behind_each_step_of_create_leaves_nothing_unowned(self):
        for step in STEPS:
            with self.subTest(step=step):
                self.manager(MANAGER_INSECURE_FAILPOINT=step)
                self.process.wait_log(contains=f"MANAGER_INSECURE_FAILPOINT={step}")
                self.killed_during(self.create)
                self.manager()
                found = self.list()
                self.assertEqual(len(found), 1 if step == "record" else 0)
                for name in found:
                    self.remove(name)
                self.wait_clean()
                self.process.stop()

    def test_kill_9_behind_each_step_of_remove_leaves_nothing_unowned(self):
        for step in STEPS:
            with self.subTest(step=step):
                self.manager(MANAGER_INSECURE_FAILPOINT="undo-" + step)
                made = self.create()
                self.killed_during(self.remove, made.cvm_id)
                self.manager()
                self.assertEqual(self.list(), {})
                self.wait_clean()
                self.process.stop()

    def killed_during(self, call, *args):
        self.process.expected_signals.add(signal.SIGKILL)
        with self.assertRaises(grpc.RpcError):
            call(*args)
        self.assertEqual(self.process.wait(), -signal.SIGKILL)
        self.channel.close()


if __name__ == "__main__":
    harness.main()
