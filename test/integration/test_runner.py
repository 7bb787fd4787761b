"""cocos-runner between a grpcio caller and a grpcio log forwarder."""
# test-deadline: 900

import base64
import contextlib
import hashlib
import os
import signal
import stat
import threading
import time
import zipfile

import grpc

import guest
import harness


def alive(pid):
    """A process that runs; one that is dead and not waited for does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before open, or between open and read
        return False


def make_wheel(folder, name="cocosprobe", text="VALUE = 42\n"):
    """A pure Python wheel of one module, made by hand: no index, no network."""
    info = f"{name}-1.0.dist-info"
    files = {f"{name}.py": text,
             f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
             f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content)}\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    with zipfile.ZipFile(os.path.join(folder, f"{name}-1.0-py3-none-any.whl"), "w") as z:
        for path, content in files.items():
            z.writestr(path, content)


class Runner(harness.TestCase):
    collected = True  # a log forwarder is there

    def setUp(self):
        super().setUp()
        self.closers = []
        self.addCleanup(self.close_all)
        self.collector = None
        if self.collected:
            self.collector = guest.Collector(f"{self.run_dir}/log.sock")
            self.closers.append(self.collector.stop)

    def close_all(self):
        for close in reversed(self.closers):
            close()

    def start(self, env=None):
        # Debian's python3 before any other that PATH may hold.
        env = {"PATH": "/usr/bin:/bin", **(env or {})}
        self.runner = self.daemon("cocos-runner", env=env)
        self.stub = self.connect()
        return self.runner

    def connect(self):
        self.channel = harness.channel(f"unix:{self.run_dir}/runner.sock")
        self.closers.append(self.channel.close)
        return guest.runner_stub(self.channel)

    def algorithm(self, text):
        path = os.path.join(self.work_dir, "algo")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o700)
        return path

    def shell(self, text):
        return self.algorithm("#!/bin/sh\n" + text)

    def request(self, computation="c-1", algo_type="bin", args=(), requirements=""):
        return harness.proto("runner").RunRequest(
            computation_id=computation, algo_type=algo_type, algorithm_path=os.path.join(self.work_dir, "algo"),
            requirements_path=requirements, args=args)

    def run_it(self, seconds=60, **kwargs):
        return self.stub.Run(self.request(**kwargs), timeout=harness.deadline(seconds))

    def run_later(self, **kwargs):
        return self.stub.Run.future(self.request(**kwargs), timeout=harness.deadline(120))

    def wait_file(self, name):
        """Until the algorithm has written that file into the work dir; its text."""
        path = os.path.join(self.work_dir, name)
        return harness.wait_until(lambda: os.path.exists(path) and open(path, encoding="utf-8").read(), 20, name)

    def written_down(self, text):
        """Whether the runner's outbox holds this text, and so a kill -9 does not take it away."""
        for folder, _, names in os.walk(self.state_dir):
            for name in names:
                with contextlib.suppress(FileNotFoundError), open(os.path.join(folder, name), "rb") as f:
                    if text.encode() in f.read():
                        return True
        return False

    def wait_dead(self, *pids):
        for pid in pids:
            harness.wait_until(lambda p=pid: not alive(p), 20, f"end of process {pid}")

    def output(self, level):
        """What the algorithm wrote, without what the runner says about it."""
        return "".join(e.message for e in self.collector.logs(level)
                       if e.computation_id == "c-1" and not e.message.startswith("journal: "))


