/* Archives of other programs unpacked, and ours read by them. */
#include "scratch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/stage.h"
#include "base/zip.h"

static int enter(void **state)
{
    (void)state;
    umask(022);
    scratch_enter();
    return scratch_sh(
        "mkdir -p dest tree/a/b tree/c 'tree/sp ace'; printf hello > tree/a.txt; seq 1 50000 > tree/a/b/seq;"
        "head -c 100000 /dev/urandom > tree/c/random; : > tree/empty; printf x > tree/h\xc3\xa9;"
        "printf y > 'tree/sp ace/z'; chmod 755 tree/a/b/seq");
}

static void unpack_and_compare(void)
{
    CLEANUP(fd_done) int fd = open("archive.zip", O_RDONLY | O_CLOEXEC);
    CLEANUP(fd_done) int dest = open("dest", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct err e = ERR_INIT;
    struct stat st;

    assert_true(fd >= 0 && dest >= 0);
    if (!zip_unpack(fd, dest, NULL, NULL, &e))
        fail_msg("%s", err_text(&e));
    assert_int_equal(scratch_sh("diff -r tree dest"), 0);
    assert_int_equal(lstat("dest/a/b/seq", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(lstat("dest/a.txt", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
}

#define PYTHON_HEAD                                             \
    "import zipfile, os, sys, io\n"                             \
    "class Out(io.FileIO):\n"                                   \
    "    def seek(self, *a): raise io.UnsupportedOperation()\n" \
    "    def tell(self): raise io.UnsupportedOperation()\n"     \
    "    def seekable(self): return False\n"                    \
    "def files():\n"                                            \
    "    for d, _, names in os.walk('tree'):\n"                 \
    "        for n in names: yield os.path.join(d, n), os.path.relpath(os.path.join(d, n), 'tree')\n"

static struct python_case {
    const char *name;
    const char *body;
} python_cases[] = {
    { "python_stored", "z = zipfile.ZipFile('archive.zip', 'w')\n"
                       "for p, n in files(): z.write(p, n)\n"
                       "z.close()\n" },
    { "python_deflated", "z = zipfile.ZipFile('archive.zip', 'w', zipfile.ZIP_DEFLATED)\n"
                         "for p, n in files(): z.write(p, n)\n"
                         "z.comment = b'with a comment'\n"
                         "z.close()\n" },
    { "python_with_directories", "z = zipfile.ZipFile('archive.zip', 'w', zipfile.ZIP_DEFLATED)\n"
                                 "for d, _, _ in os.walk('tree'):\n"
                                 "    if d != 'tree': z.write(d, os.path.relpath(d, 'tree'))\n"
                                 "for p, n in files(): z.write(p, n)\n"
                                 "z.close()\n" },
    { "python_streamed", "z = zipfile.ZipFile(Out('archive.zip', 'w'), 'w', zipfile.ZIP_DEFLATED)\n"
                         "for p, n in files(): z.write(p, n)\n"
                         "z.close()\n" },
    { "python_zip64", "z = zipfile.ZipFile('archive.zip', 'w', zipfile.ZIP_DEFLATED)\n"
                      "for p, n in files():\n"
                      "    i = zipfile.ZipInfo.from_file(p, n)\n"
                      "    with z.open(i, 'w', force_zip64=True) as f: f.write(open(p, 'rb').read())\n"
                      "z.close()\n" },
    { "python_zip64_streamed",
      "z = zipfile.ZipFile(Out('archive.zip', 'w'), 'w', zipfile.ZIP_DEFLATED)\n"
      "for p, n in files():\n"
      "    i = zipfile.ZipInfo.from_file(p, n)\n"
      "    with z.open(i, 'w', force_zip64=True) as f: f.write(open(p, 'rb').read())\n"
      "z.close()\n" },
};

static void run_python(const char *script)
{
    scratch_write("script.py", slice_of_str(script), 0600);
    assert_int_equal(scratch_sh("/usr/bin/python3 script.py"), 0);
}

static void check_python(void **state)
{
    const struct python_case *c = *state;
    char script[4096];
    void *unused = NULL;

    assert_int_equal(enter(&unused), 0);
    snprintf(script, sizeof(script), PYTHON_HEAD "%s", c->body);
    run_python(script);
    unpack_and_compare();
    scratch_teardown(&unused);
}

static struct tool_case {
    const char *name;
    const char *tool;
    const char *make;
} tool_cases[] = {
    { "info_zip", "zip", "cd tree && zip -q -r ../archive.zip ." },
    { "info_zip_stored", "zip", "cd tree && zip -q -0 -r ../archive.zip *" },
    { "info_zip_streamed", "zip", "cd tree && zip -q -r - . > ../archive.zip" },
    { "bsdtar_zip", "bsdtar", "bsdtar --format zip -cf archive.zip -C tree ." },
};

static void check_tool(void **state)
{
    const struct tool_case *c = *state;
    char probe[64];
    void *unused = NULL;

    snprintf(probe, sizeof(probe), "command -v %s", c->tool);
    if (scratch_sh(probe) != 0) {
        print_message("%s is not installed\n", c->tool);
        skip();
    }
    assert_int_equal(enter(&unused), 0);
    assert_int_equal(scratch_sh(c->make), 0);
    unpack_and_compare();
    scratch_teardown(&unused);
}

static bool to_fd(struct slice bytes, void *ctx, struct err *e)
{
    return stage_write_all(*(int *)ctx, bytes, e);
}

static void python_reads_what_we_write(void **state)
{
    CLEANUP(fd_done) int tree = open("tree", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CLEANUP(fd_done) int out = open("archive.zip", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct err e = ERR_INIT;

    (void)state;
    assert_true(zip_write_dir(tree, to_fd, &out, NULL, &e));
    run_python(PYTHON_HEAD "z = zipfile.ZipFile('archive.zip')\n"
                           "assert z.testzip() is None\n"
                           "want = sorted((n.encode(), open(p, 'rb').read()) for p, n in files())\n"
                           "seen = [(i.filename.encode(), z.read(i)) for i in z.infolist()]\n"
                           "assert want == seen, (want, seen)\n"
                           "modes = {i.filename: i.external_attr >> 16 for i in z.infolist()}\n"
                           "assert modes['a/b/seq'] == 0o100755 and modes['a.txt'] == 0o100644, modes\n");
    if (scratch_sh("command -v unzip") == 0)
        assert_int_equal(scratch_sh("unzip -q -t archive.zip"), 0);
}

int main(void)
{
    static struct CMUnitTest tests[32];
    size_t count = 0;

    UNIT_ROWS(tests, count, python_cases, check_python);
    UNIT_ROWS(tests, count, tool_cases, check_tool);
    tests[count++] = (struct CMUnitTest)cmocka_unit_test_setup_teardown(python_reads_what_we_write, enter,
                                                                        scratch_teardown);
    return _cmocka_run_group_tests("zip_interop", tests, count, NULL, NULL);
}
