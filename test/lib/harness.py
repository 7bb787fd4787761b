"""What the Python tests share: programs with deadlines, certificates, gRPC.

A test is a harness.TestCase. It starts our binaries with self.daemon(...) and
self.run_program(...); each test has a folder of its own (self.dir) with the
run, state and work folders of the project in it. After the test everything it
started is stopped; a daemon that crashed, or does not end on SIGTERM, fails
the test, and what the daemons wrote is shown when the test failed.
"""

import atexit
import datetime
import errno
import importlib
import ipaddress
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("COCOS_TEST_BUILD") or os.path.join(ROOT, "build")
SCALE = float(os.environ.get("TEST_TIME_SCALE", "1"))
PATIENCE = 6  # what takes a second here may take six on a machine that does much else besides
SANITIZED = "san-" in os.path.basename(BUILD)
FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"

# grpcio must not look for a proxy, and must not keep a port for two servers.
CHANNEL_OPTIONS = (("grpc.enable_http_proxy", 0),)
SERVER_OPTIONS = (("grpc.so_reuseport", 0),)


class Expired(AssertionError):
    """Something did not happen before its deadline."""


def deadline(seconds):
    """
    Seconds to allow for what takes at most so long on an idle machine: more
    in this kind of build, and far more altogether, for a deadline is there to
    end what hangs and not to measure.
    """
    return seconds * SCALE * PATIENCE


def duration(seconds):
    """deadline(seconds) as our programs take it on their command lines."""
    return f"{int(deadline(seconds) * 1000)}ms"


def binary(name):
    return os.path.join(BUILD, name)


def need_binary(name):
    """Path of a binary; the test fails, not skips, when it was not built."""
    path = binary(name)
    if not os.access(path, os.X_OK):
        raise AssertionError(f"{path} has not been built: run make")
    return path


def wait_until(check, seconds=10, what="the condition"):
    """check() until it gives something true, which is returned; Expired when it never does."""
    ends = time.monotonic() + deadline(seconds)
    pause = 0.001
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() >= ends:
            raise Expired(f"{what}: not within {deadline(seconds):g} s")
        select.select([], [], [], pause)
        pause = min(pause * 2, 0.05)


