"""A raw HTTP/2 peer for tests, client or server: it sends whatever frames it is told to.

Nothing is checked on the way out, and nothing is sent by itself: no SETTINGS
acknowledgement, no WINDOW_UPDATE, no PING answer. Header blocks of replies
are decoded by libnghttp2's HPACK decoder.
"""

import ctypes
import ctypes.util
import socket
import struct
import time

import harness

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
NO_ERROR, PROTOCOL_ERROR, STREAM_CLOSED, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 0x0, 0x1, 0x5, 0x9, 0xB
CANCEL = 0x8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def integer(value, prefix, first=0):
    """An HPACK integer with the given number of prefix bits."""
    limit = (1 << prefix) - 1
    if value < limit:
        return bytes([first | value])
    out = bytearray([first | limit])
    value -= limit
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text):
    text = text.encode() if isinstance(text, str) else text
    return integer(len(text), 7) + text


def literal(name, value):
    """A literal header field that is not put into the table."""
    return b"\x00" + string(name) + string(value)


def request_block(path, extra=(), authority="localhost"):
    fields = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", authority),
              ("te", "trailers"), ("content-type", "application/grpc"), *extra]
    return b"".join(literal(n, v) for n, v in fields)


def grpc_message(body, compressed=False):
    return struct.pack(">BI", int(compressed), len(body)) + body


class _Nv(ctypes.Structure):
    _fields_ = [("name", ctypes.POINTER(ctypes.c_uint8)), ("value", ctypes.POINTER(ctypes.c_uint8)),
                ("namelen", ctypes.c_size_t), ("valuelen", ctypes.c_size_t), ("flags", ctypes.c_uint8)]


class _Inflater:
    """HPACK decoding of one direction of a connection."""

    def __init__(self):
        self.lib = ctypes.CDLL(ctypes.util.find_library("nghttp2") or "libnghttp2.so.14")
        self.handle = ctypes.c_void_p()
        if self.lib.nghttp2_hd_inflate_new(ctypes.byref(self.handle)) != 0:
            raise MemoryError("nghttp2_hd_inflate_new")

    def decode(self, block):
        fields = []
        self.lib.nghttp2_hd_inflate_hd2.restype = ctypes.c_ssize_t
        while True:
            nv, flags = _Nv(), ctypes.c_int(0)
            used = self.lib.nghttp2_hd_inflate_hd2(self.handle, ctypes.byref(nv), ctypes.byref(flags), block,
                                                   ctypes.c_size_t(len(block)), 1)
            if used < 0:
                raise ValueError(f"the reply's header block is broken: {used}")
            block = block[used:]
            if flags.value & 2:  # a field was emitted
                fields.append((ctypes.string_at(nv.name, nv.namelen).decode(),
                               ctypes.string_at(nv.value, nv.valuelen).decode()))
            if flags.value & 1:  # the end
                self.lib.nghttp2_hd_inflate_end_headers(self.handle)
                return fields

    def close(self):
        if self.handle:
            self.lib.nghttp2_hd_inflate_del(self.handle)
            self.handle = None


class Closed(Exception):
    """The peer has closed the connection."""


