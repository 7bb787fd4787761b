/* A server over real sockets: who is let in, what is refused, how it ends. */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "unit/rpc/fixture.h"

#define NOBODY 65534

/* --------------------------------------------------------------------- methods */

static struct method_case {
    const char *name;
    const char *path;
    enum rpc_code want;
    const char *text;
} methods[] = {
    { "known_method_is_called", "/test.Room/Echo", RPC_OK, "" },
    { "unknown_service_is_unimplemented", "/test.Other/Echo", RPC_UNIMPLEMENTED,
      "unknown service test.Other" },
    { "unknown_method_is_unimplemented", "/test.Room/Nope", RPC_UNIMPLEMENTED,
      "unknown method Nope for service test.Room" },
    { "H2_6_path_of_one_part_is_unimplemented", "/Echo", RPC_UNIMPLEMENTED,
      "malformed method name: \"/Echo\"" },
    { "H2_6_double_slash_is_unimplemented", "//test.Room/Echo", RPC_UNIMPLEMENTED,
      "unknown service /test.Room" },
    { "H2_6_double_slash_inside_is_unimplemented", "/test.Room//Echo", RPC_UNIMPLEMENTED,
      "unknown service test.Room/" },
    { "H2_6_query_is_unimplemented", "/test.Room/Echo?x", RPC_UNIMPLEMENTED,
      "unknown method Echo?x for service test.Room" },
    { "H2_6_escaped_slash_is_unimplemented", "/test.Room%2FEcho", RPC_UNIMPLEMENTED,
      "malformed method name: \"/test.Room%2FEcho\"" },
    { "H2_6_upper_case_service_is_unimplemented", "/TEST.Room/Echo", RPC_UNIMPLEMENTED,
      "unknown service TEST.Room" },
    { "H2_6_trailing_slash_is_unimplemented", "/test.Room/Echo/", RPC_UNIMPLEMENTED,
      "unknown service test.Room/Echo" },
    { "H2_6_lower_case_method_is_unimplemented", "/test.Room/echo", RPC_UNIMPLEMENTED,
      "unknown method echo for service test.Room" },
    { "H2_15_method_without_entry_is_denied", "/test.Room/Forgotten", RPC_PERMISSION_DENIED,
      "/test.Room/Forgotten may not be called" },
    { "H2_15_denied_method_gets_the_reason", "/test.Room/Denied", RPC_UNAUTHENTICATED, "who are you" },
};

static void check_method(void **state)
{
    const struct method_case *m = *state;
    struct fixture f = { 0 };
    struct seen s = SEEN_INIT;

    fixture_open(&f);
    unary(&f, m->path, 3, 0, &s);
    assert_string_equal(s.status.message, m->text);
    assert_int_equal(s.status.code, m->want);
    assert_int_equal(s.messages, m->want == RPC_OK);
    seen_done(&s);
    fixture_close(&f);
}

static void limit_of_a_method_is_its_own(void **state)
{
    struct fixture f = { 0 };
    struct seen fits = SEEN_INIT;
    struct seen above = SEEN_INIT;

    (void)state;
    fixture_open(&f);
    unary(&f, "/test.Room/Small", 10, 0, &fits);
    assert_int_equal(fits.status.code, RPC_OK);
    unary(&f, "/test.Room/Small", 11, 0, &above);
    assert_int_equal(above.status.code, RPC_RESOURCE_EXHAUSTED);
    assert_string_equal(above.status.message, "grpc: received message larger than max (11 vs. 10)");
    seen_done(&fits);
    seen_done(&above);
    fixture_close(&f);
}

/* ------------------------------------------------------------------ raw clients */

static int raw_connect(const char *address)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    a.sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10));
    assert_true(fd >= 0);
    assert_true(connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0 || errno == EINPROGRESS);
    return fd;
}

/* Turns the loop until the server has closed this connection. */
static void raw_wait_closed(struct fixture *f, int fd)
{
    char bytes[4096];

    f->timed_out = false;
    uv_timer_start(&f->timer, fixture_timeout, patience_ms(10000), 0);
    for (;;) {
        ssize_t n = recv(fd, bytes, sizeof(bytes), 0);

        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        assert_false(f->timed_out);
        uv_run(&f->loop, UV_RUN_NOWAIT);
    }
    uv_timer_stop(&f->timer);
}

static void wait_connections(struct fixture *f, size_t want)
{
    struct rpc_server_stats stats = { 0 };

    f->timed_out = false;
    uv_timer_start(&f->timer, fixture_timeout, patience_ms(10000), 0);
    do {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        rpc_server_stats(f->server, &stats);
    } while (stats.connections != want && !f->timed_out);
    uv_timer_stop(&f->timer);
    assert_int_equal(stats.connections, want);
}

