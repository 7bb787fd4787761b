# test-alone
"""Peers that mean no good, or are merely many, against our server.

Each test says what the abuser gets, and that meanwhile the server's memory
and processor time stay bounded and somebody else is served.
"""

import contextlib
import os
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from echo_peer import EchoCase, cpu_seconds, harness, payload, stub, wait_quiet  # noqa: E402
import grpc  # noqa: E402
import http2  # noqa: E402
from http2 import (CANCEL, COMPRESSION_ERROR, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM,  # noqa: E402
                   HEADERS, PING, PRIORITY, PROTOCOL_ERROR, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE)

MIB_IN_KIB = 1024
UNARY = "/test.Echo/Unary"


class Other:
    """Somebody else, who calls all the time and notes how long each call took."""

    def __init__(self, test, server):
        self.echo = stub(test.connect(server))
        self.slowest = 0.0
        self.calls = 0
        self.fault = None
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._call, daemon=True)
        self.thread.start()
        harness.wait_until(lambda: self.calls or self.fault, 10, "the first call of the other client")

    def _call(self):
        try:
            while not self.over.is_set():
                began = time.monotonic()
                self.echo.Unary(payload(b"other"), timeout=harness.deadline(20))
                self.slowest = max(self.slowest, time.monotonic() - began)
                self.calls += 1
        except grpc.RpcError as e:
            self.fault = e

    def finish(self):
        self.over.set()
        self.thread.join(harness.deadline(30))
        return self