def reserve_port():
    """
    (socket, "127.0.0.1:port"): a port that nobody else is given while the
    socket is open, for a server that is to come later, or to go and come
    back. Such a server sets SO_REUSEADDR, as ours and grpcio's do.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held, f"127.0.0.1:{held.getsockname()[1]}"


def rmtree(path):
    """Removes a folder, also one whose parts were made read-only."""
    def again(function, name, _):
        try:
            os.chmod(os.path.dirname(name), 0o700)
            os.chmod(name, 0o700)
            function(name)
        except FileNotFoundError:
            pass
    shutil.rmtree(path, onerror=again)


# -------------------------------------------------------------------- daemons

class Daemon:
    """A running program. What it writes is read as it comes and kept."""

    def __init__(self, argv, env, cwd, name=None):
        self.name = name or os.path.basename(argv[0])
        self.argv = argv
        self.out = []      # lines of stdout
        self.records = []  # those of them that are JSON objects
        self.err = ""      # stderr, whole
        self.expected_signals = set()
        self.changed = threading.Condition()
        self.at_end = False
        self.process = subprocess.Popen(argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, start_new_session=True)
        self.pid = self.process.pid
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        out_fd, err_fd = self.process.stdout.fileno(), self.process.stderr.fileno()
        open_fds, rest = {out_fd, err_fd}, b""
        while open_fds:
            for fd in select.select(list(open_fds), [], [])[0]:
                data = os.read(fd, 65536)
                if not data:
                    open_fds.discard(fd)
                with self.changed:
                    if fd == err_fd:
                        self.err += data.decode(errors="replace")
                    else:
                        *lines, rest = (rest + data).split(b"\n")
                        for line in lines:
                            self._line(line.decode(errors="replace"))
                    self.changed.notify_all()
        with self.changed:
            if rest:
                self._line(rest.decode(errors="replace"))
            self.at_end = True
            self.changed.notify_all()
        self.process.stdout.close()
        self.process.stderr.close()

    def _line(self, line):
        self.out.append(line)
        if line.startswith("{"):
            try:
                self.records.append(json.loads(line))
            except ValueError:
                pass

    def wait_for(self, check, seconds=10, what="output"):
        """check(self) after each piece of output until it is true; its value is returned."""
        ends = time.monotonic() + deadline(seconds)
        with self.changed:
            while True:
                value = check(self)
                if value:
                    return value
                left = ends - time.monotonic()
                if self.at_end:
                    raise AssertionError(f"{self.name} ended without {what}\n{self.text()}")
                if left <= 0:
                    raise Expired(f"{self.name}: no {what} within {deadline(seconds):g} s, "
                                  f"load {os.getloadavg()[0]:.1f}\n{self.text()}")
                self.changed.wait(left)

    def wait_log(self, seconds=10, after=0, contains=None, **fields):
        """
        The first log record at or behind index `after` whose fields have these
        values and whose msg contains the text: wait_log(msg="ready").
        """
        def find(_):
            for record in self.records[after:]:
                if all(record.get(k) == v for k, v in fields.items()) and \
                        (contains is None or contains in str(record.get("msg", ""))):
                    return record
            return None
        wanted = ", ".join([f"{k}={v!r}" for k, v in fields.items()] + ([f"msg with {contains!r}"] if contains else []))
        return self.wait_for(find, seconds, f"log record {wanted}")

    def wait_text(self, text, seconds=10):
        """Until stdout or stderr has this text."""
        self.wait_for(lambda d: text in d.err or any(text in line for line in d.out), seconds, f"text {text!r}")

    def ready(self, seconds=15):
        """The ready record of a daemon of ours; its "addr" is where it listens."""
        return self.wait_log(seconds, msg="ready")

    def address(self, seconds=15):
        return self.ready(seconds)["addr"]

    def alive(self):
        return self.process.poll() is None

    def send(self, number):
        self.expected_signals.add(number)
        os.kill(self.pid, number)

    def wait(self, seconds=20):
        """Exit code (negative: the signal that ended it), once all output has been read."""
        try:
            code = self.process.wait(deadline(seconds))
        except subprocess.TimeoutExpired:
            raise Expired(f"{self.name} is still running after {deadline(seconds):g} s\n{self.text()}") from None
        self.reader.join(deadline(5))
        return code

    def stop(self, number=signal.SIGTERM, seconds=20):
        """Asks it to end; returns its exit code."""
        if self.alive():
            self.send(number)
        return self.wait(seconds)

    def kill(self):
        """kill -9, only this process: what it started lives on, as after a crash."""
        if self.alive():
            self.send(signal.SIGKILL)
        return self.wait()

    def kill_group(self):
        """kill -9 for it and for what it started in its process group."""
        self.expected_signals.add(signal.SIGKILL)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        return self.wait()

    def status(self, key):
        """A number of /proc/<pid>/status: status("VmHWM") is the peak memory in KiB."""
        with open(f"/proc/{self.pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith(key + ":"):
                    return int(line.split()[1])
        raise KeyError(key)

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def text(self):
        return (f"---- {self.name} ({' '.join(self.argv)})\n" + "\n".join(self.out) +
                (f"\n---- {self.name}, stderr\n{self.err}" if self.err else ""))


# ----------------------------------------------------------------------- tests

class TestCase(unittest.TestCase):
    """See the top of the file. `dir` is private to the test and short enough for unix sockets."""

    maxDiff = None

    def setUp(self):
        super().setUp()
        self.daemons = []
        self.dir = tempfile.mkdtemp(prefix="t")
        self.addCleanup(rmtree, self.dir)
        self.run_dir, self.state_dir, self.work_dir = (self.make_dir(n) for n in ("run", "state", "work"))
        self.addCleanup(self._stop_daemons)

    def reserve_port(self):
        """An address as reserve_port() gives it, kept for this test until it is over."""
        held, address = reserve_port()
        self.addCleanup(held.close)
        return address

    def make_dir(self, *parts):
        path = os.path.join(self.dir, *parts)
        os.makedirs(path, exist_ok=True)
        return path

    def make_file(self, name, content):
        """A file in self.dir with this text or these bytes; returns its path."""
        path = os.path.join(self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content.encode() if isinstance(content, str) else content)
        return path

    def environment(self, extra=None, faketime=None):
        env = dict(os.environ)
        env.update({"COCOS_RUN_DIR": self.run_dir, "COCOS_STATE_DIR": self.state_dir,
                    "COCOS_WORK_DIR": self.work_dir})
        if faketime:
            self.use_faketime(env, faketime)
        for key, value in (extra or {}).items():
            if value is None:
                env.pop(key, None)
            else:
                env[key] = str(value)
        return env

    def use_faketime(self, env, when):
        """Another day for a program, "+400d"; its monotonic clock stays."""
        if not os.path.exists(FAKETIME):
            self.skipTest(f"needs libfaketime: {FAKETIME} is not there")
        if SANITIZED and "thread" in os.path.basename(BUILD):
            self.skipTest("libfaketime does not run under ThreadSanitizer")
        env.update({"LD_PRELOAD": FAKETIME, "FAKETIME": when, "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
        env["ASAN_OPTIONS"] = env.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"

    def daemon(self, name, *args, env=None, cwd=None, ready=True, faketime=None, label=None):
        """Starts a binary of ours (or any program, by its path); waits for its ready line unless told not to."""
        argv = [name if "/" in name else need_binary(name)] + [str(a) for a in args]
        d = Daemon(argv, self.environment(env, faketime), cwd or self.dir, label)
        self.daemons.append(d)
        if ready:
            d.ready()
        return d

    def run_program(self, name, *args, env=None, cwd=None, stdin=None, seconds=30, faketime=None, expect=None):
        """
        Runs a binary to its end; returns subprocess.CompletedProcess with text
        output. expect: the exit code wanted.
        """
        argv = [name if "/" in name else need_binary(name)] + [str(a) for a in args]
        done = subprocess.run(argv, env=self.environment(env, faketime), cwd=cwd or self.dir, input=stdin,
                              stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True,
                              text=True, errors="replace", timeout=deadline(seconds), check=False)
        if done.returncode < 0 or (expect is not None and done.returncode != expect):
            self.fail(f"{' '.join(argv)}: exit code {done.returncode}, wanted {expect}\n"
                      f"---- stdout\n{done.stdout}\n---- stderr\n{done.stderr}")
        return done

    def _failed(self):
        outcome = getattr(self, "_outcome", None)
        return outcome is not None and not outcome.success

    def _stop_daemons(self):
        faults = []
        for d in reversed(self.daemons):
            if d.alive():
                try:
                    d.stop()
                except Expired:
                    faults.append(f"{d.name} does not end on SIGTERM")
            code = d.kill_group()
            if code < 0 and -code not in d.expected_signals:
                faults.append(f"{d.name} was ended by {signal.Signals(-code).name}")
            if code == 99:
                faults.append(f"{d.name} was ended by a sanitizer")
        if self._failed() or faults:
            for d in self.daemons:
                print(d.text(), flush=True)
        if faults:
            self.fail("\n".join(faults))


def main():
    """Runs the file by itself, with unittest's own output."""
    unittest.main(module="__main__", verbosity=2)