class Outcome(Runner):
    def test_success_has_no_error_and_its_output_becomes_debug_logs(self):
        self.start()
        self.shell('echo "args: $*"; pwd; mkdir -p results; echo 1 > results/r')
        reply = self.run_it(args=["one", "two three"])
        self.assertEqual((reply.computation_id, reply.error), ("c-1", ""))
        self.assertEqual(open(f"{self.work_dir}/results/r", encoding="ascii").read(), "1\n")
        self.collector.wait(lambda c: "args: one two three\n" in self.output("DEBUG") and
                            os.path.realpath(self.work_dir) in self.output("DEBUG"))
        self.assertEqual(self.collector.events(), [])

    def test_stderr_becomes_error_logs_and_an_event_for_each_piece_before_the_answer(self):
        self.start()
        self.shell("echo one >&2; while [ ! -e on ]; do sleep 0.01; done; echo two >&2; exit 7")
        future = self.run_later()
        self.collector.wait(lambda c: len(c.events()) == 1)
        began = time.monotonic()
        self.make_file("work/on", "")
        reply = future.result()
        # They are there when the answer is, which waits for them for a second.
        if time.monotonic() - began > 1:
            self.collector.wait(lambda c: len(c.events()) == 2 and "two\n" in self.output("ERROR"))
        events = list(self.collector.events())
        self.assertEqual([(e.event_type, e.status, e.originator, e.computation_id) for e in events],
                         [("AlgorithmRun", "Warning", "computation-runner", "c-1")] * 2)
        self.assertLess(events[0].timestamp.ToNanoseconds(), events[1].timestamp.ToNanoseconds())
        self.assertEqual(self.output("ERROR"), "one\ntwo\n")
        self.assertEqual(reply.error, "algorithm execution error: exit status 7; last lines of stderr:\none\ntwo")

    def test_signal_is_told(self):
        self.start()
        self.shell("kill -KILL $$")
        self.assertEqual(self.run_it().error, "algorithm execution error: signal: killed")

    def test_huge_output_without_newline_arrives_in_pieces_of_500_bytes(self):
        self.start()
        self.shell("head -c 400000 /dev/zero | tr '\\0' x")
        self.assertEqual(self.run_it().error, "")
        self.collector.wait(lambda c: sum(len(e.message) for e in c.logs("DEBUG") if e.message[0] == "x") == 400000)
        self.assertLessEqual(max(len(e.message) for e in self.collector.logs()), 500)

    def test_characters_are_not_cut_where_reads_end(self):
        self.start()
        self.algorithm("#!/usr/bin/python3\nimport sys\n"
                       "sys.stdout.buffer.write('\u20ac\U0001f600'.encode() * 2000); sys.stdout.flush()\n")
        self.assertEqual(self.run_it().error, "")
        self.collector.wait(lambda c: len("".join(e.message for e in c.logs("DEBUG")).split("\u20ac")) == 2001)
        self.assertIn("\u20ac\U0001f600" * 2000, self.output("DEBUG"))

    def test_missing_interpreter_is_named(self):
        self.start()
        self.algorithm("#!/opt/nowhere/python9\n")
        error = self.run_it().error
        self.assertTrue(error.startswith("error starting algorithm: "), error)
        self.assertIn("/opt/nowhere/python9", error)

    def test_missing_python_is_named(self):
        self.start(env={"PATH": self.make_dir("empty")})
        self.algorithm("print(1)\n")
        error = self.run_it(algo_type="python").error
        self.assertTrue(error.startswith("error creating virtual environment: "), error)
        self.assertIn("python3", error)

    def test_what_is_not_supported_says_what_is(self):
        self.start()
        for kind in ("wasm", "docker", "BIN"):
            with self.assertRaises(grpc.RpcError) as caught:
                self.run_it(algo_type=kind)
            self.assertEqual(caught.exception.code(), grpc.StatusCode.UNKNOWN)
            self.assertIn(f"unsupported algorithm type: {kind}", caught.exception.details())
            self.assertIn("bin and python", caught.exception.details())

    def test_no_algorithm_path_is_refused(self):
        self.start()
        with self.assertRaises(grpc.RpcError) as caught:
            self.stub.Run(harness.proto("runner").RunRequest(computation_id="c"))
        self.assertEqual((caught.exception.code(), caught.exception.details()),
                         (grpc.StatusCode.UNKNOWN, "algorithm path is required"))

    def test_rl_5_canary_in_the_environment_reaches_neither_algorithm_nor_logs(self):
        self.start(env={"AWS_SECRET_ACCESS_KEY": "canary-4711", "HTTPS_PROXY": "http://canary-4711"})
        self.shell("env; env >&2; exit 1")
        error = self.run_it().error
        self.collector.wait(lambda c: all(f"{n}=" in self.output("ERROR") for n in ("PATH", "HOME", "LANG", "TMPDIR")))
        names = {line.split("=")[0] for line in self.output("ERROR").splitlines()}
        self.assertEqual(names - {"PWD", "_", "SHLVL", "OLDPWD"}, {"PATH", "HOME", "LANG", "TMPDIR"})
        self.collector.wait(lambda c: "TMPDIR=" in self.output("DEBUG"))
        for text in (error, self.output("ERROR"), self.output("DEBUG"), self.runner.text()):
            self.assertNotIn("canary", text)
        for folder, _, files in os.walk(self.dir):
            for name in files:
                path = os.path.join(folder, name)
                if os.path.isfile(path):
                    with open(path, "rb") as f:
                        self.assertNotIn(b"canary-4711", f.read(), name)


