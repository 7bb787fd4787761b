#include "unit/base/unit.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "manager/ports.h"

/* A hundred ports that no other run of this test on this machine has as well. */
#define FIRST ((uint16_t)(20000 + getpid() % 50 * 100))
#define LAST ((uint16_t)(FIRST + 99))

/* A socket that is bound at a port; the option is what QEMU sets before it binds. */
static int bound(uint16_t number, bool reuse)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_port = htons(number),
                              .sin_addr = { htonl(INADDR_LOOPBACK) } };
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    if (reuse)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
    if (bind(fd, (const struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void MG_3_fifty_ports_at_once_are_distinct(void **state)
{
    struct mgr_port ports[50];
    struct err e = ERR_INIT;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        ports[i] = (struct mgr_port)MGR_PORT_INIT;
        assert_true(mgr_port_take("127.0.0.1", FIRST, LAST, &ports[i], &e));
        assert_in_range(ports[i].number, FIRST, LAST);
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(ports[k].number, ports[i].number);
    }
    for (size_t i = 0; i < ARRAY_LEN(ports); i++)
        mgr_port_release(&ports[i]);
}

static void MG_3_reserved_port_can_be_listened_on_by_qemu_alone(void **state)
{
    struct mgr_port p = MGR_PORT_INIT;
    struct err e = ERR_INIT;
    int qemu;

    (void)state;
    assert_true(mgr_port_take("127.0.0.1", FIRST, LAST, &p, &e));
    assert_int_equal(bound(p.number, false), -1); /* who merely looks for a free port does not get it */
    qemu = bound(p.number, true);
    assert_true(qemu >= 0);
    assert_int_equal(listen(qemu, 1), 0);

    /* It stays reserved for as long as QEMU listens, also when the reservation is gone. */
    uint16_t number = p.number;

    mgr_port_release(&p);
    assert_int_equal(p.fd, -1);
    assert_false(mgr_port_take("127.0.0.1", number, number, &p, &e));
    assert_int_equal(e.kind, ERR_KIND_UNAVAILABLE);
    close(qemu);
}

static void MG_3_two_managers_never_share_a_port(void **state)
{
    struct mgr_port a = MGR_PORT_INIT;
    struct mgr_port b = MGR_PORT_INIT;
    struct err e = ERR_INIT;

    (void)state;
    assert_true(mgr_port_take("", FIRST, LAST, &a, &e));
    assert_false(mgr_port_take("", a.number, a.number, &b, &e));
    assert_false(mgr_port_take("127.0.0.1", a.number, a.number, &b, &e));
    assert_int_equal(b.fd, -1);
    mgr_port_release(&a);
}

static void range_without_a_free_port_says_so(void **state)
{
    struct mgr_port a = MGR_PORT_INIT;
    struct mgr_port b = MGR_PORT_INIT;
    struct err e = ERR_INIT;
    char want[128];

    (void)state;
    assert_true(mgr_port_take("127.0.0.1", FIRST, LAST, &a, &e));
    assert_false(mgr_port_take("127.0.0.1", a.number, a.number, &b, &e));
    snprintf(want, sizeof(want),
             "failed to allocate free port on host : failed to find free port in range %u-%u", a.number,
             a.number);
    assert_string_equal(err_text(&e), want);
    mgr_port_release(&a);
    assert_true(mgr_port_take("127.0.0.1", FIRST, LAST, &b, &e));
    mgr_port_release(&b);
    mgr_port_release(&b); /* may be repeated */
}

static void address_that_is_none_is_refused(void **state)
{
    struct mgr_port p = MGR_PORT_INIT;
    struct err e = ERR_INIT;

    (void)state;
    assert_false(mgr_port_take("localhost", FIRST, LAST, &p, &e));
    assert_int_equal(e.kind, ERR_KIND_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(MG_3_fifty_ports_at_once_are_distinct),
        cmocka_unit_test(MG_3_reserved_port_can_be_listened_on_by_qemu_alone),
        cmocka_unit_test(MG_3_two_managers_never_share_a_port),
        cmocka_unit_test(range_without_a_free_port_says_so),
        cmocka_unit_test(address_that_is_none_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
