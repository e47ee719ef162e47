/* Link-time fakes of the service for tests of the transport. */
#ifndef DROVER_TESTS_FAKE_CORE_H
#define DROVER_TESTS_FAKE_CORE_H

#include "service/conf/settings.h"

#define FAKE_TOKEN        "admin-token"
#define FAKE_VIEWER_TOKEN "viewer-token"
#define FAKE_SESSION      "session-cookie"

struct core;
struct core *fake_core(struct settings *settings);
void fake_core_start(void);
void fake_core_finish_op(const char *id);
void fake_core_stop(void); /* as core_stop(): what still waits ends with WAIT_STOPPING */

#endif
