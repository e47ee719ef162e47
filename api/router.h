/*
 * Path templates. Pure: no I/O, no allocation, any thread.
 */
#ifndef DROVER_API_ROUTER_H
#define DROVER_API_ROUTER_H

#include "api/request.h"

enum route_match { ROUTE_FOUND, ROUTE_NOT_FOUND, ROUTE_WRONG_METHOD, ROUTE_BAD_PATH };

/*
 * Matches method and raw path (without query). Each segment is percent-decoded once; an encoded
 * slash, NUL, control byte, dot segment or empty segment is ROUTE_BAD_PATH. {name} matches one
 * segment; literal segments win over it. Fills params. On ROUTE_WRONG_METHOD, allow (size bytes)
 * gets the Allow list. A HEAD matches GET.
 */
enum route_match router_match(const struct route *table, const char *method, const char *path,
                              struct request *req, char *allow, size_t size);

#endif
