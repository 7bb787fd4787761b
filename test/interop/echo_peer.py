"""Both sides of test/echo/echo.proto for the interop tests: our programs and grpcio's."""

import hashlib
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "lib"))

import grpc  # noqa: E402
import harness  # noqa: E402

MIB = 1024 * 1024
MESSAGE_MAX = 4 * MIB
PAYLOAD_OVERHEAD = 5  # tag and length of Payload.data near the limit


def payload(data=b""):
    return harness.proto("echo").Payload(data=data)


def pattern(size, first=0):
    """Byte i is (first + i) % 251, as the echo service makes them."""
    ring = bytes((first + i) % 251 for i in range(251))
    return (ring * (size // 251 + 1))[:size]


def descriptors(folder):
    """A FileDescriptorSet of the echo service, as reflection takes it; returns its path."""
    path = os.path.join(folder, "echo.pb")
    subprocess.run(["protoc", "-I" + os.path.join(harness.ROOT, "test/echo"), "--include_imports",
                    "--descriptor_set_out=" + path, "echo.proto"], check=True)
    return path


def stub(channel):
    return harness.Stub(channel, harness.proto("echo"), "Echo")


def cpu_seconds(pid):
    """Processor time a process has used."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_quiet(pid, seconds=20):
    """Until a process has used no processor time for a while: it waits for somebody."""
    state = {"cpu": -1.0, "since": time.monotonic()}

    def quiet():
        now = cpu_seconds(pid)
        if now != state["cpu"]:
            state.update(cpu=now, since=time.monotonic())
        return time.monotonic() - state["since"] > 0.3
    harness.wait_until(quiet, seconds, "a process that waits")


class EchoCase(harness.TestCase):
    """A test against rpc-echo-server."""

    def echo_server(self, *args, **more):
        return self.daemon("rpc-echo-server", *args, **more)

    def connect(self, server, credentials=None, options=(), **more):
        made = harness.channel(server.address(), credentials, options, **more)
        self.addCleanup(made.close)
        return made

    def counters(self, echo):
        return echo.Counters(payload(), timeout=harness.deadline(10))

    def assert_fails(self, code, call, text=None):
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual((caught.exception.code(), caught.exception.details() if text is not None else None),
                         (code, text))
        return caught.exception


class Echo:
    """The echo service in Python."""

    def __init__(self):
        self.pb = harness.proto("echo")
        self.lock = threading.Lock()
        self.ended = {"cancelled": 0, "deadline": 0, "finished": 0}
        self.seen = []  # (method, metadata, seconds left) of each call
        self.begun = threading.Event()

    def note(self, method, context):
        with self.lock:
            self.seen.append((method, [(m.key, m.value) for m in context.invocation_metadata()],
                              context.time_remaining()))
        self.begun.set()

    def Unary(self, request, context):
        self.note("Unary", context)
        mine = [(m.key, m.value) for m in context.invocation_metadata() if m.key.startswith("echo-")]
        context.send_initial_metadata(mine)
        context.set_trailing_metadata([("trailer-" + k, v) for k, v in mine])
        return request

    def ClientStream(self, requests, context):
        self.note("ClientStream", context)
        count, size, digest = 0, 0, hashlib.sha256()
        for r in requests:
            count += 1
            size += len(r.data)
            digest.update(r.data)
        return self.pb.Summary(count=count, bytes=size, sha256=digest.digest())

    def ServerStream(self, request, context):
        self.note("ServerStream", context)
        for n in range(request.count):
            yield payload(pattern(request.size, n))

    def Bidi(self, requests, context):
        self.note("Bidi", context)
        yield from requests

    def Sleep(self, request, context):
        self.note("Sleep", context)
        over = threading.Event()
        context.add_callback(over.set)
        if over.wait(request.ms / 1000):
            with self.lock:
                self.ended["cancelled"] += 1
        return payload()

    def Fail(self, request, context):
        self.note("Fail", context)
        for _ in range(request.messages):
            yield payload()
        codes = {c.value[0]: c for c in grpc.StatusCode}
        context.abort(codes[request.code], request.text)

    def Metadata(self, request, context):
        self.note("Metadata", context)
        entries = [self.pb.MetadataEntry(key=m.key, value=m.value if isinstance(m.value, bytes) else m.value.encode())
                   for m in context.invocation_metadata()]
        return self.pb.MetadataList(entries=entries)

    def Big(self, request, context):
        self.note("Big", context)
        return payload(pattern(request.size))


def server_tls(cert, key, client_ca=None):
    """Flags of rpc-echo-server."""
    return [f"--cert={cert}", f"--key={key}"] + ([f"--client-ca={client_ca}"] if client_ca else [])


def client_tls(ca, cert=None, key=None):
    """Flags of rpc-echo-client."""
    return [f"--ca={ca}"] + ([f"--cert={cert}", f"--key={key}"] if cert else [])
