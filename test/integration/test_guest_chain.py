"""An algorithm's words on their way: runner, log forwarder, CVMS; each is killed."""
# test-deadline: 900

import os
import re
import subprocess

import grpc

import cvms
import guest
import harness



class Chain(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.cvms = guest.Cvms()
        self.addCleanup(self.cvms.close)

    def forwarder(self, wrap=None, env=None):
        env = {"AGENT_CVM_GRPC_URL": self.cvms.address, "AGENT_CVM_ID": "vm-1", "AGENT_CVM_RECONNECT_DELAY": "50ms",
               **(env or {})}
        if wrap:
            return self.daemon(wrap[0], *wrap[1:], env=env, label="cocos-log-forwarder")
        return self.daemon("cocos-log-forwarder", env=env)

    def runner(self):
        return self.daemon("cocos-runner", env={"PATH": "/usr/bin:/bin"})

    def algorithm(self, text):
        path = os.path.join(self.work_dir, "algo")
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\n" + text)
        os.chmod(path, 0o700)

    def run_later(self):
        channel = harness.channel(f"unix:{self.run_dir}/runner.sock")
        self.addCleanup(channel.close)
        request = harness.proto("runner").RunRequest(computation_id="c-1", algo_type="bin",
                                                     algorithm_path=f"{self.work_dir}/algo")
        return guest.runner_stub(channel).Run.future(request, timeout=harness.deadline(120))

    def talk(self):
        """An algorithm that says numbered lines on stderr, each in a write of its own, until enough()."""
        self.algorithm("i=0; while [ ! -e enough ]; do echo line $i >&2; i=$((i+1)); sleep 0.005; done; echo $i >said\n")
        return self.run_later()

    def enough(self, future):
        """Lets the algorithm end; returns how many lines it has said."""
        self.make_file("work/enough", "")
        self.assertEqual(future.result().error, "")
        with open(f"{self.work_dir}/said", encoding="ascii") as f:
            return int(f.read())

    def wait_lines(self, more):
        """Until so many lines more than now have come."""
        count = len(self.lines()) + more
        self.cvms.wait(lambda c: len(self.lines()) >= count, 60, f"{count} lines")

    def lines(self):
        text = "".join(b.message for b in self.cvms.logs() if b.level == "ERROR" and b.computation_id == "c-1")
        return [int(n) for n in re.findall(r"line (\d+)\n", text)]

    def expect_all(self, count):
        self.cvms.wait(lambda c: len(self.lines()) >= count, 60, "all lines")
        self.assertEqual(self.lines(), list(range(count)))
        # One for each write; two writes may have been read as one.
        self.cvms.wait(lambda c: any("has run in" in b.message for b in c.logs()), 60, "the end of the run")
        times = [b.timestamp.ToNanoseconds() for b in self.cvms.events()]
        self.assertEqual(len(times), len(set(times)))
        self.assertEqual(times, sorted(times))
        self.assertEqual({(b.event_type, b.status, b.computation_id) for b in self.cvms.events()},
                         {("AlgorithmRun", "Warning", "c-1")})

    def test_ag_13_ag_17_forwarder_killed_again_and_again_while_the_algorithm_talks(self):
        forwarder = self.forwarder()
        self.runner()
        future = self.talk()
        for _ in range(6):
            self.wait_lines(25)
            forwarder.kill()
            forwarder = self.forwarder()
        self.expect_all(self.enough(future))

    def test_ag_13_cvms_goes_away_while_the_algorithm_talks(self):
        self.forwarder()
        self.runner()
        future = self.talk()
        for _ in range(3):
            self.wait_lines(50)
            self.cvms.stop()
            self.cvms.start()
        self.wait_lines(50)
        self.expect_all(self.enough(future))

    def test_ag_17_runner_killed_while_the_algorithm_talks_has_told_all_it_had_read(self):
        self.forwarder()
        runner = self.runner()
        future = self.talk()
        self.wait_lines(100)
        runner.kill()
        self.assertEqual(future.exception().code(), grpc.StatusCode.UNAVAILABLE)
        self.runner()
        self.algorithm("echo second run >&2\n")
        self.assertEqual(self.run_later().result().error, "")
        self.cvms.wait_log("second run")
        lines = self.lines()
        self.assertEqual(lines, list(range(len(lines))))
        self.assertGreaterEqual(len(lines), 100)
        times = [b.timestamp.ToNanoseconds() for b in self.cvms.events()]
        self.assertEqual(len(times), len(set(times)))

    def test_ag_15_real_disk_that_is_full_drops_debug_and_keeps_events(self):
        probe = subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "none", self.state_dir], check=False,
                               capture_output=True)
        if probe.returncode:
            self.skipTest("needs a tmpfs in a mount namespace of its own: " + probe.stderr.decode().strip())
        self.cvms.stop()
        script = f'mount -t tmpfs -o size=1m none "{self.state_dir}" && exec "{harness.need_binary("cocos-log-forwarder")}"'
        forwarder = self.forwarder(wrap=["/usr/bin/unshare", "-Urm", "sh", "-c", script])
        channel = harness.channel(f"unix:{self.run_dir}/log.sock")
        self.addCleanup(channel.close)
        stub = guest.collector_stub(channel)
        for i in range(200):
            for j in range(20):
                stub.SendLog(guest.log_entry("d" * 480, level="DEBUG", ns=1_000_000 + i * 100 + j))
            stub.SendEvent(guest.event_entry(f"E{i}", ns=1_000_000 + i * 100 + 99))
        self.assertTrue(forwarder.alive())
        self.cvms.start()
        self.cvms.wait_events(200)
        self.assertEqual([b.event_type for b in self.cvms.events()], [f"E{i}" for i in range(200)])
        note = self.cvms.wait_log("were dropped for want of room")
        self.cvms.wait(lambda c: sum(b.message[:2] == "dd" for b in c.logs()) +
                       sum(int(b.message.split()[0]) for b in c.logs() if "were dropped" in b.message) == 4000)
        self.assertEqual(note.level, "WARN")
        self.assertEqual(forwarder.stop(), 0)


