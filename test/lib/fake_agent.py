"""An agent as the CVMS sees it: a Process stream of python grpcio."""

import queue
import threading

import harness


class FakeAgent:
    """
    One stream to a CVMS. Messages of the CVMS are read by a thread as they
    come; receive() hands them out in order.
    """

    def __init__(self, address, job_id=None, forwarder=False, credentials=None, options=()):
        self.cvms = harness.proto("cvms")
        self.channel = harness.channel(address, credentials, options)
        self.outgoing, self.incoming = queue.Queue(), queue.Queue()
        metadata = []
        if job_id is not None:
            metadata.append(("job-id", job_id))
        if forwarder:
            metadata.append(("connection-type", "log-forwarder"))
        self.call = harness.Stub(self.channel, self.cvms, "Service").Process(
            iter(self.outgoing.get, None), metadata=metadata, timeout=harness.deadline(60))
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        import grpc
        try:
            for message in self.call:
                self.incoming.put(message)
        except grpc.RpcError as e:
            self.incoming.put(e)
            return
        self.incoming.put(None)

    def receive(self, seconds=10):
        """The next ServerStreamMessage; None when the stream has ended well, the grpc.RpcError otherwise."""
        try:
            return self.incoming.get(timeout=harness.deadline(seconds))
        except queue.Empty:
            raise harness.Expired(f"no message of the CVMS within {harness.deadline(seconds):g} s") from None

    def receive_manifest(self):
        """The ComputationRunReq and the lengths of the pieces in which it came."""
        data, lengths = b"", []
        while True:
            chunk = self.receive().runReqChunks
            data += chunk.data
            lengths.append(len(chunk.data))
            if chunk.is_last:
                return self.cvms.ComputationRunReq.FromString(data), lengths

    def send(self, **arm):
        """send(run_res={"computation_id": "1"}): one ClientStreamMessage."""
        self.outgoing.put(self.cvms.ClientStreamMessage(**arm))

    def event(self, event_type, status, computation_id="1", seconds=1, nanos=0, **more):
        self.send(agent_event={"event_type": event_type, "status": status, "computation_id": computation_id,
                               "originator": "agent", "timestamp": {"seconds": seconds, "nanos": nanos}, **more})

    def log(self, message, level="INFO", computation_id="1", seconds=1, nanos=0):
        self.send(agent_log={"message": message, "level": level, "computation_id": computation_id,
                             "timestamp": {"seconds": seconds, "nanos": nanos}})

    def end(self):
        """Half-closes; the outcome of the stream as receive() tells it."""
        self.outgoing.put(None)
        while True:
            message = self.receive()
            if message is None or not hasattr(message, "WhichOneof"):
                return message

    def close(self):
        self.outgoing.put(None)
        self.call.cancel()
        self.channel.close()
        self.reader.join(harness.deadline(5))
