"""Peers of an agent, all of them grpcio: a CVMS, a runner, and users with keys.

A test is an AgentTestCase. self.start_agent() gives a running agent that is
connected to self.cvms; what the CVMS was sent is in cvms.messages, in order.
"""

import hashlib
import os
import queue
import threading
import time

import grpc

import harness

ALGORITHM, DATA, CONSUMER = "algorithm-provider", "data-provider", "consumer"


class Key:
    """A user's key: ed25519, ecdsa or rsa."""

    def __init__(self, kind="ed25519"):
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
        self.kind = kind
        self.private = {"ed25519": ed25519.Ed25519PrivateKey.generate,
                        "ecdsa": lambda: ec.generate_private_key(ec.SECP256R1()),
                        "rsa": lambda: rsa.generate_private_key(65537, 2048)}[kind]()

    @property
    def der(self):
        from cryptography.hazmat.primitives import serialization
        return self.private.public_key().public_bytes(serialization.Encoding.DER,
                                                      serialization.PublicFormat.SubjectPublicKeyInfo)

    def sign(self, text):
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, padding
        data = text.encode()
        if self.kind == "ed25519":
            return self.private.sign(data)
        if self.kind == "ecdsa":
            return self.private.sign(data, ec.ECDSA(hashes.SHA256()))
        return self.private.sign(data, padding.PKCS1v15(), hashes.SHA256())


def base64_of(data):
    import base64
    return base64.b64encode(data).decode()


def plain(key, role):
    return [("user-id", role), ("signature", base64_of(key.sign(role)))]


def bound(key, role, computation="1", content=None, filename="", expiry=None, digest=None, said=None):
    """Metadata of a bound signature; said: members that are sent other than signed."""
    expiry = int(time.time()) + 600 if expiry is None else expiry
    digest = digest or (sha3(content).hex() if content is not None else "")
    text = "\n".join(["cocos-c bound signature v1", computation, role, digest or "-", filename or "-", str(expiry)]) + "\n"
    said = {"hash": digest, "expiry": str(expiry), **(said or {})}
    md = [("user-id", role), ("cocos-bound-signature", base64_of(key.sign(text))),
          ("cocos-bound-expiry", said["expiry"])]
    return md + ([("cocos-bound-hash", said["hash"])] if said["hash"] else [])


def sha3(content):
    return hashlib.sha3_256(content).digest()


