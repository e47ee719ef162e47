/* The drover command as a function: what its main() calls. */
#ifndef DROVER_CLI_CLI_H
#define DROVER_CLI_CLI_H

/* Runs one command line and returns the process's exit code (enum cli_exit). Main thread only. */
int cli_main(int argc, char **argv);

#endif
