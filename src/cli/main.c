/*
 * cocos-cli: the hands of those who bring algorithms and data and fetch results.
 */
#include "cli/cli.h"

#include <unistd.h>

int main(int argc, char **argv)
{
    return cli_main(argc, argv, environ);
}
