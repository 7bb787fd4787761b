#include "unit/base/scratch.h"

#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "host/qemu.h"

/* --------------------------------------------------------------- the lines alone */

#define GREETING "{\"QMP\":{\"version\":{\"qemu\":{\"major\":10,\"minor\":1,\"micro\":3}}}}"
#define OK "{\"return\":{}}"
#define OBJECTS \
    "{\"return\":[{\"name\":\"sev-snp-guest\"},{\"name\":\"igvm-cfg\"},{\"name\":\"rng-random\"}]}"
#define DEVICES "{\"return\":[{\"name\":\"virtio-9p-pci\"},{\"name\":\"tpm-crb\"}]}"
#define MACHINES \
    "{\"return\":[{\"name\":\"pc-q35-7.2\",\"alias\":\"q35\"},{\"name\":\"none\"},{\"alias\":7},1]}"
#define EVENT "{\"event\":\"RESUME\",\"timestamp\":{}}"
#define SEV "{\"return\":{\"cbitpos\":51,\"reduced-phys-bits\":1}}"
#define NO "{\"error\":{\"class\":\"GenericError\",\"desc\":\"SEV is not enabled in KVM\"}}"

static struct talk {
    const char *name;
    const char *lines[8];
    enum host_qemu_step want;
    const char *error; /* of the last line, "" none */
    struct host_qemu_facts facts;
} talks[] = {
    { "all_of_it",
      { GREETING, OK, OBJECTS, DEVICES, MACHINES, SEV },
      HOST_QEMU_TOLD,
      "",
      { .version = "10.1.3",
        .sev_snp_guest = true,
        .igvm_cfg = true,
        .virtio_9p = true,
        .tpm_crb = true,
        .machines = " q35 pc-q35-7.2 none ",
        .sev = true,
        .cbit_pos = 51,
        .reduced_bits = 1 } },
    { "refusal_of_sev_is_an_answer",
      { GREETING, OK, "{\"return\":[{\"name\":\"tdx-guest\"}]}", "{\"return\":[]}", MACHINES, NO },
      HOST_QEMU_TOLD,
      "",
      { .version = "10.1.3",
        .tdx_guest = true,
        .machines = " q35 pc-q35-7.2 none ",
        .sev_why = "SEV is not enabled in KVM" } },
    { "events_are_passed_over",
      { GREETING, EVENT, OK, EVENT, OBJECTS, DEVICES, MACHINES, NO },
      HOST_QEMU_TOLD,
      "",
      { .version = "10.1.3",
        .sev_snp_guest = true,
        .igvm_cfg = true,
        .virtio_9p = true,
        .tpm_crb = true,
        .machines = " q35 pc-q35-7.2 none ",
        .sev_why = "SEV is not enabled in KVM" } },
    { "no_greeting", { OK }, HOST_QEMU_GREETING, "QMP: no greeting", { .version = "" } },
    { "not_json", { GREETING, "hello" }, HOST_QEMU_CAPABILITIES, NULL, { .version = "10.1.3" } },
    { "empty_line", { "" }, HOST_QEMU_GREETING, NULL, { .version = "" } },
    { "neither_answer_nor_error",
      { GREETING, "{}" },
      HOST_QEMU_CAPABILITIES,
      "QMP: neither answer nor error",
      { .version = "10.1.3" } },
    { "objects_refused",
      { GREETING, OK, NO },
      HOST_QEMU_OBJECTS,
      "QMP: SEV is not enabled in KVM",
      { .version = "10.1.3" } },
    { "objects_of_other_shapes",
      { GREETING, OK, "{\"return\":[1,{\"name\":2},{},\"tdx-guest\"]}" },
      HOST_QEMU_DEVICES,
      "",
      { .version = "10.1.3" } },
    { "machines_of_other_shapes",
      { GREETING, OK, OBJECTS, DEVICES, "{\"return\":{\"name\":\"q35\"}}" },
      HOST_QEMU_SEV,
      "",
      { .version = "10.1.3", .sev_snp_guest = true, .igvm_cfg = true, .virtio_9p = true, .tpm_crb = true } },
    { "sev_numbers_that_make_no_sense",
      { GREETING, OK, OBJECTS, DEVICES, MACHINES, "{\"return\":{\"cbitpos\":-1}}" },
      HOST_QEMU_TOLD,
      "",
      { .version = "10.1.3",
        .sev_snp_guest = true,
        .igvm_cfg = true,
        .virtio_9p = true,
        .tpm_crb = true,
        .machines = " q35 pc-q35-7.2 none ",
        .sev = true } },
};

static void check_talk(void **state)
{
    const struct talk *t = *state;
    enum host_qemu_step step = HOST_QEMU_GREETING;
    struct host_qemu_facts got = { .version = "" };
    struct err e = ERR_INIT;
    bool ok = true;

    for (size_t i = 0; ok && i < ARRAY_LEN(t->lines) && t->lines[i]; i++) {
        const char *next;

        ok = host_qemu_take_line(slice_of_str(t->lines[i]), &step, &got, &next, &e);
    }
    assert_int_equal(step, t->want);
    assert_int_equal(ok, t->error && !t->error[0]);
    if (t->error)
        assert_string_equal(err_text(&e), t->error);
    assert_string_equal(got.version, t->facts.version);
    assert_string_equal(got.sev_why, t->facts.sev_why);
    assert_int_equal(got.sev_snp_guest, t->facts.sev_snp_guest);
    assert_int_equal(got.tdx_guest, t->facts.tdx_guest);
    assert_int_equal(got.igvm_cfg, t->facts.igvm_cfg);
    assert_int_equal(got.virtio_9p, t->facts.virtio_9p);
    assert_int_equal(got.virtio_net, t->facts.virtio_net);
    assert_int_equal(got.tpm_crb, t->facts.tpm_crb);
    assert_string_equal(got.machines, t->facts.machines);
    assert_int_equal(got.sev, t->facts.sev);
    assert_int_equal(got.cbit_pos, t->facts.cbit_pos);
    assert_int_equal(got.reduced_bits, t->facts.reduced_bits);
}

