"""Our server and the HTTP/2 tools of others: curl, nghttp, h2load."""

import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from echo_peer import EchoCase, harness, payload, stub  # noqa: E402
import http2  # noqa: E402

GRPC = ("content-type: application/grpc", "te: trailers")


class Tools(EchoCase):
    def setUp(self):
        super().setUp()
        self.server = self.echo_server()
        self.url = "http://" + self.server.address()

    def tool(self, name, *args, stdin=b""):
        path = shutil.which(name)
        if not path:
            self.skipTest(f"needs {name}: not installed")
        done = subprocess.run([path, *args], input=stdin, capture_output=True, timeout=harness.deadline(60),
                              check=False)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        return done.stdout

    def curl(self, path, body=b"", method="POST", headers=GRPC, more=()):
        """(status and headers and trailers as text, body)."""
        head = os.path.join(self.dir, "head")
        out = self.tool("curl", "-sS", "--http2-prior-knowledge", "-X", method, *sum((["-H", h] for h in headers), []),
                        "-D", head, "--data-binary", "@-", *more, self.url + path, stdin=body)
        with open(head, encoding="ascii") as f:
            return f.read(), out

    def test_curl_makes_a_unary_call(self):
        head, body = self.curl("/test.Echo/Unary", http2.grpc_message(b"\x0a\x02hi"))
        self.assertTrue(head.startswith("HTTP/2 200"), head)
        self.assertRegex(head, r"(?m)^content-type: application/grpc\b")
        self.assertRegex(head, r"(?m)^grpc-status: 0\s*$")
        self.assertEqual(body, http2.grpc_message(b"\x0a\x02hi"))

    def test_curl_gets_a_stream(self):
        # StreamRequest{count: 3, size: 2}
        _, body = self.curl("/test.Echo/ServerStream", http2.grpc_message(b"\x08\x03\x10\x02"))
        self.assertEqual(body, b"".join(http2.grpc_message(b"\x0a\x02" + bytes([n, n + 1])) for n in range(3)))

    def test_curl_sees_the_error_of_an_unknown_method(self):
        # Without a body: this curl calls it an error when the reply comes before its body is out.
        head, body = self.curl("/test.Echo/Nothing")
        self.assertRegex(head, r"(?m)^grpc-status: 12\s*$")
        self.assertEqual(body, b"")

    def test_what_is_not_grpc_is_turned_away_as_http(self):
        for name, method, headers, want in (("not POST", "GET", GRPC, "405"),
                                            ("other content", "POST", ("content-type: text/plain",), "415"),
                                            ("no content type", "POST", ("content-type:",), "415")):
            with self.subTest(name):
                head, _ = self.curl("/test.Echo/Unary", method=method, headers=headers)
                self.assertTrue(head.startswith("HTTP/2 " + want), head)

    def test_http_1_gets_no_answer_and_harms_nobody(self):
        for args in (["--http1.1"], ["--http2"]):
            subprocess.run(["curl", "-sS", "-m", "10", *args, self.url + "/"], capture_output=True,
                           timeout=harness.deadline(20), check=False)
        self.assertEqual(stub(self.connect(self.server)).Unary(payload(b"x"), timeout=harness.deadline(10)).data, b"x")

    def test_nghttp_gets_a_reply_with_trailers(self):
        body = self.make_file("body", http2.grpc_message(b"\x0a\x02hi"))
        text = self.tool("nghttp", "-v", "-d", body, *sum((["-H", h] for h in GRPC), []),
                         self.url + "/test.Echo/Unary").decode(errors="replace")
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
        self.assertRegex(text, r":status: 200")
        self.assertRegex(text, r"grpc-status: 0")

    def test_h2load_calls_ten_thousand_times(self):
        body = self.make_file("body", http2.grpc_message(b"\x0a\x02hi"))
        text = self.tool("h2load", "-n", "10000", "-c", "4", "-m", "50", "-d", body, *sum((["-H", h] for h in GRPC), []),
                         self.url + "/test.Echo/Unary").decode(errors="replace")
        self.assertRegex(text, r"requests: 10000 total, 10000 started, 10000 done, 10000 succeeded, 0 failed, 0 errored")
        self.assertRegex(text, r"status codes: 10000 2xx")


if __name__ == "__main__":
    harness.main()
