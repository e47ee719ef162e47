/* Rows with sensible members. Ids and names live as long as the row is used. */
#ifndef DROVER_TESTS_DB_ROWS_H
#define DROVER_TESTS_DB_ROWS_H

#include "db/store.h"

__attribute__((unused)) static struct vm_row fixture_vm(const char *id, const char *name)
{
    return (struct vm_row){.id = id,
                           .project_id = PROJECT_DEFAULT,
                           .host_id = HOST_LOCAL,
                           .name = name,
                           .spec = "{\"cpus\":2}",
                           .state = "stopped",
                           .state_reason = "",
                           .acceleration = "",
                           .acceleration_reason = "",
                           .image_id = "",
                           .generation = 1,
                           .created_at = 1000,
                           .updated_at = 1000};
}

__attribute__((unused)) static struct op_row fixture_op(const char *id, const char *vm_id)
{
    return (struct op_row){.id = id,
                           .project_id = PROJECT_DEFAULT,
                           .host_id = HOST_LOCAL,
                           .vm_id = vm_id,
                           .image_id = "",
                           .kind = "vm.start",
                           .state = "pending",
                           .params = "{}",
                           .actor = "token:abc",
                           .request_id = "r-1",
                           .error_code = "",
                           .error_detail = "",
                           .error_remedy = "",
                           .error_pointer = "",
                           .created_at = 1000};
}

__attribute__((unused)) static struct event_row fixture_event(const char *subject_id)
{
    return (struct event_row){.at = 1000,
                              .project_id = PROJECT_DEFAULT,
                              .host_id = HOST_LOCAL,
                              .type = "vm.created",
                              .subject_kind = "vm",
                              .subject_id = subject_id,
                              .subject_name = "web",
                              .actor = "token:abc",
                              .request_id = "r-1",
                              .data = "{}"};
}

#endif
