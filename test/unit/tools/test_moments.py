"""Times of a story in VMs, from the logs it leaves: test/e2e/lib/moments.py."""

import json
import os
import sys

import harness

sys.path.insert(0, os.path.join(harness.ROOT, "test", "e2e", "lib"))
import moments  # noqa: E402 # pylint: disable=wrong-import-position


class Phases(harness.TestCase):
    FIRST, SECOND = "ffffffff-0000-4000-8000-000000000000", "00000000-0000-4000-8000-000000000000"

    def log(self, name, *records):
        self.make_file(name, "".join(json.dumps(r) + "\n" for r in records))

    def test_they_are_those_of_the_vm_that_began_first_whatever_its_name(self):
        self.log("times.jsonl", {"time": "2026-01-02T10:00:00Z", "at_ms": 0, "what": "create VM"})
        self.log("cocos-manager.log",
                 {"time": "2026-01-02T10:00:01Z", "msg": f"VM {self.FIRST}: qemu runs as process 1"},
                 {"time": "2026-01-02T10:00:30Z", "msg": f"VM {self.SECOND}: qemu runs as process 2"})
        for vm, second in ((self.FIRST, "03"), (self.SECOND, "32")):
            self.make_file(f"console-{vm[:8]}.log", f"10:00:{second}.000 INFO  boot  phase=init  up_ms=1000\n")
        self.log("cvms-test.log",
                 {"time": "2026-01-02T10:00:02Z", "stream": "agent", "job_id": self.SECOND},
                 {"time": "2026-01-02T10:00:05Z", "stream": "agent", "job_id": self.FIRST})
        found = moments.phases(self.dir)
        self.assertEqual([(p["name"], p["at_ms"], p["took_ms"]) for p in found],
                         [("QEMU start", 0, 1000), ("init", 2000, 2000), ("agent connected", 4000, 2000)])


if __name__ == "__main__":
    harness.main()
