"""Servers that answer wrongly, or mean no good, against our client.

Each row is a script of raw frames. Whatever comes, the call ends with the
status the gRPC specification asks for, within bounds, and the client lives.
"""

import json
import os
import socket
import struct
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from echo_peer import EchoCase, MIB, harness  # noqa: E402
import http2  # noqa: E402
from http2 import (CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PUSH_PROMISE,  # noqa: E402
                   RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, grpc_message, literal)

OK, UNKNOWN, RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 0, 2, 8, 12, 13, 14


def block(*fields):
    return b"".join(literal(n, v) for n, v in fields)


def head(*extra, status="200", kind="application/grpc"):
    fields = [(":status", status)] + ([("content-type", kind)] if kind is not None else [])
    return frame(HEADERS, END_HEADERS, 1, block(*fields, *extra))


def trailers(*fields):
    return frame(HEADERS, END_HEADERS | END_STREAM, 1, block(*fields))


def only(*fields, status="200", kind="application/grpc"):
    return frame(HEADERS, END_HEADERS | END_STREAM, 1,
                 block((":status", status), *([("content-type", kind)] if kind is not None else []), *fields))


def data(body, flags=0):
    return frame(DATA, flags, 1, body)


REPLY = grpc_message(b"\x0a\x02hi")
FINE = (("grpc-status", "0"),)


