"""Our gRPC client against grpcio's server."""

import contextlib
import hashlib
import json
import os
import select
import socket
import socketserver
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from echo_peer import Echo, EchoCase, MESSAGE_MAX, MIB, PAYLOAD_OVERHEAD, harness, pattern, wait_quiet  # noqa: E402
import grpc  # noqa: E402
import http2  # noqa: E402

CODES = ("OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
         "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented",
         "Internal", "Unavailable", "DataLoss", "Unauthenticated")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).hexdigest()


class ClientCase(EchoCase):
    def setUp(self):
        super().setUp()
        self.service = Echo()
        self.address = self.serve()

    def serve(self, address="127.0.0.1:0", **more):
        server, where = harness.grpc_server([harness.handler(harness.proto("echo"), "Echo", self.service)], address,
                                            **more)
        self.addCleanup(lambda: server.stop(0).wait())
        self.grpcio = server
        return where

    def run_calls(self, method, *args, address=None, seconds=60, expect=None, **more):
        """The client's JSON report."""
        done = self.run_program("rpc-echo-client", f"--target={address or self.address}", f"--method={method}", *args,
                                seconds=seconds, expect=expect, **more)
        return json.loads(done.stdout)

    def call(self, method, *args, want=0, **more):
        """The report of one call, which must end with this code."""
        result = self.run_calls(method, *args, **more)["results"][0]
        self.assertEqual((result["code"], result["name"]), (want, CODES[want]), result["message"])
        return result


class Calls(ClientCase):
    def test_unary_of_any_size_comes_back(self):
        for size in (0, 1, 16384, MIB, MESSAGE_MAX - PAYLOAD_OVERHEAD):
            with self.subTest(size=size):
                got = self.call("Unary", f"--size={size}")
                self.assertEqual((got["messages"], got["bytes"], got["sha256"]), (1, size, sha256(pattern(size))))

    def test_client_stream_arrives_whole(self):
        for count, size in ((0, 0), (1, 5), (2000, 3000), (20, MIB)):
            with self.subTest(count=count, size=size):
                got = self.call("ClientStream", f"--count={count}", f"--size={size}")
                self.assertEqual(got["summary"], {"count": count, "bytes": count * size,
                                                  "sha256": sha256(pattern(size) * count)})

    def test_server_stream_arrives_whole(self):
        for count, size in ((0, 0), (1, 5), (3000, 1000), (20, MIB)):
            with self.subTest(count=count, size=size):
                got = self.call("ServerStream", f"--count={count}", f"--size={size}")
                self.assertEqual((got["messages"], got["sha256"]),
                                 (count, sha256(*(pattern(size, n) for n in range(count)))))

    def test_bidi_arrives_whole(self):
        got = self.call("Bidi", "--count=2000", "--size=5000")
        self.assertEqual((got["messages"], got["sha256"]), (2000, sha256(pattern(5000) * 2000)))

    def test_many_calls_share_a_connection(self):
        report = self.run_calls("Unary", "--repeat=2000", "--parallel=50", "--size=100")
        self.assertEqual((report["calls"], report["failed"]), (2000, 0))

    def test_calls_beyond_the_server_s_limit_of_streams_wait(self):
        address = self.serve(options=[("grpc.max_concurrent_streams", 3)])
        report = self.run_calls("Unary", "--repeat=300", "--parallel=60", address=address)
        self.assertEqual((report["calls"], report["failed"]), (300, 0), report["results"][-1])

    def test_call_through_a_proxy(self):
        asked = []

        class Proxy(socketserver.StreamRequestHandler):
            def handle(self):
                asked.append(self.rfile.readline().decode())
                while self.rfile.readline().strip():
                    pass
                host, port = asked[0].split()[1].rsplit(":", 1)
                with socket.create_connection((host, int(port))) as beyond:
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    pair = {self.connection: beyond, beyond: self.connection}
                    while True:
                        for end in select.select(list(pair), [], [])[0]:
                            data = end.recv(65536)
                            if not data:
                                return
                            pair[end].sendall(data)

        with socketserver.TCPServer(("127.0.0.1", 0), Proxy) as proxy:
            thread = threading.Thread(target=proxy.handle_request)
            thread.start()
            self.call("Unary", "--size=100000", "--proxy=http://127.0.0.1:%d" % proxy.server_address[1])
            thread.join()
        self.assertEqual(asked, [f"CONNECT {self.address} HTTP/1.1\r\n"])

    def test_proxy_that_refuses_is_named(self):
        class Proxy(socketserver.StreamRequestHandler):
            def handle(self):
                while self.rfile.readline().strip():
                    pass
                self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        with socketserver.TCPServer(("127.0.0.1", 0), Proxy) as proxy:
            thread = threading.Thread(target=proxy.handle_request)
            thread.start()
            got = self.call("Unary", "--proxy=http://127.0.0.1:%d" % proxy.server_address[1], want=14)
            thread.join()
        self.assertIn("403", got["message"])

    def test_unix_socket(self):
        path = os.path.join(self.dir, "s")
        self.call("Unary", "--data=x", address=self.serve("unix:" + path))
        self.call("Unary", "--data=x", address=path)

    def test_dns_name(self):
        self.call("Unary", address="dns:///localhost:" + self.address.rsplit(":", 1)[1])


