/* What a program in a guest printed, as the API's answers to exec hold it. Main thread only. */
#ifndef DROVER_CLI_EXEC_OUTPUT_H
#define DROVER_CLI_EXEC_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "service/cli/value.h"

#define EXEC_EXIT_TIMEOUT 124 /* as timeout(1) says it */
#define EXEC_EXIT_SIGNAL  128

/* The bytes of "stdout" or "stderr"; NULL when the answer is not one. Caller frees. */
char *exec_output_bytes(const json_t *answer, const char *name, size_t *ret_len);
/* Writes them, and says on stderr when the server cut them; *ret_len (or NULL) is how many. */
void exec_output_write(const json_t *answer, const char *name, FILE *out, size_t *ret_len);
/* The exit status a shell would show: 128 and more for a signal. */
int exec_output_status(const json_t *answer);

#endif
