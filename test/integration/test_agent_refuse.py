"""What an agent refuses, with which code and words, and that nothing stays behind."""

import os
import subprocess
import threading

import grpc

import harness
from agent_lab import ALGORITHM, CONSUMER, DATA, AgentTestCase, Key, base64_of, bound, plain, sha3

UNKNOWN, DENIED, UNAUTHENTICATED = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.PERMISSION_DENIED,
                                    grpc.StatusCode.UNAUTHENTICATED)
NOT_NOW = "agent not expecting this operation in the current state"


class Manifest(AgentTestCase):
    def refused(self, request, *parts):
        count = len(self.cvms.of_kind("run_res"))
        self.cvms.run(request)
        answer = self.cvms.next_of("run_res", count)
        self.assertEqual(answer.computation_id, request.id)
        for part in parts:
            self.assertIn(part, answer.error)
        self.assertEqual(self.cvms.state(), "ReceivingManifest")
        self.assertEqual(self.cvms.events(), [])
        self.assertFalse(os.path.exists(os.path.join(self.run_dir, "agent.addr")))

    def test_PB_1_hash_of_wrong_length(self):
        self.start_agent()
        for length in (0, 31, 33, 64):
            request = self.request()
            request.datasets[1].hash = b"x" * length
            self.refused(request, f"datasets[1].hash: {length} bytes, 32 are wanted")
        self.order()

    def test_PB_2_all_faults_at_once(self):
        self.start_agent()
        request = self.request()
        request.ClearField("algorithm")
        request.datasets[0].hash = b"short"
        request.datasets[1].filename = "../up"
        request.result_consumers[0].userKey = b"no key"
        self.refused(request, "algorithm: missing", "datasets[0].hash: 5 bytes", "datasets[1].filename: ",
                     "result_consumers[0].user_key: ")

    def test_PB_2_ten_thousand_and_one_datasets(self):
        self.start_agent()
        request = self.request()
        for i in range(10001 - len(request.datasets)):
            request.datasets.add(hash=sha3(b"%d" % i), userKey=self.data_key.der, filename=f"{i}")
        self.refused(request, "datasets: 10001 of them, at most 10000 are accepted")

    def test_AG_7_reserved_filenames(self):
        self.start_agent()
        for name in ("a/b", "..", ".", ".cocos-staged.x", "a\nb"):
            request = self.request()
            request.datasets[0].filename = name
            self.refused(request, "datasets[0].filename: ")

    def test_what_is_not_built_yet_is_named(self):
        self.start_agent()
        request = self.request()
        request.agent_config.attested_tls = True
        self.refused(request, "attested TLS is not built into this agent yet")
        request = self.request()
        request.datasets[1].source.url = "s3://bucket/key"
        self.refused(request, "datasets[1].source.url 's3://bucket/key': remote resources are not supported yet")
        request = self.request()
        request.algorithm.source.url = "docker://reg/x"
        self.refused(request, "algorithm.source.url 'docker://reg/x'")
        request = self.request()
        request.algorithm.source.encrypted = True
        self.refused(request, "algorithm.source.encrypted: encrypted uploads are not supported yet")
        request = self.request()
        request.datasets[1].source.encrypted = True
        self.refused(request, "datasets[1].source.encrypted: encrypted uploads are not supported yet")

    def test_unreadable_certificate_is_told(self):
        self.start_agent()
        request = self.request()
        request.agent_config.cert_file = "/nonexistent/cert.pem"
        request.agent_config.key_file = "/nonexistent/key.pem"
        self.refused(request, "agent_config", "/nonexistent/")
        self.order()

    def test_ca_without_certificate_is_never_served_in_plaintext(self):
        self.start_agent()
        for field in ("client_ca_file", "server_ca_file"):
            request = self.request()
            setattr(request.agent_config, field, "/etc/certs/ca.pem")
            self.refused(request, f"agent_config.{field}: given without cert_file and key_file")
        self.order()

    def test_port_in_use_is_told(self):
        import socket
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            s.listen()
            self.start_agent(AGENT_GRPC_PORT=None)
            request = self.request()
            request.agent_config.port = str(s.getsockname()[1])
            self.refused(request, str(s.getsockname()[1]))

    def test_D_8_garbage_request_is_answered_and_the_stream_stays(self):
        self.start_agent()
        self.cvms.send(runReqChunks={"data": b"\x0a\x011\x0b", "id": "1", "is_last": True})
        self.assertIn("cvms.ComputationRunReq", self.cvms.next_of("run_res").error)
        self.order()
        self.assertEqual(len(self.cvms.streams), 1)

    def test_chunks_above_64_mib_are_refused_once(self):
        self.start_agent()
        for _ in range(70):
            self.cvms.send(runReqChunks={"data": b"x" * 1024 * 1024, "id": "big"})
        self.cvms.send(runReqChunks={"id": "big", "is_last": True})
        answer = self.cvms.next_of("run_res", 0, 30)
        self.assertEqual(answer.computation_id, "big")
        self.assertIn("more than 67108864 bytes", answer.error)
        self.order()
        self.assertEqual(len(self.cvms.of_kind("run_res")), 2)


