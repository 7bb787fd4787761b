"""The manifest in the TPM: what the agent extends, as tpm2-tools read it, and a TPM that fails it."""

import base64
import hashlib
import json
import os
import signal

import harness
import tpm
from agent_lab import AgentTestCase

ZERO = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64}


def manifest_json(request):
    """J of a request of AgentTestCase, written down by hand from docs/PROTOCOL-EXTENSIONS.md."""
    def key(user_key):
        return base64.b64encode(user_key).decode()
    value = {"id": request.id, "name": request.name}
    value["datasets"] = [{"hash": list(d.hash), "user_key": key(d.userKey), "filename": d.filename}
                         for d in request.datasets]
    value["algorithm"] = {"hash": list(request.algorithm.hash), "user_key": key(request.algorithm.userKey),
                          "algo_type": request.algorithm.algo_type}
    value["result_consumers"] = [{"user_key": key(c.userKey)} for c in request.result_consumers]
    return json.dumps(value, separators=(",", ":")).encode()


def digest(bank, text):
    if bank == "sha1":
        return hashlib.sha3_256(text).digest()[:20]
    return hashlib.new({"sha256": "sha3_256", "sha384": "sha3_384", "sha512": "sha3_512"}[bank], text).digest()


def extended(bank, *texts):
    """What a register holds after these went in, from a reset on."""
    value = bytes(ZERO[bank])
    for text in texts:
        value = hashlib.new(bank, value + digest(bank, text)).digest()
    return value


