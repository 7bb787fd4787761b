"""cvms-test with a real agent: every server message, and a whole computation that it judges."""

import os

import cvms
import harness


class WithAgent(cvms.CvmsTestCase):
    def agent(self, daemon, **env):
        return self.daemon("cocos-agent", ready=False, env={
            "AGENT_CVM_GRPC_URL": daemon.address(), "AGENT_CVM_ID": "cvm-1", "AGENT_GRPC_HOST": "127.0.0.1",
            "AGENT_GRPC_PORT": "0", **env})

    def cli(self, agent, *args):
        self.run_program("cocos-cli", *args, env={"AGENT_GRPC_URL": agent.address()}, expect=0)

    def test_states_are_met_in_order(self):
        daemon = self.cvms("-once", "-within", "60s", "-expect-state", "ReceivingAlgorithm", "-expect-state",
                           "ReceivingData")
        agent = self.agent(daemon)
        agent.ready()
        self.wait_message(daemon, "state", state="ReceivingAlgorithm")
        self.cli(agent, "algo", self.algo, self.key)
        self.assertEqual(daemon.wait(), 0)

    def test_stop_brings_the_agent_back(self):
        daemon = self.cvms("-stop-after", "100ms", "-once", "-within", "60s", "-expect-event",
                           "ReceivingAlgorithm/InProgress", "-expect-event", "Stopped/Stopped", "-expect-state",
                           "ReceivingManifest")
        self.agent(daemon)
        self.assertEqual(daemon.wait(), 0)

    def test_disconnected_agent_comes_back_to_the_same_computation(self):
        daemon = self.cvms("-disconnect-after", "1ms")
        self.agent(daemon)
        daemon.wait_log(msg="connection closed")
        daemon.wait_for(lambda d: sum("received who am on" in r.get("msg", "") for r in d.records) == 2, 30,
                        "the agent once more")
        daemon.wait_for(lambda d: sum("sent successfully" in r.get("msg", "") for r in d.records) == 2, 30,
                        "the manifest once more")
        events = [e["event_type"] for e in self.messages(daemon, "event")]
        self.assertEqual(events, ["ReceivingAlgorithm"])

    def test_unchunked_manifest_is_taken(self):
        daemon = self.cvms("-unchunked", "-once", "-within", "60s", "-expect-event", "ReceivingAlgorithm")
        self.agent(daemon)
        self.assertEqual(daemon.wait(), 0)

    def test_AG_7_refused_manifest_ends_the_run_with_the_reason(self):
        other = self.make_file("other/data.csv", "another")
        daemon = self.cvms("-dataset", f"path={other}", "-once")
        self.agent(daemon)
        self.assertEqual(daemon.wait(), 1)
        self.assertIn("seen     the manifest refused:", daemon.err)
        self.assertIn("data.csv", daemon.err)

    def test_D_29_directory_uploaded_as_declared_runs_to_complete(self):
        self.make_file("set/one.csv", "1\n")
        self.make_file("set/more/two.csv", "2\n")
        folder = os.path.join(self.dir, "set")
        algo = self.make_file("sum.sh", "#!/bin/sh\n"
                              "cat datasets/set/one.csv datasets/set/more/two.csv 2>/dev/null ||\n"
                              "    cat datasets/one.csv datasets/more/two.csv\n"
                              "echo total > results/total\n")
        self.daemon("cocos-runner")
        daemon = self.cvms(flags=["-public-key-path", self.key + ".pub", "-attested-tls-bool", "false", "-algo-path",
                                  algo, "-data-paths", folder, "-once", "-within", "120s", "-expect-log", "^1",
                                  "-expect-event", "Running/Completed", "-expect-event", "Complete/Completed"])
        self.daemon("cocos-log-forwarder", env={"AGENT_CVM_GRPC_URL": daemon.address(), "AGENT_CVM_ID": "cvm-1"})
        agent = self.agent(daemon)
        self.cli(agent, "algo", algo, self.key)
        self.cli(agent, "data", "-d", folder, self.key)
        self.wait_message(daemon, "event", 60, event_type="ConsumingResults")
        self.cli(agent, "result", self.key)
        self.assertEqual(daemon.wait(), 0)


if __name__ == "__main__":
    harness.main()
