"""cocos-cli against an agent in Python: results, TLS, and what a terminal shows."""

import json
import os
import re
import signal
import threading

import harness
import pyagent
import terminal
from pyagent import MIB


class Result(pyagent.TestCase):
    def fetch(self, header, pieces, *args, expect=0, **more):
        self.agent.result = header, pieces
        if not self.url:
            self.serve()
        done = self.cli("result", self.key, "-o", self.make_dir("out"), *args, expect=expect, **more)
        if expect != 0:
            self.assertEqual(os.listdir(os.path.join(self.dir, "out")), [], "nothing may be left")
            self.assertIn("Error retrieving computation result: ", done.stderr)
        return done

    def test_result_is_saved_whole(self):
        content = os.urandom(5 * MIB + 3)
        pieces = [content[i:i + MIB] for i in range(0, len(content), MIB)]
        done = self.fetch([("file-size", str(len(content)))], pieces)
        path = os.path.join(self.dir, "out", "results.zip")
        self.assertEqual(done.stderr, "🔗 Connected to agent  without TLS\n"
                                      "⏳ Retrieving computation result file\n"
                                      "Computation result retrieved and saved successfully! ✔\n"
                                      f"📁 Location: {os.path.realpath(path)}\n")
        self.assertEqual(pyagent.content_of(path), content)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.check_plain_signature("consumer")

    def test_filename_and_current_directory(self):
        self.agent.result = [("file-size", "3")], [b"abc"]
        self.serve()
        record = json.loads(self.cli("result", "--json", "-f", "model.zip", self.key).stdout)
        self.assertEqual(record["path"], os.path.realpath(os.path.join(self.dir, "model.zip")))
        self.assertEqual(record["bytes"], 3)

    def test_old_result_is_replaced_only_by_a_whole_one(self):
        path = self.make_file("out/results.zip", "old")
        self.agent.result = [("file-size", "100")], [b"abc"]
        self.serve()
        self.cli("result", self.key, "-o", "out", expect=1)
        self.assertEqual(pyagent.content_of(path), b"old")
        self.agent.result = [("file-size", "3")], [b"new"]
        self.cli("result", self.key, "-o", "out")
        self.assertEqual(pyagent.content_of(path), b"new")

    def test_cut_off_result(self):
        done = self.fetch([("file-size", "100")], [b"x" * 60], expect=1)
        self.assertIn("the result is cut off: 60 of 100 bytes came", done.stderr)

    def test_result_longer_than_announced(self):
        done = self.fetch([("file-size", "100")], [b"x" * 60, b"x" * 50], expect=1)
        self.assertIn("progress update exceeds total bytes: attempted to add 50 bytes, but only 40 bytes remain",
                      done.stderr)

    def test_size_that_is_no_number(self):
        for text in ("abc", "-1", "1e3", "", "99999999999999999999"):
            self.fetch([("file-size", text)], [b"x"], expect=1)

    def test_size_not_announced(self):
        self.assertIn("file-size", self.fetch([("other", "1")], [b"x"], expect=1).stderr)

    def test_empty_result_is_no_success(self):
        self.assertIn("empty", self.fetch([("file-size", "0")], [], expect=1).stderr)

    def test_not_ready(self):
        def abort(context):
            import grpc
            context.abort(grpc.StatusCode.UNKNOWN, "computation results are not yet ready")
        done = self.fetch([], [abort], expect=1)
        self.assertIn("rpc error: code = Unknown desc = computation results are not yet ready ❌", done.stderr)

    def test_signature_refused_comes_with_advice(self):
        def abort(context):
            import grpc
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "signature verification failed")
        done = self.fetch([], [abort], expect=1)
        self.assertIn("rpc error: code = Unauthenticated desc = signature verification failed", done.stderr)
        self.assertIn("manifest", done.stderr)

    def test_error_after_half_of_it(self):
        def abort(context):
            import grpc
            context.abort(grpc.StatusCode.DATA_LOSS, "disk gone")
        done = self.fetch([("file-size", "100")], [b"x" * 50, abort], expect=1)
        self.assertIn("code = DataLoss desc = disk gone", done.stderr)

    def test_agent_that_stalls_is_given_up(self):
        self.agent.result = [("file-size", "100")], [b"x" * 50, self.hold()]
        self.serve()
        out = self.make_dir("out")
        done, patience = self.cli_of_patience("result", self.key, "-o", out)
        self.assertIn(f"nothing has come for {patience}", done.stderr)
        self.assertEqual(os.listdir(out), [], "nothing may be left")

    def test_sigint_meanwhile_leaves_nothing(self):
        reading, release = threading.Event(), threading.Event()
        self.addCleanup(release.set)

        def hold(context):
            reading.set()
            release.wait(harness.deadline(60))
        self.agent.result = [("file-size", "100")], [b"x" * 50, hold]
        self.serve()
        cli = self.start_cli("result", self.key, "-o", self.make_dir("out"))
        self.assertTrue(reading.wait(harness.deadline(20)))
        self.assertEqual(cli.stop(signal.SIGINT), 130)
        self.assertEqual(os.listdir(os.path.join(self.dir, "out")), [])

    def test_full_disk(self):
        self.agent.result = [("file-size", str(8 * MIB))], [b"x" * MIB] * 8
        self.serve()
        out = self.make_dir("out")
        script = 'ulimit -f 2048; trap "" XFSZ; exec "$@"'  # a write past 2 MiB fails with EFBIG
        done = self.run_program("/bin/bash", "-c", script, "bash", harness.need_binary("cocos-cli"), "result",
                                self.key, "-o", out, env=self.env(), expect=1)
        self.assertIn("write the result", done.stderr)
        self.assertEqual(os.listdir(out), [])

    def test_directory_that_is_missing_and_name_that_is_a_path(self):
        self.serve()
        self.assertIn("'nowhere'", self.cli("result", self.key, "-o", "nowhere", expect=1).stderr)
        self.cli("result", self.key, "-f", "../x.zip", expect=2)


