"""cvms-test before it serves: what it makes of flags and what it says of faults."""

import base64
import hashlib
import json
import os
import subprocess

import cvms
import harness

NEED_ALGO = "Either algo-path OR (algo-source-url AND algo-kbs-path) is required"
NEED_KEY = "Public key path is required"
NEED_TLS = "Attested TLS flag is required and it must be a boolean value"


class Flags(cvms.CvmsTestCase):
    def run_cvms(self, *args, env=None, expect=None):
        return self.run_program("cvms-test", *args, env=env, expect=expect)

    def test_no_flags_tell_all_faults_and_exit_2(self):
        done = self.run_cvms(expect=2)
        for fault in (NEED_ALGO, NEED_KEY, NEED_TLS):
            self.assertIn(fault, done.stderr)
        self.assertIn("Usage :", done.stderr)
        self.assertEqual(done.stdout, "")

    def test_unknown_flag_names_the_nearest_and_exits_2(self):
        done = self.run_cvms(*self.flags(), "-algo-pth", "x", expect=2)
        self.assertIn("Error parsing flags:", done.stderr)
        self.assertIn("algo-path", done.stderr)

    def test_bad_environment_is_named_with_its_variable(self):
        done = self.run_cvms(*self.flags(), env={"PORT": "http"}, expect=2)
        self.assertIn("PORT", done.stderr)

    def test_help_explains_every_flag_and_the_exit_status(self):
        done = self.run_cvms("--help", expect=0)
        for flag in ("public-key-path", "attested-tls-bool", "algo-path", "data-paths", "client-ca-file",
                     "algo-source-url", "algo-kbs-path", "dataset-source-urls", "dataset-kbs-paths", "kbs-url",
                     "algo-kbs-url", "dataset-kbs-urls", "algo-source-type", "dataset-source-type", "algo-type",
                     "algo-args", "algo-hash", "dataset-hash", "dataset-decompress", "dataset-type", "dataset",
                     "expect-state", "expect-event", "expect-log", "within", "once", "stop-after", "state-every",
                     "disconnect-after", "output", "manifest", "print-manifest", "agent-port", "unchunked"):
            self.assertIn("-" + flag, done.stdout)
        self.assertIn("Exit status: 0 success, 1", done.stdout)

    def test_unreadable_files_are_told_before_serving(self):
        locked = self.make_file("locked.csv", "x")
        os.chmod(locked, 0)
        done = self.run_cvms("-public-key-path", "none.pem", "-attested-tls-bool", "false", "-algo-path", "none",
                             "-data-paths", f"gone.csv,{locked}", expect=2)
        self.assertIn("failed to read public key file: 'none.pem'", done.stderr)
        self.assertIn("algo file does not exist: none", done.stderr)
        self.assertIn("dataset file does not exist: gone.csv", done.stderr)
        if os.getuid() != 0:
            self.assertIn("failed to calculate checksum", done.stderr)

    def test_print_manifest_is_json_alone_on_stdout(self):
        done = self.run_cvms(*self.flags(), "-print-manifest", "-kbs-url", "http://kbs", expect=0)
        self.assertEqual(done.stdout.count("\n"), 1)
        manifest = json.loads(done.stdout)
        self.assertEqual(manifest["id"], "1")
        self.assertEqual(manifest["name"], "sample computation")
        with open(self.data, "rb") as f:
            self.assertEqual(bytes(manifest["datasets"][0]["hash"]), hashlib.sha3_256(f.read()).digest())
        self.assertEqual(manifest["datasets"][0]["filename"], "data.csv")
        self.assertIn("dataset 1", done.stderr)
        self.assertIn("kbs of all    http://kbs", done.stderr)

    def test_manifest_printed_is_manifest_taken(self):
        first = self.run_cvms(*self.flags(), "-print-manifest", expect=0)
        path = self.make_file("m.json", first.stdout)
        again = self.run_cvms("-manifest", path, "-print-manifest", expect=0)
        self.assertEqual(first.stdout, again.stdout)

    def test_manifest_with_duplicate_key_is_refused(self):
        path = self.make_file("m.json", '{"id": "1", "id": "2"}')
        done = self.run_cvms("-manifest", path, expect=2)
        self.assertIn("m.json", done.stderr)

    def test_manifest_that_agents_refuse_is_warned_of(self):
        other = self.make_file("other/data.csv", "same name")
        done = self.run_cvms(*self.flags(), "-dataset", f"path={other}", "-print-manifest", expect=0)
        self.assertIn("agents will refuse this manifest", done.stderr)
        self.assertIn("data.csv", done.stderr)

    def test_address_in_use_exits_1(self):
        first = self.cvms()
        port = first.address().rsplit(":", 1)[1]
        done = self.run_cvms(*self.flags(), env={"HOST": "127.0.0.1", "PORT": port}, expect=1)
        self.assertIn(port, done.stdout)

    def test_unreadable_certificate_exits_1_and_names_it(self):
        done = self.run_cvms(*self.flags(), env={"PORT": "0", "SERVER_CERT": "no.pem", "SERVER_KEY": "no.key"},
                             expect=1)
        self.assertIn("no.pem", done.stdout)

    def test_directory_has_the_hash_of_its_zip(self):
        for name, content, mode in (("dir/a.txt", "hello", 0o644), ("dir/sub/b.csv", "x,y\n1,2\n", 0o755)):
            os.chmod(self.make_file(name, content), mode)
        done = self.run_cvms(*self.flags()[:6], "-data-paths", os.path.join(self.dir, "dir"), "-print-manifest",
                             expect=0)
        dataset = json.loads(done.stdout)["datasets"][0]
        self.assertEqual(bytes(dataset["hash"]).hex(),
                         "eff18ed8957a21d4423787bf0e1e5bfd8ba512c975bc0485b371164836a4b32a")
        self.assertEqual(dataset["filename"], "dir")

    def test_key_is_the_der_inside_the_pem(self):
        done = self.run_cvms(*self.flags(), "-print-manifest", expect=0)
        der = subprocess.run(["openssl", "pkey", "-pubin", "-in", self.key + ".pub", "-outform", "DER"],
                             capture_output=True, check=True).stdout
        self.assertEqual(base64.b64decode(json.loads(done.stdout)["result_consumers"][0]["user_key"]), der)


if __name__ == "__main__":
    harness.main()