# ---------------------------------------------------------------- keys, certs

def make_key(path, kind="rsa"):
    """A private key in PEM (PKCS#8) at path and its public half at path.pub; kind: rsa, ecdsa, ed25519."""
    options = {"rsa": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
               "ecdsa": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
               "ed25519": ["-algorithm", "ED25519"]}[kind]
    subprocess.run(["openssl", "genpkey", *options, "-out", path], check=True, capture_output=True)
    subprocess.run(["openssl", "pkey", "-in", path, "-pubout", "-out", path + ".pub"], check=True,
                   capture_output=True)
    return path


class Authority:
    """A certificate authority in a folder: ca.pem, and leaves made by issue()."""

    def __init__(self, folder, name="test authority"):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.name = name
        self.path = os.path.join(folder, "ca.pem")
        self.cert, self.key = self._make(name, None, ca=True)
        self._write(self.path, self.cert)

    def _make(self, name, issuer, ca=False, hosts=(), usage=None, days=(-1, 30)):
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.utcnow()
        issuer_cert, issuer_key = issuer or (None, key)
        builder = (x509.CertificateBuilder().subject_name(subject)
                   .issuer_name(issuer_cert.subject if issuer_cert else subject)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now + datetime.timedelta(days=days[0]))
                   .not_valid_after(now + datetime.timedelta(days=days[1]))
                   .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
                   .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
                   .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
                                  critical=False))
        if hosts:
            names = []
            for host in hosts:
                try:
                    names.append(x509.IPAddress(ipaddress.ip_address(host)))
                except ValueError:
                    names.append(x509.DNSName(host))
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        if usage:
            oid = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}[usage]
            builder = builder.add_extension(x509.ExtendedKeyUsage([oid]), critical=False)
        return builder.sign(issuer_key, hashes.SHA256()), key

    @staticmethod
    def _write(path, cert):
        from cryptography.hazmat.primitives import serialization
        with open(path, "wb") as f:
            f.write(cert.public_bytes(serialization.Encoding.PEM))

    def issue(self, name, hosts=("localhost", "127.0.0.1", "::1"), usage="server", days=(-1, 30)):
        """
        A leaf; returns (certificate path, key path). usage: server, client or
        None. days: first and last day from now; (-20, -10) has expired.
        """
        from cryptography.hazmat.primitives import serialization
        cert, key = self._make(name, (self.cert, self.key), hosts=hosts, usage=usage, days=days)
        cert_path, key_path = (os.path.join(self.folder, name + suffix) for suffix in (".pem", ".key"))
        self._write(cert_path, cert)
        with open(key_path, "wb") as f:
            f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                      serialization.NoEncryption()))
        os.chmod(key_path, 0o600)
        return cert_path, key_path