class Measured(AgentTestCase):
    def setUp(self):
        super().setUp()
        if tpm.need():
            self.skipTest(tpm.need())

    def describe(self):
        pb = harness.proto("extensions")
        channel = harness.channel(self.address())
        self.addCleanup(channel.close)
        return harness.Stub(channel, pb, "Computation").Describe(pb.DescribeRequest(), timeout=harness.deadline(10))

    def test_manifest_is_in_pcr_15_of_every_bank_as_computed_by_hand(self):
        chip = tpm.Swtpm(self)
        self.start_agent(AGENT_TPM=chip.path)
        request = self.request()
        self.order(request)
        text = manifest_json(request)
        for bank in ZERO:
            self.assertEqual(chip.pcr(15, bank).hex(), extended(bank, text).hex(), bank)
        for bank in ("sha256", "sha384"):  # what the Go agent does
            self.assertEqual(chip.pcr(16, bank).hex(), extended(bank, text).hex(), bank)
        self.assertEqual(chip.pcr(14), bytes(32))

    def test_cvms_and_users_are_told_register_and_value(self):
        chip = tpm.Swtpm(self)
        self.start_agent(AGENT_TPM=chip.path)
        request = self.request()
        self.order(request)
        text, value = manifest_json(request), extended("sha256", manifest_json(request))
        said = (f"manifest measured: PCR 15 of sha256 is now {value.hex()}, "
                f"extended with {digest('sha256', text).hex()}")
        self.cvms.wait(lambda c: said in c.logs(), what="the log about the measurement")
        told = {m.bank: m for m in self.describe().measurements}
        self.assertEqual(sorted(told), sorted(ZERO))
        for bank, m in told.items():
            self.assertEqual((m.pcr, m.digest, m.value), (15, digest(bank, text), chip.pcr(15, bank)))

    def test_same_manifest_gives_the_same_value_and_the_cli_its_digest(self):
        request = self.request()
        values = []
        for name in ("first", "second"):
            chip = tpm.Swtpm(self, name)
            # A state of its own: else the second says again what the first was not heard to say.
            self.start_agent(AGENT_TPM=chip.path, COCOS_STATE_DIR=self.make_dir(f"state-{name}"))
            self.order(request)
            values.append(chip.pcr(15))
            self.agent.stop()
        self.assertEqual(values[0], values[1])
        path = self.make_file("manifest.json", manifest_json(request).decode())
        out = self.run_program("cocos-cli", "checksum", "--manifest", "--json", path, expect=0).stdout
        at_boot = bytes(32)
        said = bytes.fromhex(json.loads(out)["sha3_256"])
        self.assertEqual(hashlib.sha256(at_boot + said).digest(), values[0])

    def test_a_second_manifest_is_added_to_the_first(self):
        chip = tpm.Swtpm(self)
        self.start_agent(AGENT_TPM=chip.path)
        first, second = self.request(), self.request("2")
        self.order(first)
        self.cvms.stop_computation()
        self.order(second)
        self.assertEqual(chip.pcr(15), extended("sha256", manifest_json(first), manifest_json(second)))
        self.order(second)  # asked for again: nothing is measured
        self.assertEqual(chip.pcr(15), extended("sha256", manifest_json(first), manifest_json(second)))

    def test_TP_7_reset_of_16_leaves_15(self):
        chip = tpm.Swtpm(self)
        self.start_agent(AGENT_TPM=chip.path)
        request = self.request()
        self.order(request)
        chip.tool("tpm2_pcrreset", "16")
        self.assertEqual(chip.pcr(16), bytes(32))
        chip.tool("tpm2_pcrreset", "15", expect=1)
        self.assertEqual(chip.pcr(15), extended("sha256", manifest_json(request)))
        self.assertEqual(self.describe().measurements[0].pcr, 15)

    def test_TP_9_swtpm_killed_while_it_measures(self):
        chip = tpm.Swtpm(self)
        chip.daemon.expected_signals.add(signal.SIGKILL)
        self.start_agent(AGENT_TPM=chip.path, AGENT_TPM_TIMEOUT="60s")
        chip.daemon.send(signal.SIGSTOP)
        self.cvms.run(self.request())
        harness.wait_until(lambda: b"CONNECTED" in self.connected(chip.path), what="the agent at the TPM")
        chip.daemon.kill()
        answer = self.cvms.next_of("run_res")
        self.assertIn(f"measure the manifest: TPM at {chip.path}: ", answer.error)
        self.assertEqual(self.cvms.state(), "ReceivingManifest")

    @staticmethod
    def connected(path):
        """The line of the kernel's table about a connection to that socket, in words."""
        with open("/proc/net/unix", "rb") as f:
            lines = [line.split() for line in f if line.rstrip().endswith(path.encode())]
        return [b"CONNECTED" for line in lines if line[5] in (b"02", b"03") and line[3] == b"00000000"]

    def test_swtpm_that_was_not_started_is_refused_by_name(self):
        chip = tpm.Swtpm(self, started=False)
        self.start_agent(AGENT_TPM=chip.path)
        self.order(error=f"measure the manifest: TPM at {chip.path}: ask for its banks: it answers with error 0x100 "
                         "(it was not started: TPM2_Startup is missing)")


