"""cvms-test as a judge: expectations, deadlines and exit codes."""

import signal

import cvms
import fake_agent
import harness


class Expect(cvms.CvmsTestCase):
    def agent(self, daemon, *args, **options):
        agent = fake_agent.FakeAgent(daemon.address(), *args, **options)
        self.addCleanup(agent.close)
        return agent

    def test_once_exits_0_after_complete(self):
        daemon = self.cvms("-once")
        agent = self.agent(daemon)
        agent.event("Running", "Completed")
        agent.event("Complete", "Completed")
        self.assertEqual(daemon.wait(), 0)
        self.assertEqual(len(self.messages(daemon, "event")), 2)

    def test_once_exits_1_after_failure_and_says_what_was_seen(self):
        daemon = self.cvms("-once")
        agent = self.agent(daemon)
        agent.event("Running", "Failed")
        agent.event("Failed", "Failed")
        agent.log("the reason comes last", level="ERROR")
        self.assertEqual(daemon.wait(), 1)
        self.assertIn("missing  a computation that ends in Complete", daemon.err)
        self.assertIn("seen     event Failed/Failed", daemon.err)
        self.assertEqual(len(self.messages(daemon, "log")), 1)

    def test_once_exits_1_when_the_manifest_is_refused(self):
        daemon = self.cvms("-once")
        self.agent(daemon).send(run_res={"computation_id": "1", "error": "hash: 31 bytes"})
        self.assertEqual(daemon.wait(), 1)
        self.assertIn("the manifest refused: hash: 31 bytes", daemon.err)

    def test_events_logs_and_states_together_exit_0(self):
        daemon = self.cvms("-once", "-within", harness.duration(60), "-expect-event", "Running/Starting", "-expect-event",
                           "Running/Completed", "-expect-log", "slope [0-9.]+$", "-expect-state", "Running",
                           "-expect-state", "ConsumingResults")
        agent = self.agent(daemon)
        forwarder = self.agent(daemon, forwarder=True)
        agent.receive_manifest()
        forwarder.event("Running", "Starting")
        forwarder.log("the slope 0.41")
        states = ["ReceivingData", "Running", "Running", "ConsumingResults"]
        for state in states:
            self.assertEqual(agent.receive().WhichOneof("message"), "agentStateReq")
            agent.send(agentStateRes={"id": "1", "state": state})
        self.assertTrue(daemon.alive())
        forwarder.event("Running", "Completed")
        self.assertEqual(daemon.wait(), 0)
        # Polled for an expectation, states are shown when they change.
        self.assertEqual([s["state"] for s in self.messages(daemon, "state")],
                         ["ReceivingData", "Running", "ConsumingResults"])

    def test_state_is_not_asked_for_after_the_expectation_is_met(self):
        daemon = self.cvms("-expect-state", "Running")
        agent = self.agent(daemon)
        agent.receive_manifest()
        self.assertEqual(agent.receive().WhichOneof("message"), "agentStateReq")
        agent.send(agentStateRes={"id": "1", "state": "Running"})
        daemon.wait_log(msg="expectations met")
        self.assertEqual(daemon.stop(), 0)

    def test_within_passed_exits_1_with_a_report(self):
        for within in ("200ms", "2s", "20s", "100s"):  # the event has to come before the end
            daemon = self.cvms("-within", within, "-expect-event", "Running", "-expect-event", "Complete", "-expect-log",
                               "never", ready=False)
            try:
                self.agent(daemon).event("Running", "Starting")
            except harness.Expired:
                pass
            self.assertEqual(daemon.wait(120), 1)
            if self.messages(daemon, "event"):
                break
        for line in ("met      event 'Running'", "missing  event 'Complete'", "missing  log 'never'",
                     "the time (-within) is over"):
            self.assertIn(line, daemon.err)

    def test_met_without_once_goes_on_serving(self):
        daemon = self.cvms("-within", harness.duration(60), "-expect-event", "Running")
        agent = self.agent(daemon)
        agent.event("Running", "Starting")
        daemon.wait_log(msg="expectations met")
        agent.log("afterwards")
        self.wait_message(daemon, "log", message="afterwards")
        self.assertEqual(daemon.stop(), 0)

    def test_interrupted_before_all_was_met_exits_1(self):
        daemon = self.cvms("-expect-event", "Running")
        self.assertEqual(daemon.stop(signal.SIGINT), 1)
        self.assertIn("interrupted by a signal", daemon.err)

    def test_interrupted_without_expectations_exits_0(self):
        self.assertEqual(self.cvms().stop(signal.SIGINT), 0)

    def test_event_lost_after_failure_exits_1_without_waiting(self):
        daemon = self.cvms("-once", "-within", "1h", "-expect-event", "Complete")
        self.agent(daemon).event("Failed", "Failed")
        self.assertEqual(daemon.wait(), 1)
        self.assertIn("the computation is over", daemon.err)

    def test_failure_as_expected_exits_0(self):
        daemon = self.cvms("-once", "-expect-event", "Failed/Failed", "-expect-log", "no interpreter")
        agent = self.agent(daemon)
        agent.event("Failed", "Failed")
        agent.log("no interpreter")
        self.assertEqual(daemon.wait(), 0)

    def test_second_delivery_meets_no_second_expectation(self):
        daemon = self.cvms("-expect-event", "Running", "-expect-event", "Running")
        agent = self.agent(daemon)
        agent.event("Running", "Starting")
        agent.event("Running", "Starting")
        agent.log("behind both")
        self.wait_message(daemon, "log", message="behind both")
        self.assertEqual(daemon.stop(signal.SIGINT), 1)
        self.assertIn("missing  event 'Running'", daemon.err)


if __name__ == "__main__":
    harness.main()