class Tls(pyagent.TestCase):
    def serve_tls(self, cert, client_ca=None):
        import grpc
        pair = [(pyagent.content_of(cert[1]), pyagent.content_of(cert[0]))]
        roots = pyagent.content_of(client_ca) if client_ca else None
        self.serve(credentials=grpc.ssl_server_credentials(pair, roots, client_ca is not None))

    def setUp(self):
        super().setUp()
        self.authority = harness.Authority(self.make_dir("ca"))
        self.other = harness.Authority(self.make_dir("other-ca"), "another authority")
        self.make_file("a", "x")

    def algo(self, expect, **env):
        return self.cli("algo", "a", self.key, expect=expect, env=env)

    def test_tls(self):
        self.serve_tls(self.authority.issue("agent"))
        done = self.algo(0, AGENT_GRPC_SERVER_CA_CERTS=self.authority.path)
        self.assertIn("🔗 Connected to agent  with TLS\n", done.stderr)

    def test_mtls(self):
        self.serve_tls(self.authority.issue("agent"), self.authority.path)
        cert, key = self.authority.issue("client", usage="client")
        done = self.algo(0, AGENT_GRPC_SERVER_CA_CERTS=self.authority.path, AGENT_GRPC_CLIENT_CERT=cert,
                         AGENT_GRPC_CLIENT_KEY=key)
        self.assertIn("🔗 Connected to agent  with mTLS\n", done.stderr)

    def check_refused(self, cert, authority, reason):
        self.serve_tls(cert)
        done = self.algo(1, AGENT_GRPC_SERVER_CA_CERTS=authority.path)
        self.assertIn("agent is unavailable on the current address", done.stderr)
        self.assertRegex(done.stderr, reason)
        self.assertIsNone(self.agent.md)

    def test_wrong_ca(self):
        self.check_refused(self.authority.issue("agent"), self.other, "certificate")

    def test_expired(self):
        self.check_refused(self.authority.issue("agent", days=(-20, -10)), self.authority, "expired")

    def test_wrong_name(self):
        self.check_refused(self.authority.issue("agent", hosts=("elsewhere.example",)), self.authority,
                           "mismatch")

    def test_client_certificate_missing(self):
        self.serve_tls(self.authority.issue("agent"), self.authority.path)
        self.algo(1, AGENT_GRPC_SERVER_CA_CERTS=self.authority.path)
        self.assertIsNone(self.agent.md)

    def test_plain_client_to_tls_agent(self):
        self.serve_tls(self.authority.issue("agent"))
        self.algo(1)

    def test_tls_client_to_plain_agent_sends_nothing_in_the_clear(self):
        self.serve()
        self.algo(1, AGENT_GRPC_SERVER_CA_CERTS=self.authority.path)
        self.assertIsNone(self.agent.md)

    def test_certificate_without_key_is_bad_configuration(self):
        self.serve()
        cert, _ = self.authority.issue("client", usage="client")
        self.assertIn("go together", self.algo(2, AGENT_GRPC_CLIENT_CERT=cert).stderr)

    def test_unreadable_roots_are_bad_configuration(self):
        self.serve()
        self.algo(2, AGENT_GRPC_SERVER_CA_CERTS="nowhere.pem")


