/*
 * The daemon's tables as JSON, for tests/contract: what the code does, compared with what
 * openapi.yaml says. Not a public interface.
 */
#ifndef DROVER_API_DUMP_H
#define DROVER_API_DUMP_H

#include <stdio.h>

/* what: "routes", "errors", "settings" or "metrics". 0, or -1 when there is no such table. */
int api_dump(const char *what, FILE *out);

#endif
