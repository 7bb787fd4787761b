/*
 * grpc.reflection.v1 and v1alpha, which differ in their names only.
 */
#include "rpc/rpc_int.h"

#include "base/mem.h"
#include "proto/pb.h"
#include "proto/reflection_v1.pb-c.h"
#include "rpc/descriptors.h"

#define REQUEST_MAX ((size_t)16 * 1024)
#define RESPONSE_MAX ((size_t)16 * 1024 * 1024)

typedef Grpc__Reflection__V1__ServerReflectionRequest request;
typedef Grpc__Reflection__V1__ServerReflectionResponse response;

struct reflection {
    struct rpc_server *server;
    struct rpc_desc *desc;
};

/* --------------------------------------------------------------- one answer */

/* Everything an answer points to until it has been packed. */
struct answer {
    response message;
    Grpc__Reflection__V1__ErrorResponse error;
    Grpc__Reflection__V1__FileDescriptorResponse files;
    Grpc__Reflection__V1__ListServiceResponse services;
    Grpc__Reflection__V1__ExtensionNumberResponse numbers;
    Grpc__Reflection__V1__ServiceResponse *service_rows;
    Grpc__Reflection__V1__ServiceResponse **service_at;
    ProtobufCBinaryData *file_at;
    int32_t *number_at;
    char text[512];
};

static void answer_init(struct answer *a)
{
    *a = (struct answer){ .message = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT,
                          .error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT,
                          .files = GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT,
                          .services = GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT,
                          .numbers = GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT };
}

static void answer_done(struct answer *a)
{
    mem_free(a->service_rows);
    mem_free(a->service_at);
    mem_free(a->file_at);
    mem_free(a->number_at);
}

static void answer_not_found(struct answer *a, const char *what, const char *name)
{
    snprintf(a->text, sizeof(a->text), "%s not found: %s", what, name);
    /* A name that was cut may have been cut within a character. */
    struct slice text = slice_of_str(a->text);

    while (!slice_is_utf8(text))
        text.len--;
    a->text[text.len] = 0;
    a->error.error_code = RPC_NOT_FOUND;
    a->error.error_message = a->text;
    a->message.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    a->message.error_response = &a->error;
}

static bool answer_file(struct answer *a, const struct rpc_desc *d, size_t file, struct err *e)
{
    CLEANUP(mem_done) size_t *order = mem_new_array(rpc_desc_file_count(d), sizeof(*order), e);

    a->file_at = mem_new_array(rpc_desc_file_count(d), sizeof(*a->file_at), e);
    if (!order || !a->file_at)
        return false;
    a->files.n_file_descriptor_proto = rpc_desc_with_imports(d, file, order);
    a->files.file_descriptor_proto = a->file_at;
    for (size_t i = 0; i < a->files.n_file_descriptor_proto; i++)
        a->file_at[i] = pb_bytes(rpc_desc_file(d, order[i]));
    a->message.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    a->message.file_descriptor_response = &a->files;
    return true;
}

static bool answer_numbers(struct answer *a, const struct rpc_desc *d, char *message, struct err *e)
{
    struct slice name = slice_of_str(message);
    size_t count = 0;
    int32_t number;

    while (rpc_desc_extension_number(d, name, count, &number))
        count++;
    if (count == 0 && !rpc_desc_is_message(d, name)) {
        answer_not_found(a, "message", message);
        return true;
    }
    a->number_at = mem_new_array(count, sizeof(*a->number_at), e);
    if (!a->number_at)
        return false;
    for (size_t i = 0; i < count; i++)
        if (rpc_desc_extension_number(d, name, i, &number))
            a->number_at[i] = number;
    a->numbers.base_type_name = message;
    a->numbers.n_extension_number = count;
    a->numbers.extension_number = a->number_at;
    a->message.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
    a->message.all_extension_numbers_response = &a->numbers;
    return true;
}

static int compare_rows(const void *a, const void *b)
{
    return strcmp(((const Grpc__Reflection__V1__ServiceResponse *)a)->name,
                  ((const Grpc__Reflection__V1__ServiceResponse *)b)->name);
}

static bool answer_services(struct answer *a, const struct rpc_server *s, struct err *e)
{
    size_t count = rpc_server_service_count(s);

    a->service_rows = mem_new_array(count, sizeof(*a->service_rows), e);
    a->service_at = mem_new_array(count, sizeof(struct answer *), e);
    if (!a->service_rows || !a->service_at)
        return false;
    for (size_t i = 0; i < count; i++) {
        grpc__reflection__v1__service_response__init(&a->service_rows[i]);
        /* Only read: the generated struct knows no const. */
        a->service_rows[i].name = (char *)rpc_server_service_at(s, i)->name;
    }
    qsort(a->service_rows, count, sizeof(*a->service_rows), compare_rows);
    for (size_t i = 0; i < count; i++)
        a->service_at[i] = &a->service_rows[i];
    a->services.n_service = count;
    a->services.service = a->service_at;
    a->message.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    a->message.list_services_response = &a->services;
    return true;
}

