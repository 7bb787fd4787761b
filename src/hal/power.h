/*
 * The ways a guest ends: the power button that the host presses, a signal to
 * PID 1, a fault at boot.
 */
#ifndef HAL_POWER_H
#define HAL_POWER_H

#include "base/err.h"

#define HAL_BUTTONS_MAX 4

/* Input devices that can report a power button. */
struct hal_buttons {
    int fds[HAL_BUTTONS_MAX];
    size_t count;
};

/* Opens the input devices there are now; none is not an error. */
void hal_buttons_open(struct hal_buttons *ret);

/* Reads pending events of one device; true when the power button was pressed. */
bool hal_button_pressed(int fd);

enum hal_end { HAL_END_POWEROFF, HAL_END_REBOOT };

/*
 * Writes why the machine ends to the console, flushes disks and ends it. With
 * `-no-reboot` a reboot ends QEMU as well. Does not return.
 */
void hal_end(enum hal_end how, int console, const char *why) __attribute__((noreturn));

#endif
