"""Runs one test program and answers for everything it starts.

usage: supervise.py REPORT DEADLINE_S GRACE_S COMMAND...

It adopts orphans (PR_SET_CHILD_SUBREAPER), so that a process the program left
behind is found whatever became of its environment, group or session. When the
program has ended, what it started has GRACE_S to end too; what is left then is
named in REPORT and killed. Past DEADLINE_S everything is killed.

With TEST_FIXED_ADDRESSES set the program runs without address randomization:
the shadow memory of gcc 12's sanitizers does not fit newer kernels' wide one.

REPORT is JSON: exit (code, or null), signal, timed_out, left (command lines),
running (command lines at the moment the deadline passed), seconds.
"""

import ctypes
import json
import os
import signal
import sys
import time

ADDR_NO_RANDOMIZE = 0x0040000
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def parents():
    """pid -> (parent, state, command line) of every process."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as f:
                stat = f.read()
            with open(f"/proc/{name}/cmdline", "rb") as f:
                cmdline = f.read().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        state, parent = stat[stat.rindex(")") + 2:].split()[:2]
        found[int(name)] = (int(parent), state, cmdline or stat[:stat.rindex(")") + 1])
    return found


def descendants():
    """Living processes below this one: [(pid, command line)]."""
    table = parents()
    mine, queue = [], [os.getpid()]
    while queue:
        at = queue.pop()
        for pid, (parent, state, cmdline) in table.items():
            if parent == at:
                queue.append(pid)
                if state not in "ZX":
                    mine.append((pid, cmdline))
    return mine


class Children:
    """The kernel's word on who is left: a list of /proc can miss one that forks."""

    def __init__(self, main_pid):
        self.main_pid, self.status, self.none_left = main_pid, None, False

    def reap(self):
        """Collects whoever has ended; afterwards status and none_left are known."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.none_left = True
                return
            if pid == 0:
                return
            if pid == self.main_pid:
                self.status = status


def kill_all(children):
    """Kills until nothing is left: whoever forks meanwhile is met in the next round."""
    for _ in range(200):
        children.reap()
        if children.none_left:
            return
        for pid, _ in descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        signal.sigtimedwait({signal.SIGCHLD}, 0.05)


def main():
    report_path, deadline_s, grace_s = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})

    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        if os.environ.get("TEST_FIXED_ADDRESSES"):
            libc.personality(ADDR_NO_RANDOMIZE)  # where a container forbids it, we can only go on
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        try:
            os.execvp(sys.argv[4], sys.argv[4:])
        except OSError as e:
            print(f"{sys.argv[4]}: {e.strerror}", file=sys.stderr)
            os._exit(127)

    report = {"timed_out": False, "running": [], "left": []}
    stop = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
    children = Children(pid)
    interrupted = False
    while children.status is None:
        left_s = started + deadline_s - time.monotonic()
        if left_s <= 0:
            report["timed_out"] = True
            report["running"] = [c for _, c in descendants()]
            break
        info = signal.sigtimedwait(stop, left_s)
        if info and info.si_signo != signal.SIGCHLD:
            interrupted = True
            break
        children.reap()
    report["seconds"] = time.monotonic() - started

    grace_ends = time.monotonic() + grace_s
    while children.status is not None and not children.none_left:
        left_s = grace_ends - time.monotonic()
        if left_s <= 0:
            report["left"] = [c for _, c in descendants()]
            break
        signal.sigtimedwait({signal.SIGCHLD}, min(left_s, 0.1))
        children.reap()
    kill_all(children)

    status = children.status
    report["exit"] = os.WEXITSTATUS(status) if status is not None and os.WIFEXITED(status) else None
    report["signal"] = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
    with open(report_path, "w", encoding="utf-8") as f:
        json.dump(report, f)
    return 1 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
