"""Peers of a guest's services: a CVMS and a log forwarder on grpcio, and clients of the services."""

import threading

import harness


class Cvms:
    """
    A CVMS that keeps what comes. Messages are (kind, message) in the order
    of arrival, per stream; `records` is all of them with second deliveries,
    known by computation, time and type, dropped.
    """

    def __init__(self, address="127.0.0.1:0", credentials=None):
        self.changed = threading.Condition()
        self.streams = []   # [metadata, [messages]]
        self.records = []
        self.doubled = 0
        self.seen = set()
        self.hold = threading.Event()  # set: streams are read
        self.hold.set()
        self.to_send = []   # ServerStreamMessages for each new stream
        self.closing = threading.Event()
        self.credentials = credentials
        self.held = None  # keeps the port while the server is away
        if address.endswith(":0"):
            self.held, address = harness.reserve_port()
        self.address = address
        self.server = None
        self.start()

    def start(self):
        self.closing = threading.Event()
        cvms = harness.proto("cvms")
        outer = self

        class Servicer:
            def Process(self, requests, context):
                return outer._process(requests, context)

        self.server, self.address = harness.grpc_server([harness.handler(cvms, "Service", Servicer())], self.address,
                                                        self.credentials)

    def _process(self, requests, context):
        closing = self.closing
        stream = [dict(context.invocation_metadata()), []]
        with self.changed:
            self.streams.append(stream)
            self.changed.notify_all()
        threading.Thread(target=self._read, args=(requests, stream), daemon=True).start()
        yield from self.to_send
        while context.is_active() and not closing.wait(0.05):
            pass

    def _read(self, requests, stream):
        try:
            while True:
                self.hold.wait()
                message = next(requests)
                self._take(stream, message)
        except Exception:  # the stream has ended, which the test finds out by what it got
            return

    def _take(self, stream, message):
        kind = message.WhichOneof("message")
        body = getattr(message, kind)
        with self.changed:
            stream[1].append((kind, body))
            identity = None
            if kind == "agent_event":
                identity = (kind, body.computation_id, body.timestamp.ToNanoseconds(), body.event_type)
            elif kind == "agent_log":
                identity = (kind, body.computation_id, body.timestamp.ToNanoseconds(), body.message)
            if identity in self.seen:
                self.doubled += 1
            else:
                if identity:
                    self.seen.add(identity)
                self.records.append((kind, body))
            self.changed.notify_all()

    def end_streams(self):
        """Ends the streams there are, with OK."""
        self.closing.set()
        self.closing = threading.Event()

    def stop(self):
        """Goes away: connections are cut."""
        if self.server:
            self.closing.set()
            self.server.stop(0).wait()
            self.server = None

    def close(self):
        self.stop()
        if self.held:
            self.held.close()

    def wait(self, check, seconds=20, what="records"):
        """check(self) until it is true; its value is returned."""
        with self.changed:
            done = self.changed.wait_for(lambda: check(self), harness.deadline(seconds))
            if not done:
                raise harness.Expired(f"CVMS: no {what} within {harness.deadline(seconds):g} s: "
                                      f"{len(self.records)} records, the last ones {self.records[-5:]}")
            return done

    def events(self):
        return [body for kind, body in self.records if kind == "agent_event"]

    def logs(self):
        return [body for kind, body in self.records if kind == "agent_log"]

    def wait_events(self, count, seconds=20):
        self.wait(lambda c: len(c.events()) >= count, seconds, f"{count} events")
        return self.events()

    def wait_log(self, text, seconds=20):
        return self.wait(lambda c: next((b for b in c.logs() if text in b.message), None), seconds, f"log {text!r}")


class Collector:
    """A log forwarder's LogCollector on grpcio, at a socket path. It can be told to fail."""

    def __init__(self, path):
        self.path = path
        self.changed = threading.Condition()
        self.records = []  # (kind, entry), each once
        self.seen = set()
        self.fail_with = None  # a grpc.StatusCode
        self.failed = 0
        self.answer = threading.Event()  # not set: calls are taken and not answered
        self.answer.set()
        self.server = None
        self.start()

    def start(self):
        log = harness.proto("log")
        from google.protobuf import empty_pb2
        outer = self

        def take(kind, entry, context):
            while not outer.answer.wait(0.05):
                if not context.is_active():
                    return empty_pb2.Empty()
            with outer.changed:
                if outer.fail_with:
                    outer.failed += 1
                    outer.changed.notify_all()
                    context.abort(outer.fail_with, "told to fail")
                # One whose answer came too late is sent again, and is known by its time.
                identity = (kind, entry.computation_id, entry.timestamp.ToNanoseconds(), str(entry))
                if identity not in outer.seen:
                    outer.seen.add(identity)
                    outer.records.append((kind, entry))
                outer.changed.notify_all()
            return empty_pb2.Empty()

        class Servicer:
            def SendLog(self, entry, context):
                return take("log", entry, context)

            def SendEvent(self, entry, context):
                return take("event", entry, context)

        self.server, _ = harness.grpc_server([harness.handler(log, "LogCollector", Servicer())], f"unix:{self.path}")

    def stop(self):
        if self.server:
            self.server.stop(0).wait()
            self.server = None

    def logs(self, level=None):
        return [e for k, e in self.records if k == "log" and level in (None, e.level)]

    def events(self):
        return [e for k, e in self.records if k == "event"]

    def wait(self, check, seconds=20, what="records"):
        with self.changed:
            done = self.changed.wait_for(lambda: check(self), harness.deadline(seconds))
            if not done:
                raise harness.Expired(f"collector: no {what} within {harness.deadline(seconds):g} s: "
                                      f"{len(self.records)} records, the last ones {self.records[-5:]}")
            return done


def stamp(entry, ns):
    entry.timestamp.FromNanoseconds(ns)
    return entry


def log_entry(message, level="INFO", computation="c-1", ns=1):
    return stamp(harness.proto("log").LogEntry(message=message, level=level, computation_id=computation), ns)


def event_entry(event_type="Running", status="InProgress", computation="c-1", ns=1, originator="agent"):
    return stamp(harness.proto("log").EventEntry(event_type=event_type, status=status, computation_id=computation,
                                                 originator=originator), ns)


def collector_stub(channel):
    return harness.Stub(channel, harness.proto("log"), "LogCollector")


def runner_stub(channel):
    return harness.Stub(channel, harness.proto("runner"), "ComputationRunner")
