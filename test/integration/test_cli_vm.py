"""cocos-cli against a manager in Python: create-vm, remove-vm, vm list, vm console."""

import json
import os
import signal
import threading

import harness

VM = "6f1c54b2-3a0e-4a4e-9a0c-0a1b2c3d4e5f"
ESCAPES = b"\x1b[2J\x1b]0;owned\x07\rfirst line\r\n\xff\xfe bad bytes\r\n\xe2\x80\xaegnp.exe\nlast, without an end"


class Manager:
    """Keeps what it is asked; refuses with `error` when that is set: (code name, text)."""

    def __init__(self):
        self.pb = harness.proto("manager")
        self.create = self.removed = self.error = None
        self.hold = threading.Event()
        self.hold.set()
        self.asked = threading.Event()

    def refuse(self, context):
        import grpc
        if self.error:
            context.abort(getattr(grpc.StatusCode, self.error[0]), self.error[1])

    def CreateVm(self, request, context):
        self.create = request
        self.asked.set()
        self.hold.wait(harness.deadline(20))
        self.refuse(context)
        return self.pb.CreateRes(forwarded_port="6100", cvm_id=VM)

    def RemoveVm(self, request, context):
        from google.protobuf import empty_pb2
        self.removed = request.cvm_id
        self.refuse(context)
        return empty_pb2.Empty()


class Vms:
    def __init__(self):
        self.pb = harness.proto("extensions")
        self.rows = []
        self.tail = b""
        self.console = None

    def List(self, request, context):
        return self.pb.ListResponse(vms=[self.pb.VirtualMachine(**row) for row in self.rows])

    def Console(self, request, context):
        import grpc
        self.console = request
        if request.id != VM:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no VM has the id '{request.id}'")
        return self.pb.ConsoleResponse(tail=self.tail)


