"""cvms-test with a real agent: every server message, and a whole computation that it judges."""

import os

import cvms
import harness


def to_cvms(address):
    return {"AGENT_CVM_GRPC_URL": address, "AGENT_CVM_ID": "cvm-1", "AGENT_CVM_RECONNECT_DELAY": "50ms"}


class WithAgent(cvms.CvmsTestCase):
    def agent(self, daemon, **env):
        return self.daemon("cocos-agent", ready=False, env={
            **to_cvms(daemon.address()), "AGENT_GRPC_HOST": "127.0.0.1", "AGENT_GRPC_PORT": "0", **env})

    def cli(self, agent, *args):
        self.run_program("cocos-cli", *args, env={"AGENT_GRPC_URL": agent.address()}, expect=0)

    def test_states_are_met_in_order(self):
        daemon = self.cvms("-once", "-within", harness.duration(60), "-expect-state", "ReceivingAlgorithm", "-expect-state",
                           "ReceivingData")
        agent = self.agent(daemon)
        agent.ready()
        self.wait_message(daemon, "state", state="ReceivingAlgorithm")
        self.cli(agent, "algo", self.algo, self.key)
        self.assertEqual(daemon.wait(), 0)

    def test_stop_brings_the_agent_back(self):
        daemon = self.cvms("-stop-after", "100ms", "-once", "-within", harness.duration(60), "-expect-event",
                           "ReceivingAlgorithm/InProgress", "-expect-event", "Stopped/Stopped", "-expect-state",
                           "ReceivingManifest")
        self.agent(daemon)
        self.assertEqual(daemon.wait(), 0)

    def test_disconnected_agent_comes_back_to_the_same_computation(self):
        daemon = self.cvms("-disconnect-after", "1ms", "-state-every", "50ms")
        self.agent(daemon)

        def second_peer(d):
            peers = [r["peer"] for r in d.records if "sent successfully" in r.get("msg", "")]
            return peers[1] if len(peers) >= 2 else None
        state = self.wait_message(daemon, "state", peer=daemon.wait_for(second_peer, 30, "a second connection"))
        self.assertEqual(state["state"], "ReceivingAlgorithm")
        self.assertEqual([e["event_type"] for e in self.messages(daemon, "event")], ["ReceivingAlgorithm"])

    def test_unchunked_manifest_is_taken(self):
        daemon = self.cvms("-unchunked", "-once", "-within", harness.duration(60), "-expect-event", "ReceivingAlgorithm")
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
                                  algo, "-data-paths", folder, "-once", "-within", harness.duration(120), "-expect-log", "^1",
                                  "-expect-event", "Running/Completed", "-expect-event", "Complete/Completed"])
        self.daemon("cocos-log-forwarder", env=to_cvms(daemon.address()))
        agent = self.agent(daemon)
        self.cli(agent, "algo", algo, self.key)
        self.cli(agent, "data", "-d", folder, self.key)
        self.wait_message(daemon, "event", 60, event_type="ConsumingResults")
        self.cli(agent, "result", self.key)
        self.assertEqual(daemon.wait(), 0)

    def test_AG_13_cvms_killed_at_each_step_sees_each_event_once_in_all(self):
        self.daemon("cocos-runner")
        algo = self.make_file("one.sh", "#!/bin/sh\necho one > results/one\n")
        flags = ["-public-key-path", self.key + ".pub", "-attested-tls-bool", "false", "-algo-path", algo,
                 "-data-paths", self.data]
        address = self.reserve_port()
        port = address.rsplit(":", 1)[1]
        servers = [self.cvms(flags=flags, env={"PORT": port})]
        self.daemon("cocos-log-forwarder", env=to_cvms(address))
        agent = self.agent(servers[0])

        def kill_and_restart(event_type, status):
            self.wait_message(servers[-1], "event", 60, event_type=event_type, status=status)
            servers[-1].kill()
            servers.append(self.cvms(flags=flags, env={"PORT": port}))

        kill_and_restart("ReceivingAlgorithm", "InProgress")
        self.cli(agent, "algo", algo, self.key)
        kill_and_restart("ReceivingData", "InProgress")
        self.cli(agent, "data", self.data, self.key)
        kill_and_restart("ConsumingResults", "Ready")
        self.cli(agent, "result", self.key)
        self.wait_message(servers[-1], "event", 60, event_type="Complete")

        seen = {}  # one that was under way when a server died comes again, with its own timestamp
        for server in servers:
            for e in self.messages(server, "event"):
                seen.setdefault(e["timestamp"], f"{e['event_type']}/{e['status']}")
        self.assertEqual([seen[t] for t in sorted(seen)], [
            "ReceivingAlgorithm/InProgress", "ReceivingData/InProgress", "Running/Starting", "Running/InProgress",
            "Running/Completed", "ConsumingResults/Ready", "Complete/Completed"])


if __name__ == "__main__":
    harness.main()
