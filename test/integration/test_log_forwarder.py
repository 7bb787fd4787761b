"""cocos-log-forwarder between grpcio clients and a grpcio CVMS."""
# test-deadline: 900

import os
import signal
import stat
import time

import grpc

import guest
import harness


class Forwarder(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.closers = []
        self.addCleanup(self.close_all)
        self.ns = 1_700_000_000_000_000_000

    def close_all(self):
        for close in reversed(self.closers):
            close()

    def cvms(self, *args, **kwargs):
        made = guest.Cvms(*args, **kwargs)
        self.closers.append(made.close)
        return made

    def forwarder(self, cvms, env=None, **kwargs):
        env = {"AGENT_CVM_GRPC_URL": cvms if isinstance(cvms, str) else cvms.address, "AGENT_CVM_ID": "vm-1",
               "AGENT_CVM_RECONNECT_DELAY": "100ms", **(env or {})}
        return self.daemon("cocos-log-forwarder", env=env, **kwargs)

    def stub(self):
        channel = harness.channel(f"unix:{self.run_dir}/log.sock")
        self.closers.append(channel.close)
        return guest.collector_stub(channel)

    def next_ns(self):
        self.ns += 1
        return self.ns

    def send_events(self, stub, first, count):
        for i in range(first, first + count):
            stub.SendEvent(guest.event_entry(f"E{i}", ns=self.next_ns()), timeout=harness.deadline(10))

    def names(self, cvms):
        return [e.event_type for e in cvms.events()]


class Delivery(Forwarder):
    def test_records_arrive_in_order_and_unchanged(self):
        cvms = self.cvms()
        self.forwarder(cvms)
        stub = self.stub()
        want = []
        for i in range(50):
            if i % 3:
                stub.SendLog(guest.log_entry(f"log {i} \u20ac", level="DEBUG" if i % 2 else "WARN",
                                             ns=self.next_ns()))
                want.append(("agent_log", f"log {i} \u20ac"))
            else:
                e = guest.event_entry(f"event {i}", "Starting", ns=self.next_ns(), originator="computation-runner")
                e.details = b"\0\1\xff"
                stub.SendEvent(e)
                want.append(("agent_event", f"event {i}"))
        cvms.wait(lambda c: len(c.records) >= 50)
        got = [(k, b.message if k == "agent_log" else b.event_type) for k, b in cvms.records]
        self.assertEqual(got, want)
        event, log = cvms.events()[0], cvms.logs()[0]
        self.assertEqual((event.status, event.originator, event.details, event.computation_id),
                         ("Starting", "computation-runner", b"\0\1\xff", "c-1"))
        self.assertEqual((log.level, log.computation_id), ("DEBUG", "c-1"))
        self.assertEqual(log.timestamp.ToNanoseconds(), 1_700_000_000_000_000_002)
        metadata = cvms.streams[0][0]
        self.assertEqual((metadata["job-id"], metadata["connection-type"]), ("vm-1", "log-forwarder"))

    def test_without_an_id_no_metadata_is_sent(self):
        cvms = self.cvms()
        self.forwarder(cvms, env={"AGENT_CVM_ID": ""})
        self.stub().SendLog(guest.log_entry("x"))
        cvms.wait_log("x")
        self.assertNotIn("job-id", cvms.streams[0][0])
        self.assertNotIn("connection-type", cvms.streams[0][0])

    def test_equal_logs_are_all_delivered(self):
        cvms = self.cvms()
        self.forwarder(cvms)
        stub = self.stub()
        for _ in range(3):  # as other clients cut one long text
            stub.SendLog(guest.log_entry("same", ns=77))
        cvms.wait(lambda c: len(c.streams) == 1 and len(c.streams[0][1]) >= 3)

    def test_event_sent_twice_is_delivered_once(self):
        cvms = self.cvms()
        self.forwarder(cvms)
        stub = self.stub()
        for _ in range(3):
            stub.SendEvent(guest.event_entry("Running", ns=77))
        stub.SendEvent(guest.event_entry("Running", ns=78))
        cvms.wait_events(2)
        self.assertEqual(len(cvms.streams[0][1]), 2)

    def test_only_its_user_may_write_to_the_socket_unless_told_otherwise(self):
        forwarder = self.forwarder("127.0.0.1:1")
        self.assertEqual(stat.S_IMODE(os.stat(f"{self.run_dir}/log.sock").st_mode), 0o600)
        forwarder.stop()
        forwarder = self.forwarder("127.0.0.1:1", env={"LOG_FORWARDER_SOCKET_MODE": "0666"})
        mode = os.stat(f"{self.run_dir}/log.sock").st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o666)
        forwarder.stop()
        done = self.run_program("cocos-log-forwarder", env={"LOG_FORWARDER_SOCKET_MODE": "rw"}, expect=2)
        self.assertIn("LOG_FORWARDER_SOCKET_MODE", done.stdout)

    def test_run_requests_are_read_and_discarded(self):
        cvms = self.cvms()
        module = harness.proto("cvms")
        chunk = module.ServerStreamMessage(runReqChunks=module.RunReqChunks(data=b"x" * 1048576, id="1"))
        cvms.to_send = [chunk] * 64
        forwarder = self.forwarder(cvms)
        stub = self.stub()
        self.send_events(stub, 0, 5)
        cvms.wait_events(5)
        harness.wait_until(lambda: not cvms.to_send or forwarder.alive(), 5)
        if not harness.SANITIZED:
            self.assertLess(forwarder.status("VmHWM"), 32 * 1024)

    def test_rl_6_text_that_is_not_utf_8_is_refused_and_the_process_goes_on(self):
        cvms = self.cvms()
        self.forwarder(cvms)
        channel = harness.channel(f"unix:{self.run_dir}/log.sock")
        self.closers.append(channel.close)
        raw = channel.unary_unary("/log.LogCollector/SendLog")
        for body in (b"\x0a\x02\xff\xfe", b"\x0a\x7f", b"\xff" * 20):
            with self.assertRaises(grpc.RpcError) as caught:
                raw(body, timeout=harness.deadline(10))
            self.assertEqual(caught.exception.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.stub().SendLog(guest.log_entry("good"))
        cvms.wait_log("good")


class Reconnect(Forwarder):
    def test_ag_13_cvms_goes_away_and_returns_at_every_step(self):
        address = self.reserve_port()
        self.forwarder(address)  # nobody is there yet
        stub = self.stub()
        self.send_events(stub, 0, 10)
        cvms = self.cvms(address)
        cvms.wait_events(10)
        for step in range(1, 6):
            if step % 2:
                cvms.stop()
                self.send_events(stub, step * 10, 10)
                cvms.start()
            else:
                self.send_events(stub, step * 10, 5)
                cvms.stop()
                self.send_events(stub, step * 10 + 5, 5)
                cvms.start()
            cvms.wait_events(10 * (step + 1))
        self.assertEqual(self.names(cvms), [f"E{i}" for i in range(60)])

    def test_d_43_stream_ended_by_the_cvms_is_opened_again(self):
        cvms = self.cvms()
        forwarder = self.forwarder(cvms)
        stub = self.stub()
        for i in range(3):
            self.send_events(stub, i, 1)
            cvms.wait_events(i + 1)
            cvms.end_streams()  # with OK; the server lives on
            forwarder.wait_for(lambda d, n=i + 1: sum(r["msg"] == "disconnected" for r in d.records) >= n)
        self.send_events(stub, 3, 1)
        cvms.wait_events(4)
        self.assertEqual(self.names(cvms), ["E0", "E1", "E2", "E3"])

    def test_many_events_and_quiet_times_do_not_end_the_stream(self):
        """A gRPC server ends a connection that pings often ("too_many_pings")."""
        cvms = self.cvms()
        self.forwarder(cvms)
        stub = self.stub()
        for i in range(40):
            self.send_events(stub, i, 1)
            cvms.wait_events(i + 1)
        self.assertEqual(len(cvms.streams), 1)
        self.assertEqual(cvms.doubled, 0)

    def test_slow_cvms_holds_nothing_up_and_gets_all_in_the_end(self):
        cvms = self.cvms()
        cvms.hold.clear()
        forwarder = self.forwarder(cvms)
        stub = self.stub()
        text = "y" * 4000
        for i in range(1500):  # 6 MB: more than any window
            stub.SendLog(guest.log_entry(f"{i} {text}", ns=self.next_ns()))
        if not harness.SANITIZED:
            self.assertLess(forwarder.status("VmHWM"), 32 * 1024)
        cvms.hold.set()
        cvms.wait(lambda c: len(c.records) >= 1500)
        self.assertEqual([int(b.message.split()[0]) for b in cvms.logs()], list(range(1500)))


class Crash(Forwarder):
    def test_ag_17_kill_9_at_each_step_loses_and_doubles_nothing(self):
        address = self.reserve_port()
        total = 0
        cvms = None
        for step in range(8):
            forwarder = self.forwarder(address)
            stub = self.stub()
            if step % 4 == 0 and cvms:
                cvms.stop()  # killed while the CVMS is away
            self.send_events(stub, total, 20)
            total += 20
            if step % 4 == 1:
                cvms.wait_events(total)  # killed when all is delivered
            forwarder.kill()
            if cvms is None:
                cvms = self.cvms(address)
            elif step % 4 == 0:
                cvms.start()
        forwarder = self.forwarder(address)
        cvms.wait_events(total)
        self.assertEqual(self.names(cvms), [f"E{i}" for i in range(total)])
        self.assertEqual(forwarder.stop(), 0)

    def test_ag_17_event_repeated_after_a_kill_because_its_answer_was_lost_comes_once(self):
        cvms = self.cvms()
        forwarder = self.forwarder(cvms)
        entry = guest.event_entry("Once", ns=self.next_ns())
        log = guest.log_entry("once", ns=self.next_ns())
        stub = self.stub()
        stub.SendEvent(entry)
        stub.SendLog(log)
        cvms.wait(lambda c: len(c.records) == 2)
        forwarder.kill()
        self.forwarder(cvms)
        stub = self.stub()
        stub.SendEvent(entry)
        stub.SendLog(log)
        self.send_events(stub, 1, 1)
        cvms.wait_events(2)
        self.assertEqual(sum(b.event_type == "Once" for b in cvms.events()), 1)
        self.assertEqual([b.event_type for k, b in cvms.streams[-1][1] if k == "agent_event"][-1:], ["E1"])

    def test_sigterm_delivers_what_is_left_and_exits_0(self):
        cvms = self.cvms()
        forwarder = self.forwarder(cvms)
        stub = self.stub()
        for i in range(200):
            stub.SendLog(guest.log_entry(f"last {i}", ns=self.next_ns()))
        began = time.monotonic()
        self.assertEqual(forwarder.stop(), 0)
        if time.monotonic() - began > 2:  # its grace: what a busy machine did not bring away in it is kept
            self.forwarder(cvms)
        cvms.wait_log("last 199")

    def test_second_signal_ends_at_once(self):
        cvms = self.cvms()
        cvms.hold.clear()
        forwarder = self.forwarder(cvms)
        stub = self.stub()
        for i in range(300):
            stub.SendLog(guest.log_entry("z" * 4000, ns=self.next_ns()))
        forwarder.send(signal.SIGTERM)
        self.assertEqual(forwarder.stop(signal.SIGINT), 1)
        cvms.hold.set()


class Full(Forwarder):
    def test_ag_15_full_outbox_drops_debug_keeps_events_and_tells_how_many(self):
        address = self.reserve_port()
        self.forwarder(address, env={"LOG_FORWARDER_OUTBOX_BYTES": str(256 * 1024)})
        stub = self.stub()
        sent = 0
        for i in range(100):
            self.send_events(stub, i, 1)
            for _ in range(30):
                stub.SendLog(guest.log_entry("d" * 200, level="DEBUG", ns=self.next_ns()))
                sent += 1
        stub.SendLog(guest.log_entry("an error", level="ERROR", ns=self.next_ns()))
        cvms = self.cvms(address)
        note = cvms.wait_log("were dropped for want of room")
        events = cvms.wait_events(100)
        self.assertEqual([e.event_type for e in events], [f"E{i}" for i in range(100)])
        cvms.wait_log("an error")
        kept = sum(b.message == "d" * 200 for b in cvms.logs())
        self.assertEqual(note.level, "WARN")
        self.assertGreater(kept, 0)
        told = sum(int(b.message.split()[0]) for b in cvms.logs() if "were dropped" in b.message)
        self.assertEqual(kept + told, sent)

    def test_ag_15_outbox_full_of_events_says_so_and_takes_them_later(self):
        address = self.reserve_port()
        self.forwarder(address, env={"LOG_FORWARDER_OUTBOX_BYTES": "65536"})
        stub = self.stub()
        taken = 0
        with self.assertRaises(grpc.RpcError) as caught:
            while taken < 10_000:
                self.send_events(stub, taken, 1)
                taken += 1
        self.assertEqual(caught.exception.code(), grpc.StatusCode.UNAVAILABLE)
        self.assertIn("no room", caught.exception.details())
        cvms = self.cvms(address)
        cvms.wait_events(taken)
        again = guest.event_entry("again", ns=self.next_ns())

        def try_again():
            try:
                return stub.SendEvent(again, timeout=harness.deadline(10)) is not None
            except grpc.RpcError as e:
                self.assertEqual(e.code(), grpc.StatusCode.UNAVAILABLE)
                return False

        harness.wait_until(try_again, what="room in the outbox")
        cvms.wait_events(taken + 1)
        self.assertEqual(self.names(cvms), [f"E{i}" for i in range(taken)] + ["again"])


class Tls(Forwarder):
    def test_mtls_with_the_right_certificates_delivers(self):
        ca = harness.Authority(os.path.join(self.dir, "ca"))
        cert, key = ca.issue("cvms")
        client_cert, client_key = ca.issue("vm", usage="client")
        read = lambda path: open(path, "rb").read()
        credentials = grpc.ssl_server_credentials([(read(key), read(cert))], read(ca.path), True)
        cvms = self.cvms(credentials=credentials)
        forwarder = self.forwarder(cvms, env={"AGENT_CVM_GRPC_SERVER_CA_CERTS": ca.path,
                                              "AGENT_CVM_GRPC_CLIENT_CERT": client_cert,
                                              "AGENT_CVM_GRPC_CLIENT_KEY": client_key})
        self.stub().SendLog(guest.log_entry("through mTLS"))
        cvms.wait_log("through mTLS")
        self.assertEqual(forwarder.wait_log(msg="connected")["security"], "with mTLS")

    def test_server_of_another_authority_gets_nothing(self):
        ca = harness.Authority(os.path.join(self.dir, "ca"))
        other = harness.Authority(os.path.join(self.dir, "other"), "another authority")
        cert, key = other.issue("cvms")
        read = lambda path: open(path, "rb").read()
        cvms = self.cvms(credentials=grpc.ssl_server_credentials([(read(key), read(cert))]))
        forwarder = self.forwarder(cvms, env={"AGENT_CVM_GRPC_SERVER_CA_CERTS": ca.path})
        self.stub().SendLog(guest.log_entry("secret"))
        record = forwarder.wait_log(msg="disconnected")
        self.assertIn("certificate", record["reason"])
        self.assertEqual(cvms.streams, [])

    def test_certificate_without_key_is_a_configuration_error(self):
        done = self.run_program("cocos-log-forwarder", env={"AGENT_CVM_GRPC_CLIENT_CERT": "/x.pem"}, expect=2)
        self.assertIn("AGENT_CVM_GRPC_CLIENT_KEY", done.stdout + done.stderr)


class Start(Forwarder):
    def test_second_one_on_the_same_state_is_refused(self):
        self.forwarder("127.0.0.1:1")
        done = self.run_program("cocos-log-forwarder", env={"COCOS_RUN_DIR": self.make_dir("run2")}, expect=1)
        self.assertIn("in use by another process", done.stdout)

    def test_bad_level_is_a_usage_error(self):
        done = self.run_program("cocos-log-forwarder", env={"LOG_FORWARDER_LOG_LEVEL": "loud"}, expect=2)
        self.assertIn("LOG_FORWARDER_LOG_LEVEL", done.stderr)

    def test_bad_address_is_named(self):
        done = self.run_program("cocos-log-forwarder", env={"AGENT_CVM_GRPC_URL": "nonsense"}, expect=2)
        self.assertIn("AGENT_CVM_GRPC_URL: address 'nonsense': no port", done.stdout)

    def test_help_names_every_variable(self):
        done = self.run_program("cocos-log-forwarder", "--help", expect=0)
        for name in ("AGENT_CVM_GRPC_URL", "AGENT_CVM_RECONNECT_DELAY", "COCOS_STATE_DIR"):
            self.assertIn(name, done.stdout)


if __name__ == "__main__":
    harness.main()