class TestCase(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.manager = Manager()
        self.vms = Vms()
        self.url = None

    def serve(self, credentials=None, extension=True):
        handlers = [harness.handler(self.manager.pb, "ManagerService", self.manager)]
        if extension:
            handlers.append(harness.handler(self.vms.pb, "VirtualMachines", self.vms))
        server, self.url = harness.grpc_server(handlers, credentials=credentials)
        self.addCleanup(lambda: server.stop(0).wait())

    def env(self, more):
        # No agent is reachable at this address, and none may be needed.
        return {"MANAGER_GRPC_URL": self.url, "AGENT_GRPC_URL": "127.0.0.1:1", **(more or {})}

    def cli(self, *args, expect=0, env=None):
        return self.run_program("cocos-cli", *args, expect=expect, env=self.env(env))


class CreateVm(TestCase):
    def test_smallest_request(self):
        self.serve()
        done = self.cli("create-vm", "--server-url", "10.0.2.2:7001")
        self.assertEqual(done.stderr, "🔗 Connected to manager using  without TLS\n"
                                      "🔗 Creating a new virtual machine\n"
                                      f"✅ Virtual machine created successfully with id {VM} and port 6100\n")
        self.assertEqual(done.stdout, "")
        self.assertEqual(self.manager.create, self.manager.pb.CreateReq(agent_cvm_server_url="10.0.2.2:7001"))

    def test_every_flag_arrives(self):
        self.serve()
        authority = harness.Authority(self.dir)
        crt, key = authority.issue("client", usage="client")
        self.cli("create-vm", "--server-url", "cvms.example:7001", "--server-ca", crt, "--client-key", key,
                 "--client-crt", crt, "--ca-url", "https://ca.example", "--log-level", "debug", "--ttl", "90m",
                 "--aws-access-key-id", "id", "--aws-secret-access-key", "secret,with=signs",
                 "--aws-endpoint-url", "http://s3.example", "--aws-region", "eu-1",
                 "--aa-kbs-params", "cc_kbc::http://kbs.example")
        with open(crt, "rb") as c, open(key, "rb") as k:
            certificate, private = c.read(), k.read()
        self.assertEqual(self.manager.create, self.manager.pb.CreateReq(
            agent_log_level="debug", agent_cvm_server_ca_cert=certificate, agent_cvm_client_key=private,
            agent_cvm_client_cert=certificate, agent_cvm_server_url="cvms.example:7001",
            agent_cvm_ca_url="https://ca.example", ttl="1h30m0s", aws_access_key_id="id",
            aws_secret_access_key="secret,with=signs", aws_endpoint_url="http://s3.example", aws_region="eu-1",
            aa_kbs_params="cc_kbc::http://kbs.example"))

    def test_json(self):
        self.serve()
        record = json.loads(self.cli("create-vm", "--json", "--server-url", "h:1").stdout)
        self.assertEqual((record["cvm_id"], record["forwarded_port"], record["exit_status"]), (VM, "6100", 0))

    def test_manager_refuses(self):
        self.serve()
        self.manager.error = "UNKNOWN", "maximum number of VMs exceeded"
        done = self.cli("create-vm", "--server-url", "h:1", expect=1)
        self.assertIn("Error creating virtual machine: rpc error: code = Unknown desc = "
                      "maximum number of VMs exceeded ❌", done.stderr)

    def test_denied_is_no_matter_of_signatures(self):
        self.serve()
        self.manager.error = "PERMISSION_DENIED", "not you"
        done = self.cli("create-vm", "--server-url", "h:1", expect=1)
        self.assertIn("code = PermissionDenied desc = not you", done.stderr)

    def test_no_manager(self):
        self.url = "127.0.0.1:1"
        done = self.cli("create-vm", "--server-url", "h:1", expect=1)
        self.assertIn("manager is unavailable on the current address ❌", done.stderr)
        self.assertIn("MANAGER_GRPC_URL is '127.0.0.1:1'", done.stderr)

    def test_bad_usage_asks_nobody(self):
        self.serve()
        for args, why in (((), "server-url"),
                          (("--server-url", "h:1\nAGENT_OS_TYPE=x"), "flag --server-url: byte 0x0a"),
                          (("--server-url", "h:1", "--ttl", "soon"), "'soon'"),
                          (("--server-url", "h:1", "--log-level", "loud"), "flag --log-level: 'loud'"),
                          (("--server-url", "h:1", "--client-key", "k"), "go together"),
                          (("--server-url", "h:1", "extra"), "one too many")):
            with self.subTest(args=args):
                self.assertIn(why, self.cli("create-vm", *args, expect=2).stderr)
        self.assertIsNone(self.manager.create)

    def test_certificates_that_are_none(self):
        self.serve()
        garbage = self.make_file("garbage.pem", "nothing")
        _, key = harness.Authority(self.dir).issue("client")
        for path, why in (("missing.pem", "missing.pem"), (garbage, "holds no PEM CERTIFICATE"),
                          (key, "holds no PEM CERTIFICATE"), (self.dir, "directory")):
            with self.subTest(path=path):
                done = self.cli("create-vm", "--server-url", "h:1", "--server-ca", path, expect=1)
                self.assertIn("Error loading certs: ", done.stderr)
                self.assertIn(why, done.stderr)
        self.assertIsNone(self.manager.create)

    def test_interrupted_while_the_manager_works(self):
        self.serve()
        self.manager.hold.clear()
        self.addCleanup(self.manager.hold.set)
        cli = self.daemon("cocos-cli", "create-vm", "--server-url", "h:1", env=self.env({}), ready=False)
        self.assertTrue(self.manager.asked.wait(harness.deadline(10)))
        self.assertEqual(cli.stop(signal.SIGINT), 130)
        self.assertIn("Operation aborted by user!", cli.text())

    def test_timeout(self):
        self.serve()
        self.manager.hold.clear()
        self.addCleanup(self.manager.hold.set)
        for patience in ("300ms", "3s", "30s"):  # as little as gets the call through
            done = self.cli("create-vm", "--server-url", "h:1", expect=1, env={"MANAGER_GRPC_TIMEOUT": patience})
            if self.manager.asked.is_set():
                break
        self.assertIn("code = DeadlineExceeded", done.stderr)


class Tls(TestCase):
    def credentials(self, authority, mutual):
        import grpc
        crt, key = authority.issue("localhost")
        content = []
        for path in (key, crt, authority.path):
            with open(path, "rb") as f:
                content.append(f.read())
        return grpc.ssl_server_credentials([tuple(content[:2])], content[2] if mutual else None, mutual)

    def test_tls_and_mtls(self):
        authority = harness.Authority(self.make_dir("ca"))
        crt, key = authority.issue("client", usage="client")
        for mutual in (False, True):
            with self.subTest(mutual=mutual):
                self.serve(self.credentials(authority, mutual))
                env = {"MANAGER_GRPC_SERVER_CA_CERTS": authority.path}
                if mutual:
                    env |= {"MANAGER_GRPC_CLIENT_CERT": crt, "MANAGER_GRPC_CLIENT_KEY": key}
                done = self.cli("create-vm", "--server-url", "h:1", env=env)
                self.assertIn(f"Connected to manager using  with {'mTLS' if mutual else 'TLS'}\n", done.stderr)

    def test_unknown_authority(self):
        self.serve(self.credentials(harness.Authority(self.make_dir("ca")), False))
        other = harness.Authority(self.make_dir("other"))
        self.cli("create-vm", "--server-url", "h:1", expect=1, env={"MANAGER_GRPC_SERVER_CA_CERTS": other.path})
        self.assertIsNone(self.manager.create)

    def test_certificate_without_key(self):
        self.serve()
        done = self.cli("vm", "list", expect=2, env={"MANAGER_GRPC_CLIENT_CERT": "c"})
        self.assertIn("MANAGER_GRPC_CLIENT_CERT and MANAGER_GRPC_CLIENT_KEY go together", done.stderr)


class RemoveVm(TestCase):
    def test_removed(self):
        self.serve()
        done = self.cli("remove-vm", VM)
        self.assertEqual(done.stderr, "🔗 Connected to manager using  without TLS\n"
                                      "🔗 Removing virtual machine\n"
                                      "✅ Virtual machine removed successfully\n")
        self.assertEqual(self.manager.removed, VM)

    def test_unknown_vm(self):
        self.serve()
        self.manager.error = "UNKNOWN", "entity not found"
        done = self.cli("remove-vm", "x", expect=1)
        self.assertIn("Error removing virtual machine: rpc error: code = Unknown desc = entity not found ❌",
                      done.stderr)

    def test_wants_an_id(self):
        self.serve()
        self.cli("remove-vm", expect=2)


class VmList(TestCase):
    row = {"id": VM, "state": "VmRunning", "agent_port": 6100, "age_ms": 62345, "accelerator": "tcg"}

    def test_table(self):
        self.serve()
        self.vms.rows = [self.row, dict(self.row, id="\x1b[31mred", agent_port=6101)]
        lines = self.cli("vm", "list").stdout.splitlines()
        self.assertEqual([line.split() for line in lines], [
            ["ID", "STATE", "PORT", "AGE", "ACCELERATOR"],
            [VM, "VmRunning", "6100", "1m2s", "tcg"],
            ["\\x1b[31mred", "VmRunning", "6101", "1m2s", "tcg"]])

    def test_json(self):
        self.serve()
        self.vms.rows = [self.row]
        self.assertEqual(json.loads(self.cli("vm", "list", "--json").stdout)["vms"], [self.row])

    def test_none(self):
        self.serve()
        done = self.cli("vm", "list")
        self.assertEqual(done.stdout, "")
        self.assertIn("no virtual machines", done.stderr)
        self.assertEqual(json.loads(self.cli("vm", "list", "--json").stdout)["vms"], [])

    def test_manager_without_the_extension(self):
        self.serve(extension=False)
        for words in (("list",), ("console", VM)):
            with self.subTest(words=words):
                done = self.cli("vm", *words, expect=1)
                self.assertIn("code = Unimplemented", done.stderr)
                self.assertIn("does not offer this: it is an addition to the protocol", done.stderr)

    def test_bad_words(self):
        self.serve()
        for words, why in ((("dance",), "list or console"), (("list", "x"), "takes no argument"),
                           (("console",), "the id of a VM is wanted"), ((), "0 arguments given")):
            with self.subTest(words=words):
                self.assertIn(why, self.cli("vm", *words, expect=2).stderr)


class VmConsole(TestCase):
    def test_safe_for_a_terminal(self):
        self.serve()
        self.vms.tail = ESCAPES
        done = self.cli("vm", "console", VM)
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), 4)
        self.assertEqual(lines[0], "\\x1b[2J\\x1b]0;owned\\x07\\x0dfirst line")
        self.assertEqual(lines[1], "\\xff\\xfe bad bytes")
        self.assertTrue(lines[2].endswith("gnp.exe") and "\u202e" not in lines[2], lines[2])
        self.assertEqual(lines[3], "last, without an end")
        self.assertEqual(self.vms.console.bytes, 0)

    def test_only_the_end(self):
        self.serve()
        self.cli("vm", "console", "--bytes", "100", VM)
        self.assertEqual(self.vms.console.bytes, 100)

    def test_json(self):
        self.serve()
        self.vms.tail = b"a\r\n\x1bb\n"
        self.assertEqual(json.loads(self.cli("vm", "console", "--json", VM).stdout)["console"], "a\n\\x1bb\n")

    def test_unknown_vm(self):
        self.serve()
        done = self.cli("vm", "console", "other", expect=1)
        self.assertIn("no VM has the id 'other'", done.stderr)
        self.assertEqual(done.stdout, "")


class Completion(TestCase):
    def test_new_commands_and_their_words(self):
        self.url = "127.0.0.1:1"
        script = self.make_file("complete.sh", self.cli("completion", "bash").stdout)

        def offered(*words):
            import subprocess
            line = "source %s; COMP_WORDS=(cocos-cli %s); COMP_CWORD=%d; _cocos_cli; echo ${COMPREPLY[@]}" % (
                script, " ".join(f"'{w}'" for w in words), len(words))
            return subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True,
                                  cwd=os.path.dirname(script)).stdout.split()

        self.assertEqual(offered("rem"), ["remove-vm"])
        self.assertEqual(offered("vm", "c"), ["console"])
        self.assertIn("--aws-region", offered("create-vm", "--aws"))
        self.assertEqual(offered("create-vm", "--log-level", "d"), ["debug"])
        self.assertIn("complete.sh", offered("create-vm", "--server-ca", "comp"))


if __name__ == "__main__":
    harness.main()
