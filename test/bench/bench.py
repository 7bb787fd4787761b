#!/usr/bin/python3
"""Measures what the project promises, with the real programs of one build.

  test/bench/bench.py [--quick] [--build build] [--only upload,unary,start,sizes]

upload  a dataset through cocos-cli to a staged file of a real agent: its rate
        as a ratio to `openssl speed -evp sha3-256` of the same run, and the
        agent's peak memory, which must not grow with the size
unary   one small call after the other: our server beside python grpcio's,
        timed by the same client
start   from exec until the agent is connected, and until it is ready for users
sizes   the programs, stripped

A table on the screen, the same as JSON in <build>/bench/bench.json. Aims that
are missed are marked; the exit code is 0 unless something could not be
measured.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "test", "lib"))
MIB = 1024 * 1024
GIB = 1024 * MIB
PROGRAMS = ("cocos-agent", "cocos-runner", "cocos-log-forwarder", "cocos-cli", "cvms-test")
RATIO_AIM = 0.8
RSS_AIM_MIB = 32


def say(text=""):
    print(text, flush=True)


# ------------------------------------------------------------------- openssl

def sha3_rates(seconds):
    """Bytes a second of SHA3-256 on one core, by block size."""
    rates = {}
    for block in (16 * 1024, 64 * 1024, MIB):
        done = subprocess.run(["openssl", "speed", "-mr", "-seconds", str(seconds), "-bytes", str(block), "-evp",
                               "sha3-256"], capture_output=True, text=True, check=True)
        rates[block] = float(re.search(r"^\+F:\d+:[^:]+:([0-9.]+)", done.stdout, re.M | re.I).group(1))
    return rates


# -------------------------------------------------------------------- upload

class Computation:
    """cvms-test and an agent that waits for data in a folder of their own."""

    def __init__(self, harness, data, data_hash=None):
        self.harness = harness
        self.daemons = []
        self.env = dict(os.environ)
        self.folder = tempfile.mkdtemp(prefix="cocos-bench-")
        try:
            self.begin(data, data_hash)
        except BaseException:  # an interrupt too leaves nothing behind
            self.close()
            raise

    def begin(self, data, data_hash):
        harness = self.harness
        for name in ("RUN", "STATE", "WORK"):
            path = os.path.join(self.folder, name.lower())
            os.mkdir(path)
            self.env[f"COCOS_{name}_DIR"] = path
        self.key = harness.make_key(os.path.join(self.folder, "key"), "ed25519")
        self.algo = os.path.join(self.folder, "algo")
        with open(self.algo, "w", encoding="ascii") as f:
            f.write("#!/bin/sh\n")
        # A second dataset that never comes keeps the agent from running anything.
        dataset = f"path={data}" if data_hash is None else f"name={os.path.basename(data)},hash={data_hash}"
        self.cvms = self.start("cvms-test", "-public-key-path", self.key + ".pub", "-attested-tls-bool", "false",
                               "-algo-path", self.algo, "-dataset", dataset, "-dataset", "name=never,hash=" + "00" * 32,
                               HOST="127.0.0.1", PORT="0")
        address = self.cvms.address(60)
        self.started = time.monotonic()
        self.agent = self.start("cocos-agent", AGENT_CVM_GRPC_URL=address, AGENT_LOG_LEVEL="info",
                                AGENT_GRPC_HOST="127.0.0.1", AGENT_GRPC_PORT="0")

    def start(self, name, *args, **env):
        daemon = self.harness.Daemon([self.harness.need_binary(name), *args], {**self.env, **env}, self.folder)
        self.daemons.append(daemon)
        return daemon

    def cli(self, *args):
        """Wall seconds of one run of cocos-cli."""
        env = {**self.env, "AGENT_GRPC_URL": self.agent.address(60)}
        begun = time.monotonic()
        done = subprocess.run([self.harness.need_binary("cocos-cli"), *args], env=env, cwd=self.folder,
                              capture_output=True, text=True, check=False)
        seconds = time.monotonic() - begun
        if done.returncode != 0:
            raise RuntimeError(f"cocos-cli {' '.join(args)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return seconds

    def agent_cpu(self):
        """Seconds of processor time the agent has used."""
        with open(f"/proc/{self.agent.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def staged(self, name, size):
        """Whether the dataset lies whole under its final name."""
        for folder, _, files in os.walk(self.folder):
            if name in files and os.path.getsize(os.path.join(folder, name)) == size:
                return True
        return False

    def close(self):
        for daemon in reversed(self.daemons):
            if daemon.alive():
                daemon.send(signal.SIGTERM)
        for daemon in self.daemons:
            daemon.kill_group()
        shutil.rmtree(self.folder, ignore_errors=True)


def hash_of(harness, path):
    done = subprocess.run([harness.need_binary("cocos-cli"), "checksum", "--json", path], capture_output=True,
                          text=True, check=True)
    return json.loads(done.stdout)["sha3_256"]


def upload(harness, size, rate, tell_hash=True):
    """
    One upload of a file of that size; rate: of SHA3-256 in this run. Unless
    it is told the hash, cocos-cli reads the file twice: a signature bound to
    its content goes before it.
    """
    # Not in the folder of the computation, where the staged copy is looked for.
    folder = tempfile.mkdtemp(prefix="cocos-bench-data-")
    data = os.path.join(folder, "data.bin")
    try:
        with open(data, "wb") as f:
            f.truncate(size)  # holes cost no disk to read; every byte is sent, hashed and written all the same
        known = hash_of(harness, data)
        computation = Computation(harness, data, known)
        try:
            computation.cli("algo", computation.algo, computation.key)
            before, cpu = computation.agent.status("VmHWM"), computation.agent_cpu()
            seconds = computation.cli("data", *(["--hash", known] if tell_hash else []), data, computation.key)
            if not computation.staged("data.bin", size):
                raise RuntimeError("the dataset is not where the agent should have put it")
            peak, cpu = computation.agent.status("VmHWM"), computation.agent_cpu() - cpu
        finally:
            computation.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {"bytes": size, "hash_told": tell_hash, "seconds": seconds, "bytes_per_second": size / seconds, "ratio": size / seconds / rate,
            "agent_cpu_seconds": cpu, "load": os.getloadavg()[0], "agent_peak_rss_mib": peak / 1024, "agent_rss_before_mib": before / 1024}


def measure_upload(harness, args):
    rates = sha3_rates(1 if args.quick else 3)
    best = max(rates.values())
    sizes = (64 * MIB, 256 * MIB) if args.quick else (GIB, 4 * GIB)
    return {"sha3_256_bytes_per_second": {str(k): v for k, v in rates.items()},
            "uploads": [upload(harness, size, best) for size in sizes] + [upload(harness, sizes[0], best, False)]}


def show_upload(result):
    best = max(result["sha3_256_bytes_per_second"].values())
    say(f"upload, against SHA3-256 at {best / MIB:.0f} MiB/s on one core")
    say("        size     seconds       MiB/s    ratio     peak memory    processor time of the agent")
    for u in result["uploads"]:
        missed = ("  hashed by cocos-cli before" if not u["hash_told"] else
                  "" if u["ratio"] >= RATIO_AIM else f"  ratio below {RATIO_AIM}") + \
            ("" if u["agent_peak_rss_mib"] <= RSS_AIM_MIB else f"  memory above {RSS_AIM_MIB} MiB")
        say(f"{u['bytes'] / MIB:8.0f} MiB {u['seconds']:9.2f} {u['bytes_per_second'] / MIB:11.0f} {u['ratio']:8.2f}"
            f" {u['agent_peak_rss_mib']:10.1f} MiB {u['agent_cpu_seconds']:9.2f} s{missed}")
    if max(u["load"] for u in result["uploads"]) > os.cpu_count() * 1.5:
        say("        (the machine was busy with other things: load "
            f"{max(u['load'] for u in result['uploads']):.1f} on {os.cpu_count()} cores)")


# --------------------------------------------------------------------- unary

def time_calls(harness, address, count):
    done = subprocess.run([harness.need_binary("bench/unary"), address, str(count)], capture_output=True, text=True,
                          check=False)
    if done.returncode != 0:
        raise RuntimeError(f"unary {address}: {done.stderr}")
    return json.loads(done.stdout)


PEER = """
import sys
sys.path.insert(0, sys.argv[1])
import harness
health = harness.proto("health")

