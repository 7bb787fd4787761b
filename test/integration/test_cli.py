"""cocos-cli by itself: keys, checksums, completion, and how it takes bad usage."""

import hashlib
import json
import os
import signal
import stat
import subprocess

import harness

# From the Go peers, run in UTC; see the wire sheet, section 11.6.
TREE_HASH = "eff18ed8957a21d4423787bf0e1e5bfd8ba512c975bc0485b371164836a4b32a"


def openssl(*args, stdin=None):
    return subprocess.run(["openssl", *args], input=stdin, capture_output=True, check=True).stdout


def content(path):
    with open(path, "rb") as f:
        return f.read()


class Cli(harness.TestCase):
    def cli(self, *args, expect=0, **more):
        return self.run_program("cocos-cli", *args, expect=expect, **more)


class Keys(Cli):
    def modes(self):
        return {n: stat.S_IMODE(os.stat(os.path.join(self.dir, n)).st_mode)
                for n in os.listdir(self.dir) if n.endswith(".pem")}

    def check_pair(self, kind, what):
        old = os.umask(0o022)
        self.addCleanup(os.umask, old)
        done = self.cli("keys", *([] if kind is None else ["-k", kind]))
        self.assertIn(f"Successfully generated public/private key pair of type: {kind or 'rsa'}", done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertEqual(self.modes(), {"private.pem": 0o600, "public.pem": 0o644})
        private = os.path.join(self.dir, "private.pem")
        with open(private, encoding="ascii") as f:
            self.assertTrue(f.read().startswith("-----BEGIN PRIVATE KEY-----\n"))
        self.assertIn(what, openssl("pkey", "-in", private, "-noout", "-text").decode())
        self.assertEqual(openssl("pkey", "-in", private, "-pubout"),
                         content(os.path.join(self.dir, "public.pem")))

    def test_default_is_rsa_of_4096_bits(self):
        self.check_pair(None, "4096 bit")

    def test_ecdsa_is_p256(self):
        self.check_pair("ecdsa", "prime256v1")

    def test_ed25519(self):
        self.check_pair("ed25519", "ED25519")

    def test_unknown_type_is_bad_usage_and_leaves_nothing(self):
        done = self.cli("keys", "-k", "dsa", expect=2)
        self.assertIn("'dsa': rsa, ecdsa or ed25519 is wanted", done.stderr)
        self.assertEqual(self.modes(), {})

    def test_existing_pair_is_kept_unless_forced(self):
        self.cli("keys", "-k", "ed25519")
        before = content(os.path.join(self.dir, "private.pem"))
        done = self.cli("keys", "-k", "ed25519", expect=1)
        self.assertIn("--force", done.stderr)
        self.assertEqual(before, content(os.path.join(self.dir, "private.pem")))
        self.cli("keys", "-k", "ed25519", "--force")
        self.assertNotEqual(before, content(os.path.join(self.dir, "private.pem")))
        self.assertEqual(self.modes(), {"private.pem": 0o600, "public.pem": 0o644})

    def test_existing_public_key_is_kept_too(self):
        self.make_file("public.pem", "somebody's")
        self.cli("keys", "-k", "ed25519", expect=1)
        self.assertEqual(list(self.modes()), ["public.pem"])

    def test_interrupted_leaves_both_or_none(self):
        cli = self.daemon("cocos-cli", "keys", ready=False)
        cli.stop(signal.SIGINT)
        self.assertIn(len(self.modes()), (0, 2))
        self.assertEqual([n for n in os.listdir(self.dir) if n.startswith(".cocos")], [])


class Checksum(Cli):
    def test_file(self):
        self.make_file("a", "abc")
        done = self.cli("checksum", "a")
        self.assertEqual(done.stderr, f"Hash of file: {hashlib.sha3_256(b'abc').hexdigest()}\n")
        self.assertEqual(done.stdout, "")

    def test_file_in_base64(self):
        self.make_file("a", "abc")
        done = self.cli("checksum", "-b", "a")
        self.assertEqual(done.stderr, "Hash of file: Ophdp0/iJbIEXBcta9OQvYVfCG4+nVJbRr/iRRFDFTI=\n")

    def test_ar_18_directory_is_its_zip_whatever_time_zone_umask_and_locale(self):
        os.chmod(self.make_file("t/a.txt", "hello"), 0o644)
        os.chmod(self.make_file("t/sub/b.csv", "x,y\n1,2\n"), 0o755)
        for env in ({}, {"TZ": "Africa/Nairobi"}, {"LC_ALL": "tr_TR.UTF-8"}):
            self.assertIn(TREE_HASH, self.cli("checksum", "t", env=env).stderr)

    def test_manifest_hashes_its_canonical_form(self):
        zeros = ",".join(["0"] * 32)
        canonical = (f'{{"id":"1","name":"n\\u003c","datasets":[{{"hash":[{zeros}],"user_key":"AQ==",'
                     f'"filename":"d.csv"}}],"algorithm":{{"hash":[{zeros}],"user_key":"Ag=="}},'
                     f'"result_consumers":[{{"user_key":"Aw=="}}]}}')
        spaced = json.dumps(json.loads(canonical), indent=4)
        self.make_file("m.json", spaced)
        done = self.cli("checksum", "--manifest", "m.json")
        self.assertEqual(done.stderr,
                         f"Hash of manifest file: {hashlib.sha3_256(canonical.encode()).hexdigest()}\n")

    def test_pb_6_manifest_with_duplicate_keys_is_refused(self):
        self.make_file("m.json", '{"id":"1","id":"2"}')
        done = self.cli("checksum", "-m", "m.json", expect=1)
        self.assertIn("Error computing hash: ", done.stderr)

    def test_missing_file_is_an_error(self):
        done = self.cli("checksum", "nowhere", expect=1)
        self.assertIn("Error computing hash: open 'nowhere': No such file or directory ❌", done.stderr)

    def test_json_holds_both_spellings(self):
        self.make_file("a", "abc")
        record = json.loads(self.cli("checksum", "--json", "a").stdout)
        self.assertEqual(record, {"path": "a", "sha3_256": hashlib.sha3_256(b"abc").hexdigest(),
                                  "base64": "Ophdp0/iJbIEXBcta9OQvYVfCG4+nVJbRr/iRRFDFTI=",
                                  "command": "checksum", "ok": True, "exit_status": 0})

    def test_json_tells_errors(self):
        record = json.loads(self.cli("checksum", "--json", "nowhere", expect=1).stdout)
        self.assertEqual((record["ok"], record["exit_status"], record["command"]), (False, 1, "checksum"))
        self.assertIn("nowhere", record["error"])

    def test_rl_6_name_with_escapes_is_shown_harmless(self):
        self.make_file("a", "abc")
        done = self.cli("checksum", "no\x1b[31mwhere\nhere", expect=1)
        self.assertNotIn("\x1b", done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)


class Usage(Cli):
    def test_no_command_is_bad_usage(self):
        self.assertIn("Commands:", self.cli(expect=2).stderr)

    def test_unknown_command_is_bad_usage(self):
        self.assertIn("unknown command 'dance'", self.cli("dance", expect=2).stderr)

    def test_unknown_flag_names_the_nearest(self):
        self.assertIn("manifest", self.cli("checksum", "--manifes", "x", expect=2).stderr)

    def test_missing_argument_is_bad_usage(self):
        for words in (["checksum"], ["algo", "x"], ["data", "x"], ["result"], ["result", "a", "b"]):
            self.cli(*words, expect=2)

    def test_bad_usage_with_json_is_one_object_on_stdout(self):
        record = json.loads(self.cli("checksum", "--json", expect=2).stdout)
        self.assertEqual((record["ok"], record["exit_status"]), (False, 2))

    def test_help_of_each_command_has_examples(self):
        for command in ("keys", "checksum", "algo", "data", "result", "completion"):
            for words in ([command, "--help"], ["help", command], ["--help", command]):
                done = self.cli(*words)
                self.assertIn(f"cocos-cli {command}", done.stdout)
                self.assertIn("xamples", done.stdout)
                self.assertEqual(done.stderr, "")

    def test_overview_on_stdout_when_asked_for(self):
        self.assertIn("Commands:", self.cli("--help").stdout)

    def test_verbose_may_stand_before_the_command(self):
        self.make_file("a", "abc")
        self.cli("-v", "checksum", "a")

    def test_version(self):
        self.assertRegex(self.cli("--version").stdout, r"^cocos-cli \d+\.\d+\.\d+\n$")

    def test_full_stdout_is_no_success(self):
        self.make_file("a", "abc")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([harness.need_binary("cocos-cli"), "checksum", "--json", "a"], cwd=self.dir,
                                  stdout=full, stderr=subprocess.PIPE, check=False,
                                  timeout=harness.deadline(20))
        self.assertEqual(done.returncode, 1)


class Completion(Cli):
    def complete(self, *words):
        """What bash offers behind these words, the last of which is being typed."""
        script = ('source <("$1" completion bash); shift; COMP_WORDS=(cocos-cli "$@"); '
                  'COMP_CWORD=$(($#)); _cocos_cli; printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(["bash", "-c", script, "bash", harness.need_binary("cocos-cli"), *words],
                              cwd=self.dir, capture_output=True, text=True, check=True,
                              timeout=harness.deadline(20))
        return done.stdout.split()

    def test_commands(self):
        self.assertEqual(self.complete("ch"), ["checksum"])
        self.assertLessEqual({"algo", "data", "result", "keys", "help"}, set(self.complete("")))

    def test_flags_of_the_command(self):
        self.assertEqual(self.complete("algo", "--py"), ["--python-runtime"])
        self.assertEqual(self.complete("keys", "--py"), [])

    def test_values_of_a_flag(self):
        self.assertEqual(self.complete("keys", "-k", "e"), ["ecdsa", "ed25519"])
        self.assertEqual(self.complete("algo", "--bound", "r"), ["required"])

    def test_files_elsewhere(self):
        self.make_file("penguins.csv", "")
        self.assertEqual(self.complete("data", "peng"), ["penguins.csv"])

    def test_other_shells_are_refused(self):
        self.cli("completion", "tcsh", expect=2)


if __name__ == "__main__":
    harness.main()
