/*
 * struct error to an RFC 9457 document: the only place that writes an error body. Pure; any thread.
 */
#ifndef DROVER_API_PROBLEM_H
#define DROVER_API_PROBLEM_H

#include "service/base/blob.h"
#include "service/base/error.h"

#define PROBLEM_CONTENT_TYPE "application/problem+json"

/* instance is the request id (as urn:drover:request:ID). One reference, the caller's. */
struct blob *problem_render(const struct error *err, const char *request_id);

#endif