static void H2_12_connections_of_one_address_are_limited(void **state)
{
    struct fixture f = { .server_cfg = { .connections_per_peer_max = 3 } };
    struct rpc_server_stats stats;
    struct seen s = SEEN_INIT;
    int fd[4];

    (void)state;
    fixture_open(&f);
    for (int i = 0; i < 3; i++)
        fd[i] = raw_connect(rpc_server_address(f.server));
    wait_connections(&f, 3);
    fd[3] = raw_connect(rpc_server_address(f.server));
    raw_wait_closed(&f, fd[3]);
    rpc_server_stats(f.server, &stats);
    assert_int_equal(stats.connections, 3);
    assert_int_equal(stats.connections_refused, 1);
    /* When one has gone there is room again. */
    close(fd[0]);
    wait_connections(&f, 2);
    unary(&f, "/test.Room/Echo", 3, 0, &s);
    assert_int_equal(s.status.code, RPC_OK);
    for (int i = 1; i < 4; i++)
        close(fd[i]);
    seen_done(&s);
    fixture_close(&f);
}

static void H2_12_connections_in_all_are_limited(void **state)
{
    struct fixture f = { .server_cfg = { .connections_max = 1 } };
    int first, second;

    (void)state;
    fixture_open(&f);
    first = raw_connect(rpc_server_address(f.server));
    wait_connections(&f, 1);
    second = raw_connect(rpc_server_address(f.server));
    raw_wait_closed(&f, second);
    wait_connections(&f, 1);
    close(first);
    close(second);
    fixture_close(&f);
}

static void H2_12_peer_that_says_nothing_is_let_go(void **state)
{
    struct fixture f = { .server_cfg = { .handshake_timeout_ms = 50 } };
    int fd;

    (void)state;
    fixture_open(&f);
    fd = raw_connect(rpc_server_address(f.server));
    raw_wait_closed(&f, fd);
    wait_connections(&f, 0);
    close(fd);
    fixture_close(&f);
}

static void H2_12_idle_connection_is_let_go_and_the_next_call_connects(void **state)
{
    struct fixture f = { .server_cfg = { .idle_timeout_ms = 50 } };

    (void)state;
    fixture_open(&f);
    for (int good = 0, tries = 0; good < 2; tries++) {
        struct seen s = SEEN_INIT;

        unary(&f, "/test.Room/Echo", 3, 0, &s);
        good += s.status.code == RPC_OK;
        seen_done(&s);
        /* A machine that stands still for 50 ms makes a connection idle before its call is seen. */
        assert_true(tries < 50);
        wait_connections(&f, 0);
    }
    fixture_close(&f);
}

static void H2_1_others_are_served_while_one_floods(void **state)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    static char pings[17 * 1000];
    struct fixture f = { 0 };
    struct rpc_server_stats stats;
    struct seen s = SEEN_INIT;
    size_t sent = 0;
    int fd;

    (void)state;
    for (size_t i = 0; i < sizeof(pings); i += 17)
        memcpy(pings + i,
               "\0\0\x08\6\0\0\0\0\0"
               "12345678",
               17);
    fixture_open(&f);
    fd = raw_connect(rpc_server_address(f.server));
    wait_connections(&f, 1);
    assert_int_equal(send(fd, preface, sizeof(preface) - 1, MSG_NOSIGNAL), sizeof(preface) - 1);
    start(&f, "/test.Room/Bidi", 0, &s);
    for (int turns = 0; turns < 2000; turns++) {
        ssize_t n = send(fd, pings + sent % 17, sizeof(pings) - sent % 17, MSG_NOSIGNAL);

        if (n > 0)
            sent += (size_t)n;
        else if (n < 0 && errno != EAGAIN)
            break;
        if (turns % 10 == 0 && rpc_call_can_send(s.call))
            assert_true(send_bytes(&s, 10, 'x'));
        fixture_turn(&f);
    }
    raw_wait_closed(&f, fd);
    wait_connections(&f, 1);
    rpc_server_stats(f.server, &stats);
    assert_int_equal(stats.connections_ended_for_abuse, 1);
    rpc_call_send_end(s.call);
    fixture_wait(&f, &s.closed, 1);
    assert_int_equal(s.status.code, RPC_OK);
    assert_true(s.messages > 0);
    close(fd);
    seen_done(&s);
    fixture_close(&f);
}