class Cvms:
    """cvms.Service: remembers what agents say, says what it is told to."""

    def __init__(self, address="127.0.0.1:0", credentials=None):
        self.changed = threading.Condition(threading.RLock())
        self.messages = []  # (name of the member, the message in it)
        self.streams = []   # metadata of each stream of an agent, as it came
        self.forwarders = 0 # streams of log forwarders
        self.carried = set()  # (log-forwarder or agent, kind of message)
        self.outgoing = None
        self.queues = []
        self.asked = 0
        self.held = None  # keeps the port while the server is away
        if address.endswith(":0"):
            self.held, address = harness.reserve_port()
        self.address = address
        self.credentials = credentials
        self.server = None
        self.start()

    def start(self):
        """Listens, again on the same port after stop()."""
        def listen():
            try:
                return harness.grpc_server([harness.handler(harness.proto("cvms"), "Service", self)], self.address,
                                           self.credentials)
            except (OSError, RuntimeError):
                return None
        self.server, self.address = harness.wait_until(listen, what="the port of the CVMS")

    def stop(self):
        with self.changed:
            for each in self.queues:
                each.put(None)
            self.queues.clear()
        self.server.stop(0).wait()

    def close(self):
        self.stop()
        if self.held:
            self.held.close()

    def Process(self, incoming, context):
        mine = queue.Queue()
        metadata = dict(context.invocation_metadata())
        carrier = metadata.get("connection-type", "agent")
        with self.changed:
            if carrier == "agent":
                self.outgoing = mine
                self.streams.append(metadata)
            else:
                self.forwarders += 1
            self.queues.append(mine)
            self.changed.notify_all()
        # Initial metadata at once, so that a stream without a message is seen to be up.
        context.send_initial_metadata(())

        def read():
            try:
                for message in incoming:
                    with self.changed:
                        kind = message.WhichOneof("message")
                        self.messages.append((kind, getattr(message, kind)))
                        self.carried.add((carrier, kind))
                        self.changed.notify_all()
            except grpc.RpcError:
                pass
            mine.put(None)
        threading.Thread(target=read, daemon=True).start()
        while (message := mine.get()) is not None:
            yield message

    def wait(self, check, seconds=10, what="a message"):
        ends = time.monotonic() + harness.deadline(seconds)
        with self.changed:
            while not (value := check(self)):
                if not self.changed.wait(ends - time.monotonic()) and time.monotonic() >= ends:
                    raise harness.Expired(f"CVMS: no {what} within {harness.deadline(seconds):g} s; it has\n" +
                                          "\n".join(f"{k} {str(m)!r}" for k, m in self.messages[-40:]))
            return value

    def wait_streams(self, count, seconds=10):
        self.wait(lambda c: len(c.streams) >= count, seconds, f"stream {count}")

    def send(self, **members):
        self.outgoing.put(harness.proto("cvms").ServerStreamMessage(**members))

    def send_raw(self, data):
        class Raw:
            def SerializeToString(self):
                return data
        self.outgoing.put(Raw())

    def run(self, request, chunk=1024 * 1024):
        data = request.SerializeToString()
        for at in range(0, len(data), chunk):
            self.send(runReqChunks={"data": data[at:at + chunk], "id": request.id})
        self.send(runReqChunks={"id": request.id, "is_last": True})

    def of_kind(self, kind):
        with self.changed:
            return [m for k, m in self.messages if k == kind]

    def next_of(self, kind, after=0, seconds=10, **fields):
        """
        The first message of that kind and with these fields behind the first
        `after` of the kind. What was not yet acknowledged when a stream broke
        comes a second time on the next one: hence the fields.
        """
        def find(c):
            found = [m for k, m in c.messages if k == kind][after:]
            return next((m for m in found if all(getattr(m, n) == v for n, v in fields.items())), None)
        return self.wait(find, seconds, kind)

    def stop_computation(self, computation="1", seconds=20):
        count = len(self.of_kind("stopComputationRes"))
        self.send(stopComputation={"computation_id": computation})
        return self.next_of("stopComputationRes", count, seconds, computation_id=computation)

    def state(self):
        self.asked += 1
        self.send(agentStateReq={"id": f"s{self.asked}"})
        return self.next_of("agentStateRes", id=f"s{self.asked}").state

    def events(self, computation=None):
        """(type, status) of all events, each once: a second delivery has the same time stamp."""
        seen, events = set(), []
        for e in self.of_kind("agent_event"):
            name = (e.computation_id, e.timestamp.seconds, e.timestamp.nanos, e.event_type)
            if name not in seen and computation in (None, e.computation_id):
                seen.add(name)
                events.append((e.event_type, e.status))
        return events

    def wait_event(self, event_type, status, seconds=10):
        self.wait(lambda c: any(k == "agent_event" and (m.event_type, m.status) == (event_type, status)
                                for k, m in c.messages), seconds, f"event {event_type}/{status}")

    def logs(self):
        """All log lines, each once."""
        lines = {(m.timestamp.seconds, m.timestamp.nanos): m.message for m in self.of_kind("agent_log")}
        return "\n".join(lines.values())


class Runner:
    """runner.ComputationRunner on a socket; algorithm(request, work) stands for what runs."""

    def __init__(self, run_dir, work_dir):
        self.work_dir = work_dir
        self.requests = []
        self.stops = []
        self.stopped = threading.Event()
        self.entered = threading.Event()
        self.algorithm = self.sum_up
        self.on_stop = self.stop
        self.error = ""
        pb = harness.proto("runner")
        self.pb = pb
        self.server, _ = harness.grpc_server([harness.handler(pb, "ComputationRunner", self)],
                                             f"unix:{run_dir}/runner.sock")

    def sum_up(self, _request):
        """Results: the name and length of every dataset."""
        folder = os.path.join(self.work_dir, "datasets")
        lines = [f"{n} {os.path.getsize(os.path.join(folder, n))}" for n in sorted(os.listdir(folder))]
        with open(os.path.join(self.work_dir, "results", "sum.txt"), "w", encoding="utf-8") as f:
            f.write("\n".join(lines))

    def until_stopped(self, _request):
        self.stopped.wait(harness.deadline(60))
        self.error = "algorithm execution error: signal: killed"

    def Run(self, request, context):
        self.requests.append(request)
        self.stopped.clear()
        self.entered.set()
        self.algorithm(request)
        return self.pb.RunResponse(computation_id=request.computation_id, error=self.error)

    def stop(self, request, _context):
        """What Stop does unless a test has something else in on_stop."""
        from google.protobuf import empty_pb2
        self.stops.append(request.computation_id)
        self.stopped.set()
        return empty_pb2.Empty()

    def Stop(self, request, context):
        return self.on_stop(request, context)

    def close(self):
        self.stopped.set()
        self.server.stop(0).wait()