class Control(Runner):
    def test_second_run_is_told_busy(self):
        self.start()
        self.shell("echo $$ > pid; sleep 1000")
        first = self.run_later()
        self.wait_file("pid")
        reply = self.run_it(computation="c-2")
        self.assertEqual((reply.computation_id, reply.error), ("c-2", "computation already running"))
        self.stub.Stop(harness.proto("runner").StopRequest(computation_id="c-1"))
        self.assertIn("signal: killed", first.result().error)
        self.shell("exit 0")
        self.assertEqual(self.run_it(computation="c-3").error, "")

    def test_stop_kills_the_whole_process_group(self):
        self.start()
        self.shell("trap '' TERM HUP INT\n"
                   "sleep 1001 &\necho $! > a\n"
                   "sh -c 'trap \"\" TERM HUP; sleep 1002 & echo $! > b; wait' &\n"
                   "(sh -c 'sleep 1003 & echo $! > c' &)\n"  # a double fork
                   "echo $$ > pid\nwait\n")
        future = self.run_later()
        pids = [int(self.wait_file(n)) for n in ("pid", "a", "b", "c")]
        self.stub.Stop(harness.proto("runner").StopRequest(computation_id="c-1"), timeout=harness.deadline(20))
        self.wait_dead(*pids)
        self.assertEqual(future.result().error, "algorithm execution error: signal: killed (stopped)")

    def test_what_the_algorithm_leaves_in_its_group_dies_with_it(self):
        self.start()
        self.shell("sleep 1001 & echo $! > a; exit 0")
        self.assertEqual(self.run_it().error, "")
        self.wait_dead(int(self.wait_file("a")))

    def escape(self, then):
        """An algorithm that starts another process, in a session of its own and forked twice, which outlives it."""
        self.shell("trap '' TERM HUP\n"
                   "setsid sh -c '(trap \"\" TERM HUP; setsid sh -c \"echo \\$\\$ > a; exec sleep 1001\" &) &' &\n"
                   f"while [ ! -s a ]; do sleep 0.01; done\n{then}\n")

    def test_AG_8_process_that_leaves_the_session_ends_with_the_run(self):
        self.start()
        self.escape("exit 0")
        self.assertEqual(self.run_it().error, "")
        self.assertFalse(alive(int(self.wait_file("a"))))  # it was, when the answer came

    def test_AG_8_process_that_leaves_the_session_ends_with_a_stop(self):
        self.start()
        self.escape("echo $$ > pid; sleep 1000")
        future = self.run_later()
        self.wait_file("pid")
        self.stub.Stop(harness.proto("runner").StopRequest(computation_id="c-1"), timeout=harness.deadline(60))
        self.assertFalse(alive(int(self.wait_file("a"))))
        self.assertEqual(future.result().error, "algorithm execution error: signal: killed (stopped)")

    def test_AG_8_process_that_leaves_the_session_ends_with_the_program(self):
        self.start()
        self.escape("echo $$ > pid; sleep 1000")
        future = self.run_later()
        self.wait_file("pid")
        self.assertEqual(self.runner.stop(), 0)
        self.assertFalse(alive(int(self.wait_file("a"))))
        self.assertIn("signal: killed", future.result().error)

    def test_AG_8_next_run_finds_no_process_of_the_one_before(self):
        """Each process of the second run has the runner or one of its own above it, and nobody else is there."""
        self.start()
        self.escape("exit 0")
        self.assertEqual(self.run_it().error, "")
        self.shell("for p in /proc/[0-9]*; do [ \"$(readlink $p/cwd)\" = \"$PWD\" ] && readlink $p/exe; done >&2; exit 1")
        self.assertNotIn("sleep", self.run_it().error)

    def test_AG_8_algorithm_gains_no_privileges_by_a_program(self):
        self.start()
        self.shell("grep NoNewPrivs /proc/self/status | tr '\\t' ' ' >&2; exit 1")
        self.assertIn("NoNewPrivs: 1", self.run_it().error)

    def test_stop_of_another_computation_stops_nothing(self):
        self.start()
        self.shell("echo $$ > pid; sleep 1000")
        future = self.run_later()
        self.wait_file("pid")
        with self.assertRaises(grpc.RpcError) as caught:
            self.stub.Stop(harness.proto("runner").StopRequest(computation_id="other"))
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)
        self.assertFalse(future.done())
        self.stub.Stop(harness.proto("runner").StopRequest())
        self.assertIn("killed", future.result().error)

    def test_stop_when_nothing_runs_is_fine(self):
        self.start()
        self.stub.Stop(harness.proto("runner").StopRequest(computation_id="c-1"))

    def test_deadline_kills_and_says_so(self):
        self.start(env={"RUNNER_MAX_RUNTIME": "300ms"})
        self.shell("sleep 1000")
        self.assertEqual(self.run_it().error,
                         "algorithm execution error: signal: killed (it ran longer than 300ms)")

    def test_caller_that_goes_away_takes_his_run_with_him(self):
        self.start()
        self.shell("echo $$ > pid; sleep 1000")
        future = self.run_later()
        pid = int(self.wait_file("pid"))
        future.cancel()
        self.wait_dead(pid)
        self.shell("exit 0")
        harness.wait_until(lambda: self.run_it(computation="c-2").error == "", 20, "room for another run")

    def test_sigterm_ends_the_run_answers_and_exits_0(self):
        self.start()
        self.shell("echo $$ > pid; trap '' TERM; while :; do sleep 1; done")
        future = self.run_later()
        pid = int(self.wait_file("pid"))
        self.assertEqual(self.runner.stop(), 0)
        self.wait_dead(pid)
        self.assertIn("signal: killed", future.result().error)

    def test_only_its_user_may_write_to_the_socket_unless_told_otherwise(self):
        self.start()
        self.assertEqual(stat.S_IMODE(os.stat(f"{self.run_dir}/runner.sock").st_mode), 0o600)
        self.runner.stop()
        self.start(env={"RUNNER_SOCKET_MODE": "0660"})
        self.assertEqual(stat.S_IMODE(os.stat(f"{self.run_dir}/runner.sock").st_mode), 0o660)
        self.runner.stop()
        done = self.run_program("cocos-runner", env={"RUNNER_SOCKET_MODE": "rw"}, expect=2)
        self.assertIn("RUNNER_SOCKET_MODE", done.stdout)


