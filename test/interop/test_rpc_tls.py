"""TLS and mTLS of our server and client against grpcio, openssl s_client and curl."""

import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from echo_peer import Echo, EchoCase, client_tls, cpu_seconds, harness, payload, server_tls, stub, wait_quiet  # noqa: E402
import grpc  # noqa: E402


def read(path):
    with open(path, "rb") as f:
        return f.read()


class Openssl:
    """A certificate authority made with the openssl program alone."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.ca = self.make_ca("ca")
        self.other_ca = self.make_ca("other-ca")
        self.serial = 100

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *args):
        done = subprocess.run(["openssl", *args], capture_output=True, text=True, cwd=self.folder, check=False)
        if done.returncode:
            raise AssertionError(f"openssl {' '.join(args)}: {done.stderr}")
        return done.stdout

    def make_ca(self, name):
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
                 "-subj", f"/CN={name}", "-keyout", name + ".key", "-out", name + ".pem")
        return self.path(name + ".pem")

    def leaf(self, name, names="DNS:localhost,IP:127.0.0.1", ca="ca", begin=None, end=None):
        """(certificate, key); begin and end as openssl ca takes them: YYMMDDHHMMSSZ."""
        self.serial += 1
        self.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", name + ".key", "-out", name + ".csr")
        with open(self.path("index.txt"), "w", encoding="ascii"):
            pass
        with open(self.path("ca.cnf"), "w", encoding="ascii") as f:
            f.write("[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\n"
                    "default_md=sha256\npolicy=p\nx509_extensions=e\n[p]\ncommonName=supplied\n[e]\n"
                    "basicConstraints=CA:FALSE\n" + (f"subjectAltName={names}\n" if names else ""))
        self.run("ca", "-batch", "-config", "ca.cnf", "-notext", "-cert", ca + ".pem", "-keyfile", ca + ".key",
                 "-startdate", begin or self.day(-2), "-enddate", end or self.day(30), "-in", name + ".csr",
                 "-out", name + ".pem")
        return self.path(name + ".pem"), self.path(name + ".key")

    @staticmethod
    def day(offset):
        return time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() + offset * 86400))


class TlsCase(EchoCase):
    """The certificates of all tests of a class, made once."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        import tempfile
        folder = tempfile.mkdtemp(prefix="tls")
        cls.addClassCleanup(harness.rmtree, folder)
        cls.ssl = Openssl(folder)
        cls.good = cls.ssl.leaf("good")
        cls.expired = cls.ssl.leaf("expired", begin=cls.ssl.day(-20), end=cls.ssl.day(-10))
        cls.not_yet = cls.ssl.leaf("not-yet", begin=cls.ssl.day(10), end=cls.ssl.day(20))
        cls.wrong_ca = cls.ssl.leaf("wrong-ca", ca="other-ca")
        cls.wrong_name = cls.ssl.leaf("wrong-name", names="DNS:elsewhere.test,IP:10.1.2.3")
        cls.client = cls.ssl.leaf("client", names=None)

    def server(self, pair, client_ca=None, **more):
        return self.echo_server(*server_tls(*pair, client_ca), **more)

    def credentials(self, pair=None, ca=None):
        return grpc.ssl_channel_credentials(read(ca or self.ssl.ca), read(pair[1]) if pair else None,
                                            read(pair[0]) if pair else None)


