#!/usr/bin/python3
"""The rules of the house that no compiler knows.

usage: ci/lint.py [--root DIR] [--sources FILE]

  --root DIR      the tree to look at (default: the one this file is in)
  --sources FILE  the sources the build compiles, one per line; with it, a
                  source that nothing compiles is a fault

Prints one line per fault, `file:line: rule: what is wrong`, and exits 1 when
there is any. Reads only; changes nothing.
"""

import argparse
import ast
import os
import re
import subprocess
import sys

# Rooms with a main.c: they meet only by RPC, so none may use another.
PROGRAM_ROOMS = {
    "agent", "attestation-service", "runner-service", "log-forwarder",
    "keyprovider", "enclave-agent", "manager", "cli",
}

# Where a third-party header may appear. Tests are peers and may use anything.
THIRD_PARTY = (
    ("nghttp2/", re.compile(r"src/rpc/")),
    ("openssl/", re.compile(r"src/(tls/|base/(key|hash|crypto|mem)\w*\.)")),
    ("tss2/", re.compile(r"src/evidence/")),
)

# Calls without a safe use here. base/banned.h poisons the same names, for
# every file that includes it; this finds the file that does not.
BANNED = re.compile(
    r"\b(strcpy|strcat|strncpy|strncat|stpcpy|sprintf|vsprintf|gets|strtok|strtok_r"
    r"|atoi|atol|atoll|atof|alloca|tmpnam|mktemp|tempnam|system|popen)\s*\(")

# Allocation outside base/mem.c cannot be made to fail by a test.
ALLOC = re.compile(r"\b(malloc|calloc|realloc|reallocarray|strdup|strndup|asprintf|vasprintf)\s*\(")

# A test waits for an event with a deadline.
SLEEP = re.compile(r"\b(sleep|usleep|nanosleep|uv_sleep)\s*\(")

# Digests, MACs and tokens are compared in constant time.
MEMCMP = re.compile(r"\bmemcmp\s*\(")
MEMCMP_ROOMS = ("src/tls/", "src/evidence/", "src/kbs/", "src/oci/")

# A path of one machine, or the address of a package host, has no meaning here.
MACHINE = re.compile(
    r"(?<![\w.$})*/-])/(?:work|root|home)/(?!coconut-qemu\.igvm)\w"  # but the peers' default of an IGVM file
    r"|https?://[\w.-]*(?:artifactory|nexus|pypi|goproxy|deb\.debian)[\w.-]*")
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")

LINES_MAX = 800

TEXT_SUFFIXES = (
    ".c", ".h", ".py", ".sh", ".mk", ".md", ".proto", ".yml", ".yaml", ".txt", ".supp", ".json",
)
TEXT_NAMES = ("Makefile", "LAYERS", "run", ".clang-format", ".clang-tidy", ".gitignore")
DATA = ("test/fuzz/corpus/", "test/fixtures/")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def strip_c(text):
    """The text with comments and literals blanked, line numbers kept."""

    def blank(match):
        found = match.group(0)
        if found[0] in "\"'":
            return found[0] + found[0]
        return re.sub(r"[^\n]", " ", found)

    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text,
                  flags=re.S)


