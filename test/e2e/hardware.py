#!/usr/bin/python3
"""Runs stories in confidential VMs where this host can make them, and else says what is missing.

  test/e2e/hardware.py snp|tdx [--build build] -- COMMAND ...

Host and QEMU (MANAGER_QEMU_BIN_PATH) are asked by `cocos-cli doctor --require`. When they can do it, COMMAND
runs with STORY_TEE in its environment, which makes the stories' manager use that kind of VM. When they can't,
all stories are skipped with the reason, in TAP and in <build>/e2e/junit.xml; with REQUIRE_HW=1 they fail.

Exit code: COMMAND's; 0 for a skip; 1 for hardware that is required and not there.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ET

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
NAMES = {"snp": "SEV-SNP", "tdx": "TDX"}
FIRMWARE = {"snp": "SNP firmware", "tdx": "TDX firmware"}
# The doctor's checks that decide; what else it finds is for the stories themselves.
DECISIVE = ("QEMU", "QEMU by QMP", "KVM")


def missing(kind, build):
    """What keeps this host from making such VMs: "" when nothing does."""
    cli = build / "cocos-cli"
    done = subprocess.run([str(cli), "doctor", "--json", "--require", kind], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    try:
        rows = json.loads(done.stdout)["checks"]
    except (ValueError, KeyError, TypeError):
        return f"{cli} doctor gives no answer (exit code {done.returncode})"
    decisive = DECISIVE + (NAMES[kind], FIRMWARE[kind])
    faults = [f"{row['check']}: {row['found']}" for row in rows if row["level"] == "fail" and row["check"] in decisive]
    if not faults and not any(row["check"] == NAMES[kind] for row in rows):
        return f"{cli} doctor does not tell of {NAMES[kind]}"
    return "; ".join(faults)


def write_junit(kind, stories, reason, required, path):
    suite = ET.Element("testsuite", name=f"e2e-{kind}", tests=str(len(stories)),
                       failures=str(len(stories) if required else 0), skipped=str(0 if required else len(stories)))
    for story in stories:
        case = ET.SubElement(suite, "testcase", classname=f"e2e-{kind}", name=story, time="0")
        ET.SubElement(case, "failure" if required else "skipped", message=reason)
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(NAMES))
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    reason = missing(options.kind, options.build)
    if not reason:
        return subprocess.run(options.command, env=dict(os.environ, STORY_TEE=options.kind), check=False).returncode
    required = os.environ.get("REQUIRE_HW", "") not in ("", "0")
    stories = sorted(p.stem.replace("_", "-") for p in (ROOT / "test/e2e").glob("*.c"))
    write_junit(options.kind, stories, reason, required, options.build / "e2e/junit.xml")
    if required:
        print(f"1..1\nnot ok 1 - {NAMES[options.kind]} is required (REQUIRE_HW)\n#   {reason}")
        return 1
    print(f"1..0 # SKIP needs {NAMES[options.kind]}: {reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
