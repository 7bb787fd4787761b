"""cocos-cli through whole computations, with all the real programs around it."""

import json
import os
import zipfile

import harness

ALGORITHM = "#!/bin/sh\nfind datasets -type f | sort | xargs cat >results/all\necho \"$@\" >>results/all\n"


class Computation(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.algorithm = self.make_file("algorithm", ALGORITHM)
        self.data = self.make_file("data.csv", "x,y\n1,2\n")
        self.keys = {n: harness.make_key(os.path.join(self.dir, n), "ed25519")
                     for n in ("author", "owner", "consumer", "stranger")}
        self.url = None
        self.tls = {}

    def platform(self, *flags, datasets=None, env=None):
        """cvms-test, runner and an agent that waits for the algorithm."""
        datasets = datasets or [self.data]
        for path in datasets:
            flags += ("-dataset", f"path={path},key={self.keys['owner']}.pub")
        self.cvms = self.daemon("cvms-test", "-attested-tls-bool", "false", "-algo-path", self.algorithm, "-algo-key",
                                self.keys["author"] + ".pub", "-consumer-key", self.keys["consumer"] + ".pub", "-id",
                                "c-1", *flags, env={"HOST": "127.0.0.1", "PORT": "0"})
        self.daemon("cocos-runner")
        self.agent = self.daemon("cocos-agent", env={"AGENT_CVM_GRPC_URL": self.cvms.address(), "AGENT_GRPC_PORT": "0",
                                                     "AGENT_GRPC_HOST": "127.0.0.1", **(env or {})})
        self.url = self.agent.address()
        self.event("ReceivingAlgorithm")

    def event(self, event_type):
        return self.cvms.wait_log(20, kind="event", event_type=event_type)

    def cli(self, *args, expect=0):
        return self.run_program("cocos-cli", *args, expect=expect, env={"AGENT_GRPC_URL": self.url, **self.tls})

    def result(self):
        self.event("ConsumingResults")
        record = json.loads(self.cli("result", "--json", self.keys["consumer"]).stdout)
        with zipfile.ZipFile(record["path"]) as archive:
            return record, archive.read("all").decode()

    def test_bound_signatures_from_end_to_end(self):
        self.platform(env={"AGENT_REQUIRE_BOUND_SIGNATURES": "true"})
        done = self.cli("algo", "--bound", "off", self.algorithm, self.keys["author"], expect=1)
        self.assertIn("code = Unauthenticated", done.stderr)
        record = json.loads(self.cli("algo", "--json", self.algorithm, self.keys["author"], "--args", "a b",
                                     "--args", "c").stdout)
        self.assertTrue(record["bound"])
        self.cli("data", "--bound", "required", "--computation-id", "c-1", self.data, self.keys["owner"])
        record, text = self.result()
        self.assertTrue(record["bound"])
        self.assertEqual(text, "x,y\n1,2\na b c\n")

    def test_uploads_at_once_share_the_memory(self):
        self.platform()
        self.cli("algo", self.algorithm, self.keys["author"])
        big = self.make_file("unknown", "")
        os.truncate(big, 48 * 1024 * 1024)
        clients = [self.daemon("cocos-cli", "data", "--bound", "off", big, self.keys["owner"], ready=False,
                               env={"AGENT_GRPC_URL": self.url}) for _ in range(32)]
        whole = 0
        for client in clients:
            self.assertEqual(client.wait(60), 1)
            self.assertRegex(client.err, "dataset not declared|uploads with this key are under way already")
            whole += "dataset not declared" in client.err
        self.assertGreaterEqual(whole, 16)  # as many as one key may have at a time
        if not harness.SANITIZED and harness.SCALE == 1:
            self.assertLess(self.agent.status("VmHWM"), 144 * 1024)
        self.cli("data", self.data, self.keys["owner"])

    def test_ag_3_another_computation_than_the_one_meant_gets_nothing(self):
        self.platform()
        done = self.cli("algo", "--computation-id", "c-2", self.algorithm, self.keys["author"], expect=1)
        self.assertIn("the agent runs computation 'c-1', not 'c-2'", done.stderr)

    def test_plain_signatures_still_do(self):
        self.platform()
        self.cli("algo", "--bound", "off", self.algorithm, self.keys["author"])
        self.cli("data", "--bound", "off", self.data, self.keys["owner"])
        self.assertEqual(self.result()[1], "x,y\n1,2\n\n")

    def test_directory_is_unpacked_over_there(self):
        self.make_file("d/one.csv", "1\n")
        self.make_file("d/sub/two.csv", "2\n")
        self.platform(datasets=[os.path.join(self.dir, "d")])
        self.cli("algo", self.algorithm, self.keys["author"])
        self.cli("data", "-d", "d", self.keys["owner"])
        self.assertEqual(self.result()[1], "1\n2\n\n")

    def test_what_is_not_in_the_manifest_is_refused_and_the_right_one_taken_after(self):
        self.platform()
        other = self.make_file("other/algorithm", ALGORITHM + "# changed\n")
        unknown = self.make_file("unknown.csv", "z\n")
        changed = self.make_file("changed/data.csv", "x,y\n9,9\n")
        for words, text in (
                (["algo", "--bound", "off", other, self.keys["author"]], "hash does not match manifest"),
                (["algo", other, self.keys["author"]], "the bound signature is for another algorithm"),
                (["algo", self.algorithm, self.keys["stranger"]], "signature verification failed"),
                (["algo", self.algorithm, self.keys["owner"]], "signature verification failed"),
                (["data", self.data, self.keys["owner"]],
                 "agent not expecting this operation in the current state"),
                (["result", self.keys["consumer"]], "computation results are not yet ready")):
            with self.subTest(" ".join(words) + " before the algorithm"):
                self.assertIn(text, self.cli(*words, expect=1).stderr)
        self.cli("algo", self.algorithm, self.keys["author"])
        for words, text in (
                (["data", "--bound", "off", unknown, self.keys["owner"]],
                 "dataset not declared in computation manifest"),
                (["data", "--bound", "off", changed, self.keys["owner"]], "hash does not match manifest"),
                (["data", unknown, self.keys["owner"]], "a dataset that the manifest does not name"),
                (["data", self.data, self.keys["author"]], "signature verification failed")):
            with self.subTest(" ".join(words) + " after it"):
                self.assertIn(text, self.cli(*words, expect=1).stderr)
        self.cli("data", self.data, self.keys["owner"])
        self.assertEqual(self.result()[1], "x,y\n1,2\n\n")
        self.assertIn("signature verification failed", self.cli("result", self.keys["owner"], expect=1).stderr)

    def test_algorithm_that_fails_is_told_to_the_consumer(self):
        self.make_file("algorithm", "#!/bin/sh\necho 'no such column' >&2\nexit 3\n")
        self.platform()
        self.cli("algo", self.algorithm, self.keys["author"])
        self.cli("data", self.data, self.keys["owner"])
        self.event("Failed")
        done = self.cli("result", self.keys["consumer"], expect=1)
        self.assertIn("exit status 3", done.stderr)
        self.assertFalse(os.path.exists(os.path.join(self.dir, "results.zip")))

    def test_mtls_from_the_manifest(self):
        authority = harness.Authority(self.make_dir("ca"))
        cert, key = authority.issue("agent")
        client_cert, client_key = authority.issue("client", usage="client")
        self.platform("-agent-cert-file", cert, "-agent-key-file", key, "-client-ca-file", authority.path)
        self.cli("algo", self.algorithm, self.keys["author"], expect=1)
        self.tls = {"AGENT_GRPC_SERVER_CA_CERTS": authority.path, "AGENT_GRPC_CLIENT_CERT": client_cert,
                    "AGENT_GRPC_CLIENT_KEY": client_key}
        done = self.cli("algo", self.algorithm, self.keys["author"])
        self.assertIn("🔗 Connected to agent  with mTLS\n", done.stderr)
        self.cli("data", self.data, self.keys["owner"])
        self.assertEqual(self.result()[1], "x,y\n1,2\n\n")


if __name__ == "__main__":
    harness.main()
