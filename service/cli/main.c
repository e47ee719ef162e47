/* The drover executable. Everything is in service/cli, so that tests can link it. */
#include "service/cli/cli.h"

int main(int argc, char **argv)
{
    return cli_main(argc, argv);
}
