/*
 * Not a test: what test_db_kill kills. Writes with many threads and says the id of each write on
 * stdout after it was acknowledged.
 */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "service/base/log.h"
#include "service/base/thread.h"
#include "tests/unit/db/db_rows.h"

static struct db *db;

static int insert(struct db_tx *tx, void *arg, struct error *err)
{
    struct vm_row vm = fixture_vm(arg, arg);
    struct op_row op = fixture_op(arg, arg);
    struct event_row event = fixture_event(arg);
    int64_t seq;

    if (store_vm_insert(tx, &vm, &seq, err) || store_op_insert(tx, &op, err))
        return -1;
    return store_event_append(tx, &event, &seq, err);
}

static void *write_for_ever(void *arg)
{
    struct error err = ERROR_INIT;
    char line[UUID_TEXT + 1];

    for (;;) {
        uuid_new(line);
        if (db_write(db, insert, NULL, line, &err))
            abort();
        line[UUID_TEXT - 1] = '\n';
        if (write(STDOUT_FILENO, line, UUID_TEXT) != UUID_TEXT)
            abort();
    }
    return NULL;
}

int main(int argc, char **argv)
{
    struct error err = ERROR_INIT;
    pthread_t threads[6];

    secret_init();
    log_set_level(LOG_LEVEL_ERROR);
    if (argc != 2 || db_open(argv[1], &db, &err))
        return 2;
    for (int i = 0; i < 6; i++) {
        if (thread_start(&threads[i], "torture", write_for_ever, NULL, &err))
            return 2;
    }
    pthread_join(threads[0], NULL);
    return 0;
}
