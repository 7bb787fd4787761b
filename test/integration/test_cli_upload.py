"""cocos-cli against an agent in Python: what algo and data send, and how they take what comes back."""

import base64
import hashlib
import io
import json
import os
import signal
import socket
import subprocess
import threading
import time
import zipfile

import harness
import pyagent
from pyagent import MIB


class Upload(pyagent.TestCase):
    def test_algorithm_with_all_its_metadata(self):
        self.serve()
        content = os.urandom(3 * MIB + 17)
        self.make_file("algo.py", content)
        self.make_file("requirements.txt", "numpy\n")
        done = self.cli("algo", "algo.py", self.key, "-a", "python", "--args", "one", "--args=two words",
                        "-r", "requirements.txt", "--python-runtime", "python3.11")
        self.assertEqual(done.stdout, "")
        self.assertEqual(done.stderr, "🔗 Connected to agent  without TLS\n"
                                      "Uploading algorithm file: algo.py\n"
                                      "Successfully uploaded algorithm! ✔ \n")
        sizes = [(len(m.requirements), len(m.algorithm)) for m in self.agent.messages]
        self.assertEqual(sizes, [(6, 0), (0, MIB), (0, MIB), (0, MIB), (0, 17)])
        self.assertEqual(b"".join(m.algorithm for m in self.agent.messages), content)
        md = self.agent.md
        self.assertEqual((md["algo_type"], md["algo_args"], md["python_runtime"]),
                         (["python"], ["one", "two words"], ["python3.11"]))
        self.assertFalse([k for k in md if k.startswith("cocos-bound")])
        self.check_plain_signature("algorithm-provider")

    def test_algorithm_defaults(self):
        self.serve()
        self.make_file("algo", "x")
        self.cli("algo", "algo", self.key)
        self.assertEqual(self.agent.md["algo_type"], ["bin"])
        self.assertEqual(self.agent.md["python_runtime"], ["python3"])
        self.assertNotIn("algo_args", self.agent.md)

    def test_dataset_names_itself_in_every_message(self):
        self.serve()
        content = os.urandom(2 * MIB)
        self.make_file("in/penguins.csv", content)
        done = self.cli("data", "./in/penguins.csv", self.key)
        self.assertIn("Uploading dataset: ./in/penguins.csv\n", done.stderr)
        self.assertIn("Successfully uploaded dataset! ✔ ", done.stderr)
        self.assertEqual([(m.filename, len(m.dataset)) for m in self.agent.messages],
                         [("penguins.csv", MIB)] * 2)
        self.assertEqual(b"".join(m.dataset for m in self.agent.messages), content)
        self.assertEqual(self.agent.md["decompress"], ["false"])
        self.check_plain_signature("data-provider")

    def test_directory_travels_as_the_zip_of_its_checksum(self):
        self.serve()
        for i in range(40):
            self.make_file(f"d/sub{i % 3}/f{i:02}.bin", os.urandom(100_000))
        done = self.cli("data", "-d", "d/", self.key)
        self.assertIn("Detected directory, zipping dataset...\n", done.stderr)
        sent = b"".join(m.dataset for m in self.agent.messages)
        self.assertEqual({m.filename for m in self.agent.messages}, {"d"})
        self.assertEqual(self.agent.md["decompress"], ["true"])
        checksum = json.loads(self.cli("checksum", "--json", "d").stdout)
        self.assertEqual(hashlib.sha3_256(sent).hexdigest(), checksum["sha3_256"])
        with zipfile.ZipFile(io.BytesIO(sent)) as archive:
            self.assertIsNone(archive.testzip())
            self.assertEqual(len(archive.namelist()), 40)
        self.assertEqual([n for n in os.listdir(self.dir) if n.endswith(".zip")], [])

    def test_every_kind_of_key_signs(self):
        self.serve()
        self.make_file("a", "x")
        for kind in ("rsa", "ecdsa", "ed25519"):
            key = harness.make_key(os.path.join(self.dir, kind + ".pem"), kind)
            self.cli("algo", "a", key)
            self.check_plain_signature("algorithm-provider", key)

    def test_old_key_forms_sign(self):
        self.serve()
        self.make_file("a", "x")
        rsa = harness.make_key(os.path.join(self.dir, "rsa.pem"), "rsa")
        pkcs1 = subprocess.run(["openssl", "rsa", "-in", rsa, "-traditional"], capture_output=True, check=True).stdout
        sec1 = subprocess.run(["openssl", "ec", "-in", self.key], capture_output=True, check=True).stdout
        self.assertIn(b"BEGIN EC PRIVATE KEY", sec1)
        # What Go's tool has always written: PKCS#1 bytes labelled as if they were PKCS#8 (D-39).
        mislabelled = pkcs1.replace(b"RSA PRIVATE KEY", b"PRIVATE KEY")
        for name, pem, public in (("pkcs1", pkcs1, rsa), ("sec1", sec1, self.key), ("d39", mislabelled, rsa)):
            path = self.make_file(name, pem)
            self.cli("algo", "a", path)
            self.check_plain_signature("algorithm-provider", public)

    def test_agent_without_health_service_is_an_agent(self):
        self.serve(health=False)
        self.make_file("a", "x")
        self.cli("algo", "a", self.key)

    def test_agent_on_a_unix_socket(self):
        self.serve(address="unix:" + os.path.join(self.dir, "agent.sock"))
        self.make_file("a", "x")
        self.cli("algo", "a", self.key)

    def test_json_of_an_upload(self):
        self.serve()
        self.make_file("a.csv", "x,y\n")
        record = json.loads(self.cli("data", "--json", "a.csv", self.key).stdout)
        self.assertEqual(record, {"path": "a.csv", "filename": "a.csv", "bytes": 4, "bound": False,
                                  "command": "data", "ok": True, "exit_status": 0})

    def test_memory_is_the_same_at_any_size(self):
        self.serve()
        self.agent.messages = Discard()
        peak = {}
        for size in (16 * MIB, 400 * MIB):
            start = threading.Event()

            def at_end(size=size, start=start):
                start.wait(harness.deadline(10))
                peak[size] = cli.status("VmHWM")
            self.agent.at_end = at_end
            cli = self.start_cli("data", self.sparse("big", size), self.key)
            start.set()
            self.assertEqual(cli.wait(60), 0)
        if not harness.SANITIZED:
            self.assertLess(peak[400 * MIB], 40 * 1024)
            self.assertLess(peak[400 * MIB], peak[16 * MIB] + 12 * 1024)  # a few chunks more are on their way


