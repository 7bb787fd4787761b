"""The agent's stream to its CVMS: stops, states, disconnects, and a CVMS that goes and returns."""

import os
import socket
import subprocess
import threading

import grpc

import harness
from agent_lab import ALGORITHM, CONSUMER, DATA, AgentTestCase, Cvms, plain

STOPPED = ("Stopped", "Stopped")


class InState(AgentTestCase):
    """Brings a computation into each state."""

    def bring_to(self, state, computation="1"):
        self.order(self.request(computation))
        users = self.users()
        if state == "ReceivingAlgorithm":
            return users
        users.algo(self.algorithm, plain(self.algo_key, ALGORITHM))
        if state == "ReceivingData":
            return users
        if state == "Running":
            self.runner.entered.clear()
            self.runner.algorithm = self.runner.until_stopped
        elif state == "Failed":
            self.runner.error = "algorithm execution error: exit status 1"
        for name, content in self.datasets:
            users.data(content, plain(self.data_key, DATA), name)
        if state == "Running":
            self.assertTrue(self.runner.entered.wait(harness.deadline(10)))
            return users
        if state == "Failed":
            self.wait_event(computation, ("Failed", "Failed"))
            return users
        self.wait_event(computation, ("ConsumingResults", "Ready"))
        if state == "Complete":
            users.result(plain(self.consumer_key, CONSUMER))
            self.wait_event(computation, ("Complete", "Completed"))
        return users

    def wait_event(self, computation, event):
        self.cvms.wait(lambda c: event in c.events(computation), what=f"event {event}")

    def reset_runner(self):
        self.runner.algorithm, self.runner.error = self.runner.sum_up, ""


class Stop(InState):
    def test_AG_2_stop_in_each_state_and_twice(self):
        self.start_agent()
        for n, state in enumerate(("ReceivingAlgorithm", "ReceivingData", "Running", "ConsumingResults", "Complete",
                                   "Failed")):
            with self.subTest(state):
                computation = f"c{n}"
                self.reset_runner()
                self.bring_to(state, computation)
                self.assertEqual(self.cvms.state(), state)
                for _ in range(2):
                    answer = self.cvms.stop_computation(computation)
                    self.assertEqual((answer.computation_id, answer.message), (computation, ""))
                    self.assertEqual(self.cvms.state(), "ReceivingManifest")
                self.assertEqual(self.files(), [])
                events = self.cvms.events(computation)
                self.assertEqual(events.count(STOPPED), 1)
                self.assertEqual(events[-1], STOPPED)
        self.assertEqual(self.runner.stops, ["c2"])
        self.reset_runner()
        self.bring_to("Complete", "last")

    def test_AG_2_stop_before_any_manifest(self):
        self.start_agent()
        self.assertEqual(self.cvms.stop_computation("x").message, "")
        self.assertEqual(self.cvms.events(), [])

    def test_D_19_stop_of_another_computation_does_nothing(self):
        self.start_agent()
        self.bring_to("ReceivingData")
        answer = self.cvms.stop_computation("2")
        self.assertEqual(answer.computation_id, "2")
        self.assertIn("this agent has '1', which is ReceivingData", answer.message)
        self.assertEqual(self.cvms.state(), "ReceivingData")

    def test_AG_2_stop_during_an_upload(self):
        self.start_agent()
        self.order()
        call, go_on = self.users().slow_algo(plain(self.algo_key, ALGORITHM), b"x" * 100000)
        harness.wait_until(lambda: self.files(), what="staged files")
        self.assertEqual(self.cvms.stop_computation().message, "")
        self.assertEqual((call.code(), call.details()), (grpc.StatusCode.ABORTED, "the computation was stopped"))
        go_on.set()
        self.assertEqual(self.files(), [])

    def test_AG_2_stop_during_a_download_that_nobody_reads(self):
        self.runner.algorithm = lambda request: subprocess.run(
            ["truncate", "-s", "64M", os.path.join(self.work_dir, "results", "big")], check=True)
        self.start_agent()
        users = self.bring_to("ConsumingResults")
        call = users.stub.Result(users.pb.ResultRequest(), metadata=plain(self.consumer_key, CONSUMER))
        next(call)
        self.assertEqual(self.cvms.stop_computation(seconds=10).message, "")
        self.assertEqual(self.cvms.state(), "ReceivingManifest")
        self.reset_runner()
        self.bring_to("Complete", "2")

    def test_D_15_no_late_failure_after_a_stop(self):
        self.start_agent()
        self.bring_to("Running")
        self.cvms.stop_computation()
        self.reset_runner()
        self.bring_to("Complete", "2")
        self.assertNotIn(("Running", "Failed"), self.cvms.events())
        self.assertEqual(set(e.computation_id for e in self.cvms.of_kind("agent_event")), {"1", "2"})

    def test_AG_8_no_computation_begins_while_the_algorithm_of_another_may_run(self):
        """The runner does not confirm its end: the agent goes on, and takes no order before it does."""
        self.start_agent()
        self.bring_to("Running")
        good = self.runner.on_stop
        self.runner.on_stop = lambda request, context: context.abort(grpc.StatusCode.INTERNAL, "no")
        answer = self.cvms.stop_computation()
        self.assertEqual(answer.message, "stop the algorithm: no")
        self.assertEqual(self.cvms.state(), "ReceivingManifest")
        for count in (2, 3):
            self.order(self.request(f"x{count}"), "the runner has not confirmed that the algorithm of computation '1' "
                       "has ended, which could read what this one brings; it is asked again: order this one again later")
            self.agent.wait_for(lambda d, n=count: sum("stop the algorithm of computation 1: no" in line
                                                       for line in d.out) >= n, what=f"question {count}")
        self.runner.on_stop = good
        self.order(self.request("x4"), None)
        self.agent.wait_log(contains="the algorithm of computation 1 has ended")
        self.reset_runner()
        self.bring_to("Complete", "2")