class Metadata(ClientCase):
    def test_metadata_goes_there_and_comes_back(self):
        values = bytes(range(256)).hex()
        got = self.call("Unary", "--md=echo-a=one", f"--md=echo-b-bin={values}", "--md=echo-a=two", "--md=echo-c-bin=",
                        "--md=echo-d=", "--md=other=x")
        initial = {"echo-a": ["one", "two"], "echo-b-bin": [values], "echo-c-bin": [""], "echo-d": [""]}
        self.assertEqual(got["initial"], initial)
        self.assertEqual(got["trailers"], {"trailer-" + k: v for k, v in initial.items()})
        seen = self.service.seen[0][1]
        self.assertIn(("echo-b-bin", bytes(range(256))), seen)
        self.assertIn(("other", "x"), seen)
        agent, = (v for k, v in seen if k == "user-agent")
        self.assertTrue(agent.startswith("cocos-c/"), agent)

    def test_metadata_up_to_grpcio_s_limit_goes_there(self):
        got = self.call("Metadata", "--md=big=" + "x" * 7000)
        self.assertEqual(got["entries"]["big"], ["x" * 7000])

    def test_reply_metadata_beyond_our_limit_ends_the_call(self):
        service = self.service

        class Loud(Echo):
            def Unary(self, request, context):
                context.send_initial_metadata([("big", "x" * 60000)])
                return request
        self.service = Loud()
        address = self.serve(options=[("grpc.max_metadata_size", MIB)])
        self.service = service
        got = self.call("Unary", want=8, address=address)
        self.assertIn("metadata", got["message"])


class Status(ClientCase):
    def test_every_code_arrives_with_its_text(self):
        texts = ("plain", "100 % of \u00e4 \u20ac \U0001f600", "two\nlines\tand tab", "%41", "x" * 900)
        for number in range(1, 17):
            text = texts[number % len(texts)]
            for messages in (0, 2):
                with self.subTest(code=number, messages=messages):
                    got = self.call("Fail", f"--code={number}", f"--text={text}", f"--messages={messages}", want=number)
                    self.assertEqual((got["message"], got["messages"]), (text, messages))

    def test_unknown_method_is_unimplemented(self):
        self.call("/test.Echo/Nothing", want=12)

    def test_nobody_listens_says_where(self):
        path = os.path.join(self.dir, "nobody")
        for address in ("127.0.0.1:1", path):
            with self.subTest(address):
                got = self.call("Unary", want=14, address=address)
                self.assertIn(address, got["message"])

    def test_server_that_is_no_http2_is_named(self):
        class Http1(socketserver.BaseRequestHandler):
            def handle(self):
                self.request.recv(1000)
                self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        with socketserver.TCPServer(("127.0.0.1", 0), Http1) as server:
            thread = threading.Thread(target=server.handle_request)
            thread.start()
            got = self.call("Unary", want=14, address="127.0.0.1:%d" % server.server_address[1])
            thread.join()
        self.assertTrue(got["message"])


