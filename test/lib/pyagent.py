"""An agent in Python, for the tests of cocos-cli: keeps what it is sent, misbehaves on request."""

import base64
import contextlib
import os
import select
import socket
import struct
import threading

import harness

MIB = 1024 * 1024


def content_of(path):
    with open(path, "rb") as f:
        return f.read()


def md_of(context):
    """Request metadata as key → list of values."""
    found = {}
    for key, value in context.invocation_metadata():
        found.setdefault(key, []).append(value)
    return found


class Health:
    def __init__(self, status=1):
        self.status = status

    def Check(self, request, context):
        assert request.service == "agent"
        return harness.proto("health").HealthCheckResponse(status=self.status)


class Describe:
    def __init__(self, computation_id):
        self.computation_id = computation_id
        self.asked = 0

    def Describe(self, request, context):
        self.asked += 1
        return harness.proto("extensions").DescribeResponse(computation_id=self.computation_id,
                                                            state="ReceivingData")


class Agent:
    """
    Takes all and keeps it. `meanwhile` is called with the context once the
    first message is there, `at_end` once all have come and before the answer.
    """

    def __init__(self):
        self.pb = harness.proto("agent")
        self.md = None
        self.messages = []
        self.meanwhile = lambda context: None
        self.at_end = lambda: None
        self.result = [("file-size", "0")], []
        self.ended = threading.Event()

    def take(self, iterator, context):
        self.md = md_of(context)
        self.messages.clear()
        context.add_callback(self.ended.set)
        for message in iterator:
            self.messages.append(message)
            if len(self.messages) == 1:
                self.meanwhile(context)
        self.at_end()

    def Algo(self, iterator, context):
        self.take(iterator, context)
        return self.pb.AlgoResponse()

    def Data(self, iterator, context):
        self.take(iterator, context)
        return self.pb.DataResponse()

    def Result(self, request, context):
        self.md = md_of(context)
        header, pieces = self.result
        context.send_initial_metadata(header)
        for piece in pieces:
            if callable(piece):
                piece(context)
            else:
                yield self.pb.ResultResponse(file=piece)


class Relay:
    """A TCP connection that can be cut as if the other machine had died."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.sockets = []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        with contextlib.suppress(OSError, ValueError):  # what select says of a socket that was cut
            client, _ = self.listener.accept()
            server = socket.create_connection(self.target)
            self.sockets = [client, server]
            other = {client: server, server: client}
            while True:
                for s in select.select([client, server], [], [])[0]:
                    data = s.recv(65536)
                    if not data:
                        return
                    other[s].sendall(data)

    def cut(self):
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.shutdown(socket.SHUT_RD)
                s.close()
        self.listener.close()


def verify(public_pem, text, signature):
    """Raises unless the signature holds; the forms of the wire sheet, section 4.1."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding
    key = serialization.load_pem_public_key(public_pem)
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, text)
    elif isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, text, ec.ECDSA(hashes.SHA256()))
    else:
        key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())


class TestCase(harness.TestCase):
    computation_id = None  # not None: the agent knows bound signatures

    def setUp(self):
        super().setUp()
        self.agent = Agent()
        self.describe = Describe(self.computation_id) if self.computation_id is not None else None
        self.key = harness.make_key(os.path.join(self.dir, "private.pem"), "ecdsa")
        self.url = None

    def serve(self, health=True, credentials=None, address="127.0.0.1:0"):
        handlers = [harness.handler(harness.proto("agent"), "AgentService", self.agent)]
        if health:
            handlers.append(harness.handler(harness.proto("health"), "Health",
                                            health if isinstance(health, Health) else Health()))
        if self.describe:
            handlers.append(harness.handler(harness.proto("extensions"), "Computation", self.describe))
        server, self.url = harness.grpc_server(handlers, address, credentials)
        self.addCleanup(lambda: server.stop(0).wait())
        return server

    def env(self, more=None):
        env = {"AGENT_GRPC_URL": self.url, "NO_COLOR": None}
        env.update(more or {})
        return env

    def cli(self, *args, expect=0, env=None, **more):
        return self.run_program("cocos-cli", *args, expect=expect, env=self.env(env), **more)

    def hold(self):
        """For agent.meanwhile: keeps the call until the test is over."""
        release = threading.Event()
        self.addCleanup(release.set)
        return lambda context: release.wait(harness.deadline(60))

    def cli_of_patience(self, *args):
        """
        Runs it with as little patience (AGENT_GRPC_TIMEOUT) as gets its call
        through to the agent, and to fail there; (what was done, that patience).
        """
        for patience in ("700ms", "5s", "30s"):
            done = self.cli(*args, expect=1, env={"AGENT_GRPC_TIMEOUT": patience}, seconds=60)
            if self.agent.md:
                break
        return done, patience

    def start_cli(self, *args, env=None):
        return self.daemon("cocos-cli", *args, env=self.env(env), ready=False)

    def sparse(self, name, size):
        path = self.make_file(name, "")
        os.truncate(path, size)
        return path

    def check_plain_signature(self, role, key=None):
        self.assertEqual(self.agent.md["user-id"], [role])
        self.assertEqual(len(self.agent.md["signature"]), 1)
        verify(content_of((key or self.key) + ".pub"), role.encode(),
               base64.b64decode(self.agent.md["signature"][0], validate=True))
