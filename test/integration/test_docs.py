"""What documents name is there: variables, flags, commands, paths; and --help looks the same everywhere."""

import os
import re
import subprocess

import harness

PROGRAMS = ("cocos-agent", "cocos-runner", "cocos-log-forwarder", "cocos-manager", "cvms-test", "rpc-echo-server",
            "rpc-echo-client")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/ARCHITECTURE.md", "docs/PROTOCOL-EXTENSIONS.md",
             "examples/README.md", "test/README.md", "man/cocos-cli.more", "man/cocos-manager.more",
             "init/cocos-manager.env")
OPTION = re.compile(r"^  (?:(-\w), |    )?(--[a-z][\w-]*)|^  ([A-Z]\w+)$", re.M)


def read(path):
    with open(os.path.join(harness.ROOT, path), encoding="utf-8") as f:
        return f.read()


class Docs(harness.TestCase):
    def helps(self):
        texts = {p: self.run_program(p, "--help", expect=0).stdout for p in PROGRAMS}
        cli = self.run_program("cocos-cli", "--help", expect=0).stdout
        for command in re.findall(r"^  ([a-z-]+)  ", cli.partition("Commands:\n")[2].partition("\n\n")[0], re.M):
            texts[f"cocos-cli {command}"] = self.run_program("cocos-cli", command, "--help", expect=0).stdout
        self.assertGreater(len(texts), len(PROGRAMS) + 5)
        return texts

    def test_every_variable_and_flag_of_a_document_is_one_of_a_program(self):
        texts = self.helps().values()
        variables = set(re.findall(r"\b[A-Z]\w+\b", " ".join(texts)))
        flags = {m[1] for text in texts for m in OPTION.findall(text)} | {"--version"}
        for path in DOCUMENTS:
            text = read(path)
            for name in re.findall(r"\b(?:MANAGER|AGENT|RUNNER|LOG_FORWARDER|COCOS|CVMS)_[A-Z][A-Z_0-9]*\b", text):
                self.assertTrue(name in variables, f"{path}: no program reads {name}")
            for words in re.findall(r"cocos-cli ([a-z][^`\n]*)", text):
                for flag in re.findall(r"(?<=\s)--[a-z][\w-]*", words):
                    self.assertTrue(flag in flags, f"{path}: cocos-cli {words}")

    def test_every_path_of_a_document_is_there(self):
        files = subprocess.run(["git", "ls-files"], cwd=harness.ROOT, capture_output=True, text=True, check=False)
        if files.returncode != 0:
            self.skipTest("needs a git checkout")
        names = set(files.stdout.split())
        names |= {os.path.dirname(n) for n in names}
        for path in (d for d in DOCUMENTS if d.endswith(".md")):
            text = read(path)
            here = os.path.dirname(path)
            for link in re.findall(r"\]\(([^)#:]+)\)", text):
                self.assertTrue(os.path.normpath(os.path.join(here, link)) in names, f"{path}: {link}")
            for name in re.findall(r"`([a-z0-9_.-]+/[a-z0-9_./-]*[a-z0-9_])`", text):
                found = names & {name, f"src/{name}", f"src/{name}.c", f"src/{name}.h", f"test/{name}",
                                 os.path.join(here, name)}
                # what is built, and directories of other machines, are in no checkout
                self.assertTrue(found or name.startswith(("build/", "results/", "datasets/")), f"{path}: {name}")

    def test_help_has_one_shape(self):
        for name, text in self.helps().items():
            lines = text.split("\n")
            self.assertRegex(lines[0], rf"^Usage: {name} \S", name)
            self.assertEqual(lines[1], "", name)
            order = [line for line in lines if re.match(r"^(Flags|Environment only|Examples):$", line)]
            self.assertEqual(order, [s for s in ("Flags:", "Environment only:", "Examples:") if s in order], name)
            self.assertIn("Flags:", order, name)
            self.assertEqual([line for line in lines if line != line.rstrip()], [], name)
            options = text.partition("\nExamples:\n")[0].split("\n")
            for i, line in enumerate(options):
                if re.match(r"^  (-\w, --\w|    --\w|[A-Z]\w+$)", line):
                    self.assertRegex(options[i + 1], r"^        \S", f"{name}: {line}")

    def test_doctor_looks_at_what_the_manager_would_take(self):
        def defaults(text):
            rows = re.findall(r"^  ([A-Z][A-Z0-9_]+)\n        (.+)", text, re.M)
            return {name: re.findall(r"default ([^)]*)\)$", row) for name, row in rows}

        texts = self.helps()
        manager, doctor = defaults(texts["cocos-manager"]), defaults(texts["cocos-cli doctor"])
        self.assertGreater(len(doctor), 20)
        for name, default in doctor.items():
            self.assertEqual(default, manager.get(name, "no such setting"), name)


if __name__ == "__main__":
    harness.main()