class Users:
    """Whoever calls an agent: uploads and downloads as the Go clients do."""

    def __init__(self, address, credentials=None, wait=True):
        self.pb = harness.proto("agent")
        self.channel = harness.channel(address, credentials) if wait else \
            grpc.insecure_channel(address, harness.CHANNEL_OPTIONS)
        self.stub = harness.Stub(self.channel, self.pb, "AgentService")

    def close(self):
        self.channel.close()

    def algo(self, content, md, requirements=b"", chunk=1024 * 1024, seconds=30):
        def messages():
            for at in range(0, len(requirements), chunk):
                yield self.pb.AlgoRequest(requirements=requirements[at:at + chunk])
            for at in range(0, len(content), chunk):
                yield self.pb.AlgoRequest(algorithm=content[at:at + chunk])
        return self.stub.Algo(messages(), metadata=md, timeout=harness.deadline(seconds))

    def data(self, content, md, filename="", chunk=1024 * 1024, seconds=30):
        def messages():
            for at in range(0, len(content), chunk):
                yield self.pb.DataRequest(dataset=content[at:at + chunk], filename=filename)
        return self.stub.Data(messages(), metadata=md, timeout=harness.deadline(seconds))

    def slow_algo(self, md, content):
        """
        An upload that has sent content and neither ends nor goes on. Returns
        the call and an event that lets it end.
        """
        go_on = threading.Event()

        def messages():
            yield self.pb.AlgoRequest(algorithm=content)
            go_on.wait(harness.deadline(60))
        return self.stub.Algo.future(messages(), metadata=md), go_on

    def result(self, md, seconds=30):
        """(bytes, initial metadata)"""
        call = self.stub.Result(self.pb.ResultRequest(), metadata=md, timeout=harness.deadline(seconds))
        content = b"".join(m.file for m in call)
        return content, dict(call.initial_metadata())


class AgentTestCase(harness.TestCase):
    algorithm = b"#!/bin/sh\necho hello\n"
    datasets = [("a.csv", b"1,2\n" * 1000), ("b.csv", b"3,4\n" * 10)]

    def setUp(self):
        super().setUp()
        self.cvms = Cvms()
        self.addCleanup(lambda: self.cvms.close())
        self.runner = Runner(self.run_dir, self.work_dir)
        self.addCleanup(self.runner.close)
        self.algo_key, self.data_key, self.consumer_key = Key(), Key("ecdsa"), Key()
        self.agent = None

    def agent_env(self, **more):
        return {"AGENT_CVM_GRPC_URL": self.cvms.address, "AGENT_GRPC_HOST": "127.0.0.1", "AGENT_GRPC_PORT": "0",
                "AGENT_CVM_RECONNECT_DELAY": "50ms", **more}

    def start_agent(self, **env):
        streams = len(self.cvms.streams)
        self.agent = self.daemon("cocos-agent", env=self.agent_env(**env), ready=False)
        self.cvms.wait_streams(streams + 1)
        return self.agent

    def request(self, computation="1", **members):
        """A ComputationRunReq for self.algorithm and self.datasets."""
        cvms = harness.proto("cvms")
        req = cvms.ComputationRunReq(id=computation, name="test", algorithm={
            "hash": sha3(self.algorithm), "userKey": self.algo_key.der, "algo_type": "bin"})
        for name, content in self.datasets:
            req.datasets.add(hash=sha3(content), userKey=self.data_key.der, filename=name)
        req.result_consumers.add(userKey=self.consumer_key.der)
        for name, value in members.items():
            setattr(req, name, value)
        return req

    def order(self, request=None, error=""):
        """Sends the request and checks what is answered; the address users call when it was accepted."""
        count = len(self.cvms.of_kind("run_res"))
        request = request or self.request()
        self.cvms.run(request)
        answer = self.cvms.next_of("run_res", count, computation_id=request.id)
        if error is not None:
            self.assertEqual(answer.error, error)
        return self.address() if not answer.error else None

    def address(self):
        with open(os.path.join(self.run_dir, "agent.addr"), encoding="utf-8") as f:
            return f.read().strip()

    def users(self, credentials=None):
        u = Users(self.address(), credentials)
        self.addCleanup(u.close)
        return u

    def upload_all(self, users, datasets=None):
        users.algo(self.algorithm, plain(self.algo_key, ALGORITHM))
        for name, content in self.datasets if datasets is None else datasets:
            users.data(content, plain(self.data_key, DATA), name)

    def assert_status(self, code, text, call, *args, **options):
        """The call ends with this code and a message that begins so."""
        with self.assertRaises(grpc.RpcError) as caught:
            call(*args, **options)
        self.assertEqual(caught.exception.code(), code, caught.exception.details())
        self.assertTrue(caught.exception.details().startswith(text), caught.exception.details())

    def files(self):
        """All names below the working directory."""
        return sorted(os.path.relpath(os.path.join(folder, name), self.work_dir)
                      for folder, folders, names in os.walk(self.work_dir) for name in folders + names)

    def wait_clean(self):
        """Nothing of a computation is left on disk."""
        harness.wait_until(lambda: self.files() == [], what=f"an empty working directory; it has {self.files()}")
