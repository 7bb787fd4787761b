/*
 * Calls that have no safe use here, turned into compile errors. Include it
 * after every system header has been seen; attr.h does so for everyone.
 */
#ifndef BASE_BANNED_H
#define BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Where glibc makes them macros; the names are what is poisoned. */
#undef alloca
#undef sprintf
#undef vsprintf
#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok
#pragma GCC poison atoi atol atoll atof alloca tmpnam mktemp system popen

#endif