class Users(AgentTestCase):
    def setUp(self):
        super().setUp()
        self.start_agent()
        self.order()
        self.caller = self.users()

    def algo(self, md=None, content=None):
        return self.caller.algo(self.algorithm if content is None else content, md or plain(self.algo_key, ALGORITHM))

    def data(self, content, name, key=None, md=None):
        return self.caller.data(content, md or plain(key or self.data_key, DATA), name)

    def staged(self):
        return [f for f in self.files() if ".cocos-staged" in f]

    def test_AG_1_state_is_checked_before_anything_is_received(self):
        self.assert_status(UNKNOWN, NOT_NOW, self.data, *reversed(self.datasets[0]))
        self.assert_status(UNKNOWN, "computation results are not yet ready", self.caller.result,
                           plain(self.consumer_key, CONSUMER))
        self.algo()
        self.assert_status(UNKNOWN, NOT_NOW, self.algo)
        # A gigabyte that nobody wants: the answer does not wait for it.
        pieces = iter(lambda: self.caller.pb.AlgoRequest(algorithm=b"x" * 1024 * 1024), None)
        taken = []
        def some():
            for _ in range(1024):
                taken.append(1)
                yield next(pieces)
        self.assert_status(UNKNOWN, NOT_NOW, self.caller.stub.Algo, some(),
                           metadata=plain(self.algo_key, ALGORITHM), timeout=harness.deadline(30))
        self.assertLess(len(taken), 1024)

    def test_missing_double_and_broken_signatures(self):
        invalid = "rpc error: code = Unauthenticated desc = invalid metadata : invalid metadata"
        self.assert_status(UNAUTHENTICATED, invalid, self.algo, [("user-id", ALGORITHM)])
        twice = plain(self.algo_key, ALGORITHM) + [("signature", "x")]
        self.assert_status(UNAUTHENTICATED, invalid, self.algo, twice)
        self.assert_status(UNAUTHENTICATED, "signature verification failed", self.algo, [("signature", "!")])
        self.assert_status(UNAUTHENTICATED, "signature verification failed", self.algo,
                           [("signature", base64_of(b"x" * 64))])

    def test_AG_3_signature_of_another_role_or_key(self):
        for md in (plain(self.algo_key, DATA), plain(self.data_key, ALGORITHM), plain(Key(), ALGORITHM)):
            self.assert_status(UNAUTHENTICATED, "signature verification failed", self.algo, md)

    def test_AG_3_bound_signature_used_for_something_else(self):
        good = dict(content=self.algorithm)
        for md in (bound(self.algo_key, ALGORITHM, computation="2", **good),
                   bound(self.algo_key, DATA, **good),
                   bound(self.algo_key, ALGORITHM, content=b"other"),
                   bound(self.algo_key, ALGORITHM, expiry=1, **good),
                   bound(self.algo_key, ALGORITHM, expiry=99999999999, **good),
                   bound(self.algo_key, ALGORITHM, said={"expiry": "99"}, **good)):
            self.assert_status(UNAUTHENTICATED, "signature verification failed: ", self.algo, md)
        md = bound(self.algo_key, ALGORITHM, **good)
        self.assert_status(UNKNOWN, "malformed data, hash does not match manifest", self.algo, md, b"other")
        self.algo(md)
        (a, a_bytes), (b, b_bytes) = self.datasets
        md = bound(self.data_key, DATA, content=a_bytes, filename=a)
        self.assert_status(UNAUTHENTICATED, "signature verification failed: ", self.data, a_bytes, b, md=md)
        self.assert_status(UNKNOWN, "malformed data, hash does not match manifest", self.data, b_bytes, a, md=md)
        self.data(a_bytes, a, md=md)
        self.assert_status(UNKNOWN, "dataset not declared in computation manifest", self.data, a_bytes, a, md=md)
        self.assertEqual(self.staged(), [])

    def test_AG_4_provider_of_another_dataset(self):
        self.cvms.stop_computation()
        other = Key()
        request = self.request("2")
        request.datasets[1].userKey = other.der
        self.order(request)
        self.caller = self.users()
        self.algo()
        (a, a_bytes), (b, b_bytes) = self.datasets
        for content, name in ((b_bytes, b), (b_bytes, a), (b"x", b)):
            with self.subTest(name=name):
                code = UNKNOWN if (content, name) == (b_bytes, a) else DENIED
                self.assert_status(code, "", self.data, content, name)
        self.assert_status(DENIED, "this dataset belongs to another data provider", self.data, a_bytes, a, other)
        self.data(b_bytes, b, other)
        self.data(a_bytes, a)
        self.cvms.wait_event("ConsumingResults", "Ready")

    def test_AG_5_result_reasons(self):
        undeclared = plain(Key(), CONSUMER)
        self.assert_status(UNAUTHENTICATED, "signature verification failed", self.caller.result, undeclared)
        self.assert_status(UNKNOWN, "computation results are not yet ready", self.caller.result,
                           plain(self.consumer_key, CONSUMER))
        self.upload_all(self.caller)
        self.cvms.wait_event("ConsumingResults", "Ready")
        self.assert_status(UNAUTHENTICATED, "signature verification failed", self.caller.result, undeclared)
        self.assertEqual(self.cvms.state(), "ConsumingResults")
        self.caller.result(plain(self.consumer_key, CONSUMER))
        self.cvms.wait_event("Complete", "Completed")

    def test_AG_6_wrong_hash_leaves_nothing_and_says_both(self):
        wrong = self.algorithm + b"!"
        self.assert_status(UNKNOWN, "malformed data, hash does not match manifest: SHA3-256 of the algorithm: "
                           f"expected {sha3(self.algorithm).hex()}, got {sha3(wrong).hex()}", self.algo, None, wrong)
        self.assertEqual(self.files(), [])
        self.algo()
        name, content = self.datasets[0]
        self.assert_status(UNKNOWN, "malformed data, hash does not match manifest: SHA3-256 of dataset 'a.csv'",
                           self.data, content[:-1], name)
        self.assertEqual([f for f in self.files() if f not in ("algo", "datasets")], [])
        self.upload_rest()

    def upload_rest(self):
        for name, content in self.datasets:
            self.data(content, name)
        self.cvms.wait_event("ConsumingResults", "Ready")

    def test_undeclared_and_misnamed_datasets(self):
        self.algo()
        self.assert_status(UNKNOWN, "dataset not declared in computation manifest, or received already: none of "
                           f"yours that is still waited for has the name 'x.csv' or the SHA3-256 {sha3(b'x').hex()}",
                           self.data, b"x", "x.csv")
        self.assert_status(UNKNOWN, "malformed data, filename does not match manifest: expected 'a.csv', got 'x.csv'",
                           self.data, self.datasets[0][1], "x.csv")
        self.assert_status(UNKNOWN, "dataset is required", self.data, b"", "a.csv")
        self.assertEqual(self.cvms.state(), "ReceivingData")
        self.upload_rest()

    def test_empty_algorithm(self):
        self.assert_status(UNKNOWN, "algorithm binary is required", self.algo, None, b"")
        self.assertEqual(self.cvms.state(), "ReceivingAlgorithm")

    def test_message_above_4_mib(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.caller.algo(b"x" * 5 * 1024 * 1024, plain(self.algo_key, ALGORITHM), chunk=5 * 1024 * 1024)
        self.assertIn(caught.exception.code(), (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL))
        self.assertEqual(self.files(), [])
        self.algo()

    def test_caller_who_gives_up_leaves_nothing(self):
        go_on, began = threading.Event(), threading.Event()
        def half():
            yield self.caller.pb.AlgoRequest(algorithm=self.algorithm[:3])
            began.set()
            go_on.wait(harness.deadline(20))
        call = self.caller.stub.Algo.future(half(), metadata=plain(self.algo_key, ALGORITHM))
        began.wait(harness.deadline(20))
        harness.wait_until(lambda: len(self.staged()) == 2, what="staged files")
        call.cancel()
        go_on.set()
        harness.wait_until(lambda: self.files() == [], what="an empty working directory")
        self.algo()

    def test_AG_3_filename_changes_within_a_bound_upload(self):
        self.algo()
        name, content = self.datasets[0]
        def messages():
            yield self.caller.pb.DataRequest(dataset=content[:3], filename=name)
            yield self.caller.pb.DataRequest(dataset=content[3:], filename="other.csv")
        self.assert_status(grpc.StatusCode.INVALID_ARGUMENT, "filename: it changes within the upload",
                           self.caller.stub.Data, messages(), timeout=harness.deadline(30),
                           metadata=bound(self.data_key, DATA, content=content, filename=name))
        self.upload_rest()

    def test_requirements_above_16_mib(self):
        self.assert_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "requirements: more than 16 MiB", self.caller.algo,
                           self.algorithm, plain(self.algo_key, ALGORITHM), requirements=b"#" * (16 * 1024 * 1024 + 1))
        harness.wait_until(lambda: self.files() == [], what="an empty working directory")
        self.algo()

    def test_question_above_16_kib(self):
        ask = self.caller.channel.unary_stream("/agent.AgentService/Attestation")
        self.assert_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "", lambda: list(
            ask(b"\x7a\x80\x80\x02" + b"x" * 32768, timeout=harness.deadline(15))))
        self.algo()

    def hold(self, count, method, message, md):
        """Calls that send one message and then nothing, until the test is over."""
        go_on = threading.Event()
        self.addCleanup(go_on.set)
        def slow():
            if message is not None:
                yield message
            go_on.wait(harness.deadline(60))
        self.held = [method.future(slow(), metadata=md) for _ in range(count)]  # one that is forgotten is cancelled
        return self.held

    def test_one_user_has_a_share_of_the_uploads_at_once(self):
        calls = self.hold(32, self.caller.stub.Algo, self.caller.pb.AlgoRequest(algorithm=self.algorithm[:3]),
                          plain(self.algo_key, ALGORITHM))
        harness.wait_until(lambda: len(self.staged()) == 64, what="32 uploads")
        self.assert_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "32 uploads are under way already, one of them with this key",
                           self.algo)
        for call in calls:
            call.cancel()
        harness.wait_until(lambda: self.files() == [], what="an empty working directory")
        self.algo()

    def test_provider_who_stalls_keeps_no_other_out(self):
        self.cvms.stop_computation()
        other = Key()
        request = self.request("2")
        request.datasets[1].userKey = other.der
        self.order(request)
        self.caller = self.users()
        self.algo()
        (a, a_bytes), (b, b_bytes) = self.datasets
        self.hold(32, self.caller.stub.Data, self.caller.pb.DataRequest(dataset=b"1", filename=a),
                  plain(self.data_key, DATA))
        harness.wait_until(lambda: len(self.staged()) == 32, what="32 uploads")
        self.assert_status(grpc.StatusCode.RESOURCE_EXHAUSTED, "32 uploads are under way already, one of them with this key", self.data, a_bytes, a)
        self.data(b_bytes, b, other)

    def test_upload_whose_signature_can_t_be_checked_yet_gives_way(self):
        """A bound signature names the file, which comes with the first message: until then anyone may say anything."""
        self.algo()
        name, content = self.datasets[0]
        forged = bound(Key(), DATA, content=content, filename=name)
        held = self.hold(40, self.caller.stub.Data, None, forged)
        harness.wait_until(lambda: sum(c.done() for c in held) == 24, what="24 uploads that gave way")
        for call in held:
            if call.done():
                self.assertEqual(call.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
                self.assertTrue(call.details().startswith("the upload gave way to another"), call.details())
        self.data(content, name, md=bound(self.data_key, DATA, content=content, filename=name))

    def test_unknown_algorithm_type_is_refused_before_a_byte(self):
        for kind, code, text in (("cobol", grpc.StatusCode.INVALID_ARGUMENT,
                                  "unknown algorithm type 'cobol': bin, python, wasm or docker is wanted"),
                                 ("BIN", grpc.StatusCode.INVALID_ARGUMENT, "unknown algorithm type 'BIN'"),
                                 ("wasm", grpc.StatusCode.UNIMPLEMENTED,
                                  "algorithm type 'wasm' is not built into this agent yet"),
                                 ("docker", grpc.StatusCode.UNIMPLEMENTED, "algorithm type 'docker'")):
            with self.subTest(kind=kind):
                self.assert_status(code, text, self.algo, plain(self.algo_key, ALGORITHM) + [("algo_type", kind)])
        self.assertEqual(self.files(), [])
        self.assertEqual(self.cvms.state(), "ReceivingAlgorithm")
        self.algo(plain(self.algo_key, ALGORITHM) + [("algo_type", "python")])

    def test_type_of_the_manifest_counts_when_the_upload_names_none(self):
        self.cvms.stop_computation()
        request = self.request("2")
        request.algorithm.algo_type = "cobol"
        self.order(request)
        self.caller = self.users()
        self.assert_status(grpc.StatusCode.INVALID_ARGUMENT, "unknown algorithm type 'cobol'", self.algo)
        self.algo(plain(self.algo_key, ALGORITHM) + [("algo_type", "bin")])

    def test_archive_that_is_none_can_be_sent_anew(self):
        self.algo()
        name, content = self.datasets[0]
        md = plain(self.data_key, DATA) + [("decompress", "true")]
        self.assert_status(UNKNOWN, "error decompressing dataset", self.data, content, name, md=md)
        self.assertEqual([f for f in self.files() if f not in ("algo", "datasets")], [])
        self.upload_rest()

    def test_unnamed_dataset_does_not_take_the_name_of_another(self):
        self.cvms.stop_computation()
        request = self.request("2")
        request.datasets[0].filename = ""
        self.order(request)
        self.caller = self.users()
        self.algo()
        (_, content), (other, _) = self.datasets
        self.assert_status(UNKNOWN, f"error creating dataset file: '{other}' is the name of another dataset",
                           self.data, content, other)
        self.upload_rest()

    def test_two_at_once_only_one_algorithm_counts(self):
        call, go_on = self.caller.slow_algo(plain(self.algo_key, ALGORITHM), self.algorithm)
        harness.wait_until(lambda: len(self.staged()) == 2, what="staged files")
        self.algo()
        go_on.set()
        self.assertEqual(call.code(), UNKNOWN)
        self.assertTrue(call.details() == NOT_NOW or call.details().startswith("all expected"), call.details())

    def test_attestation_arguments_and_missing_service(self):
        pb, stub = self.caller.pb, self.caller.stub
        def ask(**members):
            return list(stub.Attestation(pb.AttestationRequest(**members), timeout=harness.deadline(15)))
        self.assert_status(UNKNOWN, "malformed report data, expect less or equal to 64 bytes", ask, teeNonce=b"x" * 65)
        self.assert_status(UNKNOWN, "malformed vTPM nonce, expect less or equal to 32 bytes", ask, vtpmNonce=b"x" * 33)
        for kind in (-1, 5, 6):
            self.assert_status(UNKNOWN, "invalid attestation type", ask, type=kind)
        self.assert_status(UNKNOWN, "failed to get raw quote : rpc error: code = Unavailable desc = attestation "
                           f"service at {self.run_dir}/attestation.sock", ask, type=0)
        self.assert_status(UNKNOWN, "malformed vTPM nonce, expect less or equal to 32 bytes",
                           stub.AzureAttestationToken, pb.AttestationTokenRequest(tokenNonce=b"x" * 33))
        self.assert_status(grpc.StatusCode.UNAVAILABLE, "attestation service at ", stub.AzureAttestationToken,
                           pb.AttestationTokenRequest(tokenNonce=b"x"), timeout=harness.deadline(15))


class Attested(AgentTestCase):
    class Service:
        def __init__(self):
            self.asked = None

        def FetchAttestation(self, request, context):
            self.asked = request
            return harness.proto("attestation").AttestationResponse(eat_token=b"t" * (1024 * 1024 + 5))

        def FetchAzureToken(self, request, context):
            return harness.proto("attestation").AzureTokenResponse(token=b"jwt for " + request.nonce[:1])

    def test_attestation_comes_from_the_service(self):
        service = self.Service()
        server, _ = harness.grpc_server([harness.handler(harness.proto("attestation"), "AttestationService", service)],
                                        f"unix:{self.run_dir}/attestation.sock")
        self.addCleanup(lambda: server.stop(0).wait())
        self.start_agent()
        self.order()
        users = self.users()
        call = users.stub.Attestation(users.pb.AttestationRequest(teeNonce=b"n", vtpmNonce=b"v", type=2), timeout=harness.deadline(10))
        pieces = [m.file for m in call]
        self.assertEqual([len(p) for p in pieces], [1024 * 1024, 5])
        self.assertEqual(dict(call.initial_metadata())["file-size"], str(1024 * 1024 + 5))
        self.assertEqual(service.asked.report_data, b"n" + bytes(63))
        self.assertEqual(service.asked.nonce, b"v" + bytes(31))
        self.assertEqual(service.asked.platform_type, 4)
        answer = users.stub.AzureAttestationToken(users.pb.AttestationTokenRequest(tokenNonce=b"q"), timeout=harness.deadline(10))
        self.assertEqual(answer.file, b"jwt for q")

    def test_ima_measurements_and_register_10(self):
        log = self.make_file("ima", "10 " + "ab" * 20 + " ima-ng sha256:00 boot_aggregate\n")
        pcr = self.make_file("pcr10", "0123456789ABCDEF0123456789ABCDEF01234567\n")
        self.start_agent(AGENT_IMA_FILE=log, AGENT_PCR10_FILE=pcr)
        self.order()
        users = self.users()
        call = users.stub.IMAMeasurements(users.pb.IMAMeasurementsRequest(), timeout=harness.deadline(10))
        pieces = list(call)
        with open(log, "rb") as f:
            self.assertEqual(b"".join(p.file for p in pieces), f.read())
        self.assertEqual(pieces[0].pcr10.hex(), "0123456789abcdef0123456789abcdef01234567")
        os.unlink(pcr)
        def ask():
            return list(users.stub.IMAMeasurements(users.pb.IMAMeasurementsRequest(), timeout=harness.deadline(10)))
        self.assert_status(UNKNOWN, "error reading TPM PCR #10: ", ask)
        os.unlink(log)
        self.assert_status(UNKNOWN, "error reading Linux IMA measurements file: ", ask)


class FullDisk(AgentTestCase):
    algorithm = b"x" * 3 * 1024 * 1024

    def test_upload_that_does_not_fit_is_told_and_removed(self):
        """The working directory is a file system of 2 MiB, in a mount namespace of the agent's own."""
        may = subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", self.work_dir], check=False,
                             capture_output=True, text=True)
        if may.returncode != 0:
            self.skipTest(f"needs mount namespaces: {may.stderr.strip()}")
        self.agent = self.daemon("/usr/bin/unshare", "-Urm", "sh", "-c",
                                 f"mount -t tmpfs -o size=2m tmpfs {self.work_dir} && exec {harness.need_binary('cocos-agent')}",
                                 env=self.agent_env(), ready=False)
        self.cvms.wait_streams(1)
        self.order()
        users = self.users()
        self.assert_status(UNKNOWN, f'error staging algorithm file: writing file "{self.work_dir}/algo": ', users.algo,
                           self.algorithm, plain(self.algo_key, ALGORITHM))
        self.agent.wait_log(contains="No space left on device")
        inside = f"/proc/{self.agent.pid}/root{self.work_dir}"
        harness.wait_until(lambda: os.listdir(inside) == [], what="an empty working directory")
        self.assertEqual(self.cvms.stop_computation().message, "")
        self.algorithm = b"y" * 1024 * 1024
        self.datasets = []
        self.order(self.request("2"))
        self.users().algo(self.algorithm, plain(self.algo_key, ALGORITHM))