class Server(TlsCase):
    def test_grpcio_calls_over_tls(self):
        echo = stub(self.connect(self.server(self.good), self.credentials()))
        self.assertEqual(echo.Unary(payload(b"x" * 100000), timeout=harness.deadline(20)).data, b"x" * 100000)
        got = echo.ServerStream(harness.proto("echo").StreamRequest(count=50, size=200000),
                                timeout=harness.deadline(30))
        self.assertEqual(sum(len(m.data) for m in got), 50 * 200000)

    def test_grpcio_calls_over_mtls(self):
        echo = stub(self.connect(self.server(self.good, self.ssl.ca), self.credentials(self.client)))
        self.assertEqual(echo.Unary(payload(b"x"), timeout=harness.deadline(20)).data, b"x")

    def refused(self, server, credentials):
        with grpc.secure_channel(server.address(), credentials, harness.CHANNEL_OPTIONS) as channel:
            self.assert_fails(grpc.StatusCode.UNAVAILABLE,
                              lambda: stub(channel).Unary(payload(), timeout=harness.deadline(20)))

    def test_mtls_refuses_who_shows_nothing_or_something_else(self):
        server = self.server(self.good, self.ssl.ca)
        for name, pair in (("none", None), ("expired", self.expired), ("not yet", self.not_yet),
                           ("other authority", self.wrong_ca)):
            with self.subTest(name):
                self.refused(server, self.credentials(pair))
        # They have not harmed anybody.
        echo = stub(self.connect(server, self.credentials(self.client)))
        self.assertEqual(echo.Unary(payload(b"x"), timeout=harness.deadline(20)).data, b"x")

    def test_client_certificate_has_expired_for_a_server_of_another_day(self):
        server = self.server(self.good, self.ssl.ca, faketime="+40d")
        self.refused(server, self.credentials(self.client))

    def test_plaintext_client_gets_nowhere_and_harms_nobody(self):
        server = self.server(self.good)
        with grpc.insecure_channel(server.address(), harness.CHANNEL_OPTIONS) as channel:
            self.assert_fails(grpc.StatusCode.UNAVAILABLE,
                              lambda: stub(channel).Unary(payload(), timeout=harness.deadline(20)))
        echo = stub(self.connect(server, self.credentials()))
        self.assertEqual(echo.Unary(payload(b"x"), timeout=harness.deadline(20)).data, b"x")

    def test_RL_8_handshakes_that_do_not_go_on_delay_nobody(self):
        server = self.server(self.good, self.ssl.ca)
        host, port = server.address().rsplit(":", 1)
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"  # the head of a ClientHello of 512 bytes
        for i in range(600):
            made = socket.create_connection((host, int(port)), timeout=harness.deadline(10),
                                            source_address=(f"127.0.2.{i % 6 + 1}", 0))
            self.addCleanup(made.close)
            made.sendall(hello[:i % 11])
        echo = stub(self.connect(server, self.credentials(self.client)))
        before = cpu_seconds(server.pid)
        for _ in range(100):
            echo.Unary(payload(b"x"), timeout=harness.deadline(20))
        # By its processor time: by the clock, a busy machine delays everybody.
        self.assertLess(cpu_seconds(server.pid) - before, harness.deadline(0.5))

    def test_memory_is_flat_when_a_client_does_not_read(self):
        server = self.server(self.good)
        echo = stub(self.connect(server, self.credentials()))
        before = server.status("VmHWM")
        call = echo.ServerStream(harness.proto("echo").StreamRequest(count=10000, size=100000),
                                 timeout=harness.deadline(60))
        self.assertEqual(len(next(call).data), 100000)
        wait_quiet(server.pid)
        if not harness.SANITIZED:
            self.assertLess(server.status("VmHWM") - before, 8 * 1024)
        call.cancel()

    def test_H2_13_drain_over_tls_lets_calls_finish(self):
        server = self.server(self.good)
        echo = stub(self.connect(server, self.credentials()))
        stream = echo.ServerStream(harness.proto("echo").StreamRequest(count=5, size=10, interval_ms=100),
                                   timeout=harness.deadline(30))
        next(stream)
        server.send(signal.SIGTERM)
        self.assertEqual(len(list(stream)), 4)
        self.assertEqual(server.wait(), 0)

    def s_client(self, server, *args, stdin=b""):
        return subprocess.run(["openssl", "s_client", "-connect", server.address(), "-CAfile", self.ssl.ca, *args],
                              input=stdin, capture_output=True, timeout=harness.deadline(20), check=False)

    def test_s_client_agrees_on_h2_with_tls_1_3_and_1_2(self):
        server = self.server(self.good)
        for version, name in (("-tls1_3", "TLSv1.3"), ("-tls1_2", "TLSv1.2")):
            with self.subTest(name):
                done = self.s_client(server, "-alpn", "h2", version, "-verify_return_error")
                text = done.stdout.decode(errors="replace")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("ALPN protocol: h2", text)
                self.assertIn("Verify return code: 0 (ok)", text)
                self.assertIn(name, text)
                self.assertNotIn("Session-ID-ctx: \n    Resumption PSK: 0", text)

    def test_s_client_with_less_is_refused(self):
        server = self.server(self.good)
        for name, args in (("no ALPN", ()), ("http/1.1", ("-alpn", "http/1.1")),
                           ("TLS 1.1", ("-alpn", "h2", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")),
                           ("CBC", ("-alpn", "h2", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"))):
            with self.subTest(name):
                done = self.s_client(server, *args)
                self.assertNotIn(b"ALPN protocol: h2", done.stdout)
        done = self.s_client(server, "-alpn", "h2")
        self.assertIn(b"ALPN protocol: h2", done.stdout)

    def test_s_client_without_certificate_is_refused_by_mtls(self):
        server = self.server(self.good, self.ssl.ca)
        done = self.s_client(server, "-alpn", "h2", "-ign_eof", stdin=b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"certificate required", done.stderr)

    def test_curl_speaks_to_it_by_alpn(self):
        server = self.server(self.good)
        host, port = server.address().rsplit(":", 1)
        done = subprocess.run(["curl", "-sS", "--http2", "--cacert", self.ssl.ca, "--resolve",
                               f"localhost:{port}:{host}", "-X", "POST", "-H", "content-type: application/grpc",
                               "-H", "te: trailers", "--data-binary", "@-", "-o", os.devnull, "-w",
                               "%{http_version} %{http_code}", f"https://localhost:{port}/test.Echo/Unary"],
                              input=b"\0\0\0\0\0", capture_output=True, timeout=harness.deadline(20), check=False)
        self.assertEqual((done.returncode, done.stdout), (0, b"2 200"), done.stderr)

    def test_certificate_expires_on_another_day(self):
        server = self.server(self.good)
        done = self.run_program("/usr/bin/openssl", "s_client", "-connect", server.address(), "-CAfile", self.ssl.ca,
                                "-alpn", "h2", "-verify_return_error", faketime="+40d", stdin="")
        self.assertIn("certificate has expired", done.stderr + done.stdout)


class Client(TlsCase):
    """Our client against grpcio's server."""

    def grpcio(self, pair, client_ca=None):
        credentials = grpc.ssl_server_credentials([(read(pair[1]), read(pair[0]))],
                                                  read(client_ca) if client_ca else None, bool(client_ca))
        server, address = harness.grpc_server([harness.handler(harness.proto("echo"), "Echo", Echo())],
                                              credentials=credentials)
        self.addCleanup(lambda: server.stop(0).wait())
        return address

    def call(self, address, *args, **more):
        return self.run_program("rpc-echo-client", "--target=" + address, *args, **more)

    def test_our_client_calls_over_tls_and_mtls(self):
        for name, client_ca, pair in (("TLS", None, None), ("mTLS", self.ssl.ca, self.client)):
            with self.subTest(name):
                done = self.call(self.grpcio(self.good, client_ca), *client_tls(self.ssl.ca, *(pair or ())))
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def refused(self, done, *texts):
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        for text in texts:
            self.assertIn(text, done.stdout + done.stderr)

    def test_our_client_says_why_it_refuses_a_certificate(self):
        for name, pair, texts in (
                ("expired", self.expired, ("certificate 'CN=expired' has expired",)),
                ("not yet", self.not_yet, ("certificate 'CN=not-yet' is not yet valid",)),
                ("other authority", self.wrong_ca, ("unknown CA", "'CN=other-ca'")),
                ("other name", self.wrong_name,
                 ("hostname mismatch: '127.0.0.1' is wanted, the certificate is for 'elsewhere.test', '10.1.2.3'",))):
            with self.subTest(name):
                self.refused(self.call(self.grpcio(pair), *client_tls(self.ssl.ca)), "Unavailable", *texts)

    def test_our_client_says_what_the_server_misses(self):
        address = self.grpcio(self.good, self.ssl.ca)
        self.refused(self.call(address, *client_tls(self.ssl.ca)), "demands a client certificate")

    def test_our_client_says_that_the_server_speaks_no_tls(self):
        server, address = harness.grpc_server([harness.handler(harness.proto("echo"), "Echo", Echo())])
        self.addCleanup(lambda: server.stop(0).wait())
        self.refused(self.call(address, *client_tls(self.ssl.ca)), "TLS")

    def test_certificate_that_was_good_has_expired_on_another_day(self):
        address = self.grpcio(self.good)
        self.refused(self.call(address, *client_tls(self.ssl.ca), faketime="+40d"), "certificate 'CN=good' has expired")
        self.refused(self.call(address, *client_tls(self.ssl.ca), faketime="-40d"), "is not yet valid")
        self.assertEqual(self.call(address, *client_tls(self.ssl.ca)).returncode, 0)

    def test_unreadable_files_are_named_at_the_start(self):
        done = self.call("127.0.0.1:1", *client_tls("/nonexistent/ca.pem"))
        self.assertIn("/nonexistent/ca.pem", done.stdout + done.stderr)
        self.assertIn("No such file", done.stdout + done.stderr)
        self.assertNotEqual(done.returncode, 0)


if __name__ == "__main__":
    harness.main()
