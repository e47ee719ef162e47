/* One line of a recording. */
#include "service/cli/cast.h"

#include <string.h>

bool cast_is_header(const char *line, size_t len)
{
    auto_value json_t *value = value_parse(line, len);
    double version;

    return json_is_object(value) && value_number(value, "version", &version) && version == 2;
}

bool cast_read(const char *line, size_t len, struct cast_event *ret)
{
    auto_value json_t *value = json_loadb(line, len, JSON_ALLOW_NUL, NULL); /* guests print it */
    const json_t *at = json_array_get(value, 0), *code = json_array_get(value, 1),
                 *text = json_array_get(value, 2);

    if (json_array_size(value) != 3 || !json_is_number(at) || json_string_length(code) != 1 ||
        !json_is_string(text) || !(json_number_value(at) >= 0))
        return false;
    *ret = (struct cast_event){.at = json_number_value(at),
                               .code = *json_string_value(code),
                               .text = json_string_value(text),
                               .len = json_string_length(text),
                               .value = value};
    value = NULL;
    return true;
}
