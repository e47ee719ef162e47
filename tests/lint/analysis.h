/*
 * Read before every file by clang-tidy only: functions that always return -1 say so here, since the
 * analyser does not look into other files and would follow paths that cannot happen.
 */
#ifndef DROVER_TESTS_ANALYSIS_H
#define DROVER_TESTS_ANALYSIS_H

#include "service/base/error.h"

#define error_set(...)    (error_set(__VA_ARGS__), -1)
#define error_set_at(...) (error_set_at(__VA_ARGS__), -1)
#define error_errno(...)  (error_errno(__VA_ARGS__), -1)

#if __has_include("service/cli/failure.h")
#include "service/cli/failure.h"
#define failure_set(...)        (failure_set(__VA_ARGS__), -1)
#define failure_errno(...)      (failure_errno(__VA_ARGS__), -1)
#define failure_from_error(...) (failure_from_error(__VA_ARGS__), -1)
#endif

#endif