class Fails(AgentTestCase):
    """Whatever the TPM does, the computation is refused within the time that is given, and the agent goes on."""

    def setUp(self):
        super().setUp()
        self.tpm_path = os.path.join(self.dir, "t")

    def refused(self, answer, *parts, timeout="60s"):
        fake = tpm.FakeTpm(self, self.tpm_path, answer)
        self.start_agent(AGENT_TPM=self.tpm_path, AGENT_TPM_TIMEOUT=timeout)
        self.cvms.run(self.request())
        error = self.cvms.next_of("run_res").error
        for part in ("measure the manifest: ",) + parts:
            self.assertIn(part, error)
        self.assertEqual(self.cvms.state(), "ReceivingManifest")
        self.assertEqual(self.cvms.events(), [])
        self.assertFalse(os.path.exists(os.path.join(self.run_dir, "agent.addr")))
        return fake

    def honest(self, code, command):
        """A TPM with registers of zeros, which forgets what is put in."""
        if code == tpm.GET_CAPABILITY:
            return tpm.BANKS
        if code == tpm.PCR_READ:
            bits = int.from_bytes(command[17:20], "little")
            return tpm.register(bits.bit_length() - 1, bytes(32))
        return tpm.EXTENDED

    def test_TP_9_tpm_that_never_answers(self):
        self.refused(lambda code, command: None, f"TPM at {self.tpm_path}: ask for its banks: no answer in time",
                     timeout="200ms")

    def test_TP_9_tpm_that_stops_answering_at_the_extend(self):
        fake = self.refused(lambda code, command: None if code == tpm.PCR_EXTEND else self.honest(code, command),
                            "extend a PCR: no answer in time", timeout=harness.duration(0.5))
        self.assertEqual(fake.commands[-1], tpm.PCR_EXTEND)

    def test_answer_that_makes_no_sense(self):
        self.refused(lambda code, command: b"HTTP/1.1 200 OK\r\n\r\n", "an answer of 19 bytes that says it has")

    def test_answer_to_another_question(self):
        self.refused(lambda code, command: tpm.EXTENDED, "ask for its banks: its answer ")

    def test_register_that_does_not_hold_what_was_extended(self):
        fake = self.refused(self.honest, "does not hold what was just extended into it")
        self.assertIn(tpm.PCR_EXTEND, fake.commands)

    def test_TP_11_bank_of_sha1_only(self):
        sha1 = tpm.BANKS.replace(b"\x00\x0b\x03", b"\x00\x04\x03")
        self.refused(lambda code, command: sha1, "no active bank of SHA-256, SHA-384 or SHA-512")

    def test_TP_9_no_tpm_at_the_place_that_is_named(self):
        self.start_agent(AGENT_TPM=self.tpm_path)
        self.order(error=f"measure the manifest: TPM at {self.tpm_path}: look for it: No such file or directory")

    def test_a_tpm_that_comes_back_is_used(self):
        if tpm.need():
            self.skipTest(tpm.need())
        path = os.path.join(self.make_dir("chip"), "sock")
        fake = tpm.FakeTpm(self, path, lambda code, command: b"?" * 12)
        self.start_agent(AGENT_TPM=path)
        self.order(error=None)
        fake.close()
        chip = tpm.Swtpm(self, "chip")
        self.order()
        self.assertNotEqual(chip.pcr(15), bytes(32))

    def test_agent_ends_in_order_while_it_measures(self):
        fake = tpm.FakeTpm(self, self.tpm_path, lambda code, command: None)
        agent = self.start_agent(AGENT_TPM=self.tpm_path, AGENT_TPM_TIMEOUT="2s")
        self.cvms.run(self.request())
        self.assertTrue(fake.asked.wait(harness.deadline(10)))
        self.assertEqual(agent.stop(), 0)
        self.start_agent()
        self.assertEqual(self.cvms.next_of("run_res").error, "the agent is shutting down")


class Without(AgentTestCase):
    def test_without_a_tpm_the_computation_runs_and_the_log_says_so(self):
        self.start_agent()
        self.order()
        self.cvms.wait(lambda c: "the manifest was not measured: this agent has no TPM to use" in c.logs(),
                       what="the log about it")
        self.assertNotIn("manifest measured", self.cvms.logs())

    def test_required_tpm_that_is_not_there_refuses_the_computation(self):
        if os.path.exists("/dev/tpm0") or os.path.exists("/dev/tpmrm0"):
            self.skipTest("needs a machine without a TPM")
        self.start_agent(AGENT_TPM="auto", AGENT_REQUIRE_TPM="true")
        self.order(error="measure the manifest: this machine has no TPM, and AGENT_REQUIRE_TPM wants one")

    def test_required_tpm_that_is_switched_off_is_bad_configuration(self):
        done = self.run_program("cocos-agent", env=self.agent_env(AGENT_REQUIRE_TPM="true"), expect=2)
        self.assertIn("AGENT_REQUIRE_TPM: '1', and AGENT_TPM is 'none'", done.stdout + done.stderr)


if __name__ == "__main__":
    harness.main()