class Orders(InState):
    def test_AG_14_same_request_twice_is_answered_again(self):
        self.start_agent()
        self.bring_to("ReceivingData")
        self.order()
        self.assertEqual(self.cvms.state(), "ReceivingData")
        self.assertEqual(self.cvms.events().count(("ReceivingAlgorithm", "InProgress")), 1)

    def test_AG_14_another_request_while_busy_is_refused(self):
        self.start_agent()
        self.bring_to("ReceivingData")
        self.order(self.request("2"), "this agent has computation '1', which is ReceivingData; stop it first")
        changed = self.request()
        changed.name = "changed"
        self.order(changed, "this agent has computation '1', which is ReceivingData; stop it first")
        self.assertEqual(self.cvms.state(), "ReceivingData")

    def test_PB_5_unknown_and_broken_messages_keep_the_stream(self):
        self.start_agent()
        self.cvms.send_raw(b"")                       # no member
        self.cvms.send_raw(b"\x7a\x02\x08\x01")       # a member of tomorrow, field 15
        self.cvms.send_raw(b"\x0a\x7f")               # cut off
        self.assertEqual(self.cvms.state(), "ReceivingManifest")
        self.assertEqual(len(self.cvms.streams), 1)
        self.cvms.wait(lambda c: c.logs().count("passed over") == 3, what="three reasons")

    def test_PB_5_request_with_fields_of_tomorrow_is_taken(self):
        self.start_agent()
        data = self.request().SerializeToString() + b"\xfa\x01\x03new"
        self.cvms.send(runReqChunks={"data": data, "id": "1", "is_last": True})
        self.assertEqual(self.cvms.next_of("run_res").error, "")

    def test_disconnect_request_comes_back(self):
        self.start_agent()
        self.bring_to("ReceivingData")
        self.cvms.send(disconnectReq={"id": "x"})
        self.cvms.wait_streams(2)
        self.assertEqual(self.cvms.state(), "ReceivingData")

    def test_half_a_request_is_forgotten_with_its_stream(self):
        self.start_agent()
        self.cvms.send(runReqChunks={"data": b"\xff\xff", "id": "1"})
        self.cvms.send(disconnectReq={"id": "x"})
        self.cvms.wait_streams(2)
        self.order()