class Ends(ClientCase):
    def test_deadline_travels_and_ends_the_call(self):
        for limit in (0.4, 4, 40):  # long enough for the call to get there
            got = self.call("Sleep", "--sleep=600s", f"--timeout={int(limit * 1000)}ms", want=4)
            self.assertGreaterEqual(got["ms"], limit * 1000 - 10)
            if self.service.seen and self.service.seen[-1][2] > 0:
                break
        left = self.service.seen[-1][2]
        self.assertTrue(0 < left <= limit, left)
        harness.wait_until(lambda: self.service.ended["cancelled"] >= 1, 10, "the end of the call at the server")

    def test_deadline_of_the_server_is_reported(self):
        self.call("Fail", "--code=4", "--text=too slow", want=4)

    def test_cancel_by_time_arrives(self):
        for limit in ("300ms", "3s", "30s"):  # long enough for the call to get there
            self.call("Sleep", "--sleep=600s", f"--cancel-after={limit}", want=1)
            if self.service.begun.is_set():
                break
        harness.wait_until(lambda: self.service.ended["cancelled"] >= 1, 10, "the cancel at the server")

    def test_cancel_within_a_stream_ends_it(self):
        got = self.call("ServerStream", "--count=1000000", "--size=1000", "--cancel-after-messages=10", want=1)
        self.assertEqual(got["messages"], 10)

    def test_limit_of_received_messages(self):
        fits = MESSAGE_MAX - PAYLOAD_OVERHEAD
        self.assertEqual(self.call("Big", f"--size={fits}")["bytes"], fits)
        got = self.call("Big", f"--size={fits + 1}", want=8)
        self.assertEqual(got["message"], "grpc: received message larger than max (4194305 vs. 4194304)")

    def test_limit_of_the_server_is_reported(self):
        got = self.call("Unary", f"--size={MESSAGE_MAX}", want=8)
        self.assertIn("4194309 vs. 4194304", got["message"])

    def test_gzip_replies_are_understood(self):
        address = self.serve(options=[("grpc.default_compression_algorithm", 2)])
        got = self.call("ServerStream", "--count=50", "--size=20000", address=address)
        self.assertEqual(got["sha256"], sha256(*(pattern(20000, n) for n in range(50))))
        seen = dict(self.service.seen[-1][1])
        self.assertIn("gzip", seen.get("grpc-accept-encoding", "gzip"))

    def test_H2_13_calls_of_a_server_that_drains_finish(self):
        got = {}

        def run():
            got["report"] = self.run_calls("Sleep", "--sleep=1s")
        thread = threading.Thread(target=run)
        thread.start()
        self.assertTrue(self.service.begun.wait(harness.deadline(10)))
        stopped = self.grpcio.stop(harness.deadline(30))  # GOAWAY
        thread.join()
        self.assertEqual(got["report"]["results"][0]["code"], 0)
        stopped.wait()

    def test_next_call_connects_anew_after_the_server_came_back(self):
        address = self.serve(self.reserve_port())
        server, got = self.grpcio, {}

        def run():
            got["report"] = self.run_calls("Unary", "--repeat=240", "--pause=25ms", address=address)
        thread = threading.Thread(target=run)
        thread.start()
        harness.wait_until(lambda: len(self.service.seen) > 5, 10, "some calls")
        server.stop(0).wait()
        before = len(self.service.seen)
        self.assertEqual(self.serve(address), address)
        harness.wait_until(lambda: len(self.service.seen) > before + 5, 10, "calls to the new server")
        thread.join()
        results = got["report"]["results"]
        self.assertEqual(results[-1]["code"], 0)
        # grpcio cancels the call that it is just handling.
        self.assertLessEqual({r["code"] for r in results}, {0, 1, 14})

    def test_keepalive_of_the_client_is_answered(self):
        address = self.serve(options=[("grpc.http2.min_ping_interval_without_data_ms", 10),
                                      ("grpc.http2.max_ping_strikes", 0)])
        self.call("Sleep", "--sleep=1500ms", "--keepalive=100ms", "--keepalive-timeout=60s", address=address)

    def test_server_that_falls_silent_is_given_up(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = "127.0.0.1:%d" % listener.getsockname()[1]
            got = {}

            def run():
                got["result"] = self.call("Unary", "--keepalive=200ms", "--keepalive-timeout=300ms", want=14,
                                          address=address)
            thread = threading.Thread(target=run)
            thread.start()
            listener.settimeout(harness.deadline(10))
            connection, _ = listener.accept()
            with connection:
                with contextlib.suppress(OSError):  # when it has been given up already
                    connection.sendall(http2.frame(http2.SETTINGS) + http2.frame(http2.SETTINGS, http2.ACK))
                thread.join()
            self.assertTrue(got["result"]["message"])


class SlowPeer(ClientCase):
    def test_memory_is_flat_when_the_server_does_not_read(self):
        over = threading.Event()

        class Lazy(Echo):
            def ClientStream(self, requests, context):
                self.note("ClientStream", context)
                next(requests)
                over.wait(harness.deadline(60))
                return self.pb.Summary()
        self.service = Lazy()
        self.addCleanup(over.set)
        client = self.daemon("rpc-echo-client", "--target=" + self.serve(), "--method=ClientStream", "--count=20000",
                             "--size=100000", ready=False)
        self.assertTrue(self.service.begun.wait(harness.deadline(10)))
        wait_quiet(client.pid)
        if not harness.SANITIZED:
            self.assertLess(client.status("VmHWM"), 32 * 1024)
        over.set()
        self.assertEqual(client.wait(), 0)


if __name__ == "__main__":
    harness.main()
