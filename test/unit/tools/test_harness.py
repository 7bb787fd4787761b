"""The helpers of the Python tests: what they must notice."""

import subprocess
import unittest

import harness


class Probe(harness.TestCase):
    """A test to be run by the tests below; not collected by itself."""

    script = ""
    ends = False  # by itself, and the test waits for that

    def runTest(self):
        d = self.daemon("/bin/sh", "-c", self.script)
        self.assertEqual(d.address(), "here")
        if self.ends:
            d.wait()


READY = """echo '{"msg":"ready","addr":"here"}'\n"""


class Daemons(harness.TestCase):
    def outcome(self, script, ends=False):
        result = unittest.TestResult()
        probe = Probe()
        probe.script, probe.ends = script, ends
        probe.run(result)
        return "".join(text for _, text in result.failures + result.errors)

    def test_daemon_that_runs_until_sigterm_is_fine(self):
        self.assertEqual(self.outcome(READY + "exec cat /dev/zero > /dev/null"), "")

    def test_daemon_that_crashes_fails_the_test(self):
        self.assertIn("SIGSEGV", self.outcome(READY + "kill -SEGV $$", ends=True))

    def test_daemon_that_ends_before_ready_fails_the_test(self):
        self.assertIn("ended without log record msg='ready'", self.outcome("exit 1"))

    def test_sanitizers_exit_code_fails_the_test(self):
        self.assertIn("sanitizer", self.outcome(READY + "exit 99", ends=True))

    def test_log_records_are_found_by_field_and_text(self):
        d = self.daemon("/bin/sh", "-c", READY + """echo '{"msg":"stored 3 files","n":3}'; echo plain""")
        self.assertEqual(d.wait_log(n=3, contains="stored")["msg"], "stored 3 files")
        d.wait_text("plain")
        self.assertEqual(d.wait(), 0)

    def test_wait_until_expires_with_its_reason(self):
        with self.assertRaisesRegex(harness.Expired, "the moon"):
            harness.wait_until(lambda: False, 0.01, "the moon")


class Peers(harness.TestCase):
    def test_certificates_are_what_openssl_says(self):
        authority = harness.Authority(self.dir + "/ca")
        for name, days, want in (("good", (-1, 30), 0), ("expired", (-20, -10), 2), ("future", (10, 20), 2)):
            with self.subTest(name):
                cert, _ = authority.issue(name, days=days)
                done = subprocess.run(["openssl", "verify", "-CAfile", authority.path, cert], capture_output=True,
                                      check=False)
                self.assertEqual(done.returncode, want, done.stderr)

    def test_keys_are_made(self):
        for kind in ("rsa", "ecdsa", "ed25519"):
            path = harness.make_key(f"{self.dir}/{kind}", kind)
            with open(path + ".pub", encoding="ascii") as f:
                self.assertIn("BEGIN PUBLIC KEY", f.read())

    def test_stub_and_handler_meet(self):
        health = harness.proto("health")

        class Service:
            def Check(self, request, _context):
                return health.HealthCheckResponse(status=1 if request.service == "x" else 2)

        server, address = harness.grpc_server([harness.handler(health, "Health", Service())])
        with harness.channel(address) as channel:
            stub = harness.Stub(channel, health, "Health")
            self.assertEqual(stub.Check(health.HealthCheckRequest(service="x"), timeout=harness.deadline(10)).status, 1)
        server.stop(0).wait()

    def test_faketime_moves_the_day_of_a_program(self):
        year = int(self.run_program("/bin/date", "+%Y").stdout)
        moved = int(self.run_program("/bin/date", "+%Y", faketime="+800d").stdout)
        self.assertIn(moved - year, (2, 3))


# unittest finds classes by name; Probe is only a part of others.
def load_tests(loader, _tests, _pattern):
    return unittest.TestSuite(loader.loadTestsFromTestCase(c) for c in (Daemons, Peers))


if __name__ == "__main__":
    harness.main()