class ComesAndGoes(InState):
    def bounce(self):
        """The CVMS goes, and returns on the same port."""
        count = len(self.cvms.streams)
        self.cvms.stop()
        self.cvms.start()
        self.cvms.wait_streams(count + 1, 20)

    def test_AG_13_cvms_returns_at_each_step(self):
        self.start_agent()
        self.bounce()
        self.order()
        self.bounce()
        self.assertEqual(self.cvms.state(), "ReceivingAlgorithm")
        self.order()  # what a CVMS does on a new stream
        users = self.users()
        users.algo(self.algorithm, plain(self.algo_key, ALGORITHM))
        self.bounce()
        release = threading.Event()
        def run(request):
            release.wait(harness.deadline(30))
            self.runner.sum_up(request)
        self.runner.algorithm = run
        for name, content in self.datasets:
            users.data(content, plain(self.data_key, DATA), name)
        self.assertTrue(self.runner.entered.wait(harness.deadline(10)))
        self.bounce()
        self.assertEqual(self.cvms.state(), "Running")
        self.cvms.stop()  # away while the results come and are fetched
        release.set()
        result = harness.wait_until(lambda: self.fetch(users), what="the result")
        self.assertIn(b"a.csv", result)
        self.cvms.start()
        self.wait_event("1", ("Complete", "Completed"))
        self.bounce()
        self.assertEqual(self.cvms.stop_computation().message, "")
        self.assertEqual(self.cvms.events("1"), [
            ("ReceivingAlgorithm", "InProgress"), ("ReceivingData", "InProgress"), ("Running", "Starting"),
            ("Running", "InProgress"), ("Running", "Completed"), ("ConsumingResults", "Ready"),
            ("Complete", "Completed"), STOPPED])

    def fetch(self, users):
        try:
            return users.result(plain(self.consumer_key, CONSUMER))[0]
        except grpc.RpcError:
            return None

    def test_D_20_answer_of_a_stop_waits_for_the_cvms(self):
        self.start_agent()
        self.bring_to("Running")
        slow = threading.Event()
        def stop(request, context):
            slow.wait(harness.deadline(20))
            return self.runner.stop(request, context)
        self.runner.on_stop = stop
        self.cvms.send(stopComputation={"computation_id": "1"})
        self.wait_event("1", STOPPED)
        self.cvms.stop()
        slow.set()
        self.cvms.start()
        self.assertEqual(self.cvms.next_of("stopComputationRes", 0, 20).message, "")
        self.assertEqual(self.cvms.state(), "ReceivingManifest")

    def test_cvms_that_comes_late(self):
        address = self.cvms.address
        self.cvms.stop()
        self.agent = self.daemon("cocos-agent", env=self.agent_env(), ready=False)
        self.agent.wait_log(contains="stream to the CVMS at")
        self.cvms.start()
        self.assertEqual(self.cvms.address, address)
        self.cvms.wait_streams(1)
        self.agent.wait_log(msg="connected")

    def test_D_16_computation_after_stop_and_reconnect(self):
        self.start_agent()
        self.bring_to("ReceivingData")
        self.cvms.stop_computation()
        self.bounce()
        self.bring_to("Complete", "2")


