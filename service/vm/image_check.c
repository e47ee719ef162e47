/*
 * A second opinion on qcow2 files: our inspector reads the header, qemu-img walks the tables. It
 * runs on bytes that anybody may have made, so under limits, and only after the inspector made sure
 * that they lead to no other file.
 */
#include "service/vm/image_internal.h"

#include "service/base/exec.h"
#include "service/base/fd.h"

#define QEMU_IMG "/usr/bin/qemu-img"

/* qemu-img check's exit statuses */
enum { CHECK_FAILED = 1, CHECK_CORRUPT = 2, CHECK_LEAKS = 3, CHECK_UNSUPPORTED = 63 };

int image_check_qcow2(const char *path, struct error *err)
{
    /* An absolute path cannot be mistaken for a protocol, nor, after --, for an option. */
    const char *argv[] = {QEMU_IMG, "check", "-q", "-f", "qcow2", "--", path, NULL};
    struct exec_options options = {.argv = argv,
                                   .profile = IMAGE_PROFILE,
                                   .timeout_ms = 60000,
                                   .output_max = 2048,
                                   .address_space_bytes = (uint64_t)1 << 30,
                                   .cpu_seconds = 30,
                                   .file_bytes = 1 << 20,
                                   .open_files = 64};
    auto_exec_result struct exec_result result = {0};
    struct error why = ERROR_INIT;

    if (!file_exists(QEMU_IMG) || exec_run(&options, &result, &why) == 0 ||
        result.status == CHECK_LEAKS || result.status == CHECK_UNSUPPORTED)
        return 0;
    if (result.timed_out || result.signal)
        error_set(err, ERROR_IMAGE_REFUSED, "the qcow2 file took too long or too much to check");
    else if (result.status == CHECK_CORRUPT)
        error_set(err, ERROR_IMAGE_REFUSED, "the qcow2 file is corrupt");
    else if (result.status == CHECK_FAILED)
        error_set(err, ERROR_IMAGE_REFUSED, "qemu-img cannot read the qcow2 file");
    else
        return *err = why, -1;
    error_cause(err, "%s", why.cause);
    error_remedy(err, "See what qemu-img check says of it.");
    return -1;
}