static bool answer_extension(struct answer *a, const struct rpc_desc *d,
                             const Grpc__Reflection__V1__ExtensionRequest *want, struct err *e)
{
    size_t file;

    if (rpc_desc_by_extension(d, slice_of_str(want->containing_type), want->extension_number, &file))
        return answer_file(a, d, file, e);
    answer_not_found(a, "extension of message", want->containing_type);
    return true;
}

/* False with INVALID when nothing is asked. */
static bool answer_request(struct answer *a, const struct reflection *r, const request *q, struct err *e)
{
    size_t file;

    switch (q->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        if (rpc_desc_by_name(r->desc, slice_of_str(q->file_by_filename), &file))
            return answer_file(a, r->desc, file, e);
        answer_not_found(a, "file", q->file_by_filename);
        return true;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        if (rpc_desc_by_symbol(r->desc, slice_of_str(q->file_containing_symbol), &file))
            return answer_file(a, r->desc, file, e);
        answer_not_found(a, "symbol", q->file_containing_symbol);
        return true;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        return answer_extension(a, r->desc, q->file_containing_extension, e);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        return answer_numbers(a, r->desc, q->all_extension_numbers_of_type, e);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        return answer_services(a, r->server, e);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET:
    case _GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__CASE_IS_INT_SIZE: break;
    }
    return err_fail(e, ERR_KIND_INVALID, "the reflection request asks for nothing that is known here");
}

/* ------------------------------------------------------------------ the call */

static bool reply(struct rpc_call *c, const struct reflection *r, struct slice wire, struct err *e)
{
    CLEANUP(pb_done)
    request *q = (request *)pb_decode(&grpc__reflection__v1__server_reflection_request__descriptor, wire,
                                      NULL, e);
    CLEANUP(answer_done) struct answer a;
    CLEANUP(buf_done) struct buf out = BUF_INIT(RESPONSE_MAX);

    answer_init(&a);
    if (!q || !answer_request(&a, r, q, e))
        return false;
    a.message.valid_host = q->host;
    a.message.original_request = q;
    return pb_encode(&a.message.base, &out, e) && rpc_call_send(c, &out, e);
}

static void on_message(struct rpc_call *c, struct buf *body, void *ctx)
{
    struct err e = ERR_INIT;

    if (!reply(c, ctx, buf_slice(body), &e)) {
        rpc_call_finishf(c, rpc_code_of_err(e.kind), "%s", err_text(&e));
        return;
    }
    if (rpc_call_can_send(c))
        rpc_call_want(c);
}

static void on_writable(struct rpc_call *c, void *ctx)
{
    (void)ctx;
    rpc_call_want(c);
}

static void on_half_closed(struct rpc_call *c, void *ctx)
{
    (void)ctx;
    rpc_call_finish(c, RPC_OK, NULL, NULL);
}

static const struct rpc_call_events info_events = {
    .message = on_message,
    .writable = on_writable,
    .half_closed = on_half_closed,
};

static void info_open(struct rpc_call *c, void *service)
{
    rpc_call_on(c, &info_events, service);
    rpc_call_want(c);
}

static const struct rpc_method methods[] = {
    { .name = "ServerReflectionInfo",
      .allow = RPC_ALLOW_ANYONE,
      .max_recv = REQUEST_MAX,
      .open = info_open,
      .client_streams = true,
      .server_streams = true },
};

static const struct rpc_service service_v1 = { "grpc.reflection.v1.ServerReflection", methods,
                                               ARRAY_LEN(methods) };
static const struct rpc_service service_v1alpha = { "grpc.reflection.v1alpha.ServerReflection", methods,
                                                    ARRAY_LEN(methods) };

static void reflection_free(void *state)
{
    struct reflection *r = state;

    rpc_desc_free(r->desc);
    mem_free(r);
}

bool rpc_server_add_reflection(struct rpc_server *s, struct slice descriptor_set, struct err *e)
{
    struct reflection *r = mem_new(sizeof(*r), e);

    if (!r)
        return false;
    r->server = s;
    if (!rpc_desc_new(descriptor_set, &r->desc, e)) {
        reflection_free(r);
        return err_wrap(e, "reflection");
    }
    rpc_server_slot_set(s, RPC_SLOT_REFLECTION, r, reflection_free);
    return rpc_server_add(s, &service_v1, r, e) && rpc_server_add(s, &service_v1alpha, r, e);
}
