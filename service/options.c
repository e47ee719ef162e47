/*
 * The command line. Every setting is an option of the same name with dashes; --libvirt is short
 * for --libvirt-uri.
 */
#include "service/options.h"

#include <stdio.h>
#include <string.h>

#include "service/base/str.h"

/* "--state-dir" -> "state_dir"; the caller frees. */
static char *setting_name(const char *arg)
{
    char *name;

    if (str_eq(arg, "--libvirt"))
        return xstrdup("libvirt_uri");
    name = xstrdup(arg + 2);
    for (char *p = name; *p; p++) {
        if (*p == '-')
            *p = '_';
    }
    return name;
}

static bool verb_of(const char *arg, enum options_verb *ret)
{
    static const struct {
        const char *arg;
        enum options_verb verb;
    } verbs[] = {
        {"--help", OPTIONS_HELP},       {"-h", OPTIONS_HELP},     {"--version", OPTIONS_VERSION},
        {"--check-config", OPTIONS_CHECK}, {"--dump", OPTIONS_DUMP},
        {"--database", OPTIONS_DATABASE},
    };

    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        if (strcmp(verbs[i].arg, arg) == 0) {
            *ret = verbs[i].verb;
            return true;
        }
    }
    return false;
}

static int apply(const char *arg, const char *value, struct options *o, struct error *err)
{
    auto_free char *name = setting_name(arg);

    if (settings_set(o->settings, name, value, err)) {
        error_remedy(err, "droverd --help lists the options.");
        return -1;
    }
    return 0;
}

/* One pass; with_settings false only looks for --config, whose file comes first. */
static int pass(int argc, char **argv, bool with_settings, struct options *o, struct error *err)
{
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        char *equals = strchr(argv[i], '=');
        auto_free char *name = equals ? xstrndup(arg, (size_t)(equals - arg)) : xstrdup(arg);
        const char *value = equals ? equals + 1 : NULL;

        if (verb_of(name, &o->verb) && !str_eq(name, "--dump") && !str_eq(name, "--database"))
            continue;
        if (str_eq(name, "--force") && !value) {
            o->force = true;
            continue;
        }
        if (!str_starts(name, "--"))
            return error_set_at(err, ERROR_CONFIG, name, "%s is not an option", name);
        if (!value && ++i == argc)
            return error_set_at(err, ERROR_CONFIG, name, "%s needs a value", name);
        if (!value)
            value = argv[i];
        if (str_eq(name, "--dump"))
            o->dump = value;
        else if (str_eq(name, "--database"))
            o->database = value;
        else if (str_eq(name, "--copy"))
            o->copy = value;
        else if (str_eq(name, "--install-id"))
            o->install_id = value;
        else if (str_eq(name, "--config"))
            o->config_path = value;
        else if (with_settings && apply(name, value, o, err))
            return -1;
    }
    return 0;
}

int options_parse(int argc, char **argv, struct options *ret, struct error *err)
{
    struct options o = {.settings = ret->settings};

    if (pass(argc, argv, false, &o, err))
        return -1;
    if (o.config_path && settings_load(o.settings, o.config_path, err))
        return -1;
    if (pass(argc, argv, true, &o, err))
        return -1;
    *ret = o;
    return 0;
}

void options_help(void)
{
    printf("Usage: droverd [--config FILE] [--SETTING VALUE]...\n\n"
           "  --config FILE          read `name = value` lines; options override them\n"
           "  --check-config         check the settings and leave\n"
           "  --dump WHAT            print a table as JSON: routes, errors, settings, metrics\n"
           "  --database ACTION      check, backup, restore or rebuild the database below the state directory,\n"
           "                         and leave\n"
           "  --copy FILE            the copy to check or restore; otherwise the database, or its newest good copy\n"
           "  --force                rebuild also where the database or a copy of it is good\n"
           "  --install-id ID        whose VMs are rebuilt; otherwise those whose files are there\n"
           "  --version              print the version\n\nSettings:\n");
    for (const struct settings_row *r = settings_rows(); r->name; r++) {
        auto_free char *name = xstrdup(r->name);

        for (char *p = name; *p; p++) {
            if (*p == '_')
                *p = '-';
        }
        printf("  --%s VALUE\n      %s [%s]\n", name, r->help, r->default_text);
    }
}