class KilledCvms(cvms.CvmsTestCase):
    """With cvms-test, which remembers nothing when it is killed: what its lives have shown is put together."""

    def test_ag_13_cvms_test_killed_again_and_again_has_shown_every_event(self):
        address = self.reserve_port()
        port = address.rsplit(":", 1)[1]
        lives = [self.cvms("-output", "jsonl", env={"PORT": port})]
        self.daemon("cocos-log-forwarder", env={"AGENT_CVM_GRPC_URL": address, "AGENT_CVM_ID": "vm-1",
                                                "AGENT_CVM_RECONNECT_DELAY": "50ms"})
        channel = harness.channel(f"unix:{self.run_dir}/log.sock")
        self.addCleanup(channel.close)
        stub = guest.collector_stub(channel)
        sent = 0

        def shown():
            records = [r for d in lives for r in self.messages(d, "event")]
            return {r["event_type"] for r in records}, [(r["event_type"], r["timestamp"]) for r in records]

        for step in range(6):
            for _ in range(30):
                stub.SendEvent(guest.event_entry(f"E{sent}", ns=1_700_000_000_000_000_000 + sent))
                sent += 1
            if step % 2:  # killed when all has been shown, else wherever it is
                harness.wait_until(lambda n=sent: len(shown()[0]) == n, 20, "all events so far")
            lives[-1].kill()
            lives.append(self.cvms("-output", "jsonl", env={"PORT": port}))
        harness.wait_until(lambda: len(shown()[0]) == sent, 20, "all events")
        _, identities = shown()
        first = list(dict.fromkeys(identities))
        self.assertEqual([name for name, _ in first], [f"E{i}" for i in range(sent)])
        # Twice is only what was shown right before a kill, and it is known by its time.
        for life in lives:
            names = [r["event_type"] for r in self.messages(life, "event")]
            self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    harness.main()