class Abuse(EchoCase):
    def setUp(self):
        super().setUp()
        self.server = self.echo_server()

    def connection(self, **more):
        made = http2.Connection(self.server.address(), **more)
        self.addCleanup(made.close)
        return made

    def assert_little_more_than(self, memory):
        """The server's memory, unless a sanitizer keeps what was freed."""
        if not harness.SANITIZED:
            self.assertLess(self.server.status("VmHWM") - memory, 4 * MIB_IN_KIB)

    def flood(self, connection, part, most):
        """
        Sends part again and again while the end of the connection is looked
        for; returns the code of the GOAWAY. A server may discard what comes
        behind its last words for a moment, but not take `most` bytes in earnest.
        """
        got = {}

        def read():
            got["code"] = connection.until_closed()
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        sent = 0
        try:
            while reader.is_alive() and sent < most:
                connection.send(part)
                sent += len(part)
        except (http2.Closed, socket.timeout):
            pass
        reader.join(harness.deadline(20))
        self.assertIn("code", got, f"the server took {sent} bytes and goes on")
        return got["code"]

    def attack(self, part, most=256 * 1024 * 1024, code=ENHANCE_YOUR_CALM, memory_mib=16, cpu=2.0, begin=b""):
        """The server must end the connection with this code, cheaply, while another client is served."""
        other = Other(self, self.server)
        memory, cpu_before = self.server.status("VmHWM"), cpu_seconds(self.server.pid)
        connection = self.connection()
        connection.settle()
        connection.send(begin)
        try:
            got = self.flood(connection, part, most)
            calls = other.calls
            harness.wait_until(lambda: other.calls > calls + 20 or other.fault, 20, "calls of the other client")
        finally:
            other.finish()
        self.assertIsNone(other.fault)
        self.assertIn(got, (code,) if isinstance(code, int) else code)
        self.assertLess(other.slowest, harness.deadline(10))
        if not harness.SANITIZED:
            self.assertLess(self.server.status("VmHWM") - memory, memory_mib * MIB_IN_KIB)
            self.assertLess(cpu_seconds(self.server.pid) - cpu_before, harness.deadline(cpu))

    # ------------------------------------------------------------------- floods

    def test_H2_1_streams_opened_and_reset_end_the_connection(self):
        head = http2.request_block("/test.Echo/Sleep")
        ask = http2.grpc_message(b"\x08\xc0\xcf\x24")
        part = b"".join(http2.frame(HEADERS, END_HEADERS, s, head) + http2.frame(DATA, END_STREAM, s, ask) +
                        http2.frame(RST_STREAM, 0, s, struct.pack(">I", CANCEL)) for s in range(1, 200001, 2))
        self.attack(part, most=len(part) + 1)

    def test_H2_2_endless_continuation_ends_the_connection(self):
        head = http2.frame(HEADERS, 0, 1, http2.request_block(UNARY))
        part = http2.frame(CONTINUATION, 0, 1, http2.literal("x-fill", "y" * 8000)) * 16
        self.attack(part, begin=head, code=(ENHANCE_YOUR_CALM, PROTOCOL_ERROR, COMPRESSION_ERROR))

    def test_H2_2_empty_continuations_end_the_connection(self):
        head = http2.frame(HEADERS, 0, 1, http2.request_block(UNARY))
        self.attack(http2.frame(CONTINUATION, 0, 1) * 5000, begin=head, code=(ENHANCE_YOUR_CALM, PROTOCOL_ERROR))

    def test_H2_3_flood_of_settings(self):
        self.attack(http2.frame(SETTINGS, 0, 0, struct.pack(">HI", 3, 100)) * 5000)

    def test_H2_3_flood_of_settings_whose_answers_nobody_reads(self):
        memory = self.server.status("VmHWM")
        connection = self.connection()
        try:
            for _ in range(200):
                connection.send(http2.frame(SETTINGS) * 5000)
        except (http2.Closed, socket.timeout):
            pass
        self.assertIn(connection.until_closed(), (ENHANCE_YOUR_CALM, None))
        if not harness.SANITIZED:
            self.assertLess(self.server.status("VmHWM") - memory, 16 * MIB_IN_KIB)

    def test_H2_3_flood_of_pings(self):
        self.attack(http2.frame(PING, 0, 0, b"12345678") * 5000)

    def test_H2_3_flood_of_empty_data(self):
        begin = http2.frame(HEADERS, END_HEADERS, 1, http2.request_block("/test.Echo/ClientStream"))
        self.attack(http2.frame(DATA, 0, 1) * 5000, begin=begin)

    def test_H2_3_flood_of_priority(self):
        self.attack(http2.frame(PRIORITY, 0, 3, struct.pack(">IB", 1, 16)) * 5000)

    def test_H2_3_flood_of_window_updates(self):
        begin = http2.frame(HEADERS, END_HEADERS, 1, http2.request_block("/test.Echo/ClientStream"))
        self.attack(http2.frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)) * 5000, begin=begin)

    def test_H2_3_flood_of_unknown_frames(self):
        self.attack(http2.frame(0x77, 0, 0, b"") * 5000)

    def closed_stream(self):
        """The beginning of a connection whose stream 1 is over."""
        return http2.frame(HEADERS, END_HEADERS, 1, http2.request_block("/test.Echo/Nothing")) + \
            http2.frame(DATA, END_STREAM, 1)

    def test_H2_3_flood_for_a_closed_stream(self):
        block = http2.request_block("/test.Echo/Nothing")
        # nghttp2 may be quicker to call it a fault of the protocol than we to call it a flood.
        for name, part in (("DATA", http2.frame(DATA, 0, 1)), ("HEADERS", http2.frame(HEADERS, END_HEADERS, 1, block)),
                           ("WINDOW_UPDATE", http2.frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)))):
            with self.subTest(name):
                self.attack(part * 5000, begin=self.closed_stream(), code=(ENHANCE_YOUR_CALM, STREAM_CLOSED))

    # -------------------------------------------------------------------- HPACK

    def test_H2_5_table_size_churn_is_refused(self):
        churn = b"".join(http2.integer(0, 5, 0x20) + http2.integer(4096, 5, 0x20) for _ in range(2000))
        connection = self.connection().settle()
        connection.send(http2.frame(HEADERS, END_HEADERS | END_STREAM, 1, churn + http2.request_block(UNARY)))
        # RFC 7541 allows updates at the head of a block; many of them must at least be cheap.
        self.assertIn(connection.until_closed_or_reply(1), (COMPRESSION_ERROR, ENHANCE_YOUR_CALM, "13", "12"))

    def test_H2_5_integer_of_4_gib_is_refused(self):
        for bad in (b"\x00\x7f\xff\xff\xff\xff\x0f", b"\x00" + b"\x7f" + b"\xff" * 20 + b"\x01",
                    b"\xff" * 40 + b"\x01", b"\x3f\xff\xff\xff\xff\x0f"):
            with self.subTest(bad=bad.hex()):
                memory = self.server.status("VmHWM")
                connection = self.connection().settle()
                connection.send(http2.frame(HEADERS, END_HEADERS | END_STREAM, 1, bad))
                self.assertIn(connection.until_closed_or_reply(1), (COMPRESSION_ERROR, PROTOCOL_ERROR))
                self.assert_little_more_than(memory)

    def test_H2_5_indexed_bomb_is_refused(self):
        value = "v" * 3900
        insert = b"\x40" + http2.string("x-bomb") + http2.string(value)
        memory = self.server.status("VmHWM")
        connection = self.connection().settle()
        block = http2.request_block(UNARY) + insert + b"\xbe" * 16000
        connection.send(http2.frame(HEADERS, 0, 1, block[:16384]) +
                        http2.frame(CONTINUATION, END_HEADERS, 1, block[16384:]))
        connection.frame(DATA, END_STREAM, 1, http2.grpc_message(b""))
        got = connection.until_closed_or_reply(1)
        self.assertIn(got, (ENHANCE_YOUR_CALM, COMPRESSION_ERROR, "8"))
        self.assert_little_more_than(memory)

    # ----------------------------------------------------------------- messages

    def test_H2_7_length_above_the_limit_is_refused_before_a_byte_of_it(self):
        for length in (4 * 1024 * 1024 + 1, 0x7FFFFFFF, 0xFFFFFFFF):
            with self.subTest(length=length):
                memory = self.server.status("VmHWM")
                connection = self.connection().settle()
                connection.send(http2.frame(HEADERS, END_HEADERS, 1, http2.request_block(UNARY)) +
                                http2.frame(DATA, 0, 1, struct.pack(">BI", 0, length)))
                _, _, trailers = connection.reply(1)
                self.assertEqual(trailers.get("grpc-status"), "8")
                self.assertEqual(trailers.get("grpc-message"),
                                 f"grpc: received message larger than max ({length} vs. 4194304)")
                self.assert_little_more_than(memory)

    def test_H2_10_deadline_is_kept_by_the_server_itself(self):
        connection = self.connection().settle()
        began = time.monotonic()
        connection.request(1, "/test.Echo/Sleep", b"\x08\xc0\xcf\x24", extra=[("grpc-timeout", "200m")])
        headers, _, trailers = connection.reply(1)
        self.assertEqual((trailers or headers).get("grpc-status"), "4")
        self.assertGreaterEqual(time.monotonic() - began, 0.19)

    def test_H2_10_malformed_deadlines_are_refused(self):
        connection = self.connection().settle()
        for stream, text in enumerate(("", "1", "m", "-1S", "123456789S", "1x", "1 S", "0x1S", "1s"), 0):
            with self.subTest(text=text):
                connection.request(2 * stream + 1, UNARY, extra=[("grpc-timeout", text)])
                _, _, trailers = connection.reply(2 * stream + 1)
                self.assertNotEqual(trailers.get("grpc-status"), "0")

    def test_H2_4_window_of_nothing_frees_what_was_queued(self):
        """A client that lets nothing through holds at most the queue of its calls."""
        memory = self.server.status("VmHWM")
        connection = self.connection(settings=[(4, 0)]).settle()
        for stream in range(1, 41, 2):
            connection.request(stream, "/test.Echo/ServerStream", b"\x08\xc0\x84\x3d\x10\xa0\x8d\x06")
        wait_quiet(self.server.pid)
        if not harness.SANITIZED:
            self.assertLess(self.server.status("VmHWM") - memory, 20 * 2 * MIB_IN_KIB)
        self.assertEqual(stub(self.connect(self.server)).Unary(payload(b"x"), timeout=harness.deadline(10)).data, b"x")

    # --------------------------------------------------------------------- many

    def test_H2_12_streams_beyond_the_limit_are_refused(self):
        """To a client that has not said yet that it knows the limit."""
        connection = self.connection()
        for stream in range(1, 2 * 150, 2):
            connection.request(stream, "/test.Echo/Sleep", b"\x08\xc0\xcf\x24")
        refused = set()
        while len(refused) < 50:
            kind, _, stream, data = connection.read()
            if kind == RST_STREAM:
                self.assertEqual(struct.unpack(">I", data)[0], 0x7)  # REFUSED_STREAM
                refused.add(stream)
        self.assertEqual(refused, set(range(201, 300, 2)))

    def test_H2_12_client_that_knows_the_limit_and_passes_it_is_ended(self):
        connection = self.connection().settle()
        for stream in range(1, 2 * 101, 2):
            connection.request(stream, "/test.Echo/Sleep", b"\x08\xc0\xcf\x24")
        self.assertEqual(connection.until_closed(), PROTOCOL_ERROR)

    def test_H2_12_idle_connection_is_ended(self):
        server = self.echo_server("--idle=500ms")
        with http2.Connection(server.address()) as connection:
            self.assertEqual(connection.until_closed(), 0)

    def test_H2_12_client_that_says_nothing_is_ended(self):
        server = self.echo_server("--handshake=300ms")
        for settings, begin in ((None, b""), (None, http2.PREFACE[:12]), (None, http2.PREFACE)):
            with self.subTest(begin=begin), http2.Connection(server.address(), settings=settings) as connection:
                with contextlib.suppress(http2.Closed):  # when that is sent too late
                    connection.send(begin)
                connection.until_closed()

    def test_client_that_does_not_answer_pings_is_ended(self):
        server = self.echo_server("--keepalive=200ms", "--keepalive-timeout=300ms")
        with http2.Connection(server.address()) as connection:
            pings = 0
            with self.assertRaises(http2.Closed):
                connection.frame(SETTINGS, http2.ACK)
                connection.request(1, "/test.Echo/Sleep", b"\x08\xc0\xcf\x24")
                while True:
                    pings += connection.read()[0] == PING
            self.assertEqual(pings, 1)

    def test_H2_12_connections_per_address_are_limited(self):
        closed, many = 0, []
        for _ in range(300):
            try:
                many.append(self.connection(source="127.0.0.2", settings=()))
            except http2.Closed:
                closed += 1
        for one in many:
            try:
                one.settle()
            except http2.Closed:
                closed += 1
        self.assertEqual(closed, 44)
        echo = stub(self.connect(self.server))
        self.assertEqual(echo.Unary(payload(b"x"), timeout=harness.deadline(10)).data, b"x")

    def test_RL_8_a_thousand_idle_clients_do_not_delay_a_healthy_one(self):
        address = self.server.address()
        host, port = address.rsplit(":", 1)
        silent = []
        for i in range(1000):
            made = socket.create_connection((host, int(port)), timeout=harness.deadline(10),
                                            source_address=(f"127.0.1.{i % 10 + 1}", 0))
            self.addCleanup(made.close)
            silent.append(made)
            if i % 3 == 1:
                made.sendall(http2.PREFACE[:10])
            elif i % 3 == 2:
                made.sendall(http2.PREFACE + http2.frame(SETTINGS) +
                             http2.frame(HEADERS, END_HEADERS, 1, http2.request_block("/test.Echo/ClientStream")))
        echo = stub(self.connect(self.server))
        before = cpu_seconds(self.server.pid)
        for _ in range(300):
            echo.Unary(payload(b"x"), timeout=harness.deadline(10))
        # By its processor time: by the clock, a busy machine delays everybody.
        self.assertLess(cpu_seconds(self.server.pid) - before, harness.deadline(0.5))
        if not harness.SANITIZED:
            self.assertLess(self.server.status("VmRSS"), 128 * MIB_IN_KIB)


