"""cvms-test and agents: what they are sent, what becomes of what they say."""

import base64
import json
import signal

import cvms
import fake_agent
import harness

CHUNK = 1024 * 1024


class Serve(cvms.CvmsTestCase):
    def agent(self, daemon, *args, **options):
        agent = fake_agent.FakeAgent(daemon.address(), *args, **options)
        self.addCleanup(agent.close)
        return agent

    def test_agent_gets_the_manifest_in_chunks(self):
        agent = self.agent(self.cvms("-agent-port", "0"), "cvm-1")
        manifest, lengths = agent.receive_manifest()
        self.assertEqual(len(lengths), 2)
        self.assertEqual(lengths[-1], 0)
        self.assertEqual((manifest.id, manifest.description), ("1", "sample descrption"))
        self.assertEqual([d.filename for d in manifest.datasets], ["data.csv"])
        self.assertEqual(manifest.agent_config.port, "0")
        self.assertFalse(manifest.agent_config.attested_tls)

    def test_large_manifest_comes_in_pieces_of_1_mib(self):
        flags = self.flags()
        name = "n" * 200
        # Hundreds of bytes each: more than 2 MiB in all.
        manifest = json.loads(self.run_program("cvms-test", *flags, "-print-manifest", expect=0).stdout)
        one = manifest["datasets"][0]
        manifest["datasets"] = [{**one, "filename": f"{name}-{i}"} for i in range(9000)]
        path = self.make_file("big.json", json.dumps(manifest))
        agent = self.agent(self.cvms(flags=["-manifest", path]))
        got, lengths = agent.receive_manifest()
        self.assertEqual(len(got.datasets), 9000)
        self.assertEqual(got.datasets[8999].filename, f"{name}-8999")
        self.assertGreaterEqual(len(lengths), 4)
        self.assertEqual(lengths[:-2], [CHUNK] * (len(lengths) - 2))
        self.assertTrue(0 < lengths[-2] <= CHUNK)
        self.assertEqual(lengths[-1], 0)

    def test_unchunked_manifest_is_one_run_req(self):
        agent = self.agent(self.cvms("-unchunked"))
        message = agent.receive()
        self.assertEqual(message.WhichOneof("message"), "runReq")
        self.assertEqual(message.runReq.datasets[0].filename, "data.csv")

    def test_D_29_log_forwarder_is_sent_nothing(self):
        daemon = self.cvms("-state-every", "10ms", "-stop-after", "10ms", "-disconnect-after", "10ms")
        forwarder = self.agent(daemon, "cvm-1", forwarder=True)
        agent = self.agent(daemon, "cvm-1")
        agent.receive_manifest()
        seen = {agent.receive().WhichOneof("message") for _ in range(20)}
        self.assertEqual(seen, {"agentStateReq", "stopComputation", "disconnectReq"})
        forwarder.log("from the forwarder")
        record = self.wait_message(daemon, "log", message="from the forwarder")
        self.assertEqual((record["job_id"], record["stream"]), ("cvm-1", "log-forwarder"))
        self.assertTrue(forwarder.incoming.empty())

    def test_every_kind_of_message_is_a_json_line(self):
        daemon = self.cvms()
        agent = self.agent(daemon, "cvm-1")
        agent.event("Running", "Completed", nanos=5)
        agent.log("slope 0.4", level="DEBUG")
        agent.send(run_res={"computation_id": "1", "error": "no"})
        agent.send(stopComputationRes={"computation_id": "1", "message": "m"})
        agent.send(agentStateRes={"id": "1", "state": "Running"})
        agent.send(vTPMattestationReport={"file": b"\x00\x01", "certSerialNumber": "4f"})
        agent.send(azureAttestationToken={"file": b"t", "certSerialNumber": ""})
        daemon.wait_for(lambda d: len(self.messages(d)) == 7, what="seven messages")
        kinds = ["event", "log", "run_res", "stop_res", "state", "attestation", "attestation"]
        lines = self.messages(daemon)
        self.assertEqual([line["kind"] for line in lines], kinds)
        for line in lines:
            self.assertTrue({"time", "peer", "job_id", "stream"} <= line.keys(), line)
            self.assertEqual((line["job_id"], line["stream"]), ("cvm-1", "agent"))
        self.assertEqual(lines[0]["timestamp"], "1970-01-01T00:00:01.000000005Z")
        self.assertEqual((lines[0]["event_type"], lines[0]["status"]), ("Running", "Completed"))
        self.assertEqual((lines[1]["level"], lines[1]["message"]), ("DEBUG", "slope 0.4"))
        self.assertEqual(base64.b64decode(lines[5]["file"]), b"\x00\x01")
        self.assertEqual((lines[5]["source"], lines[6]["source"]), ("vtpm", "azure"))

    def test_text_output_is_one_readable_line_a_message(self):
        daemon = self.cvms("-output", "text")
        agent = self.agent(daemon, "cvm-1")
        agent.event("Running", "Completed")
        daemon.wait_text("cvm-1 event Running/Completed computation 1 by agent")

    def test_RL_6_escapes_of_a_peer_reach_neither_form(self):
        hostile = "a\nfake line\x1b]0;title\x07\x1b[2J\r\u202eb\x00c"
        for form in ("text", "jsonl"):
            daemon = self.cvms("-output", form)
            agent = self.agent(daemon, "cvm-1")
            agent.log(hostile)
            clean_of_zeros = hostile.replace("\x00", "")
            agent.event(clean_of_zeros, clean_of_zeros, computation_id=clean_of_zeros)
            agent.log("the last one", nanos=1)
            daemon.wait_text("the last one")
            lines = [line for line in daemon.out if "title" in line]
            self.assertEqual(len(lines), 2, lines)
            for line in lines:
                self.assertFalse(any(ord(c) < 32 or c in "\x7f\u202e" for c in line), line)
            self.assertFalse(any(line.startswith("fake") for line in daemon.out))
            self.assertEqual(daemon.stop(), 0)

    def test_log_with_zero_bytes_is_shown_and_the_stream_goes_on(self):
        daemon = self.cvms()
        agent = self.agent(daemon, "cvm-1")
        agent.log("a\x00b")
        agent.log("after it", nanos=1)
        self.wait_message(daemon, "log", message="after it")
        self.assertEqual(self.messages(daemon, "log")[0]["message"], "a\x1ab")

    def test_RL_6_job_id_is_harmless_too(self):
        daemon = self.cvms("-output", "text")
        agent = self.agent(daemon, 'cvm"}{x')
        agent.log("hello")
        daemon.wait_text('cvm"}{x log INFO hello')

    def test_second_delivery_is_dropped(self):
        daemon = self.cvms()
        for _ in range(2):
            agent = self.agent(daemon, "cvm-1")
            agent.event("Running", "Starting", nanos=1)
            agent.event("Running", "Completed", nanos=1)  # told apart by status, not by time alone
            agent.log("line", nanos=2)
            agent.log("line", nanos=3)
            agent.send(run_res={"computation_id": "1"})
        daemon.wait_for(lambda d: len(self.messages(d, "run_res")) == 2, what="both streams")
        self.assertEqual(len(self.messages(daemon, "log")), 2)
        self.assertEqual([e["status"] for e in self.messages(daemon, "event")], ["Starting", "Completed"])

    def test_same_event_of_two_cvms_is_two_events(self):
        daemon = self.cvms()
        for job_id in ("cvm-1", "cvm-2"):
            self.agent(daemon, job_id).event("Running", "Starting")
        daemon.wait_for(lambda d: len(self.messages(d, "event")) == 2, what="two events")

    def test_log_without_timestamp_is_never_a_second_delivery(self):
        daemon = self.cvms()
        agent = self.agent(daemon, "cvm-1")
        for _ in range(2):
            agent.send(agent_log={"message": "m", "level": "INFO"})
        daemon.wait_for(lambda d: len(self.messages(d, "log")) == 2, what="two lines")

    def test_bad_message_ends_its_stream_and_no_other(self):
        import grpc
        daemon = self.cvms()
        good = self.agent(daemon, "good")
        with harness.channel(daemon.address()) as channel:
            raw = channel.stream_stream("/cvms.Service/Process", request_serializer=lambda b: b,
                                        response_deserializer=lambda b: b)
            call = raw(iter([b"\x0a\xff\xff\xff\xff\x0f"]), timeout=harness.deadline(20))
            with self.assertRaises(grpc.RpcError) as caught:
                for _ in call:
                    pass
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn("cvms.ClientStreamMessage", caught.exception.details())
        good.log("still here")
        self.wait_message(daemon, "log", message="still here")

    def test_PB_5_unknown_arm_is_warned_of_and_the_stream_goes_on(self):
        daemon = self.cvms()
        with harness.channel(daemon.address()) as channel:
            module = harness.proto("cvms")
            known = module.ClientStreamMessage(agent_log={"message": "after it"}).SerializeToString()
            raw = channel.stream_stream("/cvms.Service/Process", request_serializer=lambda b: b,
                                        response_deserializer=lambda b: b)
            call = raw(iter([b"\xfa\x01\x02hi", b"", known]), timeout=harness.deadline(20))
            self.wait_message(daemon, "log", message="after it")
            call.cancel()
        self.assertEqual(len([r for r in daemon.records if r.get("level") == "WARN"]), 2)

    def test_job_id_too_long_is_refused(self):
        import grpc
        agent = self.agent(self.cvms(), "x" * 257)
        outcome = agent.receive()
        self.assertIsInstance(outcome, grpc.RpcError)
        self.assertEqual(outcome.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertIn("257", outcome.details())

    def test_agent_that_ends_its_side_is_answered_ok(self):
        agent = self.agent(self.cvms())
        agent.receive_manifest()
        self.assertIsNone(agent.end())

    def test_many_agents_are_served(self):
        daemon = self.cvms()
        agents = [self.agent(daemon, f"cvm-{i}") for i in range(40)]
        for i, agent in enumerate(agents):
            agent.receive_manifest()
            agent.log(f"line of {i}")
        daemon.wait_for(lambda d: len({r["message"] for r in self.messages(d, "log")}) == 40, what="40 lines")

    def test_stop_state_and_disconnect_are_sent_once_each_or_again(self):
        daemon = self.cvms("-stop-after", "1ms", "-disconnect-after", "1ms", "-state-every", "1ms")
        agent = self.agent(daemon, "cvm-1")
        agent.receive_manifest()
        kinds = [agent.receive().WhichOneof("message") for _ in range(10)]
        self.assertEqual(kinds.count("stopComputation"), 1)
        self.assertEqual(kinds.count("disconnectReq"), 1)
        self.assertEqual(kinds.count("agentStateReq"), 8)
        agent.close()
        again = self.agent(daemon, "cvm-1")
        again.receive_manifest()
        self.assertEqual({again.receive().WhichOneof("message") for _ in range(5)}, {"agentStateReq"})

    def test_agent_that_never_reads_costs_bounded_memory(self):
        daemon = self.cvms("-state-every", "1ms")
        before = daemon.status("VmRSS")
        with harness.channel(daemon.address(), options=[("grpc.http2.bdp_probe", 0)]) as channel:
            module = harness.proto("cvms")
            held = [harness.Stub(channel, module, "Service").Process(iter(lambda: None, 1), metadata=[("job-id", "x")])
                    for _ in range(5)]
            other = self.agent(daemon, "other")
            other.receive_manifest()
            for _ in range(300):
                other.receive()
            for call in held:
                call.cancel()
        if not harness.SANITIZED:
            self.assertLess(daemon.status("VmHWM") - before, 16 * 1024)

    def test_health_and_reflection_answer(self):
        daemon = self.cvms()
        health, reflection = harness.proto("health"), harness.proto("reflection_v1alpha")
        with harness.channel(daemon.address()) as channel:
            stub = harness.Stub(channel, health, "Health")
            for name in ("", "cvms_test_server"):
                self.assertEqual(stub.Check(health.HealthCheckRequest(service=name), timeout=harness.deadline(10)).status, 1)
            stub = harness.Stub(channel, reflection, "ServerReflection")
            answers = stub.ServerReflectionInfo(iter([reflection.ServerReflectionRequest(list_services="")]),
                                                timeout=harness.deadline(10))
            names = {s.name for s in next(answers).list_services_response.service}
        self.assertIn("cvms.Service", names)

    def test_sigterm_ends_streams_and_exits_0(self):
        import grpc
        daemon = self.cvms()
        agent = self.agent(daemon, "cvm-1")
        agent.receive_manifest()
        daemon.send(signal.SIGTERM)
        outcome = agent.receive()
        self.assertIsInstance(outcome, grpc.RpcError)
        self.assertEqual(outcome.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertEqual(daemon.wait(), 0)

    def test_AG_13_after_kill_9_the_next_one_serves_the_same_port(self):
        port = self.reserve_port().rsplit(":", 1)[1]
        first = self.cvms(env={"PORT": port})
        agent = self.agent(first, "cvm-1")
        agent.receive_manifest()
        agent.event("ReceivingAlgorithm", "InProgress")
        self.wait_message(first, "event")
        first.kill()
        second = self.cvms(env={"PORT": port})
        agent = self.agent(second, "cvm-1")
        agent.receive_manifest()
        agent.event("ReceivingAlgorithm", "InProgress")
        agent.event("ReceivingData", "InProgress", seconds=2)
        self.wait_message(second, "event", event_type="ReceivingData")
        self.assertEqual(second.stop(), 0)


if __name__ == "__main__":
    harness.main()
