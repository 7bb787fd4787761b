# test-deadline: 900
"""kill -9 of the agent at each step (AG-17): what is reported, what is left, and that the next computation works."""

import os
import signal
import threading

import grpc

import harness
from agent_lab import ALGORITHM, CONSUMER, DATA, AgentTestCase, Users, plain

FAILED = ("Failed", "Failed")


class Crash(AgentTestCase):
    def crash(self):
        self.agent.kill()

    def back(self):
        """A new process; by the time it is connected everything of the old one is gone."""
        self.start_agent()
        self.assertFalse(os.path.exists(os.path.join(self.run_dir, "agent.addr")))
        self.assertEqual(self.cvms.state(), "ReceivingManifest")
        self.assertEqual(self.files(), [])

    def assert_reported(self, before):
        self.cvms.wait(lambda c: FAILED in c.events("1"), what="the report")
        events = self.cvms.events("1")
        self.assertEqual(events, before + [FAILED])
        self.cvms.wait(lambda c: "computation 1 was interrupted: the agent was restarted" in c.logs(), what="the log")

    def assert_next_works(self):
        self.runner.algorithm, self.runner.error = self.runner.sum_up, ""
        self.order(self.request("next"))
        users = self.users()
        self.upload_all(users)
        self.cvms.wait(lambda c: ("ConsumingResults", "Ready") in c.events("next"), what="results")
        self.assertIn(b"a.csv 4000", users.result(plain(self.consumer_key, CONSUMER))[0])
        self.cvms.wait(lambda c: ("Complete", "Completed") in c.events("next"), what="the end")

    def test_AG_17_before_a_manifest(self):
        self.start_agent()
        self.crash()
        self.back()
        self.assertEqual(self.cvms.events(), [])
        self.assert_next_works()

    def test_AG_17_receiving_algorithm(self):
        self.start_agent()
        self.order()
        self.crash()
        self.back()
        self.assert_reported([("ReceivingAlgorithm", "InProgress")])
        self.assert_next_works()

    def test_AG_17_during_an_upload(self):
        self.start_agent()
        self.order()
        call, go_on = self.users().slow_algo(plain(self.algo_key, ALGORITHM), b"x" * 100000)
        harness.wait_until(lambda: self.files(), what="staged files")
        self.crash()
        go_on.set()
        self.assertEqual(call.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertNotIn("algo", self.files())
        self.back()
        self.assert_reported([("ReceivingAlgorithm", "InProgress")])
        self.assert_next_works()

    def test_AG_17_receiving_data(self):
        self.start_agent()
        self.order()
        users = self.users()
        self.upload_all(users, self.datasets[:1])
        self.crash()
        self.assertIn("datasets/a.csv", self.files())
        self.back()
        self.assert_reported([("ReceivingAlgorithm", "InProgress"), ("ReceivingData", "InProgress")])
        self.assert_next_works()

    def test_AG_17_running(self):
        self.runner.algorithm = self.runner.until_stopped
        self.start_agent()
        self.order()
        self.upload_all(self.users())
        self.assertTrue(self.runner.entered.wait(harness.deadline(10)))
        self.cvms.wait_event("Running", "InProgress")
        self.crash()
        self.back()
        self.assertIn("1", self.runner.stops)  # nothing goes on in the files of the next one
        self.assert_reported([("ReceivingAlgorithm", "InProgress"), ("ReceivingData", "InProgress"),
                              ("Running", "Starting"), ("Running", "InProgress")])
        self.assert_next_works()

    def test_AG_17_consuming_results(self):
        self.start_agent()
        self.order()
        self.upload_all(self.users())
        self.cvms.wait_event("ConsumingResults", "Ready")
        self.crash()
        self.assertEqual(self.files(), [])  # the result has no name
        self.back()
        self.assert_reported([("ReceivingAlgorithm", "InProgress"), ("ReceivingData", "InProgress"),
                              ("Running", "Starting"), ("Running", "InProgress"), ("Running", "Completed"),
                              ("ConsumingResults", "Ready")])
        self.assert_next_works()

    def test_AG_17_complete_is_not_reported_as_failed(self):
        self.start_agent()
        self.order()
        users = self.users()
        self.upload_all(users)
        self.cvms.wait_event("ConsumingResults", "Ready")
        users.result(plain(self.consumer_key, CONSUMER))
        self.cvms.wait_event("Complete", "Completed")
        harness.wait_until(lambda: not os.path.exists(os.path.join(self.state_dir, "agent", "running")),
                           what="the note to go")
        self.crash()
        self.back()
        self.assert_next_works()
        self.assertNotIn(FAILED, self.cvms.events())

    def test_AG_17_failed_is_reported_once(self):
        self.runner.error = "algorithm execution error: exit status 1"
        self.start_agent()
        self.order()
        self.upload_all(self.users())
        self.cvms.wait_event(*FAILED)
        self.crash()
        self.back()
        self.assert_next_works()
        self.assertEqual(self.cvms.events("1").count(FAILED), 1)

    def test_AG_17_events_while_the_cvms_is_away_survive(self):
        release = threading.Event()
        def run(request):
            release.wait(harness.deadline(30))
            self.runner.sum_up(request)
        self.runner.algorithm = run
        self.start_agent()
        self.order()
        self.upload_all(self.users())
        self.cvms.wait_event("Running", "InProgress")
        self.cvms.stop()
        release.set()
        self.agent.wait_log(contains="stream to the CVMS")
        harness.wait_until(lambda: not self.files(), what="the inputs to go")
        self.crash()
        self.cvms.start()
        self.back()
        self.cvms.wait(lambda c: FAILED in c.events("1"), what="the report")
        events = self.cvms.events("1")
        whole = [("ReceivingAlgorithm", "InProgress"), ("ReceivingData", "InProgress"), ("Running", "Starting"),
                 ("Running", "InProgress"), ("Running", "Completed"), ("ConsumingResults", "Ready")]
        self.assertEqual(events[:4], whole[:4])
        self.assertEqual(events[-1], FAILED)
        self.assertEqual(events[4:-1], whole[4:len(events) - 1])
        self.assert_next_works()

    def flow(self, computation, over):
        """A whole computation; whatever goes wrong on the way is the killer's doing."""
        try:
            self.cvms.run(self.request(computation))
            self.cvms.wait(lambda c: any(m.computation_id == computation for m in c.of_kind("run_res")) or over())
            users = Users(self.address(), wait=False)
            self.addCleanup(users.close)
            self.upload_all(users)
            self.cvms.wait(lambda c: ("ConsumingResults", "Ready") in c.events(computation) or over())
            users.result(plain(self.consumer_key, CONSUMER))
        except Exception as fault:  # pylint: disable=broad-except
            self.faults.append((computation, fault))

    def test_AG_17_kill_at_each_message(self):
        whole = [("ReceivingAlgorithm", "InProgress"), ("ReceivingData", "InProgress"), ("Running", "Starting"),
                 ("Running", "InProgress"), ("Running", "Completed"), ("ConsumingResults", "Ready"),
                 ("Complete", "Completed")]
        greeting = "connecting to the CVMS"
        self.start_agent()
        ends, self.faults = set(), []
        for n in range(1, 17):
            computation = f"n{n}"
            self.cvms.wait(lambda c: c.logs().count(greeting) >= n, what=f"start {n}")
            before = len(self.cvms.messages)
            thread = threading.Thread(target=self.flow, args=(
                computation, lambda n=n: self.cvms.logs().count(greeting) > n))
            thread.start()
            self.cvms.wait(lambda c: len(c.messages) >= before + n, what=f"message {n}")
            self.crash()
            self.runner.stopped.set()
            self.start_agent()
            self.assertEqual(self.cvms.state(), "ReceivingManifest")
            # What the new process says first stands in line behind all that the old one had to say.
            self.cvms.wait(lambda c: c.logs().count(greeting) > n, what=f"start {n + 1}")
            thread.join(harness.deadline(60))
            self.assertFalse(thread.is_alive())
            self.wait_clean()
            events = self.cvms.events(computation)
            told = events[:-1] if events and events[-1] == FAILED else events
            self.assertEqual(told, whole[:len(told)], f"killed at message {n}")
            self.assertEqual(events != told, told != whole and bool(events), f"killed at message {n}: {events}")
            ends.add(len(told))
        self.assertGreaterEqual(len(ends), 4, f"steps that were hit: {ends}")
        self.assert_next_works()

    def test_sigterm_leaves_nothing_and_is_reported_by_the_next(self):
        self.runner.algorithm = self.runner.until_stopped
        self.start_agent()
        self.order()
        self.upload_all(self.users())
        self.assertTrue(self.runner.entered.wait(harness.deadline(10)))
        self.assertEqual(self.agent.stop(), 0)
        self.assertEqual(self.runner.stops, ["1"])
        self.assertEqual(self.files(), [])
        self.back()
        self.cvms.wait(lambda c: FAILED in c.events("1"), what="the report")

    def test_sigterm_at_any_moment_of_the_start(self):
        for text in ("cocos-agent ", "connecting to the CVMS", "connected"):
            agent = self.daemon("cocos-agent", env=self.agent_env(), ready=False)
            agent.wait_for(lambda d: any(text in line for line in d.out), what=text)
            self.assertEqual(agent.stop(), 0)

    def test_sigterm_while_a_stop_is_under_way(self):
        self.runner.algorithm = self.runner.until_stopped
        self.start_agent()
        self.order()
        self.upload_all(self.users())
        self.assertTrue(self.runner.entered.wait(harness.deadline(10)))
        go_on, asked = threading.Event(), threading.Event()
        def slow(request, context):
            asked.set()
            go_on.wait(harness.deadline(20))
            return self.runner.stop(request, context)
        self.runner.on_stop = slow
        self.cvms.send(stopComputation={"computation_id": "1"})
        self.assertTrue(asked.wait(harness.deadline(10)))
        self.agent.send(signal.SIGTERM)
        self.agent.wait_log(contains="ending on SIGTERM")
        self.cvms.send(stopComputation={"computation_id": "1"})
        go_on.set()
        self.assertEqual(self.agent.wait(), 0)
        self.assertEqual(self.files(), [])
        self.back()
        self.cvms.wait(lambda c: ("Stopped", "Stopped") in c.events("1"), what="the end")
        self.assertNotIn(FAILED, self.cvms.events("1"))

    def test_second_signal_ends_at_once(self):
        self.runner.algorithm = self.runner.until_stopped
        self.start_agent()
        self.order()
        self.upload_all(self.users())
        self.assertTrue(self.runner.entered.wait(harness.deadline(10)))
        asked = threading.Event()
        def never(request, context):
            asked.set()
            self.runner.stopped.wait(harness.deadline(30))
            return self.runner.stop(request, context)
        self.runner.on_stop = never
        self.agent.send(signal.SIGTERM)
        self.assertTrue(asked.wait(harness.deadline(10)))
        self.agent.send(signal.SIGTERM)
        self.assertEqual(self.agent.wait(5), 1)

    def test_two_agents_on_one_state_directory(self):
        self.start_agent()
        done = self.run_program("cocos-agent", env=self.agent_env(), expect=1)
        self.assertIn("state directory", done.stdout)


if __name__ == "__main__":
    harness.main()
