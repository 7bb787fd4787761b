"""Which way logs and events leave the agent, and that none is lost when the way changes."""

import os
import threading

import harness
from agent_lab import CONSUMER, AgentTestCase, plain

WHOLE = [("ReceivingAlgorithm", "InProgress"), ("ReceivingData", "InProgress"), ("Running", "Starting"),
         ("Running", "InProgress"), ("Running", "Completed"), ("ConsumingResults", "Ready"), ("Complete", "Completed")]


class Outlet(AgentTestCase):
    def forwarder(self):
        count = self.cvms.forwarders
        daemon = self.daemon("cocos-log-forwarder", env={"AGENT_CVM_GRPC_URL": self.cvms.address, "AGENT_CVM_ID": "vm"})
        self.cvms.wait(lambda c: c.forwarders > count, what="the forwarder's stream")
        return daemon

    def whole(self, computation="1", between=None):
        """A computation; between() is called while the algorithm runs."""
        release = threading.Event()
        def run(request):
            release.wait(harness.deadline(30))
            self.runner.sum_up(request)
        self.runner.algorithm = run
        self.runner.entered.clear()
        self.order(self.request(computation))
        users = self.users()
        self.upload_all(users)
        self.assertTrue(self.runner.entered.wait(harness.deadline(10)))
        if between:
            between()
        release.set()
        harness.wait_until(lambda: self.cvms.state() == "ConsumingResults", what="results")
        users.result(plain(self.consumer_key, CONSUMER))
        self.cvms.wait(lambda c: len(c.events(computation)) == len(WHOLE), 20, "all events")
        self.assertEqual(self.in_time(computation), WHOLE)

    def in_time(self, computation):
        """Events as they happened: what goes two ways does not come in order."""
        events = {(e.timestamp.seconds, e.timestamp.nanos, e.event_type): (e.event_type, e.status)
                  for e in self.cvms.of_kind("agent_event") if e.computation_id == computation}
        return [events[when] for when in sorted(events)]

    def test_forwarder_carries_logs_and_events_when_it_is_there(self):
        self.forwarder()
        self.start_agent()
        self.whole()
        self.assertIn(("log-forwarder", "agent_event"), self.cvms.carried)
        self.assertEqual({k for way, k in self.cvms.carried if way == "agent"},
                         {"vTPMattestationReport", "run_res", "agentStateRes"})

    def test_forwarder_that_comes_later_takes_over(self):
        self.start_agent()
        self.whole("1")
        self.assertIn(("agent", "agent_event"), self.cvms.carried)
        self.cvms.stop_computation("1")
        self.forwarder()
        self.agent.wait_log(contains="go to the log forwarder")
        self.cvms.wait(lambda c: ("Stopped", "Stopped") in c.events("1"), what="the last event of the other way")
        self.cvms.carried.clear()
        self.whole("2")
        self.assertIn(("log-forwarder", "agent_event"), self.cvms.carried)
        self.assertNotIn(("agent", "agent_event"), self.cvms.carried)

    def test_AG_13_forwarder_killed_while_the_algorithm_runs(self):
        first = self.forwarder()
        self.start_agent()
        self.cvms.wait(lambda c: ("log-forwarder", "agent_log") in c.carried, what="a log")
        def between():
            first.kill()
            self.forwarder()
        self.whole(between=between)

    def test_AG_17_agent_killed_without_its_forwarder(self):
        first = self.forwarder()
        self.start_agent()
        self.order()
        self.upload_all(self.users(), self.datasets[:1])
        first.stop()
        self.agent.kill()
        self.forwarder()
        self.start_agent()
        self.cvms.wait(lambda c: ("Failed", "Failed") in c.events("1"), 20, "the report")
        self.cvms.wait(lambda c: len(c.events("1")) == 3, 20, "what was said before")
        self.assertEqual(self.in_time("1"), WHOLE[:2] + [("Failed", "Failed")])
        self.assertEqual([f for f in os.listdir(self.work_dir)], [])


if __name__ == "__main__":
    harness.main()
