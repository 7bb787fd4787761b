/*
 * Times unary calls: unary ADDRESS COUNT asks grpc.health.v1.Health/Check that
 * often, one call after the other on one connection, and prints
 * {"count":..,"seconds":..,"p50_us":..,"p99_us":..,"max_us":..}. The same
 * client times any server, so what differs is the server.
 */
#include "base/mem.h"
#include "base/text.h"
#include "rpc/client.h"

#define METHOD "/grpc.health.v1.Health/Check"
#define COUNT_MAX 10000000
#define WARM_UP 100 /* calls before the clock starts: connecting, first allocations */
#define CALL_TIMEOUT_MS 10000

struct bench {
    uv_loop_t loop;
    struct rpc_client *client;
    uint64_t *ns; /* of each call */
    size_t count, made;
    uint64_t started, first;
    struct err e;
    bool failed;
};

static void begin(struct bench *b);

static void end(struct bench *b, bool failed)
{
    b->failed = failed;
    rpc_client_free(b->client, NULL, NULL);
    b->client = NULL;
}

static void done_cb(const struct rpc_status *status, struct buf *reply, void *ctx)
{
    struct bench *b = ctx;

    (void)reply;
    if (status->code != RPC_OK) {
        err_fail(&b->e, rpc_err_of_code(status->code), "call %zu: %s", b->made, status->message);
        end(b, true);
        return;
    }
    if (b->made >= WARM_UP)
        b->ns[b->made - WARM_UP] = uv_hrtime() - b->started;
    if (++b->made == WARM_UP)
        b->first = uv_hrtime();
    if (b->made == b->count + WARM_UP)
        end(b, false);
    else
        begin(b);
}

static void begin(struct bench *b)
{
    struct buf request = BUF_INIT(64); /* asks for the service "": no bytes at all */

    b->started = uv_hrtime();
    if (!rpc_client_unary(b->client, METHOD, NULL, &request, CALL_TIMEOUT_MS, done_cb, b, &b->e))
        end(b, true);
}

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void print(struct bench *b, double seconds)
{
    qsort(b->ns, b->count, sizeof(*b->ns), by_time);
    printf("{\"count\":%zu,\"seconds\":%.6f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n", b->count,
           seconds, (double)b->ns[b->count / 2] / 1e3, (double)b->ns[b->count * 99 / 100] / 1e3,
           (double)b->ns[b->count - 1] / 1e3);
}

static bool run(struct bench *b, const char *address, const char *count)
{
    const struct rpc_client_config cfg = { .target = address };
    uint64_t number, stopped;

    if (!text_parse_u64(slice_of_str(count), 1, COUNT_MAX, &number, &b->e))
        return false;
    b->count = (size_t)number;
    b->ns = mem_new_array(b->count, sizeof(*b->ns), &b->e);
    if (!b->ns || !rpc_client_new(&b->loop, &cfg, &b->client, &b->e))
        return false;
    begin(b);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    stopped = uv_hrtime();
    if (!b->failed)
        print(b, (double)(stopped - b->first) / 1e9);
    return !b->failed;
}

int main(int argc, char **argv)
{
    struct bench b = { .e = ERR_INIT };
    bool ok;

    if (argc != 3) {
        fprintf(stderr, "usage: unary ADDRESS COUNT\n");
        return 2;
    }
    if (uv_loop_init(&b.loop) != 0)
        return 1;
    ok = run(&b, argv[1], argv[2]);
    if (!ok)
        fprintf(stderr, "unary: %s\n", err_text(&b.e));
    uv_run(&b.loop, UV_RUN_DEFAULT);
    uv_loop_close(&b.loop);
    mem_free(b.ns);
    return ok ? 0 : 1;
}