class Crash(Runner):
    def test_ag_17_kill_9_of_the_runner_takes_the_algorithm_along_and_the_next_run_works(self):
        self.start()
        self.algorithm("import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(1000)\n")
        future = self.run_later(algo_type="python")
        pid = int(self.wait_file("pid"))
        self.assertTrue(os.path.isdir(f"{self.work_dir}/venv"))
        self.runner.kill()
        self.wait_dead(pid)
        with self.assertRaises(grpc.RpcError):
            future.result()
        self.start()
        self.assertFalse(os.path.exists(f"{self.work_dir}/venv"))
        self.shell("echo again")
        self.assertEqual(self.run_it(computation="c-2").error, "")

    def test_ag_17_kill_9_of_the_runner_ends_the_children_of_the_algorithm_too(self):
        self.start()
        self.shell("trap '' HUP TERM; sleep 1001 & echo $! > a\n"
                   "sh -c 'trap \"\" HUP TERM; sleep 1002 & echo $! > b; wait' &\necho $$ > pid; wait\n")
        future = self.run_later()
        pids = [int(self.wait_file(n)) for n in ("pid", "a", "b")]
        self.runner.kill()
        self.wait_dead(*pids)
        self.assertEqual(future.exception().code(), grpc.StatusCode.UNAVAILABLE)

    def test_ag_17_what_was_told_before_a_kill_9_is_delivered_after_it(self):
        self.collector.stop()
        self.start()
        self.shell("for i in 1 2 3 4 5; do echo line $i >&2; while [ ! -e on$i ]; do sleep 0.01; done; done; sleep 1000")
        future = self.run_later()
        for i in range(1, 6):
            harness.wait_until(lambda n=i: self.written_down(f"line {n}\n"), what=f"line {i} in the journal")
            self.make_file(f"work/on{i}", "")
        self.runner.kill()
        self.assertEqual(future.exception().code(), grpc.StatusCode.UNAVAILABLE)
        self.collector.start()
        self.start()
        self.collector.wait(lambda c: len(c.events()) >= 5)
        self.collector.wait(lambda c: "line 5\n" in self.output("ERROR"))
        self.assertEqual(self.output("ERROR"), "".join(f"line {i}\n" for i in range(1, 6)))
        times = [e.timestamp.ToNanoseconds() for e in self.collector.events()]
        self.assertEqual(len(set(times)), 5)
        self.assertEqual(times, sorted(times))


