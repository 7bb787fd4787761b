"""Our gRPC server, called by grpcio."""

import hashlib
import os
import queue
import signal
import socket
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from echo_peer import EchoCase, MESSAGE_MAX, MIB, PAYLOAD_OVERHEAD, harness, pattern, payload, stub  # noqa: E402
import grpc  # noqa: E402

Code = grpc.StatusCode
HUNG = 30  # seconds that mean something hangs


def soon():
    return harness.deadline(HUNG)


class Calls(EchoCase):
    """One server and one channel for each test."""

    def setUp(self):
        super().setUp()
        self.server = self.echo_server()
        self.channel = self.connect(self.server)
        self.echo = stub(self.channel)
        self.pb = harness.proto("echo")

    # ------------------------------------------------------------ kinds of calls

    def test_unary_of_any_size_comes_back(self):
        for size in (0, 1, 16383, 16384, 65536, MIB, MESSAGE_MAX - PAYLOAD_OVERHEAD):
            with self.subTest(size=size):
                data = pattern(size)
                self.assertEqual(self.echo.Unary(payload(data), timeout=soon()).data, data)

    def test_unary_calls_side_by_side(self):
        futures = [self.echo.Unary.future(payload(b"%d" % i), timeout=soon()) for i in range(200)]
        self.assertEqual([f.result().data for f in futures], [b"%d" % i for i in range(200)])

    def test_client_stream_takes_every_message_in_order(self):
        parts = [pattern(i * 37, i) for i in range(1000)]
        summary = self.echo.ClientStream((payload(p) for p in parts), timeout=soon())
        self.assertEqual((summary.count, summary.bytes, summary.sha256),
                         (1000, sum(map(len, parts)), hashlib.sha256(b"".join(parts)).digest()))

    def test_client_stream_without_messages(self):
        summary = self.echo.ClientStream(iter(()), timeout=soon())
        self.assertEqual((summary.count, summary.bytes), (0, 0))

    def test_server_stream_sends_every_message_in_order(self):
        for count, size in ((0, 0), (1, 0), (3000, 1000), (20, MIB)):
            with self.subTest(count=count, size=size):
                got = self.echo.ServerStream(self.pb.StreamRequest(count=count, size=size), timeout=soon())
                seen = 0
                for n, message in enumerate(got):
                    self.assertEqual(message.data, pattern(size, n))
                    seen += 1
                self.assertEqual(seen, count)

    def test_bidi_answers_each_message_before_the_next_is_sent(self):
        asks = queue.Queue()
        answers = self.echo.Bidi(iter(asks.get, None), timeout=soon())
        for i in range(300):
            asks.put(payload(b"%d" % i))
            self.assertEqual(next(answers).data, b"%d" % i)
        asks.put(None)
        self.assertEqual(list(answers), [])
        self.assertEqual(answers.code(), Code.OK)

    def test_bidi_of_many_messages_keeps_their_order(self):
        answers = self.echo.Bidi((payload(pattern(5000, i)) for i in range(2000)), timeout=soon())
        self.assertEqual([m.data for m in answers], [pattern(5000, i) for i in range(2000)])

    # ----------------------------------------------------------------- metadata

    def test_metadata_comes_back_as_headers_and_trailers(self):
        sent = (("echo-a", "one"), ("echo-b-bin", bytes(range(256))), ("echo-empty", ""), ("echo-empty-bin", b""),
                ("echo-a", "two"), ("echo-commas", "a, b,c"))
        _, call = self.echo.Unary.with_call(payload(), metadata=sent + (("not-echoed", "x"),), timeout=soon())
        initial = [tuple(m) for m in call.initial_metadata() if m.key.startswith("echo-")]
        trailing = [tuple(m) for m in call.trailing_metadata() if m.key.startswith("trailer-")]
        self.assertEqual(sorted(initial), sorted(sent))
        self.assertEqual(sorted(trailing), sorted(("trailer-" + k, v) for k, v in sent))
        # The order of values under one key has a meaning.
        self.assertEqual([v for k, v in initial if k == "echo-a"], ["one", "two"])

    def test_metadata_seen_by_the_server_is_what_was_sent(self):
        sent = [("a-bin", os.urandom(n)) for n in range(5)] + [("b", "~!@#$%^&*() spaces  inside")]
        entries = self.echo.Metadata(payload(), metadata=sent, timeout=soon()).entries
        got = [(e.key, e.value) for e in entries]
        for key, value in sent:
            self.assertIn((key, value if isinstance(value, bytes) else value.encode()), got)

    def test_large_metadata_passes_up_to_the_limit_and_not_beyond(self):
        big = "x" * 12000
        _, call = self.echo.Unary.with_call(payload(), metadata=(("big", big),), timeout=soon())
        self.assertEqual(call.code(), Code.OK)
        entries = self.echo.Metadata(payload(), metadata=(("big", big),), timeout=soon()).entries
        self.assertIn(("big", big.encode()), [(e.key, e.value) for e in entries])
        self.assert_fails(Code.RESOURCE_EXHAUSTED,
                          lambda: self.echo.Unary(payload(), metadata=(("big", "x" * 20000),), timeout=soon()))
        # The connection has not suffered.
        self.assertEqual(self.echo.Unary(payload(b"still"), timeout=soon()).data, b"still")

    # ------------------------------------------------------------------- status

    def test_every_code_arrives_with_its_text(self):
        texts = ["", "plain", "100 % of \u00e4 \u20ac \U0001f600", "two\nlines\tand tab", "%41", "x" * 900]
        for number in range(1, 17):
            text = texts[number % len(texts)]
            for messages in (0, 2):
                with self.subTest(code=number, messages=messages):
                    got = self.echo.Fail(self.pb.FailRequest(code=number, text=text, messages=messages),
                                         timeout=soon())
                    seen = []
                    with self.assertRaises(grpc.RpcError) as caught:
                        for m in got:
                            seen.append(m)
                    self.assertEqual(len(seen), messages)
                    self.assertEqual((caught.exception.code().value[0], caught.exception.details()), (number, text))

    def test_unknown_methods_and_services_are_unimplemented(self):
        for path in ("/test.Echo/Nothing", "/test.Nothing/Unary", "/x", "/test.echo/Unary", "/test.Echo/unary",
                     "/test.Echo/Unary/", "//test.Echo/Unary", "/test.Echo/Unary?x=1", "/test.Echo%2FUnary"):
            with self.subTest("H2-6", path=path):
                call = self.channel.unary_unary(path)
                self.assert_fails(Code.UNIMPLEMENTED, lambda c=call: c(b"", timeout=soon()))

    def test_bytes_that_are_no_message_are_refused_and_the_server_lives(self):
        call = self.channel.unary_unary("/test.Echo/Unary")
        error = self.assert_fails(Code.INVALID_ARGUMENT, lambda: call(b"\x0a\x05ab", timeout=soon()))
        self.assertIn("test.Payload.data", error.details())
        self.assertEqual(self.echo.Unary(payload(b"x"), timeout=soon()).data, b"x")

    # ---------------------------------------------------------- deadline, cancel

    def test_deadline_of_the_client_ends_the_call_on_both_sides(self):
        call = self.echo.Sleep.future(self.pb.SleepRequest(ms=600000), timeout=harness.deadline(0.3))
        self.echo.Unary(payload(), timeout=soon())  # behind it, so it has begun
        self.assertEqual(call.code(), Code.DEADLINE_EXCEEDED)

        def noticed():
            c = self.counters(self.echo)
            return c.deadline + c.cancelled == 1
        harness.wait_until(noticed, 10, "the server's end of the call")

    def test_deadline_of_a_stream_nobody_reads(self):
        call = self.echo.ServerStream(self.pb.StreamRequest(count=1000000, size=100000), timeout=0.5)
        with self.assertRaises(grpc.RpcError):
            for _ in call:
                pass
        self.assertEqual(call.code(), Code.DEADLINE_EXCEEDED)

    def test_cancel_of_each_kind_arrives(self):
        def begin_sleep():
            return self.echo.Sleep.future(self.pb.SleepRequest(ms=600000), timeout=600)

        def begin_server_stream():
            call = self.echo.ServerStream(self.pb.StreamRequest(count=2, size=1, interval_ms=600000), timeout=600)
            next(call)
            return call

        def begin_bidi():
            asks = queue.Queue()
            call = self.echo.Bidi(iter(asks.get, None), timeout=600)
            asks.put(payload(b"x"))
            next(call)
            self.addCleanup(asks.put, None)
            return call

        def begin_client_stream():
            asks = queue.Queue()
            call = self.echo.ClientStream.future(iter(asks.get, None), timeout=600)
            asks.put(payload(b"x"))
            self.addCleanup(asks.put, None)
            return call

        for count, begin in enumerate((begin_sleep, begin_server_stream, begin_bidi, begin_client_stream), 1):
            with self.subTest(begin.__name__):
                before = self.counters(self.echo)
                call = begin()
                # A call behind it on the same connection: the server has met the first one.
                self.echo.Unary(payload(), timeout=soon())
                call.cancel()
                harness.wait_until(lambda b=before: self.counters(self.echo).cancelled > b.cancelled, 10,
                                   "the cancel to arrive")

    # ------------------------------------------------------------------- limits

    def test_message_of_the_limit_passes_and_one_byte_more_does_not(self):
        fits = MESSAGE_MAX - PAYLOAD_OVERHEAD
        self.assertEqual(len(self.echo.Unary(payload(bytes(fits)), timeout=soon()).data), fits)
        self.assert_fails(Code.RESOURCE_EXHAUSTED, lambda: self.echo.Unary(payload(bytes(fits + 1)), timeout=soon()),
                          "grpc: received message larger than max (4194305 vs. 4194304)")
        self.assertEqual(self.echo.Unary(payload(b"x"), timeout=soon()).data, b"x")

    def test_limit_holds_in_a_stream_too(self):
        def parts():
            yield payload(b"first")
            yield payload(bytes(MESSAGE_MAX))
        self.assert_fails(Code.RESOURCE_EXHAUSTED, lambda: self.echo.ClientStream(parts(), timeout=soon()),
                          "grpc: received message larger than max (4194309 vs. 4194304)")

    def test_reply_of_the_limit_passes_and_larger_ones_are_for_the_client_to_refuse(self):
        fits = MESSAGE_MAX - PAYLOAD_OVERHEAD
        self.assertEqual(self.echo.Big(self.pb.BigRequest(size=fits), timeout=soon()).data, pattern(fits))
        error = self.assert_fails(Code.RESOURCE_EXHAUSTED,
                                  lambda: self.echo.Big(self.pb.BigRequest(size=fits + 1), timeout=soon()))
        self.assertIn("(4194305 vs. 4194304)", error.details())

    # -------------------------------------------------------------- compression

    def test_gzip_requests_are_understood(self):
        for data in (b"", b"x", bytes(MIB), os.urandom(100000)):
            with self.subTest(size=len(data)):
                got = self.echo.Unary(payload(data), compression=grpc.Compression.Gzip, timeout=soon())
                self.assertEqual(got.data, data)
        parts = [bytes(1000 * i) for i in range(100)]
        summary = self.echo.ClientStream((payload(p) for p in parts), compression=grpc.Compression.Gzip,
                                         timeout=soon())
        self.assertEqual((summary.count, summary.bytes), (100, sum(map(len, parts))))

    def test_H2_8_gzip_bomb_is_refused(self):
        bomb = payload(bytes(64 * MIB))
        before = self.server.status("VmHWM")
        error = self.assert_fails(Code.RESOURCE_EXHAUSTED,
                                  lambda: self.echo.Unary(bomb, compression=grpc.Compression.Gzip, timeout=soon()))
        self.assertIn("larger than max", error.details())
        if not harness.SANITIZED:
            self.assertLess(self.server.status("VmHWM") - before, 16 * 1024)

    def test_H2_8_unknown_encoding_is_unimplemented(self):
        error = self.assert_fails(Code.UNIMPLEMENTED,
                                  lambda: self.echo.Unary(payload(b"x" * 1000), compression=grpc.Compression.Deflate,
                                                          timeout=soon()))
        self.assertIn("deflate", error.details())


