"""Programs on a terminal of their own, as a person sees them."""

import errno
import fcntl
import os
import pty
import struct
import subprocess
import termios

import harness


def start(argv, cwd, env, columns=80):
    """A program that has this terminal as its controlling one; returns (process, fd of the other end)."""
    controller, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(["setsid", "--ctty", "--wait", *argv], cwd=cwd, env=env, stdin=terminal,
                               stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    return process, controller


def run(argv, cwd, env, columns=80, keys=None, seconds=60):
    """
    Exit code and all that the terminal saw. keys: {text: keys typed once the
    text has been seen}.
    """
    process, controller = start(argv, cwd, env, columns)
    keys, seen = dict(keys or {}), b""
    while True:
        try:
            data = os.read(controller, 65536)
        except OSError as e:
            if e.errno != errno.EIO:
                raise
            break
        if not data:
            break
        seen += data
        for text in [t for t in keys if t.encode() in seen]:
            os.write(controller, keys.pop(text).encode())
    os.close(controller)
    return process.wait(harness.deadline(seconds)), seen.decode(errors="replace")
