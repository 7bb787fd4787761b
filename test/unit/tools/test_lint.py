"""Lint finds each thing it is there to find, and nothing in a clean tree."""

import os
import subprocess

import harness

LAYERS = "base:\nproto: base\ntls: base\nrpc: tls base\nmanifest: proto base\nagent: rpc manifest base\ncli: rpc base\n"
CLEAN = '#include "base/err.h"\n#include <string.h>\n\nint x(void);\n'

# name, path of the file, its text, rule that must fire (None: nothing may)
CASES = (
    ("clean_file_is_accepted", "src/rpc/a.c", CLEAN, None),
    ("include_that_goes_up_is_refused", "src/base/a.c", '#include "rpc/rpc.h"\n', "layers"),
    ("include_of_a_sibling_is_refused", "src/manifest/a.c", '#include "tls/tls.h"\n', "layers"),
    ("program_includes_a_program_is_refused", "src/agent/a.c", '#include "cli/cli.h"\n', "layers"),
    ("include_from_test_is_refused", "src/rpc/a.c", '#include "test/lib/x.h"\n', None),
    ("room_includes_test_program_is_refused", "src/rpc/a.c", '#include "cvms/cvms.h"\n', "layers"),
    ("inside_header_of_another_room_is_refused", "src/rpc/a.c", '#include "tls/tls_int.h"\n', "layers"),
    ("inside_header_in_own_unit_test_is_accepted", "test/unit/tls/test_a.c", '#include "tls/tls_int.h"\n', None),
    ("inside_header_in_other_unit_test_is_refused", "test/unit/rpc/test_a.c", '#include "tls/tls_int.h"\n', "layers"),
    ("generated_header_belongs_to_proto", "src/tls/a.c", '#include "proto/cvms.pb-c.h"\n', "layers"),
    ("generated_header_where_proto_is_allowed", "src/manifest/a.c", '#include "proto/cvms.pb-c.h"\n', None),
    ("room_without_a_layer_is_refused", "src/attic/a.c", CLEAN, "layers"),
    ("nghttp2_outside_rpc_is_refused", "src/agent/a.c", "#include <nghttp2/nghttp2.h>\n", "third-party"),
    ("nghttp2_in_rpc_is_accepted", "src/rpc/a.c", "#include <nghttp2/nghttp2.h>\n", None),
    ("openssl_outside_tls_is_refused", "src/rpc/a.c", "#include <openssl/ssl.h>\n", "third-party"),
    ("openssl_in_base_hash_is_accepted", "src/base/hash.c", "#include <openssl/evp.h>\n", None),
    ("openssl_in_base_text_is_refused", "src/base/text.c", "#include <openssl/evp.h>\n", "third-party"),
    ("tss_outside_evidence_is_refused", "src/tls/a.c", "#include <tss2/tss2_esys.h>\n", "third-party"),
    ("banned_call_is_refused", "src/base/a.c", "void f(char *a) { strcpy(a, a); }\n", "banned"),
    ("banned_call_in_test_is_refused", "test/unit/base/test_a.c", "int f(char *a) { return atoi(a); }\n", "banned"),
    ("banned_name_in_comment_is_accepted", "src/base/a.c", "/* not strcpy(a, b) */\n", None),
    ("banned_name_in_text_is_accepted", "src/base/a.c", 'const char *f = "system(x)";\n', None),
    ("longer_name_is_accepted", "src/base/a.c", "int my_system(int); int f(void) { return my_system(1); }\n", None),
    ("malloc_outside_mem_is_refused", "src/rpc/a.c", "void *f(void) { return malloc(1); }\n", "alloc"),
    ("malloc_in_mem_is_accepted", "src/base/mem.c", "void *f(void) { return malloc(1); }\n", None),
    ("memcmp_in_tls_is_refused", "src/tls/a.c", "int f(void *a) { return memcmp(a, a, 1); }\n", "memcmp"),
    ("memcmp_in_rpc_is_accepted", "src/rpc/a.c", "int f(void *a) { return memcmp(a, a, 1); }\n", None),
    ("sleep_in_c_test_is_refused", "test/unit/base/test_a.c", "void f(void) { usleep(1); }\n", "sleep"),
    ("sleep_in_python_test_is_refused", "test/integration/test_a.py", "import time\ntime." "sleep(1)\n", "sleep"),
    ("sleep_inside_a_python_text_is_accepted", "test/integration/test_a.py", 'A = "time.' 'sleep(1)"\n', None),
    ("unfinished_work_is_refused", "src/base/a.c", "/* TO" "DO: later */\n", "unfinished"),
    ("machine_path_is_refused", "docs/a.md", "see /" "home/me/x\n", "machine"),
    ("system_path_is_accepted", "docs/a.md", "see /run/cocos/work/x\n", None),
    ("trailing_blank_is_refused", "docs/a.md", "x \n", "text"),
    ("missing_last_newline_is_refused", "docs/a.md", "x", "text"),
    ("tab_in_c_is_refused", "src/base/a.c", "\tint x;\n", "text"),
    ("broken_python_is_refused", "test/integration/test_a.py", "def\n", "python"),
    ("source_nobody_compiles_is_refused", "src/base/forgotten.c", CLEAN, "compiled"),
    ("seeds_may_hold_anything", "test/fuzz/corpus/json/a.json", "\t \x01", None),
)


class Lint(harness.TestCase):
    def run_lint(self, files):
        root = self.make_dir("tree")
        harness.rmtree(root)
        for path, text in files.items():
            self.make_file("tree/" + path, text)
        subprocess.run(["git", "init", "-q", root], check=True)
        sources = self.make_file("sources", "\n".join(p for p in files if "forgotten" not in p))
        return subprocess.run([os.path.join(harness.ROOT, "ci/lint.py"), "--root", root, "--sources", sources],
                              capture_output=True, text=True, check=False)

    def check(self, path, text, rule):
        files = {"src/LAYERS": LAYERS, "src/tls/tls.h": "int t;\n", "src/cli/cli.h": "int c;\n",
                 "src/rpc/rpc.h": "int r;\n", "test/cvms/cvms.h": "int c;\n"}
        files[path] = text
        done = self.run_lint(files)
        if rule is None:
            self.assertEqual((done.returncode, done.stdout), (0, ""))
        else:
            self.assertEqual(done.returncode, 1, done.stdout)
            self.assertRegex(done.stdout, rf"^{path}:\d+: {rule}: ")

    def test_layers_that_go_up_are_refused(self):
        for name, layers in (("upwards", "base: rpc\nrpc: base\n"), ("a program", "agent:\ncli: agent\n"),
                             ("no colon", "base\n")):
            with self.subTest(name):
                done = self.run_lint({"src/LAYERS": layers})
                self.assertEqual(done.returncode, 1)
                self.assertIn("src/LAYERS:", done.stdout)

    def test_long_file_is_a_warning(self):
        done = self.run_lint({"src/LAYERS": LAYERS, "src/base/a.c": "int x;\n" * 801})
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("warning: src/base/a.c", done.stdout)


def add(name, path, text, rule):
    setattr(Lint, "test_" + name, lambda self: self.check(path, text, rule))


for case in CASES:
    add(*case)


if __name__ == "__main__":
    harness.main()