# ------------------------------------------------------------------------ gRPC

_PROTO_DIR = None


def proto(name):
    """The protobuf module of src/proto/<name>.proto or test/echo/<name>.proto, made by protoc for this run."""
    global _PROTO_DIR
    if _PROTO_DIR is None:
        folder = tempfile.mkdtemp(prefix="pb")
        atexit.register(shutil.rmtree, folder, True)
        for source in ("src/proto", "test/echo"):
            here = os.path.join(ROOT, source)
            files = sorted(f for f in os.listdir(here) if f.endswith(".proto"))
            if files:
                subprocess.run(["protoc", f"-I{here}", "-I/usr/include", f"--python_out={folder}", *files], check=True)
        sys.path.insert(0, folder)
        _PROTO_DIR = folder
    return importlib.import_module(name + "_pb2")


def message_class(descriptor):
    from google.protobuf import message_factory
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory().GetPrototype(descriptor)


_METHOD_KIND = {(False, False): "unary_unary", (False, True): "unary_stream",
                (True, False): "stream_unary", (True, True): "stream_stream"}


def _streams(module, service, method):
    """Which sides of a method stream; grpcio's descriptors of this age do not say."""
    from google.protobuf import descriptor_pb2
    file = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(file)
    for s in file.service:
        for m in s.method:
            if s.name == service.name and m.name == method.name:
                return m.client_streaming, m.server_streaming
    raise KeyError(method.name)


class Stub:
    """
    A client of one service: Stub(channel, proto("agent"), "AgentService").
    Each method is a grpcio callable: stub.Algo(iterator, metadata=..., timeout=...).
    """

    def __init__(self, channel, module, service_name):
        service = module.DESCRIPTOR.services_by_name[service_name]
        for method in service.methods:
            kind = _METHOD_KIND[_streams(module, service, method)]
            setattr(self, method.name, getattr(channel, kind)(
                f"/{service.full_name}/{method.name}",
                request_serializer=lambda m: m.SerializeToString(),
                response_deserializer=message_class(method.output_type).FromString))


def handler(module, service_name, servicer):
    """
    A grpcio handler of one service; servicer has a method of each name it
    implements, taking (request or iterator, context).
    """
    import grpc
    service = module.DESCRIPTOR.services_by_name[service_name]
    methods = {}
    for method in service.methods:
        function = getattr(servicer, method.name, None)
        if function is not None:
            make = getattr(grpc, _METHOD_KIND[_streams(module, service, method)] + "_rpc_method_handler")
            methods[method.name] = make(function, request_deserializer=message_class(method.input_type).FromString,
                                        response_serializer=lambda m: m.SerializeToString())
    return grpc.method_handlers_generic_handler(service.full_name, methods)


def channel(address, credentials=None, options=(), seconds=10):
    """A grpcio channel that is connected; address as in a ready line. Close it, or use it in a with."""
    import grpc
    options = list(CHANNEL_OPTIONS) + list(options)
    made = grpc.secure_channel(address, credentials, options) if credentials else \
        grpc.insecure_channel(address, options)
    try:
        grpc.channel_ready_future(made).result(timeout=deadline(seconds))
    except grpc.FutureTimeoutError:
        made.close()
        raise Expired(f"no gRPC connection to {address} within {deadline(seconds):g} s") from None
    return made


def grpc_server(handlers, address="127.0.0.1:0", credentials=None, workers=16, options=()):
    """A started grpcio server; returns (server, "127.0.0.1:port"). Stop it: server.stop(0).wait()."""
    import grpc
    from concurrent import futures
    server = grpc.server(futures.ThreadPoolExecutor(workers), options=list(SERVER_OPTIONS) + list(options))
    server.add_generic_rpc_handlers(tuple(handlers))
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    if port == 0:
        raise OSError(errno.EADDRINUSE, "grpcio could not listen", address)
    server.start()
    return server, address if address.startswith("unix:") else f"{address.rsplit(':', 1)[0]}:{port}"