class Discard(list):
    def append(self, message):
        super().append(None)


class Bound(pyagent.TestCase):
    computation_id = "computation-7"

    def check_bound(self, role, digest, filename):
        md = self.agent.md
        expiry = int(md["cocos-bound-expiry"][0])
        self.assertTrue(60 < expiry - time.time() <= 86400)
        text = "".join(f"{line}\n" for line in ("cocos-c bound signature v1", self.computation_id, role,
                                                digest or "-", filename or "-", expiry))
        pyagent.verify(pyagent.content_of(self.key + ".pub"), text.encode(),
               base64.b64decode(md["cocos-bound-signature"][0], validate=True))
        self.assertEqual(md.get("cocos-bound-hash"), [digest] if digest else None)
        self.assertEqual(md["user-id"], [role])
        self.assertNotIn("signature", md)  # which could be replayed

    def test_algorithm_is_bound_to_computation_and_content(self):
        self.serve()
        self.make_file("a", "abc")
        self.make_file("r", "numpy")
        done = self.cli("algo", "a", self.key, "-r", "r")
        self.assertIn("Hashing a ", done.stderr)
        self.check_bound("algorithm-provider", hashlib.sha3_256(b"abc").hexdigest(), "")

    def test_dataset_is_bound_to_its_name_too(self):
        self.serve()
        self.make_file("d.csv", "abc")
        self.cli("data", "d.csv", self.key)
        self.check_bound("data-provider", hashlib.sha3_256(b"abc").hexdigest(), "d.csv")

    def test_directory_is_bound_to_its_zip(self):
        self.serve()
        self.make_file("d/x", "abc")
        self.cli("data", "d", self.key)
        sent = b"".join(m.dataset for m in self.agent.messages)
        self.check_bound("data-provider", hashlib.sha3_256(sent).hexdigest(), "d")

    def test_result_is_bound_without_a_hash(self):
        self.serve()
        self.agent.result = [("file-size", "3")], [b"abc"]
        self.cli("result", self.key)
        self.check_bound("consumer", "", "")

    def test_hash_that_is_given_is_not_computed(self):
        self.serve()
        self.make_file("a", "abc")
        digest = hashlib.sha3_256(b"abc").hexdigest()
        done = self.cli("algo", "a", self.key, "--hash", digest.upper())
        self.assertNotIn("Hashing", done.stderr)
        self.check_bound("algorithm-provider", digest, "")

    def test_json_tells_the_hash_that_was_bound(self):
        self.serve()
        self.make_file("a", "abc")
        digest = hashlib.sha3_256(b"abc").hexdigest()
        for more in ([], ["--hash", digest]):
            record = json.loads(self.cli("algo", "--json", "a", self.key, *more).stdout)
            self.assertEqual((record["bound"], record["sha3_256"]), (True, digest))

    def test_hash_that_is_no_hash_is_refused(self):
        self.serve()
        self.make_file("a", "abc")
        done = self.cli("algo", "a", self.key, "--hash", "abcd", expect=1)
        self.assertIn("64 hex digits", done.stderr)
        self.assertIsNone(self.agent.md)

    def test_off_neither_asks_nor_binds(self):
        self.serve()
        self.make_file("a", "abc")
        self.cli("algo", "a", self.key, "--bound", "off")
        self.assertEqual(self.describe.asked, 0)
        self.assertNotIn("cocos-bound-signature", self.agent.md)

    def test_required_binds_with_an_agent_that_knows(self):
        self.serve()
        self.make_file("a", "abc")
        self.cli("algo", "a", self.key, "--bound=required")
        self.check_bound("algorithm-provider", hashlib.sha3_256(b"abc").hexdigest(), "")

    def test_required_refuses_an_agent_that_does_not(self):
        self.describe = None
        self.serve()
        self.make_file("a", "abc")
        done = self.cli("algo", "a", self.key, "--bound=required", expect=1)
        self.assertIn("--bound=required", done.stderr)
        self.assertIsNone(self.agent.md)

    def test_given_computation_is_bound_to_unasked(self):
        self.describe = None
        self.serve()
        self.make_file("a", "abc")
        self.cli("algo", "a", self.key, "--bound=required", "--computation-id", self.computation_id)
        self.check_bound("algorithm-provider", hashlib.sha3_256(b"abc").hexdigest(), "")

    def test_agent_that_does_not_say_gets_the_plain_signature_too(self):
        self.describe = None
        self.serve()
        self.make_file("a", "abc")
        self.cli("algo", "a", self.key, "--computation-id", self.computation_id)
        self.check_plain_signature("algorithm-provider")
        self.assertIn("cocos-bound-signature", self.agent.md)

    def test_ag_3_agent_of_another_computation_is_refused(self):
        self.serve()
        self.make_file("a", "abc")
        done = self.cli("algo", "a", self.key, "--computation-id", "computation-8", expect=1)
        self.assertIn("the agent runs computation 'computation-7', not 'computation-8'", done.stderr)
        self.assertIsNone(self.agent.md)

    def test_sigint_while_hashing(self):
        self.serve()
        cli = self.start_cli("data", self.sparse("big", 100_000 * MIB), self.key)
        cli.wait_text("Hashing")
        self.assertEqual(cli.stop(signal.SIGINT), 130)
        self.assertIsNone(self.agent.md)

    def test_unknown_word_for_bound_is_bad_usage(self):
        self.serve()
        self.make_file("a", "abc")
        self.cli("algo", "a", self.key, "--bound", "maybe", expect=2)