class SlowReader(EchoCase):
    """A stream whose client does not read costs a queue, not the stream."""

    GIGABYTE = {"count": 10000, "size": 100000}

    def test_memory_is_flat_when_grpcio_does_not_read(self):
        server = self.echo_server()
        pb = harness.proto("echo")
        echo = stub(self.connect(server))
        before = server.status("VmHWM")
        call = echo.ServerStream(pb.StreamRequest(**self.GIGABYTE), timeout=harness.deadline(60))
        self.assertEqual(len(next(call).data), 100000)
        wait_quiet(server.pid)
        if not harness.SANITIZED:
            self.assertLess(server.status("VmHWM") - before, 8 * MIB_IN_KIB)
        call.cancel()

    def test_memory_is_flat_when_the_socket_is_not_read(self):
        server = self.echo_server()
        before = server.status("VmHWM")
        # Windows of 2 GiB: only the socket holds the server back.
        with http2.Connection(server.address(), settings=[(4, 0x7FFFFFFF)]) as connection:
            connection.settle()
            connection.frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x7FFFFFFF - 65535))
            for stream in range(1, 21, 2):
                connection.request(stream, "/test.Echo/ServerStream", b"\x08\x90\x4e\x10\xa0\x8d\x06")
            wait_quiet(server.pid)
            if not harness.SANITIZED:
                self.assertLess(server.status("VmHWM") - before, 32 * MIB_IN_KIB)

    def test_memory_is_flat_when_the_server_is_slower_than_the_client(self):
        """Bidi: the client sends without reading; the server stops taking instead of storing."""
        server = self.echo_server()
        echo = stub(self.connect(server))
        before = server.status("VmHWM")
        over = threading.Event()
        sent = []

        def endless():
            while not over.is_set() and len(sent) < 20000:
                sent.append(None)
                yield payload(bytes(50000))
        call = echo.Bidi(endless(), timeout=harness.deadline(60))
        self.assertEqual(len(next(call).data), 50000)
        wait_quiet(server.pid)
        over.set()
        self.assertLess(len(sent), 20000)
        if not harness.SANITIZED:
            self.assertLess(server.status("VmHWM") - before, 16 * MIB_IN_KIB)
        call.cancel()


if __name__ == "__main__":
    harness.main()
