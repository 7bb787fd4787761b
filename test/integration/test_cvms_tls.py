"""cvms-test over TLS and mTLS."""

import os

import cvms
import fake_agent
import harness


def read(path):
    with open(path, "rb") as f:
        return f.read()


class Tls(cvms.CvmsTestCase):
    def setUp(self):
        super().setUp()
        self.ca = harness.Authority(os.path.join(self.dir, "ca"))
        self.cert, self.cert_key = self.ca.issue("server")

    def serve(self, **env):
        return self.cvms(env={"SERVER_CERT": self.cert, "SERVER_KEY": self.cert_key, **env})

    def connect(self, daemon, pair=None, ca=None):
        import grpc
        credentials = grpc.ssl_channel_credentials(read((ca or self.ca).path), read(pair[1]) if pair else None,
                                                   read(pair[0]) if pair else None)
        agent = fake_agent.FakeAgent(daemon.address(), "cvm-1", credentials=credentials)
        self.addCleanup(agent.close)
        return agent

    def test_tls_serves_and_says_so(self):
        daemon = self.serve()
        daemon.wait_log(contains="with TLS cert")
        self.connect(daemon).receive_manifest()

    def test_plaintext_says_so(self):
        self.cvms().wait_log(contains="without TLS")

    def test_mtls_serves_a_client_of_the_ca(self):
        for variable in ("SERVER_CA_CERTS", "CLIENT_CA_CERTS"):
            daemon = self.serve(**{variable: self.ca.path})
            daemon.wait_log(contains="with TLS/mTLS")
            self.connect(daemon, self.ca.issue("agent", usage="client")).receive_manifest()

    def test_mtls_takes_a_client_of_either_ca(self):
        other = harness.Authority(os.path.join(self.dir, "other"), "other authority")
        daemon = self.serve(SERVER_CA_CERTS=self.ca.path, CLIENT_CA_CERTS=other.path)
        self.connect(daemon, self.ca.issue("one", usage="client")).receive_manifest()
        self.connect(daemon, other.issue("two", usage="client")).receive_manifest()

    def refused(self, daemon, pair):
        with self.assertRaises(harness.Expired):
            import grpc
            credentials = grpc.ssl_channel_credentials(read(self.ca.path), read(pair[1]) if pair else None,
                                                       read(pair[0]) if pair else None)
            harness.channel(daemon.address(), credentials, seconds=0.2).close()
        self.connect(daemon, self.ca.issue("good", usage="client")).receive_manifest()

    def test_mtls_refuses_a_client_without_certificate(self):
        self.refused(self.serve(CLIENT_CA_CERTS=self.ca.path), None)

    def test_mtls_refuses_a_client_of_another_ca(self):
        other = harness.Authority(os.path.join(self.dir, "other"), "other authority")
        self.refused(self.serve(CLIENT_CA_CERTS=self.ca.path), other.issue("agent", usage="client"))

    def test_mtls_refuses_an_expired_client(self):
        self.refused(self.serve(CLIENT_CA_CERTS=self.ca.path), self.ca.issue("old", usage="client", days=(-20, -10)))


if __name__ == "__main__":
    harness.main()
