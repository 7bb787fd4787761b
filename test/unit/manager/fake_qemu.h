/*
 * A QEMU and a swtpm of a few lines, which a test is when it is started again
 * by the manager's code: /proc/self/exe is then the "program" of both.
 *
 * The kernel command line says how it behaves:
 *   fake=broken             ends at once with status 3 and a sentence
 *   fake=refuses-cont       answers cont with an error
 *   fake=panics             tells of a guest that panicked, and ends
 *   fake=mute               never opens its sockets
 *   fake=ignores-powerdown  the guest does not end by itself
 *
 * and a further argument of swtpm likewise:
 *   swtpm=broken            ends at once with status 5 and a sentence
 *   swtpm=mute              never opens its socket
 *   swtpm=silent            opens it and never answers
 *   swtpm=half              gives half of an answer
 */
#ifndef UNIT_MANAGER_FAKE_QEMU_H
#define UNIT_MANAGER_FAKE_QEMU_H

#include <stdbool.h>

/* True when these arguments are QEMU's or swtpm's; its exit code is in *ret_code then. */
bool fake_run(int argc, char **argv, int *ret_code);

#endif