class UploadFails(pyagent.TestCase):
    def abort(self, code, text):
        def meanwhile(context):
            import grpc
            context.abort(getattr(grpc.StatusCode, code), text)
        self.agent.meanwhile = meanwhile

    def test_agents_error_is_shown_as_go_shows_it(self):
        self.serve()
        self.abort("UNKNOWN", "malformed data, hash does not match manifest")
        self.make_file("a", "x")
        done = self.cli("algo", "a", self.key, expect=1)
        self.assertIn("Failed to upload algorithm due to error: rpc error: code = Unknown desc = "
                      "malformed data, hash does not match manifest ❌ \n", done.stderr)
        done = self.cli("data", "--json", "a", self.key, expect=1)
        self.assertEqual((json.loads(done.stdout)["code"], json.loads(done.stdout)["detail"]),
                         ("Unknown", "malformed data, hash does not match manifest"))

    def test_permission_denied_has_a_short_form_and_a_raw_one(self):
        self.serve()
        self.abort("PERMISSION_DENIED", "because")
        self.make_file("a", "x")
        done = self.cli("data", "a", self.key, expect=1)
        self.assertIn("Failed to upload dataset due to error: digital signature verification failed, "
                      "check the provided public key ❌", done.stderr)
        done = self.cli("data", "-v", "a", self.key, expect=1)
        self.assertIn("rpc error: code = PermissionDenied desc = because", done.stderr)

    def test_rl_6_status_with_escapes_is_shown_harmless(self):
        self.serve()
        self.abort("UNKNOWN", "a\x1b[2Jb\nc\x07d")
        self.make_file("a", "x")
        done = self.cli("algo", "a", self.key, expect=1)
        self.assertNotRegex(done.stderr, "[\x00-\x09\x0b-\x1f]")

    def test_agent_that_ends_early_stops_the_upload_at_once(self):
        self.serve()
        self.abort("UNKNOWN", "agent not expecting this operation in the current state")
        path = self.sparse("big", 1_000_000 * MIB)  # would take far longer than the deadline to send
        done = self.cli("data", path, self.key, expect=1, seconds=20)
        self.assertIn("agent not expecting this operation in the current state", done.stderr)

    def test_agent_that_says_ok_early_is_no_success(self):
        def take(iterator, context):
            next(iterator)
        self.agent.take = take
        self.serve()
        done = self.cli("data", self.sparse("big", 64 * MIB), self.key, expect=1)
        self.assertIn("the agent ended the upload after", done.stderr)

    def test_agent_that_dies_meanwhile(self):
        self.serve()
        relay = pyagent.Relay(self.url)
        self.addCleanup(relay.cut)
        self.url = relay.address
        self.agent.meanwhile = lambda context: relay.cut()
        done = self.cli("data", self.sparse("big", 64 * MIB), self.key, expect=1)
        self.assertIn("Failed to upload dataset due to error: agent is unavailable on the current address ❌",
                      done.stderr)

    def test_agent_that_reads_no_more_is_given_up(self):
        self.agent.meanwhile = self.hold()
        self.serve()
        done, patience = self.cli_of_patience("data", self.sparse("big", 256 * MIB), self.key)
        self.assertIn(f"nothing has moved for {patience} (AGENT_GRPC_TIMEOUT)", done.stderr)

    def test_agent_that_never_answers_is_given_up(self):
        self.agent.meanwhile = self.hold()
        self.serve()
        self.make_file("a", "x")
        done, patience = self.cli_of_patience("data", "a", self.key)
        self.assertIn(f"all is sent, but the agent has not answered for {patience}", done.stderr)

    def test_file_that_changes_meanwhile_is_refused(self):
        for to in (100 * MIB, 300 * MIB):
            self.agent = pyagent.Agent()
            path = self.sparse("big", 200 * MIB)
            self.agent.meanwhile = lambda context, to=to: os.truncate(path, to)
            self.serve()
            done = self.cli("data", path, self.key, expect=1)
            self.assertIn("has changed its size", done.stderr)
            self.assertTrue(self.agent.ended.wait(harness.deadline(10)))

    def check_signal(self, number, code):
        reading, release = threading.Event(), threading.Event()
        self.addCleanup(release.set)

        def meanwhile(context):
            reading.set()
            release.wait(harness.deadline(60))
        self.agent.meanwhile = meanwhile
        self.serve()
        cli = self.start_cli("data", self.sparse("big", 256 * MIB), self.key)
        self.assertTrue(reading.wait(harness.deadline(20)))
        self.assertEqual(cli.stop(number), code)
        self.assertIn("Operation aborted by user!\n", cli.err)
        release.set()
        self.assertTrue(self.agent.ended.wait(harness.deadline(10)))

    def test_sigint_meanwhile_ends_call_and_program(self):
        self.check_signal(signal.SIGINT, 130)

    def test_sigterm_meanwhile_ends_call_and_program(self):
        self.check_signal(signal.SIGTERM, 143)

    def test_nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as unused:
            self.url = f"127.0.0.1:{unused.getsockname()[1]}"
        self.make_file("a", "x")
        done = self.cli("algo", "a", self.key, expect=1)
        self.assertIn("Failed to connect to agent: agent is unavailable on the current address ❌", done.stderr)
        self.assertIn(f"AGENT_GRPC_URL is '{self.url}'", done.stderr)
        record = json.loads(self.cli("algo", "--json", "a", self.key, expect=1).stdout)
        self.assertEqual(record["code"], "Unavailable")

    def test_server_that_is_no_agent(self):
        class Other(pyagent.Health):
            def Check(self, request, context):
                import grpc
                context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        self.serve(health=Other())
        self.make_file("a", "x")
        self.assertIn("is no agent", self.cli("algo", "a", self.key, expect=1).stderr)

    def test_agent_that_is_not_serving(self):
        self.serve(health=pyagent.Health(2))
        self.make_file("a", "x")
        self.assertIn("not serving", self.cli("algo", "a", self.key, expect=1).stderr)

    def test_what_is_wrong_here_is_found_without_an_agent(self):
        self.url = "127.0.0.1:1"
        self.make_file("a", "x")
        self.make_file("empty", "")
        self.make_file("nokey", "hello")
        self.make_dir("folder")
        for words, text in (
                (["algo", "nowhere", self.key], "Error reading algorithm file: open 'nowhere'"),
                (["algo", "empty", self.key], "Error reading algorithm file: 'empty' is empty"),
                (["algo", "folder", self.key], "'folder' is a directory"),
                (["algo", "a", self.key, "-r", "nowhere"], "Error reading requirments file: open 'nowhere'"),
                (["algo", "a", "nowhere"], "Error reading private key file: "),
                (["algo", "a", "nokey"], "Error decoding private key: error decoding key"),
                (["data", "a", self.key + ".pub"], "Error decoding private key: error decoding key"),
                (["data", "empty", self.key], "Error reading dataset: 'empty' is empty"),
                (["data", "nowhere", self.key], "Error reading dataset: open 'nowhere'"),
                (["data", "/dev/null", self.key], "neither a regular file nor a directory")):
            with self.subTest(words):
                done = self.cli(*words, expect=1)
                self.assertIn(text, done.stderr)
                self.assertNotIn("connect", done.stderr)

    def test_argument_that_no_header_can_carry(self):
        self.serve()
        self.make_file("a", "x")
        done = self.cli("algo", "a", self.key, "--args", "ok", "--args", "grün", expect=1)
        self.assertIn("flag --args: argument 2", done.stderr)

    def test_attested_tls_is_refused_never_plain(self):
        self.serve()
        self.make_file("a", "x")
        done = self.cli("algo", "a", self.key, expect=1, env={"AGENT_GRPC_ATTESTED_TLS": "true"})
        self.assertIn("attested TLS is not built yet", done.stderr)
        self.assertIsNone(self.agent.md)


if __name__ == "__main__":
    harness.main()
