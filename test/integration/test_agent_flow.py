"""One computation from order to end, between grpcio peers on all sides."""

import hashlib
import io
import itertools
import os
import zipfile

import grpc

import harness
from agent_lab import ALGORITHM, CONSUMER, DATA, AgentTestCase, Key, bound, plain, sha3

WHOLE = [("ReceivingAlgorithm", "InProgress"), ("ReceivingData", "InProgress"), ("Running", "Starting"),
         ("Running", "InProgress"), ("Running", "Completed"), ("ConsumingResults", "Ready"), ("Complete", "Completed")]


class Flow(AgentTestCase):
    def test_direct_upload_from_order_to_result(self):
        self.start_agent(AGENT_CVM_ID="vm-7")
        self.assertEqual(self.cvms.streams[0].get("job-id"), "vm-7")
        self.assertEqual(self.cvms.next_of("vTPMattestationReport").file, b"")
        self.order()
        users = self.users()
        self.assertEqual(self.cvms.state(), "ReceivingAlgorithm")
        users.algo(self.algorithm, plain(self.algo_key, ALGORITHM) +
                   [("algo_type", "bin"), ("algo_args", "one"), ("algo_args", "two 2")], b"numpy\n")
        self.assertEqual(self.cvms.state(), "ReceivingData")
        self.assertEqual(os.stat(os.path.join(self.work_dir, "algo")).st_mode & 0o777, 0o700)
        self.assertEqual(os.stat(os.path.join(self.work_dir, "requirements.txt")).st_mode & 0o777, 0o600)
        for name, content in reversed(self.datasets):
            users.data(content, plain(self.data_key, DATA), name)
        self.cvms.wait_event("ConsumingResults", "Ready")
        request = self.runner.requests[0]
        self.assertEqual((request.computation_id, request.algo_type, list(request.args)), ("1", "bin", ["one", "two 2"]))
        self.assertEqual(request.algorithm_path, os.path.join(self.work_dir, "algo"))
        self.assertEqual(request.requirements_path, os.path.join(self.work_dir, "requirements.txt"))
        content, md = users.result(plain(self.consumer_key, CONSUMER))
        self.assertEqual(int(md["file-size"]), len(content))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            self.assertEqual(archive.read("sum.txt").decode(), "a.csv 4000\nb.csv 40")
        self.cvms.wait_event("Complete", "Completed")
        self.assertEqual(self.cvms.state(), "Complete")
        self.assertEqual(users.result(plain(self.consumer_key, CONSUMER))[0], content)
        self.assertEqual(self.cvms.events("1"), WHOLE)
        self.assertEqual(self.cvms.stop_computation().message, "")
        self.assertEqual(self.cvms.state(), "ReceivingManifest")
        self.assertEqual(self.cvms.events("1"), WHOLE + [("Stopped", "Stopped")])
        self.assertFalse(os.path.exists(os.path.join(self.run_dir, "agent.addr")))
        self.wait_clean()

    def test_logs_name_their_computation_and_methods(self):
        self.start_agent()
        self.order()
        self.upload_all(self.users())
        self.cvms.wait_event("ConsumingResults", "Ready")
        self.cvms.stop_computation()
        self.cvms.wait(lambda c: any(k == "agent_log" and "computation run started" in m.message
                                     for k, m in c.messages), what="the log")
        logs = self.cvms.of_kind("agent_log")
        lines = [(m.computation_id, m.level, m.message) for m in logs]
        self.assertTrue(any(i == "1" and lv == "INFO" and text.startswith("Method InitComputation for computation id 1 took ")
                            and text.endswith(" to complete without errors") for i, lv, text in lines), lines)
        self.assertTrue(any(i == "1" and text.startswith("Method Data took ") for i, _, text in lines), lines)
        self.assertTrue(any(i == "" and "connecting to the CVMS" in text for i, _, text in lines), lines)
        stamps = [(m.timestamp.seconds, m.timestamp.nanos) for m in logs]
        self.assertEqual(stamps, sorted(set(stamps)))

    def test_no_datasets_run_right_after_the_algorithm(self):
        self.datasets = []
        self.runner.algorithm = lambda request: None
        self.start_agent()
        self.order()
        users = self.users()
        users.algo(self.algorithm, plain(self.algo_key, ALGORITHM))
        self.cvms.wait_event("ConsumingResults", "Ready")
        content, md = users.result(plain(self.consumer_key, CONSUMER))
        self.assertEqual((len(content), md["file-size"]), (22, "22"))  # the archive of nothing
        self.assertNotIn(("ReceivingData", "InProgress"), self.cvms.events())

    def test_AG_5_result_that_is_cut_off_is_not_consumed(self):
        def much(_request):
            with open(os.path.join(self.work_dir, "results", "much"), "wb") as f:
                f.write(os.urandom(8 * 1024 * 1024))
        self.runner.algorithm = much
        self.start_agent()
        self.order()
        users = self.users()
        self.upload_all(users)
        self.cvms.wait_event("ConsumingResults", "Ready")
        md = plain(self.consumer_key, CONSUMER)
        call = users.stub.Result(users.pb.ResultRequest(), metadata=md, timeout=harness.deadline(30))
        next(call)
        call.cancel()
        self.cvms.wait(lambda c: any(m.message.startswith("Method Result took ") for m in c.of_kind("agent_log")),
                       what="the end of the call")
        self.assertEqual(self.cvms.state(), "ConsumingResults")
        self.assertGreater(len(users.result(md)[0]), 8 * 1024 * 1024)
        self.cvms.wait_event("Complete", "Completed")

    def test_unchunked_request_and_every_kind_of_key(self):
        for kind in ("rsa", "ecdsa", "ed25519"):
            with self.subTest(kind):
                self.algo_key = self.data_key = self.consumer_key = Key(kind)
                if not self.agent:
                    self.start_agent()
                count = len(self.cvms.of_kind("run_res"))
                self.cvms.send(runReq=self.request(kind))
                self.assertEqual(self.cvms.next_of("run_res", count).error, "")
                users = self.users()
                self.upload_all(users)
                self.cvms.wait(lambda c: ("ConsumingResults", "Ready") in c.events(kind), what="results")
                self.assertIn(b"sum.txt", users.result(plain(self.consumer_key, CONSUMER))[0])
                self.assertEqual(self.cvms.stop_computation(kind).message, "")

    def test_dataset_without_manifest_name_takes_the_uploaded_one(self):
        request = self.request()
        for d in request.datasets:
            d.filename = ""
        self.start_agent()
        self.order(request)
        users = self.users()
        users.algo(self.algorithm, plain(self.algo_key, ALGORITHM))
        for bad in ("../x", "a/b", ".."):
            self.assert_status(grpc.StatusCode.INVALID_ARGUMENT, "filename: ", users.data, self.datasets[0][1],
                               plain(self.data_key, DATA), bad)
        users.data(self.datasets[0][1], plain(self.data_key, DATA), "named.csv")
        users.data(self.datasets[1][1], plain(self.data_key, DATA), "other.csv")
        self.cvms.wait_event("ConsumingResults", "Ready")
        self.assertIn(b"named.csv 4000\nother.csv 40", users.result(plain(self.consumer_key, CONSUMER))[0])

    def test_decompress_unpacks_an_archive(self):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.csv", b"0" * 5000)
            archive.writestr("sub/y.csv", b"1")
        self.datasets = [("set.zip", packed.getvalue())]
        self.runner.algorithm = lambda request: os.rename(os.path.join(self.work_dir, "datasets", "sub"),
                                                          os.path.join(self.work_dir, "results", "sub"))
        self.start_agent()
        self.order()
        users = self.users()
        users.algo(self.algorithm, plain(self.algo_key, ALGORITHM))
        users.data(packed.getvalue(), plain(self.data_key, DATA) + [("decompress", "true")], "set.zip")
        self.cvms.wait_event("ConsumingResults", "Ready")
        with zipfile.ZipFile(io.BytesIO(users.result(plain(self.consumer_key, CONSUMER))[0])) as archive:
            self.assertEqual(archive.namelist(), ["sub/y.csv"])

    def test_failed_algorithm_is_told_and_is_the_answer_to_result(self):
        self.runner.error = "algorithm execution error: exit status 3"
        self.start_agent()
        self.order()
        users = self.users()
        self.upload_all(users)
        self.cvms.wait_event("Failed", "Failed")
        self.assertEqual(self.cvms.events()[-3:], [("Running", "InProgress"), ("Running", "Failed"), ("Failed", "Failed")])
        self.assert_status(grpc.StatusCode.UNKNOWN, "algorithm execution error: exit status 3", users.result,
                           plain(self.consumer_key, CONSUMER))
        self.wait_clean()
        self.runner.error = ""
        self.assertEqual(self.cvms.stop_computation().message, "")
        self.order(self.request("2"))
        self.upload_all(self.users())
        self.cvms.wait_event("ConsumingResults", "Ready")

    def test_D_18_missing_runner_is_an_error_not_an_empty_result(self):
        self.runner.close()
        os.unlink(os.path.join(self.run_dir, "runner.sock")) if os.path.exists(
            os.path.join(self.run_dir, "runner.sock")) else None
        self.start_agent()
        self.order()
        users = self.users()
        self.upload_all(users)
        self.cvms.wait_event("Failed", "Failed")
        with self.assertRaises(grpc.RpcError) as caught:
            users.result(plain(self.consumer_key, CONSUMER))
        self.assertIn("runner.sock", caught.exception.details())
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNKNOWN)  # this agent can be reached

    def test_runner_that_dies_while_it_runs_fails_the_computation(self):
        self.runner.algorithm = self.runner.until_stopped
        self.start_agent()
        self.order()
        users = self.users()
        self.upload_all(users)
        self.assertTrue(self.runner.entered.wait(harness.deadline(10)))
        self.runner.close()
        self.cvms.wait_event("Failed", "Failed")
        with self.assertRaises(grpc.RpcError) as caught:
            users.result(plain(self.consumer_key, CONSUMER))
        self.assertTrue(caught.exception.details())
        self.assertEqual(self.cvms.stop_computation().message, "")

    def test_bound_signatures_for_everything(self):
        self.start_agent(AGENT_REQUIRE_BOUND_SIGNATURES="true")
        self.order()
        users = self.users()
        describe = harness.Stub(users.channel, harness.proto("extensions"), "Computation").Describe(
            harness.proto("extensions").DescribeRequest(), timeout=harness.deadline(10))
        self.assertEqual((describe.computation_id, describe.state, describe.require_bound_signatures),
                         ("1", "ReceivingAlgorithm", True))
        self.assert_status(grpc.StatusCode.UNAUTHENTICATED, "signature verification failed: this agent wants a bound",
                           users.algo, self.algorithm, plain(self.algo_key, ALGORITHM))
        users.algo(self.algorithm, bound(self.algo_key, ALGORITHM, content=self.algorithm))
        for name, content in self.datasets:
            users.data(content, bound(self.data_key, DATA, content=content, filename=name), name)
        self.cvms.wait_event("ConsumingResults", "Ready")
        users.result(bound(self.consumer_key, CONSUMER))
        self.assertNotIn("plain form", self.cvms.logs())

    def test_plain_signatures_are_warned_of_once(self):
        self.start_agent()
        self.order()
        self.upload_all(self.users())
        self.cvms.wait_event("ConsumingResults", "Ready")
        self.cvms.wait(lambda c: any(k == "agent_log" and "Method Data" in m.message for k, m in c.messages))
        self.assertEqual(self.cvms.logs().count("signed in the plain form"), 1)

    def test_result_hash_is_the_same_every_time(self):
        self.start_agent()
        hashes = set()
        for computation in ("1", "2"):
            self.order(self.request(computation))
            users = self.users()
            self.upload_all(users)
            self.cvms.wait(lambda c: ("ConsumingResults", "Ready") in c.events(computation), what="results")
            hashes.add(sha3(users.result(plain(self.consumer_key, CONSUMER))[0]))
            self.cvms.stop_computation(computation)
        self.assertEqual(len(hashes), 1)

    def test_memory_is_flat_whatever_is_uploaded(self):
        block, count = bytes(range(256)) * 4096, 192
        digest = hashlib.sha3_256()
        for _ in range(count):
            digest.update(block)
        request = self.request()
        del request.datasets[1:]
        request.datasets[0].hash = digest.digest()
        self.start_agent()
        self.order(request)
        users = self.users()
        users.algo(self.algorithm, plain(self.algo_key, ALGORITHM))
        for size in (1, 3):  # MiB a message; the wrong end makes all but the last an error
            pieces = (users.pb.DataRequest(dataset=block * size, filename="a.csv") for _ in range(count // size))
            if size == 1:
                pieces = itertools.chain(pieces, [users.pb.DataRequest(dataset=b"!")])
                self.assert_status(grpc.StatusCode.UNKNOWN, "malformed data, hash does not match", users.stub.Data,
                                   pieces, metadata=plain(self.data_key, DATA), timeout=harness.deadline(60))
            else:
                users.stub.Data(pieces, metadata=plain(self.data_key, DATA), timeout=harness.deadline(60))
        self.cvms.wait_event("ConsumingResults", "Ready")
        if not harness.SANITIZED and harness.SCALE == 1:
            self.assertLess(self.agent.status("VmHWM"), 32 * 1024)

    def test_RL_5_AG_16_nothing_is_left_to_find(self):
        canary = b"canary-8c1f4d"
        self.algorithm = b"#!/bin/sh\n# " + canary
        self.datasets = [("a.csv", canary * 1000)]
        def run(_request):
            with open(os.path.join(self.work_dir, "results", "out"), "wb") as f:
                f.write(canary)
        self.runner.algorithm = run
        self.start_agent()
        self.order()
        users = self.users()
        users.algo(self.algorithm, plain(self.algo_key, ALGORITHM), canary)
        users.data(self.datasets[0][1], plain(self.data_key, DATA), "a.csv")
        self.cvms.wait_event("ConsumingResults", "Ready")
        self.assertIn(canary, users.result(plain(self.consumer_key, CONSUMER))[0])
        self.cvms.wait_event("Complete", "Completed")
        self.wait_clean()
        self.cvms.stop_computation()
        signatures = [v for key, role in ((self.algo_key, ALGORITHM), (self.consumer_key, CONSUMER))
                      for k, v in plain(key, role) if k == "signature"]
        secrets = [canary] + [s.encode() for s in signatures]
        for folder, _, names in os.walk(self.dir):
            for name in names:
                if not os.path.isfile(os.path.join(folder, name)):
                    continue
                with open(os.path.join(folder, name), "rb") as f:
                    content = f.read()
                for secret in secrets:
                    self.assertNotIn(secret, content, name)
        for secret in secrets:
            self.assertNotIn(secret.decode(), self.agent.text())
            self.assertNotIn(secret.decode(), self.cvms.logs())

    def test_health_and_reflection(self):
        self.start_agent(AGENT_GRPC_REFLECTION="true")
        self.order()
        users = self.users()
        pb = harness.proto("health")
        stub = harness.Stub(users.channel, pb, "Health")
        for name in ("", "agent"):
            self.assertEqual(stub.Check(pb.HealthCheckRequest(service=name), timeout=harness.deadline(10)).status, 1)
        self.assert_status(grpc.StatusCode.NOT_FOUND, "unknown service", stub.Check,
                           pb.HealthCheckRequest(service="other"), timeout=harness.deadline(10))
        pb = harness.proto("reflection_v1")
        stub = harness.Stub(users.channel, pb, "ServerReflection")
        answer = next(stub.ServerReflectionInfo(iter([pb.ServerReflectionRequest(list_services="")]), timeout=harness.deadline(10)))
        self.assertIn("agent.AgentService", [s.name for s in answer.list_services_response.service])

    def test_no_reflection_unless_asked_for(self):
        self.start_agent()
        self.order()
        pb = harness.proto("reflection_v1")
        stub = harness.Stub(self.users().channel, pb, "ServerReflection")
        self.assert_status(grpc.StatusCode.UNIMPLEMENTED, "", lambda: next(stub.ServerReflectionInfo(
            iter([pb.ServerReflectionRequest(list_services="")]), timeout=harness.deadline(10))))


if __name__ == "__main__":
    harness.main()
