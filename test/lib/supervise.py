"""Runs one test program and answers for everything it starts.

usage: supervise.py REPORT DEADLINE_S GRACE_S COMMAND...

It adopts orphans (PR_SET_CHILD_SUBREAPER), so that a process the program left
behind is found whatever became of its environment, group or session. When the
program has ended, what it started has GRACE_S to end too; what is left then is
named in REPORT and killed. Past DEADLINE_S, or when this process is told to
end, the program gets SIGUSR2 if TEST_TELLS is set (pyrun.py then says where it
is); a little later everything is killed.

What a program may inherit is the same wherever the tests are started from, by
nohup or in the background too: no signal but SIGPIPE is ignored, files are made with a
umask of 022, there is room for a few thousand descriptors and none for cores.

With TEST_FIXED_ADDRESSES set the program runs without address randomization:
the shadow memory of gcc 12's sanitizers does not fit newer kernels' wide one.

REPORT is JSON: exit (code, or null), signal, timed_out, interrupted, left
(processes: [command line, when it began on CLOCK_BOOTTIME]), running (command
lines at the moment the deadline passed), crashed (processes it adopted that a
signal like SIGSEGV ended), seconds, load (average of a minute).
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time

ADDR_NO_RANDOMIZE = 0x0040000
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
FILES_MAX = 8192
TELL_MAX_S = 20  # .ci/run kills what has not ended 30 s after it was told to
TICK = os.sysconf("SC_CLK_TCK")
CRASHES = {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS}


def parents():
    """pid -> (parent, state, command line, when it began) of every process."""
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
        fields = stat[stat.rindex(")") + 2:].split()
        found[int(name)] = (int(fields[1]), fields[0], cmdline or stat[:stat.rindex(")") + 1],
                            int(fields[19]) / TICK)
    return found


def descendants():
    """Living processes below this one: [(pid, command line, when it began)]."""
    table = parents()
    mine, queue = [], [os.getpid()]
    while queue:
        at = queue.pop()
        for pid, (parent, state, cmdline, began) in table.items():
            if parent == at:
                queue.append(pid)
                if state not in "ZX":
                    mine.append((pid, cmdline, began))
    return mine


class Children:
    """The kernel's word on who is left: a list of /proc can miss one that forks."""

    def __init__(self, main_pid):
        self.main_pid, self.status, self.none_left = main_pid, None, False
        self.crashed = []

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
            elif os.WIFSIGNALED(status) and os.WTERMSIG(status) in CRASHES:
                self.crashed.append(f"process {pid}, {signal.Signals(os.WTERMSIG(status)).name}")


def kill_all(children):
    """Kills until nothing is left: whoever forks meanwhile is met in the next round."""
    for _ in range(200):
        children.reap()
        if children.none_left:
            return
        for pid, *_ in descendants():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        signal.sigtimedwait({signal.SIGCHLD}, 0.05)


def same_everywhere():
    """Undoes what the place the tests are started from may have set."""
    os.setsid()
    # SIGPIPE stays as Python has it: our programs ignore it too.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
        try:
            signal.signal(number, signal.SIG_DFL)
        except (OSError, ValueError):  # one that the C library keeps for itself
            pass
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    os.umask(0o022)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_MAX:
        most = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def start(argv, libc):
    pid = os.fork()
    if pid == 0:
        same_everywhere()
        if os.environ.get("TEST_FIXED_ADDRESSES"):
            libc.personality(ADDR_NO_RANDOMIZE)  # where a container forbids it, we can only go on
        try:
            os.execvp(argv[0], argv)
        except OSError as e:
            print(f"{argv[0]}: {e.strerror}", file=sys.stderr, flush=True)
        os._exit(127)
    return pid


def wait(children, signals, until, enough):
    """Reaps until enough() or until then; True when a signal told us to end."""
    while not enough():
        left_s = until - time.monotonic()
        if left_s <= 0:
            return False
        info = signal.sigtimedwait(signals, min(left_s, 0.5))
        if info and info.si_signo != signal.SIGCHLD:
            return True
        children.reap()
    return False


def main():
    report_path, deadline_s, grace_s = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})

    started = time.monotonic()
    pid = start(sys.argv[4:], libc)
    report = {"timed_out": False, "running": [], "left": []}
    children = Children(pid)

    def ended():
        return children.status is not None
    interrupted = wait(children, {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}, started + deadline_s, ended)
    report["interrupted"] = interrupted
    report["seconds"] = time.monotonic() - started
    report["load"] = os.getloadavg()[0]
    if not ended():
        report["timed_out"] = not interrupted
        report["running"] = [cmdline for _, cmdline, _ in descendants()]
        if os.environ.get("TEST_TELLS"):
            os.kill(pid, signal.SIGUSR2)
            wait(children, {signal.SIGCHLD}, time.monotonic() + min(grace_s, TELL_MAX_S), ended)
    elif not wait(children, {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}, time.monotonic() + grace_s,
                  lambda: children.none_left) and not children.none_left:
        report["left"] = [(cmdline, began) for _, cmdline, began in descendants()]
    kill_all(children)

    status = children.status
    report["exit"] = os.WEXITSTATUS(status) if status is not None and os.WIFEXITED(status) else None
    report["crashed"] = children.crashed
    report["signal"] = os.WTERMSIG(status) if status is not None and os.WIFSIGNALED(status) else None
    with open(report_path, "w", encoding="utf-8") as f:
        json.dump(report, f)
    return 1 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