class Drain(EchoCase):
    def setUp(self):
        super().setUp()
        self.server = self.echo_server("--grace=600s")
        self.echo = stub(self.connect(self.server))
        self.pb = harness.proto("echo")

    def test_H2_13_running_calls_finish_and_new_ones_go_elsewhere(self):
        stream = self.echo.ServerStream(self.pb.StreamRequest(count=8, size=100, interval_ms=200), timeout=soon())
        first = next(stream)
        sleeping = self.echo.Sleep.future(self.pb.SleepRequest(ms=1000), timeout=soon())
        self.echo.Unary(payload(), timeout=soon())  # behind them, so both have begun
        self.server.send(signal.SIGTERM)

        def refused():
            try:
                self.echo.Unary(payload(), timeout=soon())
                return False
            except grpc.RpcError as e:
                self.assertEqual(e.code(), Code.UNAVAILABLE)
                return True
        harness.wait_until(refused, 10, "new calls to be turned away")
        self.assertEqual([m.data for m in [first, *stream]], [pattern(100, n) for n in range(8)])
        self.assertEqual(stream.code(), Code.OK)
        sleeping.result()
        self.assertEqual(self.server.wait(), 0)

    def test_idle_server_ends_at_once(self):
        self.echo.Unary(payload(), timeout=soon())
        self.assertEqual(self.server.stop(), 0)  # long before its grace is over

    def test_second_signal_ends_running_calls(self):
        sleeping = self.echo.Sleep.future(self.pb.SleepRequest(ms=600000), timeout=600)
        self.echo.Unary(payload(), timeout=soon())
        self.server.send(signal.SIGTERM)

        def refused():
            try:
                self.echo.Unary(payload(), timeout=soon())
            except grpc.RpcError:
                return True
            return False
        harness.wait_until(refused, 10, "new calls to be turned away")
        self.assertTrue(self.server.alive())
        self.server.send(signal.SIGTERM)
        self.server.wait(10)
        with self.assertRaises(grpc.RpcError) as caught:
            sleeping.result()
        self.assertEqual(caught.exception.code(), Code.UNAVAILABLE)