class Health:
    def Check(self, request, context):
        return health.HealthCheckResponse(status=1)

server, address = harness.grpc_server([harness.handler(health, "Health", Health())])
print(address, flush=True)
sys.stdin.read()
"""


def measure_unary(harness, args):
    count = 1000 if args.quick else 10000
    result = {"count": count}
    empty = tempfile.NamedTemporaryFile(prefix="cocos-bench-")
    with empty:
        computation = Computation(harness, empty.name, "11" * 32)
        try:
            result["cocos_c"] = time_calls(harness, computation.cvms.address(), count)
        finally:
            computation.close()
    peer = subprocess.Popen([sys.executable, "-c", PEER, os.path.join(ROOT, "test", "lib")], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)
    try:
        result["python_grpcio"] = time_calls(harness, peer.stdout.readline().strip(), count)
    finally:
        peer.stdin.close()
        peer.wait(60)
    return result


def show_unary(result):
    say(f"unary, {result['count']} calls one after the other")
    say("        server           p50 us     p99 us    calls/s")
    for name, label in (("cocos_c", "cocos-c"), ("python_grpcio", "python grpcio")):
        r = result[name]
        say(f"        {label:<14} {r['p50_us']:8.0f} {r['p99_us']:10.0f} {r['count'] / r['seconds']:10.0f}")


# --------------------------------------------------------------------- start

def measure_start(harness, args):
    connected, ready = [], []
    with tempfile.NamedTemporaryFile(prefix="cocos-bench-") as empty:
        for _ in range(3 if args.quick else 20):
            computation = Computation(harness, empty.name, "11" * 32)
            try:
                computation.agent.wait_log(msg="connected")
                connected.append(time.monotonic() - computation.started)
                computation.agent.ready()
                ready.append(time.monotonic() - computation.started)
            finally:
                computation.close()
    return {"runs": len(ready), "connected_ms": statistics.median(connected) * 1e3,
            "ready_ms": statistics.median(ready) * 1e3, "ready_worst_ms": max(ready) * 1e3}


def show_start(result):
    say(f"start of the agent, median of {result['runs']}")
    say(f"        connected {result['connected_ms']:.0f} ms, ready {result['ready_ms']:.0f} ms"
        f" (worst {result['ready_worst_ms']:.0f} ms)")


# --------------------------------------------------------------------- sizes

def measure_sizes(harness, _args):
    sizes = {}
    with tempfile.TemporaryDirectory(prefix="cocos-bench-") as folder:
        for name in PROGRAMS:
            if os.path.exists(harness.binary(name)):
                copy = os.path.join(folder, name)
                subprocess.run(["strip", "-o", copy, harness.binary(name)], check=True)
                sizes[name] = os.path.getsize(copy)
    return sizes


def show_sizes(result):
    say("sizes, stripped")
    for name, size in result.items():
        say(f"        {name:<22} {size / 1024:8.0f} KiB")


# ---------------------------------------------------------------------- main

PARTS = (("sizes", measure_sizes, show_sizes), ("start", measure_start, show_start),
         ("unary", measure_unary, show_unary), ("upload", measure_upload, show_upload))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default=os.path.join(ROOT, "build"))
    parser.add_argument("--quick", action="store_true", help="small sizes and counts, half a minute")
    parser.add_argument("--only", default="", help="parts to measure, separated by commas")
    args = parser.parse_args()
    os.environ["COCOS_TEST_BUILD"] = os.path.abspath(args.build)
    import harness

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda got, _: sys.exit(128 + got))
    wanted = [w for w in args.only.split(",") if w] or [name for name, _, _ in PARTS]
    out = os.path.join(args.build, "bench")
    os.makedirs(out, exist_ok=True)
    report = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "quick": args.quick,
              "machine": platform.machine(), "cpus": os.cpu_count(), "parts": {}}
    failed = False
    for name, measure, show in PARTS:
        if name not in wanted:
            continue
        try:
            report["parts"][name] = measure(harness, args)
            show(report["parts"][name])
        except (AssertionError, OSError, RuntimeError, ValueError, subprocess.SubprocessError) as e:
            report["parts"][name] = {"error": str(e)}
            say(f"{name}: {e}")
            failed = True
        say()
    path = os.path.join(out, "bench.json")
    with open(path, "w", encoding="utf-8") as f:
        json.dump(report, f, indent=2)
        f.write("\n")
    say(f"written to {os.path.relpath(path)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