class Hostile(EchoCase):
    def setUp(self):
        super().setUp()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listener.close)
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]

    def serve(self, script, *args, method="Unary"):
        """
        The client's report of one call that is answered with the script:
        bytes, or a function of the connection.
        """
        faults = []

        def run():
            try:
                with http2.Connection.accept(self.listener) as connection:
                    while True:
                        kind, flags, stream, _ = connection.read()
                        if stream == 1 and flags & END_STREAM and kind in (DATA, HEADERS):
                            break
                    if callable(script):
                        script(connection)
                    else:
                        connection.send(script)
                    connection.until_closed()
            except (http2.Closed, OSError):
                pass
            except Exception as e:  # pylint: disable=broad-except
                faults.append(e)
        thread = threading.Thread(target=run)
        thread.start()
        done = self.run_program("rpc-echo-client", "--target=" + self.address, "--method=" + method, "--timeout=" + harness.duration(20),
                                *args)
        thread.join()
        self.assertEqual(faults, [])
        return json.loads(done.stdout)["results"][0]

    def rows(self, *rows):
        for name, script, code, text in rows:
            with self.subTest(name):
                got = self.serve(script)
                self.assertEqual(got["code"], code, got)
                if text is not None:
                    self.assertEqual(got["message"], text)

    def test_H2_9_what_stands_for_a_status(self):
        self.rows(
            ("whole reply", head() + data(REPLY) + trailers(*FINE), OK, ""),
            ("trailers only", only(("grpc-status", "5"), ("grpc-message", "gone")), 5, "gone"),
            ("no trailers", head() + data(REPLY, END_STREAM), INTERNAL, None),
            ("no grpc-status", head() + data(REPLY) + trailers(("x", "y")), UNKNOWN, None),
            ("status that is no number", head() + data(REPLY) + trailers(("grpc-status", "fine")), UNKNOWN, None),
            ("status of 99", head() + data(REPLY) + trailers(("grpc-status", "99")), UNKNOWN, None),
            ("negative status", only(("grpc-status", "-1")), UNKNOWN, None),
            ("status of 2 ** 32", only(("grpc-status", "4294967296")), UNKNOWN, None),
            ("empty status", only(("grpc-status", "")), UNKNOWN, None),
            # How many messages a method may have is for rpc_client_unary to know.
            ("OK without a message", head() + trailers(*FINE), OK, ""),
            ("trailers only OK", only(*FINE), OK, ""),
        )

    def test_H2_9_text_of_a_status(self):
        self.rows(
            ("percent", only(("grpc-status", "3"), ("grpc-message", "a%20b%25")), 3, "a b%"),
            ("unicode", only(("grpc-status", "3"), ("grpc-message", "%C3%A4")), 3, "\u00e4"),
            ("lone percent", only(("grpc-status", "3"), ("grpc-message", "100% sure %")), 3, "100% sure %"),
            ("broken hex", only(("grpc-status", "3"), ("grpc-message", "%zz%4")), 3, "%zz%4"),
            ("invalid UTF-8", only(("grpc-status", "3"), ("grpc-message", "a%FFb")), 3, "a\ufffdb"),
        )

    def test_http_status_stands_for_a_missing_grpc_status(self):
        self.rows(*((f"HTTP {status}", only(status=status, kind="text/html"), code, None)
                    for status, code in (("400", INTERNAL), ("401", 16), ("403", 7), ("404", UNIMPLEMENTED),
                                         ("429", UNAVAILABLE), ("502", UNAVAILABLE), ("503", UNAVAILABLE),
                                         ("504", UNAVAILABLE), ("500", UNKNOWN), ("204", UNKNOWN))))
        self.rows(("200 of another kind", only(status="200", kind="text/html"), UNKNOWN, None),
                  ("error page with a body", head(status="503", kind="text/html") + data(b"<html>", END_STREAM),
                   UNAVAILABLE, None))

    def test_reset_stands_for_a_status(self):
        self.rows(*((f"RST_STREAM {code}", frame(RST_STREAM, 0, 1, struct.pack(">I", code)), want, None)
                    for code, want in ((0x0, INTERNAL), (0x1, INTERNAL), (0x2, INTERNAL), (0x7, UNAVAILABLE),
                                       (0x8, 1), (0xB, RESOURCE_EXHAUSTED), (0xC, 7))))
        self.rows(("RST_STREAM within the reply",
                   head() + data(REPLY[:3]) + frame(RST_STREAM, 0, 1, struct.pack(">I", 2)), INTERNAL, None))

    def test_messages_that_are_none(self):
        self.rows(
            ("cut message", head() + data(REPLY[:-1]) + trailers(*FINE), INTERNAL, None),
            ("cut prefix", head() + data(REPLY[:3]) + trailers(*FINE), INTERNAL, None),
            ("flag 2", head() + data(b"\x02" + REPLY[1:]) + trailers(*FINE), INTERNAL, None),
            ("compressed without encoding", head() + data(b"\x01" + REPLY[1:]) + trailers(*FINE), INTERNAL, None),
            ("unknown encoding", head(("grpc-encoding", "rot13")) + data(b"\x01" + REPLY[1:]) + trailers(*FINE),
             INTERNAL, None),
            ("gzip that is none", head(("grpc-encoding", "gzip")) + data(b"\x01" + REPLY[1:]) + trailers(*FINE),
             INTERNAL, None),
        )

    def test_H2_7_length_above_the_limit_is_refused_at_once(self):
        for length in (4 * MIB + 1, 0xFFFFFFFF):
            with self.subTest(length=length):
                got = self.serve(head() + data(struct.pack(">BI", 0, length)))
                self.assertEqual((got["code"], got["message"]),
                                 (RESOURCE_EXHAUSTED,
                                  f"grpc: received message larger than max ({length} vs. 4194304)"))

    def test_H2_8_gzip_bomb_is_refused(self):
        import gzip
        bomb = gzip.compress(bytes(256 * MIB), 9)
        got = self.serve(head(("grpc-encoding", "gzip")) +
                         b"".join(data(p) for p in (grpc_message(bomb, True)[i:i + 16384]
                                                    for i in range(0, len(bomb) + 5, 16384))) + trailers(*FINE))
        self.assertEqual(got["code"], RESOURCE_EXHAUSTED, got["message"])

    def test_connection_that_breaks_is_unavailable(self):
        self.rows(
            ("end of file", lambda c: c.close(), UNAVAILABLE, None),
            ("end within the reply", lambda c: (c.send(head() + data(REPLY[:3])), c.close()), UNAVAILABLE, None),
            ("GOAWAY and end", lambda c: (c.send(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0))), c.close()),
             UNAVAILABLE, None),
            ("GOAWAY that leaves the call out", frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)), UNAVAILABLE, None),
            ("GOAWAY that takes the call in",
             frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0)) + head() + data(REPLY) + trailers(*FINE), OK, ""),
            ("no HTTP/2 any more", b"HTTP/1.1 500 Oops\r\n\r\n" * 10, UNAVAILABLE, None),
            ("frame above every limit", struct.pack(">I", 0xFFFFFF)[1:] + bytes([DATA, 0, 0, 0, 0, 1]) + bytes(100),
             UNAVAILABLE, None),
            ("push", frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + http2.request_block("/x")),
             UNAVAILABLE, None),
        )

    def test_too_much_metadata_is_refused(self):
        got = self.serve(head(("x", "y" * 15000), ("z", "y" * 15000)) + data(REPLY) + trailers(*FINE))
        self.assertEqual(got["code"], RESOURCE_EXHAUSTED, got["message"])

    def test_floods_of_a_server_end_the_connection(self):
        endless = frame(HEADERS, 0, 1, block((":status", "200")))
        for name, begin, part in (("SETTINGS", b"", frame(SETTINGS)), ("PING", b"", frame(PING, 0, 0, bytes(8))),
                                  ("empty DATA", head(), data(b"")), ("unknown", b"", frame(0x55)),
                                  ("WINDOW_UPDATE", b"", frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1))),
                                  ("CONTINUATION", endless, frame(CONTINUATION, 0, 1)),
                                  ("headers again", head(), head())):
            with self.subTest(name):
                def flood(connection, begin=begin, part=part):
                    connection.send(begin)
                    try:
                        for _ in range(4000):
                            connection.send(part * 1000)
                    except (http2.Closed, socket.timeout):
                        pass
                got = self.serve(flood)
                self.assertIn(got["code"], (UNAVAILABLE, INTERNAL), got)
                self.assertLess(got["ms"], harness.deadline(10000))

    def test_server_that_trickles_is_ended_by_the_deadline(self):
        over = threading.Event()

        def trickle(connection):
            while not over.wait(0.05):
                connection.send(frame(PING, 0, 0, bytes(8)))
        try:
            got = self.serve(trickle, "--timeout=500ms")
        finally:
            over.set()
        self.assertEqual(got["code"], 4)

    def test_data_beyond_the_window_is_a_fault(self):
        def pour(connection):
            connection.send(head() + data(struct.pack(">BI", 0, 4 * MIB)))
            try:
                for _ in range(20000):
                    connection.send(data(bytes(16384)))
            except (http2.Closed, socket.timeout):
                pass
        got = self.serve(pour)
        self.assertIn(got["code"], (INTERNAL, UNAVAILABLE), got)


if __name__ == "__main__":
    harness.main()
