/*
 * Dying at a chosen moment, and mistakes made on purpose: both only in test builds (meson's
 * -Dcrashpoints=true). In any other build these macros are nothing at all; a test looks into the
 * release binary to be sure. From any thread.
 *
 *   DROVER_CRASH=create.defined:2,db.committed:40   the first of these that is reached so often
 *                                                   ends the process by SIGKILL
 *   DROVER_BUG=commit-after-define                  that mistake is made from now on
 *   DROVER_CRASH_CONTROL=FILE                       the test maps it: for each point a 32-bit number as
 *                                                   after the colon above, then how often it was reached
 */
#ifndef DROVER_BASE_FAULT_H
#define DROVER_BASE_FAULT_H

#ifdef DROVER_CRASHPOINTS

#include <stdbool.h>

enum crash_point {
#define X(symbol, name, number, text) CRASH_##symbol,
#include "service/base/crash_points.def"
#undef X
    CRASH_POINT_COUNT
};

enum seeded_bug {
#define X(symbol, name, text) BUG_##symbol,
#include "service/base/seeded_bugs.def"
#undef X
    SEEDED_BUG_COUNT
};

/* Does not return when it is this point's turn. */
void fault_crash_point(enum crash_point point);
/* Would the process end at this point the next time? For points that prepare something first. */
bool fault_is_next(enum crash_point point);
bool fault_bug(enum seeded_bug bug);
/* Called once, by whoever reaches the fatal point, before the end. */
void fault_on_death(void (*fn)(void));

#define CRASH_POINT(symbol) fault_crash_point(CRASH_##symbol)
#define SEEDED_BUG(symbol)  fault_bug(BUG_##symbol)

#else

#define CRASH_POINT(symbol) ((void)0)
#define SEEDED_BUG(symbol)  0

#endif

#endif