class Proxy(AgentTestCase):
    def proxy(self):
        """An HTTP proxy that takes every CONNECT to the CVMS; what it was asked for, and its address."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        asked = []
        def pipe(source, sink):
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        def serve():
            try:
                while True:
                    near, _ = listener.accept()
                    head = b""
                    while b"\r\n\r\n" not in head:
                        head += near.recv(4096)
                    asked.append(head.split(b"\r\n")[0].decode())
                    host, port = self.cvms.address.rsplit(":", 1)
                    far = socket.create_connection((host, int(port)))
                    near.sendall(b"HTTP/1.1 200 Connection Established\r\n\r\n")
                    for pair in ((near, far), (far, near)):
                        threading.Thread(target=pipe, args=pair, daemon=True).start()
            except OSError:
                pass
        threading.Thread(target=serve, daemon=True).start()
        return asked, f"http://127.0.0.1:{listener.getsockname()[1]}"

    def test_cvms_behind_a_proxy(self):
        asked, address = self.proxy()
        self.start_agent(AGENT_CVM_GRPC_URL="cvms.test:7001", HTTPS_PROXY=address, NO_PROXY="localhost,.local")
        self.order()
        self.assertEqual(asked[0], "CONNECT cvms.test:7001 HTTP/1.1")

    def test_cvms_on_this_machine_needs_no_proxy(self):
        self.start_agent(HTTPS_PROXY="http://127.0.0.1:1")
        self.order()


class Tls(AgentTestCase):
    def credentials(self, authority, name="server", client=False):
        with open(authority.path, "rb") as f:
            ca = f.read()
        cert, key = authority.issue(name)
        with open(cert, "rb") as c, open(key, "rb") as k:
            return grpc.ssl_server_credentials([(k.read(), c.read())], ca, require_client_auth=client)

    def test_cvms_with_mutual_tls_gets_the_serial(self):
        authority = harness.Authority(self.make_dir("ca"))
        self.cvms.close()
        self.cvms = Cvms(credentials=self.credentials(authority, client=True))
        cert, key = authority.issue("client", usage="client")
        self.start_agent(AGENT_CVM_GRPC_URL=self.cvms.address.replace("127.0.0.1", "localhost"),
                         AGENT_CVM_GRPC_CLIENT_CERT=cert, AGENT_CVM_GRPC_CLIENT_KEY=key,
                         AGENT_CVM_GRPC_SERVER_CA_CERTS=authority.path)
        from cryptography import x509
        with open(cert, "rb") as f:
            serial = x509.load_pem_x509_certificate(f.read()).serial_number
        self.assertEqual(self.cvms.next_of("vTPMattestationReport").certSerialNumber, str(serial))
        self.agent.wait_log(contains="the start-up report is empty")
        self.order()

    def test_cvms_of_another_authority_is_not_talked_to(self):
        authority, other = harness.Authority(self.make_dir("ca")), harness.Authority(self.make_dir("ca2"))
        self.cvms.close()
        self.cvms = Cvms(credentials=self.credentials(authority))
        self.agent = self.daemon("cocos-agent", ready=False, env=self.agent_env(
            AGENT_CVM_GRPC_SERVER_CA_CERTS=other.path))
        self.agent.wait_log(contains="stream to the CVMS at")
        self.assertEqual(self.cvms.streams, [])

    def test_users_with_tls_and_mutual_tls(self):
        authority = harness.Authority(self.make_dir("ca"))
        cert, key = authority.issue("agent")
        self.start_agent()
        request = self.request()
        request.agent_config.cert_file, request.agent_config.key_file = cert, key
        self.order(request)
        self.agent.wait_log(contains=" with TLS")
        with open(authority.path, "rb") as f:
            ca = f.read()
        self.upload_all(self.users(grpc.ssl_channel_credentials(ca)))
        self.cvms.wait_event("ConsumingResults", "Ready")
        self.cvms.stop_computation()

        request = self.request("2")
        with open(cert, encoding="ascii") as c, open(key, encoding="ascii") as k:  # as text, not as paths
            request.agent_config.cert_file, request.agent_config.key_file = c.read(), k.read()
        request.agent_config.client_ca_file = authority.path
        self.order(request)
        self.agent.wait_log(contains=" with mTLS")
        with self.assertRaises(harness.Expired):
            harness.channel(self.address(), grpc.ssl_channel_credentials(ca), seconds=0.2)
        mine, my_key = authority.issue("user", usage="client")
        with open(mine, "rb") as c, open(my_key, "rb") as k:
            self.upload_all(self.users(grpc.ssl_channel_credentials(ca, k.read(), c.read())))
        self.cvms.wait(lambda c: ("ConsumingResults", "Ready") in c.events("2"), what="results")


if __name__ == "__main__":
    harness.main()