/* ------------------------------------------------------------------ a whole QEMU */

struct fixture {
    uv_loop_t loop;
    unsigned calls;
    bool answered;
    struct host_qemu_facts facts;
    char why[1024];
};

static void keep(const struct host_qemu_facts *facts, const struct err *why, void *ctx)
{
    struct fixture *f = ctx;

    f->calls++;
    f->answered = facts != NULL;
    if (facts)
        f->facts = *facts;
    else
        snprintf(f->why, sizeof(f->why), "%s", err_text(why));
}

static void ask(struct fixture *f, const char *qemu)
{
    struct err e = ERR_INIT;

    *f = (struct fixture){ .calls = 0 };
    assert_int_equal(uv_loop_init(&f->loop), 0);
    if (!host_qemu_ask(&f->loop, qemu, false, scratch_fd(), keep, f, &e))
        fail_msg("%s", err_text(&e));
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    assert_int_equal(f->calls, 1);
    assert_false(scratch_has("qemu-ask.sock"));
}

static void real_qemu_tells_its_version(void **state)
{
    struct fixture f;

    (void)state;
    if (access("/usr/bin/qemu-system-x86_64", X_OK) != 0) {
        print_message("skipped: qemu-system-x86_64 is not installed\n");
        skip();
    }
    scratch_enter();
    ask(&f, "/usr/bin/qemu-system-x86_64");
    scratch_leave();
    if (!f.answered)
        fail_msg("%s", f.why);
    assert_true(f.facts.version[0] >= '1' && strchr(f.facts.version, '.'));
    assert_true(f.facts.sev || f.facts.sev_why[0]);
    assert_true(f.facts.virtio_9p && f.facts.virtio_net && f.facts.tpm_crb);
    assert_true(host_qemu_has_machine(&f.facts, "q35"));
    assert_false(host_qemu_has_machine(&f.facts, "q3"));
    assert_false(host_qemu_has_machine(&f.facts, ""));
    assert_false(host_qemu_has_machine(&f.facts, "q35,id=x"));
}

/* Programs that are no QEMU, or one that does not start. */
static const struct wrong {
    const char *name;
    const char *body;
    const char *want; /* the text behind the program's name */
} wrongs[] = {
    { "program_that_is_no_qemu", "exit 0", "it ended with status 0 before it answered" },
    { "qemu_that_does_not_start_is_quoted", "echo 'qemu: could not load PC BIOS' >&2; exit 1",
      "it ended with status 1 before it answered: qemu: could not load PC BIOS" },
    { "killed", "kill -9 $$", "it ended with signal 9 before it answered" },
    { "other_end_talks_nonsense",
      "for last; do :; done; exec /usr/bin/python3 -c 'import socket,sys\n"
      "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1][5:]); s.send(b\"{}\\n\"); s.recv(9)' $last",
      "QMP: no greeting" },
    { "other_end_hangs_up",
      "for last; do :; done; exec /usr/bin/python3 -c 'import socket,sys\n"
      "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1][5:]); sys.exit(3)' $last",
      "it ended with status 3 before it answered" },
};

static void check_wrong(void **state)
{
    const struct wrong *w = *state;
    struct fixture f;
    char text[1024];
    char path[256];
    char want[1024];
    char cwd[200];

    scratch_enter();
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", w->body);
    snprintf(path, sizeof(path), "%s/qemu", cwd);
    scratch_write("qemu", slice_of_str(text), 0755);
    ask(&f, path);
    scratch_leave();
    assert_false(f.answered);
    snprintf(want, sizeof(want), "'%s' does not answer as QEMU does: %s", path, w->want);
    assert_string_equal(f.why, want);
}

static void missing_program_is_an_error(void **state)
{
    uv_loop_t loop;
    struct err e = ERR_INIT;

    (void)state;
    scratch_enter();
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_false(host_qemu_ask(&loop, "/nonexistent/qemu", false, scratch_fd(), keep, NULL, &e));
    assert_int_equal(e.kind, ERR_KIND_MISSING);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_false(scratch_has("qemu-ask.sock"));
    scratch_leave();
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(talks) + ARRAY_LEN(wrongs) + 2];
    size_t n = 0;

    for (size_t i = 0; i < ARRAY_LEN(talks); i++)
        tests[n++] = (struct CMUnitTest){ talks[i].name, check_talk, NULL, NULL, &talks[i] };
    for (size_t i = 0; i < ARRAY_LEN(wrongs); i++)
        tests[n++] = (struct CMUnitTest){ wrongs[i].name, check_wrong, NULL, NULL, (void *)&wrongs[i] };
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(real_qemu_tells_its_version);
    tests[n++] = (struct CMUnitTest)cmocka_unit_test(missing_program_is_an_error);
    return cmocka_run_group_tests_name("host/qemu", tests, NULL, NULL);
}
