#include "hal/power.h"

#include <fcntl.h>
#include <linux/input.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <termios.h>
#include <unistd.h>

#include "base/stage.h"

void hal_buttons_open(struct hal_buttons *ret)
{
    ret->count = 0;
    for (int i = 0; i < 32 && ret->count < HAL_BUTTONS_MAX; i++) {
        char path[32];
        uint8_t keys[KEY_MAX / 8 + 1] = { 0 };

        snprintf(path, sizeof(path), "/dev/input/event%d", i);

        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

        if (fd < 0)
            continue;
        if (ioctl(fd, EVIOCGBIT(EV_KEY, sizeof(keys)), keys) >= 0 &&
            (keys[KEY_POWER / 8] & 1 << KEY_POWER % 8) != 0)
            ret->fds[ret->count++] = fd;
        else
            close(fd);
    }
}

bool hal_button_pressed(int fd)
{
    struct input_event events[16];
    bool pressed = false;

    for (;;) {
        ssize_t n = read(fd, events, sizeof(events));

        if (n <= 0)
            return pressed;
        for (size_t i = 0; i < (size_t)n / sizeof(events[0]); i++)
            pressed |= events[i].type == EV_KEY && events[i].code == KEY_POWER && events[i].value == 1;
    }
}

void hal_end(enum hal_end how, int console, const char *why)
{
    struct err e = ERR_INIT;
    char line[512];
    int n = snprintf(line, sizeof(line), "cocos-init: the machine ends: %s\n", why);

    if (n > 0 && !stage_write_all(
                     console, slice_of(line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1), &e))
        err_clear(&e); /* the last word could not be said; the end comes all the same */
    tcdrain(console);
    sync();
    reboot(how == HAL_END_REBOOT ? RB_AUTOBOOT : RB_POWER_OFF);
    for (;;)
        pause();
}