class Collector(Runner):
    def test_log_service_that_fails_blocks_nothing_and_gets_all_later(self):
        self.start()
        self.collector.fail_with = grpc.StatusCode.UNAVAILABLE
        self.shell("i=0; while [ $i -lt 300 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; exit 2")
        self.assertTrue(self.run_it(seconds=30).error.startswith("algorithm execution error: exit status 2"))
        self.collector.fail_with = None
        self.collector.wait(lambda c: "err 299\n" in self.output("ERROR") and "out 299\n" in self.output("DEBUG"))
        self.assertEqual(self.output("ERROR"), "".join(f"err {i}\n" for i in range(300)))
        self.assertEqual([line for line in self.output("DEBUG").splitlines() if line.startswith("out")],
                         [f"out {i}" for i in range(300)])
        self.assertGreater(len(self.collector.events()), 0)


    def test_log_service_that_does_not_answer_is_asked_again_after_the_deadline(self):
        self.start()
        self.collector.answer.clear()
        self.shell("echo one >&2")
        self.assertEqual(self.run_it(seconds=30).error, "")
        self.runner.wait_log(seconds=20, contains="the log forwarder did not take a record")
        self.collector.answer.set()
        self.collector.wait(lambda c: len(c.events()) == 1 and "one" in self.output("ERROR"))
        self.assertEqual(self.output("ERROR"), "one\n")

    def test_record_that_is_refused_for_good_holds_no_other_up(self):
        self.start()
        self.collector.fail_with = grpc.StatusCode.INVALID_ARGUMENT
        self.shell("echo refused >&2")
        self.assertEqual(self.run_it().error, "")
        self.collector.wait(lambda c: c.failed >= 2)
        self.collector.fail_with = None
        self.shell("echo taken >&2")
        self.assertEqual(self.run_it().error, "")
        self.collector.wait(lambda c: "taken\n" in self.output("ERROR"))


class NoCollector(Runner):
    collected = False

    def test_absent_log_service_blocks_nothing(self):
        self.start(env={"RUNNER_OUTBOX_BYTES": str(256 * 1024)})
        self.shell("head -c 5000000 /dev/zero | tr '\\0' x; echo oops >&2; exit 1")
        self.assertEqual(self.run_it(seconds=60).error,
                         "algorithm execution error: exit status 1; last lines of stderr:\noops")
        held = sum(os.path.getsize(os.path.join(self.state_dir, "runner", n))
                   for n in os.listdir(os.path.join(self.state_dir, "runner")) if n[1:2] == "-")
        self.assertLessEqual(held, 256 * 1024)
        self.collector = guest.Collector(f"{self.run_dir}/log.sock")
        self.closers.append(self.collector.stop)
        self.collector.wait(lambda c: any("were dropped for want of room" in e.message for e in c.logs("WARN")))
        self.collector.wait(lambda c: len(c.events()) == 1)
        if not harness.SANITIZED:
            self.assertLess(self.runner.status("VmHWM"), 32 * 1024)

    def test_endless_stderr_makes_a_bounded_number_of_events(self):
        self.start(env={"RUNNER_MAX_RUNTIME": "2s"})
        self.shell("exec yes oops >&2")
        self.assertIn("it ran longer than 2s", self.run_it(seconds=60).error)
        self.collector = guest.Collector(f"{self.run_dir}/log.sock")
        self.closers.append(self.collector.stop)
        self.runner.wait_log(contains="not every piece makes an event")
        self.runner.stop()