class Settings(harness.TestCase):
    def test_all_faults_of_the_environment_at_once(self):
        done = self.run_program("cocos-agent", env={
            "AGENT_LOG_LEVEL": "loud", "AGENT_VMPL": "4", "AGENT_GRPC_PORT": "70000", "AGENT_GRPC_REFLECTION": "maybe",
            "AGENT_CVM_RECONNECT_DELAY": "soon"}, expect=2)
        for name in ("AGENT_LOG_LEVEL", "AGENT_VMPL", "AGENT_GRPC_PORT", "AGENT_GRPC_REFLECTION",
                     "AGENT_CVM_RECONNECT_DELAY"):
            self.assertIn(name, done.stderr)

    def test_addresses_are_checked_at_the_start(self):
        for more, text in (({"AGENT_CVM_GRPC_URL": "nonsense"}, "environment AGENT_CVM_GRPC_URL: address 'nonsense': no port"),
                           ({"HTTPS_PROXY": "socks5://10.0.0.1:1"}, "environment HTTPS_PROXY: "),
                           ({"HTTPS_PROXY": "http://user:canary@10.0.0.1:1"}, "environment HTTPS_PROXY: ")):
            with self.subTest(more):
                done = self.run_program("cocos-agent", env={"AGENT_CVM_GRPC_URL": "cvms.test:7001", **more}, expect=2)
                self.assertIn(text, done.stderr)
                self.assertNotIn("canary", done.stderr)

    def test_certificate_without_key(self):
        done = self.run_program("cocos-agent", env={"AGENT_CVM_GRPC_CLIENT_CERT": "/x"}, expect=2)
        self.assertIn("AGENT_CVM_GRPC_CLIENT_CERT and AGENT_CVM_GRPC_CLIENT_KEY go together", done.stderr)

    def test_unknown_flag(self):
        self.run_program("cocos-agent", "--frobnicate", expect=2)

    def test_flag_of_upstreams_unit_file_is_accepted(self):
        self.run_program("cocos-agent", "--config-file=/x", "--help", expect=0)

    def test_unusable_state_directory_ends_it(self):
        done = self.run_program("cocos-agent", env={"COCOS_STATE_DIR": "/proc/nowhere"}, expect=1)
        self.assertIn("state directory", done.stdout)


class Stalls(AgentTestCase):
    def test_upload_that_stalls_is_ended_and_leaves_nothing(self):
        self.start_agent(AGENT_UPLOAD_IDLE_TIMEOUT="300ms")
        self.order()
        caller, go_on = self.users(), threading.Event()
        self.addCleanup(go_on.set)
        for first in ([], [caller.pb.AlgoRequest(algorithm=self.algorithm[:3])]):
            with self.subTest(messages=len(first)):
                def stalling(first=first):
                    yield from first
                    go_on.wait(harness.deadline(60))
                call = caller.stub.Algo.future(stalling(), metadata=plain(self.algo_key, ALGORITHM))
                self.assertEqual(call.code(), grpc.StatusCode.DEADLINE_EXCEEDED)
                self.assertTrue(call.details().startswith("the upload has stalled: after "), call.details())
                self.assertIn("no byte came for 300ms (AGENT_UPLOAD_IDLE_TIMEOUT)", call.details())
        harness.wait_until(lambda: self.files() == [], what="an empty working directory")
        self.assertEqual(self.cvms.state(), "ReceivingAlgorithm")


if __name__ == "__main__":
    harness.main()
