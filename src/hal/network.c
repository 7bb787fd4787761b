#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/stage.h"
#include "hal/boot.h"

/* How long the card's driver may take to show up after its module was loaded. */
#define CARD_WAIT_MS 3000
#define CARD_POLL_MS 5

static struct ifreq request(const char *name)
{
    struct ifreq r;

    memset(&r, 0, sizeof(r));
    snprintf(r.ifr_name, sizeof(r.ifr_name), "%s", name);
    return r;
}

static bool interface_up(int sock, const char *name, struct err *e)
{
    struct ifreq r = request(name);

    if (ioctl(sock, SIOCGIFFLAGS, &r) != 0)
        return err_fail_os(e, "interface %s", name);
    r.ifr_flags = (short)(r.ifr_flags | IFF_UP);
    if (ioctl(sock, SIOCSIFFLAGS, &r) != 0)
        return err_fail_os(e, "bring up %s", name);
    return true;
}

static void put_address(struct sockaddr *to, uint32_t host_order)
{
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(host_order) };

    memcpy(to, &in, sizeof(in));
}

static bool set_address(int sock, const char *name, const struct hal_address *a, struct err *e)
{
    struct ifreq r = request(name);

    put_address(&r.ifr_addr, a->addr);
    if (ioctl(sock, SIOCSIFADDR, &r) != 0)
        return err_fail_os(e, "set the address of %s", name);
    put_address(&r.ifr_netmask, a->prefix == 32 ? UINT32_MAX : ~(UINT32_MAX >> a->prefix));
    if (ioctl(sock, SIOCSIFNETMASK, &r) != 0)
        return err_fail_os(e, "set the netmask of %s", name);
    if (!interface_up(sock, name, e))
        return false;
    if (a->gateway == 0)
        return true;

    struct rtentry route;

    memset(&route, 0, sizeof(route));
    put_address(&route.rt_dst, 0);
    put_address(&route.rt_genmask, 0);
    put_address(&route.rt_gateway, a->gateway);
    route.rt_flags = RTF_UP | RTF_GATEWAY;
    if (ioctl(sock, SIOCADDRT, &route) != 0)
        return err_fail_os(e, "set the default route");
    return true;
}

/* As udhcpc.script does with what DHCP told. */
static bool set_name_server(uint32_t dns, struct err *e)
{
    CLEANUP(fd_done) int fd = -1;
    struct in_addr at = { .s_addr = htonl(dns) };
    char text[INET_ADDRSTRLEN];
    char line[64];

    if (dns == 0)
        return true;
    inet_ntop(AF_INET, &at, text, sizeof(text));
    snprintf(line, sizeof(line), "nameserver %s\n", text);
    fd = open("/etc/resolv.conf", O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return err_fail_os(e, "make /etc/resolv.conf");
    return stage_write_all(fd, slice_of_str(line), e) || err_wrap(e, "/etc/resolv.conf");
}

/* The driver makes its interface some milliseconds after its module was loaded, and tells nobody we can poll. */
static bool card_wait(int sock, const char *name, struct err *e)
{
    const struct clock *clock = clock_system();
    uint64_t until = clock_mono_ms(clock) + CARD_WAIT_MS;

    for (;;) {
        struct ifreq r = request(name);

        if (ioctl(sock, SIOCGIFINDEX, &r) == 0)
            return true;
        if (clock_mono_ms(clock) >= until)
            return err_fail(e, ERR_KIND_MISSING, "no network card %s after %d ms", name, CARD_WAIT_MS);
        poll(NULL, 0, CARD_POLL_MS);
    }
}

static bool run_dhcp(const char *name, struct err *e)
{
    pid_t pid = fork();
    int status;

    if (pid < 0)
        return err_fail_os(e, "start udhcpc");
    if (pid == 0) {
        execl("/bin/busybox", "udhcpc", "-i", name, "-n", "-q", "-f", "-t", "20", "-T", "1", "-s",
              "/usr/share/udhcpc/default.script", (char *)NULL);
        _exit(127);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return err_fail_os(e, "wait for udhcpc");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_fail(e, ERR_KIND_UNAVAILABLE, "no address by DHCP on %s (udhcpc status %d)", name, status);
    return true;
}

bool hal_network_up(const struct hal_address *address, struct err *e)
{
    CLEANUP(fd_done) int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (sock < 0)
        return err_fail_os(e, "socket");
    if (!interface_up(sock, "lo", e) || !card_wait(sock, "eth0", e))
        return false;
    if (address)
        return set_address(sock, "eth0", address, e) && set_name_server(address->dns, e);
    return interface_up(sock, "eth0", e) && run_dhcp("eth0", e);
}