class Connection:
    """
    One TCP connection. settings: (id, value) pairs of the first SETTINGS, None
    sends neither preface nor settings.
    """

    def __init__(self, address, settings=(), source=None, seconds=10):
        host, port = address.rsplit(":", 1)
        self._begin(socket.create_connection((host, int(port)), timeout=harness.deadline(seconds),
                                             source_address=(source, 0) if source else None), seconds)
        if settings is not None:
            try:
                self.send(PREFACE + frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *s) for s in settings)))
            except Closed:
                self.close()
                raise

    @classmethod
    def accept(cls, listener, seconds=10):
        """The server's side of the next connection: the preface has been read, settings exchanged."""
        self = cls.__new__(cls)
        listener.settimeout(harness.deadline(seconds))
        self._begin(listener.accept()[0], seconds)
        self.socket.settimeout(harness.deadline(seconds))
        if self._take(len(PREFACE), seconds) != PREFACE:
            raise AssertionError("no HTTP/2 preface")
        self.frame(SETTINGS)
        return self.settle()

    def _begin(self, made, seconds):
        self.until = time.monotonic() + harness.deadline(seconds)
        self.socket = made
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.inflater = _Inflater()
        self.left = b""
        self.goaway = None  # (last stream, code, text) once it came
        self.early = []     # frames that came while settling

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
        self.inflater.close()

    def send(self, data):
        """All of it; Closed when the peer no longer takes it."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Closed(str(e)) from None

    def frame(self, kind, flags=0, stream=0, payload=b""):
        self.send(frame(kind, flags, stream, payload))

    def request(self, stream, path, body=b"", end=True, extra=()):
        """A gRPC request with one message (body None: headers only)."""
        data = frame(HEADERS, END_HEADERS, stream, request_block(path, extra))
        if body is not None:
            data += frame(DATA, END_STREAM if end else 0, stream, grpc_message(body))
        self.send(data)

    def settle(self):
        """Until the peer's SETTINGS came and ours are acknowledged; then acknowledges the peer's."""
        seen, early = set(), []
        while len(seen) < 2:
            got = self.read()
            if got[0] == SETTINGS:
                seen.add(got[1] & ACK)
            else:
                early.append(got)
        self.early = early
        self.frame(SETTINGS, ACK)
        return self

    def _take(self, count, seconds):
        until = self.until if seconds is None else time.monotonic() + harness.deadline(seconds)
        while len(self.left) < count:
            left = until - time.monotonic()
            if left <= 0:
                raise harness.Expired("no frame from the server")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except socket.timeout:
                continue
            except ConnectionResetError as e:
                raise Closed(str(e)) from None
            if not data:
                raise Closed("end of file")
            self.left += data
        taken, self.left = self.left[:count], self.left[count:]
        return taken

    def read(self, seconds=None):
        """(kind, flags, stream, payload) of the next frame. The header block of HEADERS is decoded into a list."""
        if self.early:
            return self.early.pop(0)
        head = self._take(9, seconds)
        length = struct.unpack(">I", b"\0" + head[:3])[0]
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        payload = self._take(length, seconds)
        if kind == HEADERS:
            while not flags & END_HEADERS:
                more = self._take(9, seconds)
                payload += self._take(struct.unpack(">I", b"\0" + more[:3])[0], seconds)
                flags |= more[4] & END_HEADERS
            payload = self.inflater.decode(payload)
        if kind == GOAWAY:
            last, code = struct.unpack(">II", payload[:8])
            self.goaway = (last, code, payload[8:].decode(errors="replace"))
        return kind, flags, stream, payload

    def until_closed(self, seconds=20):
        """Reads to the end; returns the code of the last GOAWAY, None when none came."""
        try:
            while True:
                self.read(seconds)
        except Closed:
            return self.goaway[1] if self.goaway else None

    def until_closed_or_reply(self, stream):
        """The grpc-status of the stream's reply, or the code of the GOAWAY when the connection ended instead."""
        try:
            headers, _, trailers = self.reply(stream, 20)
        except Closed:
            return self.goaway[1] if self.goaway else None
        if "reset" in trailers:
            return self.until_closed()
        return trailers.get("grpc-status") or headers.get("grpc-status")

    def reply(self, stream, seconds=None):
        """(headers, data, trailers) of a stream to its end; a reset gives trailers {"reset": code}."""
        headers, data = None, b""
        while True:
            kind, flags, at, payload = self.read(seconds)
            if at != stream:
                continue
            if kind == RST_STREAM:
                return headers, data, {"reset": struct.unpack(">I", payload)[0]}
            if kind == DATA:
                data += payload
            if kind == HEADERS:
                if flags & END_STREAM:
                    return headers, data, dict(payload)
                headers = dict(payload)
            elif kind == DATA and flags & END_STREAM:
                return headers, data, {}