class Terminal(pyagent.TestCase):
    """Progress bars: only where somebody can see them."""

    def on_terminal(self, *args, columns=80, env=None):
        return terminal.run([harness.need_binary("cocos-cli"), *args], self.dir, self.environment(self.env(env)),
                            columns)

    def test_upload_has_a_bar_that_ends_at_hundred(self):
        self.serve()
        code, seen = self.on_terminal("data", self.sparse("big", 64 * MIB), self.key)
        self.assertEqual(code, 0)
        self.assertIn("📦 Uploading data [\x1b[32m", seen)
        self.assertRegex(seen, r"█\x1b\[0m\] \[100%\][^\r]*\r\n")
        self.assertIn("\x1b[32mSuccessfully uploaded dataset! ✔ \x1b[0m", seen)

    def test_no_color_is_respected(self):
        self.serve()
        code, seen = self.on_terminal("data", self.sparse("big", MIB), self.key, env={"NO_COLOR": "1"})
        self.assertEqual(code, 0)
        self.assertIn("📦 Uploading data [", seen)
        self.assertNotIn("\x1b[", seen)

    def test_json_has_no_bar(self):
        self.serve()
        code, seen = self.on_terminal("data", "--json", self.sparse("big", MIB), self.key)
        self.assertEqual(code, 0)
        self.assertNotIn("[100%]", seen)

    def test_narrow_terminals_are_survived(self):
        self.serve()
        path = self.sparse("big", 4 * MIB)
        for columns in (1, 5, 9, 20, 31, 300):
            code, seen = self.on_terminal("data", path, self.key, columns=columns)
            self.assertEqual(code, 0)
            for drawing in re.findall(r"\r( *)\r", seen):
                self.assertLess(len(drawing), columns)

    def test_download_has_a_bar(self):
        self.agent.result = [("file-size", str(8 * MIB))], [b"x" * MIB] * 8
        self.serve()
        code, seen = self.on_terminal("result", self.key)
        self.assertEqual(code, 0)
        self.assertRegex(seen, r"📥 Downloading result \[.*\] \[100%\]")

    def test_hashing_has_a_bar(self):
        self.describe = pyagent.Describe("7")
        self.serve()
        code, seen = self.on_terminal("data", self.sparse("big", 8 * MIB), self.key)
        self.assertEqual(code, 0)
        self.assertRegex(seen, r"Hashing \[.*\] \[100%\]")


if __name__ == "__main__":
    harness.main()
