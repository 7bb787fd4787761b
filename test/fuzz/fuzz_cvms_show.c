/*
 * A message of an agent as cvms-test shows it. Whatever the bytes are, what is
 * shown is one line without control bytes, and in its other form JSON.
 */
#include <assert.h>

#include "base/json.h"
#include "cvms/mend.h"
#include "cvms/show.h"
#include "proto/pb.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(struct slice line)
{
    assert(line.len > 0 && line.at[line.len - 1] == '\n');
    assert(slice_is_utf8(line));
    for (size_t i = 0; i + 1 < line.len; i++)
        assert(line.at[i] >= 0x20 && line.at[i] != 0x7f);
}

static void show(const Cvms__ClientStreamMessage *m)
{
    const struct cvms_sender from = { "127.0.0.1:1", "cvm \"1\"", true };
    CLEANUP(buf_done) struct buf out = BUF_INIT(CVMS_LINE_MAX);
    struct err e = ERR_INIT;

    if (!cvms_show(CVMS_FORM_TEXT, 1, &from, m, &out, &e)) {
        assert(e.kind == ERR_KIND_INVALID && out.len == 0);
        assert(m->message_case == CVMS__CLIENT_STREAM_MESSAGE__MESSAGE__NOT_SET);
        return;
    }
    check_line(buf_slice(&out));
    buf_truncate(&out, 0);
    assert(cvms_show(CVMS_FORM_JSONL, 1, &from, m, &out, &e));
    check_line(buf_slice(&out));
    CLEANUP(json_done) json_t *root = json_read(slice_first(buf_slice(&out), out.len - 1), &e);
    assert(json_is_string(json_object_get(root, "kind")));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const ProtobufCMessageDescriptor *type = &cvms__client_stream_message__descriptor;
    CLEANUP(buf_done) struct buf wire = BUF_INIT(size);
    CLEANUP(pb_done) Cvms__ClientStreamMessage *m = NULL;
    struct err e = ERR_INIT;

    if (!buf_append(&wire, slice_of(data, size), &e))
        return 0;
    m = (Cvms__ClientStreamMessage *)pb_decode(type, buf_slice(&wire), NULL, &e);
    if (!m && cvms_mend_log(&wire)) {
        assert(!cvms_mend_log(&wire));
        m = (Cvms__ClientStreamMessage *)pb_decode(type, buf_slice(&wire), NULL, &e);
    }
    if (m)
        show(m);
    return 0;
}