class Lint:
    def __init__(self, root):
        self.root = root
        self.faults = []
        self.warnings = []
        self.layers = {}

    def fault(self, path, line, rule, text):
        self.faults.append(f"{path}:{line}: {rule}: {text}")

    def files(self):
        """Every file that git has or would take."""
        out = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                             cwd=self.root, check=True, capture_output=True).stdout.decode()
        return sorted({f for f in out.split("\0") if f and os.path.isfile(os.path.join(self.root, f))})

    def read(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8") as f:
            return f.read()

    # ------------------------------------------------------------- layers

    def read_layers(self):
        path = "src/LAYERS"
        if not os.path.exists(os.path.join(self.root, path)):
            self.fault(path, 1, "layers", "the file is missing: it says which room may use which")
            return
        for number, line in enumerate(self.read(path).splitlines(), 1):
            line = line.split("#", 1)[0].strip()
            if not line:
                continue
            room, colon, rest = line.partition(":")
            room, uses = room.strip(), rest.split()
            if not colon:
                self.fault(path, number, "layers", f"'{line}': 'room: rooms below' is wanted")
                continue
            for used in uses:
                if used in PROGRAM_ROOMS:
                    self.fault(path, number, "layers",
                               f"{room} uses the program {used}: programs meet only by RPC")
                elif used not in self.layers:
                    self.fault(path, number, "layers",
                               f"{room} uses {used}, which is not a room above this line")
            self.layers[room] = set(uses)

    def room_of(self, path):
        """The room a file belongs to, or None (tests of every kind)."""
        parts = path.split("/")
        if parts[0] == "src" and len(parts) > 2:
            return parts[1]
        if parts[0] == "test" and len(parts) > 2 and "/".join(parts[:2]) in self.layers:
            return "/".join(parts[:2])
        return None

    def target_room(self, path, name):
        """The room an include names, or None when it is not one of ours."""
        first = name.split("/", 1)[0]
        if "/" not in name:
            if os.path.exists(os.path.join(self.root, os.path.dirname(path), name)):
                return self.room_of(path)
            return "proto" if name.endswith(".pb-c.h") else None
        if name.startswith("google/protobuf/"):
            return "proto"
        two = "test/" + first
        if os.path.isdir(os.path.join(self.root, "src", first)) or first in self.layers:
            return first
        if os.path.isdir(os.path.join(self.root, two)):
            return two
        return None

    def check_include(self, path, number, bracket, name):
        for prefix, where in THIRD_PARTY:
            if name.startswith(prefix) and path.startswith("src/") and not where.match(path):
                self.fault(path, number, "third-party",
                           f"<{name}> belongs behind {where.pattern.replace(chr(92), '')}, not here")
        if bracket == "<":
            return
        target = self.target_room(path, name)
        room = self.room_of(path)
        if target is None or target == room:
            return
        if path.startswith("src/") and target.startswith("test/"):
            self.fault(path, number, "layers", f'"{name}": no room knows a test')
            return
        if room is not None:
            if target not in self.layers.get(room, set()):
                self.fault(path, number, "layers",
                           f'"{name}": {room} may use {" ".join(sorted(self.layers.get(room, []))) or "no room"}, '
                           f"not {target} (src/LAYERS)")
        if name.endswith("_int.h") and not self.may_see_inside(path, target):
            self.fault(path, number, "layers", f'"{name}" is for {target} and its tests alone')

    @staticmethod
    def may_see_inside(path, target):
        """A room's own tests and fuzz targets may look behind its door."""
        return path.startswith((f"test/unit/{target}/", "test/fuzz/")) or \
            (target.startswith("test/") and path.startswith(f"test/unit/{target[5:]}/"))

    # ------------------------------------------------------------- files

    def check_c(self, path, text):
        lines = text.splitlines()
        room = self.room_of(path)
        if path.startswith("src/") and room not in self.layers:
            self.fault(path, 1, "layers", f"'{room}' is not a room of src/LAYERS")
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if match:
                self.check_include(path, number, match.group(1), match.group(2))
        for number, line in enumerate(strip_c(text).splitlines(), 1):
            self.check_calls(path, number, line)

    def check_calls(self, path, number, line):
        match = BANNED.search(line)
        if match and path != "src/base/banned.h":
            self.fault(path, number, "banned", f"{match.group(1)}() has no safe use here")
        match = ALLOC.search(line)
        if match and path.startswith("src/") and path != "src/base/mem.c":
            self.fault(path, number, "alloc", f"{match.group(1)}(): allocate through base/mem.h or a buf")
        match = SLEEP.search(line)
        if match and path.startswith("test/"):
            self.fault(path, number, "sleep", f"{match.group(1)}(): wait for an event with a deadline")
        if MEMCMP.search(line) and path.startswith(MEMCMP_ROOMS):
            self.fault(path, number, "memcmp", "compare with ct_equal: the time tells where bytes differ")

    def check_py(self, path, text):
        try:
            tree = ast.parse(text, path)
        except SyntaxError as e:
            self.fault(path, e.lineno or 1, "python", str(e.msg))
            return
        if not path.startswith("test/"):
            return
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) \
                    and node.func.attr == "sleep" and isinstance(node.func.value, ast.Name) \
                    and node.func.value.id == "time":
                self.fault(path, node.lineno, "sleep", "time.sleep(): wait for an event with a deadline")

    def check_text(self, path, text):
        if text and not text.endswith("\n"):
            self.fault(path, text.count("\n") + 1, "text", "the last line has no newline")
        for number, line in enumerate(text.split("\n"), 1):
            if line != line.rstrip():
                self.fault(path, number, "text", "white space at the end of the line")
            match = MACHINE.search(line)
            if match:
                self.fault(path, number, "machine", f"'{match.group(0)}' means something on one machine only")
            match = UNFINISHED.search(line)
            if match:
                self.fault(path, number, "unfinished", f"'{match.group(0)}': finish it, or open an issue")
            if path.endswith((".c", ".h", ".py")) and "\t" in line:
                self.fault(path, number, "text", "a tab")

    def check_file(self, path):
        name = os.path.basename(path)
        if path.startswith(DATA) or not (path.endswith(TEXT_SUFFIXES) or name in TEXT_NAMES):
            return
        try:
            text = self.read(path)
        except UnicodeDecodeError as e:
            self.fault(path, 1, "text", f"not UTF-8: {e}")
            return
        self.check_text(path, text)
        count = text.count("\n")
        if path.endswith((".c", ".h", ".py")) and count > LINES_MAX:
            self.warnings.append(f"{path}:{count}: long: more than {LINES_MAX} lines: which two subjects are they?")
        if path.endswith((".c", ".h")):
            self.check_c(path, text)
        elif path.endswith(".py"):
            self.check_py(path, text)

    def check_compiled(self, files, sources_file):
        with open(sources_file, encoding="utf-8") as f:
            compiled = set(f.read().split())
        for path in files:
            if path.endswith(".c") and path.startswith(("src/", "test/")) and path not in compiled \
                    and not path.startswith(DATA):
                self.fault(path, 1, "compiled", "no rule of the Makefile compiles this file")

    def run(self, sources_file):
        files = self.files()
        self.read_layers()
        for path in files:
            self.check_file(path)
        if sources_file:
            self.check_compiled(files, sources_file)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    parser.add_argument("--sources")
    args = parser.parse_args()
    lint = Lint(args.root)
    lint.run(args.sources)
    for line in lint.warnings:
        print("warning: " + line)
    for line in lint.faults:
        print(line)
    return 1 if lint.faults else 0


if __name__ == "__main__":
    sys.exit(main())
