"""Starting cvms-test in tests: a computation of small files, its lines as records."""

import os

import harness


class CvmsTestCase(harness.TestCase):
    """self.cvms(...) starts one with a key, an algorithm and one dataset."""

    def setUp(self):
        super().setUp()
        self.key = harness.make_key(os.path.join(self.dir, "user"), "ed25519")
        self.algo = self.make_file("algo", "the algorithm\n")
        self.data = self.make_file("data.csv", "x,y\n1,2\n")

    def flags(self):
        return ["-public-key-path", self.key + ".pub", "-attested-tls-bool", "false", "-algo-path", self.algo,
                "-data-paths", self.data]

    def cvms(self, *more, env=None, flags=None, **options):
        env = {"HOST": "127.0.0.1", "PORT": "0", **(env or {})}
        return self.daemon("cvms-test", *(self.flags() if flags is None else flags), *more, env=env, **options)

    @staticmethod
    def messages(daemon, kind=None):
        """The JSON lines that are messages of agents."""
        return [r for r in daemon.records if "kind" in r and kind in (None, r["kind"])]

    def wait_message(self, daemon, kind, seconds=10, **fields):
        def find(d):
            return next((r for r in self.messages(d, kind) if all(r.get(k) == v for k, v in fields.items())), None)
        return daemon.wait_for(find, seconds, f"message {kind} {fields}")