class Python(Runner):
    def test_script_runs_in_an_environment_of_its_own_which_is_removed(self):
        self.start()
        self.algorithm("import sys\nprint(sys.prefix, *sys.argv[1:])\n")
        self.assertEqual(self.run_it(algo_type="python", args=["a"]).error, "")
        self.collector.wait(lambda c: f"{os.path.realpath(self.work_dir)}/venv a" in self.output("DEBUG"))
        self.assertFalse(os.path.exists(f"{self.work_dir}/venv"))

    def test_traceback_is_in_the_error(self):
        self.start()
        self.algorithm("def f():\n    raise ValueError('no such column')\nf()\n")
        error = self.run_it(algo_type="python").error
        self.assertTrue(error.startswith("algorithm execution error: exit status 1"), error)
        self.assertTrue(error.endswith("ValueError: no such column"), error)

    def test_requirements_are_installed_from_a_local_directory(self):
        wheels = self.make_dir("wheels")
        make_wheel(wheels)
        self.start(env={"RUNNER_PIP_FIND_LINKS": wheels})
        self.make_file("work/requirements.txt", "# what it needs\ncocosprobe==1.0\n")
        self.algorithm("import cocosprobe\nprint('value', cocosprobe.VALUE)\n")
        reply = self.run_it(algo_type="python", requirements=f"{self.work_dir}/requirements.txt", seconds=120)
        self.assertEqual(reply.error, "")
        self.collector.wait(lambda c: "value 42\n" in self.output("DEBUG"))

    def test_requirement_that_is_not_there_is_told(self):
        self.start(env={"RUNNER_PIP_FIND_LINKS": self.make_dir("wheels")})
        self.make_file("work/requirements.txt", "cocosprobe==1.0\n")
        self.algorithm("print(1)\n")
        error = self.run_it(algo_type="python", requirements=f"{self.work_dir}/requirements.txt", seconds=120).error
        self.assertTrue(error.startswith("error installing requirements: exit status 1"), error)
        self.assertIn("cocosprobe", error)
        self.assertEqual(self.collector.events(), [])

    def test_requirements_without_a_place_to_install_from_say_what_to_set(self):
        self.start()
        self.make_file("work/requirements.txt", "cocosprobe==1.0\n")
        self.algorithm("print(1)\n")
        error = self.run_it(algo_type="python", requirements=f"{self.work_dir}/requirements.txt").error
        self.assertTrue(error.startswith("error installing requirements: "), error)
        self.assertIn("RUNNER_PIP_FIND_LINKS", error)

    def test_stop_while_requirements_are_installed(self):
        wheels = self.make_dir("wheels")
        make_wheel(wheels)
        self.start(env={"RUNNER_PIP_FIND_LINKS": wheels})
        self.make_file("work/requirements.txt", "cocosprobe==1.0\n")
        self.algorithm("import time\ntime.sleep(1000)\n")  # however late the stop may come
        future = self.run_later(algo_type="python", requirements=f"{self.work_dir}/requirements.txt")
        harness.wait_until(lambda: os.path.isdir(f"{self.work_dir}/venv"), 20, "the virtual environment")
        self.stub.Stop(harness.proto("runner").StopRequest(computation_id="c-1"), timeout=harness.deadline(30))
        self.assertIn("signal: killed (stopped)", future.result().error)
        self.assertFalse(os.path.exists(f"{self.work_dir}/venv"))


if __name__ == "__main__":
    harness.main()