/* Descriptors run out while a client waits; when there are some again, clients are served. */
static void accept_survives_running_out_of_descriptors(void **state)
{
    struct fixture f = { 0 };
    struct seen s = SEEN_INIT;
    struct rlimit was, low;
    int fd, spare[64];
    size_t count = 0;

    (void)state;
    fixture_open(&f);
    fixture_turn(&f);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    fd = raw_connect(rpc_server_address(f.server));
    low = was;
    low.rlim_cur = (rlim_t)fd + 1;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    while (count < ARRAY_LEN(spare) && (spare[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        count++;
    for (int i = 0; i < 20; i++)
        fixture_turn(&f);
    {
        struct rpc_server_stats stats;

        rpc_server_stats(f.server, &stats);
        assert_int_equal(stats.connections, 0);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    while (count > 0)
        close(spare[--count]);
    unary(&f, "/test.Room/Echo", 3, 0, &s);
    assert_int_equal(s.status.code, RPC_OK);
    close(fd);
    seen_done(&s);
    fixture_close(&f);
}

/* ------------------------------------------------------------------- unix sockets */

static void socket_file_has_the_mode_asked_for(void **state)
{
    struct fixture f = { .server_cfg = { .socket_mode = 0660 } };
    struct stat st;
    mode_t mask = umask(077);

    (void)state;
    temp_socket(&f);
    fixture_open(&f);
    umask(mask);
    assert_int_equal(stat(f.path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0660);
    fixture_close(&f);
    assert_int_equal(rmdir(f.dir), 0);
}

/* In a child: connects as nobody and waits to be turned away. */
static _Noreturn void call_as_nobody(const char *path)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct pollfd end = { .fd = fd, .events = POLLIN };
    char c;

    memcpy(a.sun_path, path, strlen(path) + 1);
    if (setgid(NOBODY) != 0 || setuid(NOBODY) != 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) != 0)
        _exit(2);
    _exit(poll(&end, 1, (int)patience_ms(10000)) == 1 && read(fd, &c, 1) == 0 ? 0 : 1);
}

static void caller_of_another_user_is_turned_away_whatever_the_mode(void **state)
{
    struct fixture f = { .server_cfg = { .socket_mode = 0666, .same_user = true } };
    struct rpc_server_stats stats = { 0 };
    uint64_t ends_ms = clock_mono_ms(clock_system()) + patience_ms(10000);
    struct seen s = SEEN_INIT;
    int status;

    (void)state;
    if (geteuid() != 0)
        skip(); /* needs root to become another user */
    temp_socket(&f);
    assert_int_equal(chmod(f.dir, 0755), 0);
    fixture_open(&f);

    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        call_as_nobody(f.path);
    while (stats.connections_refused == 0 && clock_mono_ms(clock_system()) < ends_ms) {
        fixture_turn(&f);
        rpc_server_stats(f.server, &stats);
    }
    assert_int_equal(stats.connections_refused, 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    unary(&f, "/test.Room/Echo", 3, 0, &s); /* our own user is served */
    assert_int_equal(s.status.code, RPC_OK);
    seen_done(&s);
    fixture_close(&f);
    assert_int_equal(rmdir(f.dir), 0);
}

static void stale_socket_is_replaced_and_a_live_one_is_not(void **state)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct rpc_server_config cfg = { 0 };
    struct rpc_server *second = NULL;
    struct fixture f = { 0 };
    struct err e = ERR_INIT;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)state;
    temp_socket(&f);
    memcpy(a.sun_path, f.path, strlen(f.path) + 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    close(fd); /* its file stays behind, as after kill -9 */
    fixture_open(&f);
    cfg.listen = f.path;
    assert_false(rpc_server_new(&f.loop, &cfg, &second, &e));
    assert_non_null(strstr(err_text(&e), "Address already in use"));
    fixture_close(&f);
    assert_int_equal(rmdir(f.dir), 0);
}

static void file_that_is_no_socket_is_left_alone(void **state)
{
    struct rpc_server_config cfg = { 0 };
    struct rpc_server *server = NULL;
    struct fixture f = { 0 };
    struct err e = ERR_INIT;
    uv_loop_t loop;
    int fd;

    (void)state;
    temp_socket(&f);
    uv_loop_init(&loop);
    fd = open(f.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    cfg.listen = f.path;
    assert_false(rpc_server_new(&loop, &cfg, &server, &e));
    assert_int_equal(access(f.path, F_OK), 0);
    unlink(f.path);
    rmdir(f.dir);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void port_in_use_is_an_error_that_names_it(void **state)
{
    struct rpc_server_config cfg = { 0 };
    struct rpc_server *second = NULL;
    struct fixture f = { 0 };
    struct err e = ERR_INIT;

    (void)state;
    fixture_open(&f);
    cfg.listen = rpc_server_address(f.server);
    assert_false(rpc_server_new(&f.loop, &cfg, &second, &e));
    assert_non_null(strstr(err_text(&e), cfg.listen));
    fixture_close(&f);
}

/* ------------------------------------------------------------------------ the end */

static void count(void *ctx)
{
    ++*(int *)ctx;
}

static void H2_13_drain_lets_running_calls_finish(void **state)
{
    struct fixture f = { 0 };
    struct seen running = SEEN_INIT;
    struct seen late = SEEN_INIT;
    int drained = 0;

    (void)state;
    fixture_open(&f);
    start(&f, "/test.Room/Bidi", 0, &running);
    assert_true(send_bytes(&running, 1, 'x'));
    fixture_wait(&f, &running.messages, 1);
    rpc_server_drain(f.server, patience_ms(10000), count, &drained);
    assert_true(send_bytes(&running, 1, 'x'));
    fixture_wait(&f, &running.messages, 2);
    assert_int_equal(drained, 0);
    /* New calls go elsewhere: this server does not listen any more. */
    unary(&f, "/test.Room/Echo", 1, 0, &late);
    assert_int_equal(late.status.code, RPC_UNAVAILABLE);
    assert_int_equal(drained, 0);
    rpc_call_send_end(running.call);
    fixture_wait(&f, &running.closed, 1);
    assert_int_equal(running.status.code, RPC_OK);
    fixture_wait(&f, &drained, 1);
    seen_done(&running);
    seen_done(&late);
    fixture_close(&f);
    assert_int_equal(drained, 1);
}

static void H2_13_drain_ends_what_does_not_finish(void **state)
{
    struct fixture f = { 0 };
    struct seen s = SEEN_INIT;
    int drained = 0;

    (void)state;
    fixture_open(&f);
    start(&f, "/test.Room/Hang", 0, &s);
    assert_true(send_bytes(&s, 1, 'x'));
    rpc_call_send_end(s.call);
    wait_connections(&f, 1);
    rpc_server_drain(f.server, 100, count, &drained);
    fixture_wait(&f, &s.closed, 1);
    assert_int_equal(s.status.code, RPC_UNAVAILABLE);
    fixture_wait(&f, &drained, 1);
    seen_done(&s);
    fixture_close(&f);
}

static void H2_13_drain_with_nobody_there_is_done(void **state)
{
    struct fixture f = { 0 };
    int drained = 0;

    (void)state;
    fixture_open(&f);
    rpc_server_drain(f.server, patience_ms(10000), count, &drained);
    assert_int_equal(drained, 0); /* never from within */
    fixture_wait(&f, &drained, 1);
    fixture_close(&f);
}

static void H2_13_drain_is_not_held_up_by_an_idle_client(void **state)
{
    struct fixture f = { 0 };
    struct seen s = SEEN_INIT;
    int drained = 0;

    (void)state;
    fixture_open(&f);
    unary(&f, "/test.Room/Echo", 1, 0, &s);
    rpc_server_drain(f.server, 60000, count, &drained);
    fixture_wait(&f, &drained, 1);
    seen_done(&s);
    fixture_close(&f);
}

int main(void)
{
    static struct CMUnitTest tests[64] = {
        cmocka_unit_test(limit_of_a_method_is_its_own),
        cmocka_unit_test(H2_12_connections_of_one_address_are_limited),
        cmocka_unit_test(H2_12_connections_in_all_are_limited),
        cmocka_unit_test(H2_12_peer_that_says_nothing_is_let_go),
        cmocka_unit_test(H2_12_idle_connection_is_let_go_and_the_next_call_connects),
        cmocka_unit_test(H2_1_others_are_served_while_one_floods),
        cmocka_unit_test(accept_survives_running_out_of_descriptors),
        cmocka_unit_test(socket_file_has_the_mode_asked_for),
        cmocka_unit_test(caller_of_another_user_is_turned_away_whatever_the_mode),
        cmocka_unit_test(stale_socket_is_replaced_and_a_live_one_is_not),
        cmocka_unit_test(file_that_is_no_socket_is_left_alone),
        cmocka_unit_test(port_in_use_is_an_error_that_names_it),
        cmocka_unit_test(H2_13_drain_lets_running_calls_finish),
        cmocka_unit_test(H2_13_drain_ends_what_does_not_finish),
        cmocka_unit_test(H2_13_drain_with_nobody_there_is_done),
        cmocka_unit_test(H2_13_drain_is_not_held_up_by_an_idle_client),
    };
    size_t n = 15;

    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        tests[n++] = (struct CMUnitTest){ methods[i].name, check_method, NULL, NULL, &methods[i] };
    return _cmocka_run_group_tests("rpc/server", tests, n, NULL, NULL);
}