class Keepalive(EchoCase):
    def test_pings_of_the_client_are_answered(self):
        server = self.echo_server()
        echo = stub(self.connect(server, options=(("grpc.keepalive_time_ms", 100), ("grpc.keepalive_timeout_ms", 60000),
                                                  ("grpc.http2.max_pings_without_data", 0))))
        pb = harness.proto("echo")
        # Many pings long: the call survives only when each is answered and none counts as abuse.
        echo.Sleep(pb.SleepRequest(ms=1500), timeout=soon())
        self.assertEqual(echo.Unary(payload(b"x"), timeout=soon()).data, b"x")


class Sockets(EchoCase):
    def test_unix_socket_serves_and_is_removed(self):
        path = os.path.join(self.dir, "echo.sock")
        server = self.echo_server("--listen=unix:" + path)
        self.assertEqual(server.address(), "unix:" + path)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(stub(self.connect(server)).Unary(payload(b"x"), timeout=soon()).data, b"x")
        self.assertEqual(server.stop(), 0)
        self.assertFalse(os.path.exists(path))

    def test_ipv6_serves(self):
        try:
            with socket.socket(socket.AF_INET6) as s:
                s.bind(("::1", 0))
        except OSError as e:
            self.skipTest(f"needs IPv6: {e.strerror}")
        server = self.echo_server("--listen=[::1]:0")
        self.assertEqual(stub(self.connect(server)).Unary(payload(b"x"), timeout=soon()).data, b"x")


if __name__ == "__main__":
    harness.main()
