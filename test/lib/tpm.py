"""A TPM without a virtual machine: swtpm on a socket, tpm2-tools to look into it, and one made of nothing."""

import os
import shutil
import socket
import struct
import subprocess
import sys
import threading

import harness

RELAY = """
import os, select, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
while True:
    for fd in select.select([0, s], [], [])[0]:
        data = os.read(0, 4096) if fd == 0 else s.recv(4096)
        if not data:
            sys.exit(0)
        s.sendall(data) if fd == 0 else os.write(1, data)
"""


def need():
    """The reason to skip, or None."""
    missing = [p for p in ("swtpm", "tpm2_pcrread", "tpm2_pcrreset") if not shutil.which(p)]
    return f"needs {', '.join(missing)} (packages swtpm and tpm2-tools)" if missing else None


class Swtpm:
    """swtpm that serves commands at self.path; started anew it has all registers as after a reset."""

    def __init__(self, case, name="tpm", started=True):
        self.case = case
        self.dir = case.make_dir(name)
        self.path = os.path.join(self.dir, "sock")
        flags = "not-need-init" + (",startup-clear" if started else "")
        self.daemon = case.daemon(shutil.which("swtpm"), "socket", "--tpm2", "--tpmstate", f"dir={self.dir}",
                                  "--server", f"type=unixio,path={self.path}",
                                  "--ctrl", f"type=unixio,path={self.path}.ctrl", "--flags", flags, ready=False)
        harness.wait_until(self.listens, what="swtpm to listen")
        self.relay = case.make_file(f"{name}-relay.py", RELAY)

    def listens(self):
        """The socket is there a moment before anyone may connect to it."""
        with open("/proc/net/unix", encoding="utf-8", errors="replace") as f:
            return any(line.split()[3] == "00010000" and line.rstrip().endswith(" " + self.path) for line in f)

    def tool(self, *words, expect=0):
        env = dict(os.environ, TPM2TOOLS_TCTI=f"cmd:{sys.executable} {self.relay} {self.path}", TSS2_LOG="all+none")
        done = subprocess.run(words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=harness.deadline(30), check=False)
        if expect is not None:
            self.case.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout

    def pcr(self, number, bank="sha256"):
        """What tpm2_pcrread says of it, as bytes."""
        out = self.tool("tpm2_pcrread", f"{bank}:{number}")
        return bytes.fromhex(next(line.split("0x")[1] for line in out.splitlines() if "0x" in line))


# Answers of a TPM with one bank, by command code. TPM 2.0 part 3.
def _answer(body, tag=0x8001):
    return struct.pack(">HII", tag, 10 + len(body), 0) + body


GET_CAPABILITY, PCR_READ, PCR_EXTEND = 0x17a, 0x17e, 0x182
BANKS = _answer(struct.pack(">BII", 0, 5, 1) + b"\x00\x0b\x03\xff\xff\xff")
EXTENDED = _answer(struct.pack(">I", 0) + b"\x00\x00\x01\x00\x00", tag=0x8002)


def register(number, value):
    bits = (1 << number).to_bytes(3, "little")
    return _answer(struct.pack(">II", 0, 1) + b"\x00\x0b\x03" + bits + struct.pack(">IH", 1, len(value)) + value)


class FakeTpm:
    """Listens at path; answer(code, command) gives the bytes to send, or None for silence."""

    def __init__(self, case, path, answer):
        self.path, self.answer = path, answer
        self.commands = []
        self.asked = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(4)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        case.addCleanup(self.close)

    def _serve(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            with peer:
                while data := peer.recv(4096):
                    code = struct.unpack(">I", data[6:10])[0]
                    self.commands.append(code)
                    self.asked.set()
                    answer = self.answer(code, data)
                    if answer is not None:
                        peer.sendall(answer)

    def close(self):
        if self.listener.fileno() < 0:
            return
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(harness.deadline(10))
        os.unlink(self.path)
