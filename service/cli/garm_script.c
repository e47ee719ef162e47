/*
 * The script that a new runner starts with. It needs a shell, tar, and curl or wget; reports to GARM
 * how far it is; runs one job, and powers the VM off.
 */
#include "service/cli/garm_script.h"

#include <string.h>

#include "service/base/str.h"
#include "service/cli/base64.h"
#include "service/cli/job.h"

static const char body[] =
    "umask 077\n"
    "work=$(mktemp -d) || exit 1\n"
    "printf '%s\\n' \"$ca\" >\"$work/ca\"\n"
    "case $callback in */status | */status/) callback=${callback%/}; callback=${callback%/status} ;; esac\n"
    "\n"
    "# http GET|POST URL [BODY]: the answer on stdout\n"
    "http() {\n"
    "    auth=\"Authorization: Bearer $token\"\n"
    "    if command -v curl >/dev/null 2>&1; then\n"
    "        set -- \"$@\" -fsSL --retry 5 --retry-connrefused -H 'Accept: application/json'\n"
    "        [ -z \"$ca\" ] || set -- \"$@\" --cacert \"$work/ca\"\n"
    "        verb=$1 to=$2; shift 2\n"
    "        [ \"$verb\" = GET ] || { data=$1; shift; set -- \"$@\" -X POST -d \"$data\"; }\n"
    "        # the token is nobody's business in the list of processes\n"
    "        printf 'header = \"%s\"\\n' \"$auth\" | curl -K - \"$@\" \"$to\"\n"
    "    elif [ \"$1\" = GET ]; then\n"
    "        wget -q -O - --header \"$auth\" --header 'Accept: application/json' \"$2\"\n"
    "    else\n"
    "        wget -q -O - --header \"$auth\" --header 'Accept: application/json' --post-data \"$3\" \"$2\"\n"
    "    fi\n"
    "}\n"
    "say() {\n"
    "    http POST \"$callback/status\" \"{\\\"status\\\":\\\"$1\\\",\\\"message\\\":\\\"$2\\\"$3}\" >/dev/null\n"
    "}\n"
    "over() { rm -rf \"$work\"; poweroff || shutdown -h now || halt -p; exit \"$1\"; }\n"
    "fail() { say failed \"$1\"; over 1; }\n"
    "\n"
    "if [ ! -x \"$folder/run.sh\" ]; then\n"
    "    [ -n \"$tool\" ] || fail 'the image has no runner, and GARM offers none for it'\n"
    "    say installing 'fetching the runner'\n"
    "    if [ -n \"$tool_token\" ]; then kept=$token token=$tool_token; fi\n"
    "    if command -v curl >/dev/null 2>&1 && [ -z \"$tool_token\" ]; then\n"
    "        curl -fsSL --retry 5 --retry-connrefused -o \"$work/runner.tar.gz\" \"$tool\"\n"
    "    elif [ -z \"$tool_token\" ]; then wget -q -O \"$work/runner.tar.gz\" \"$tool\"\n"
    "    else http GET \"$tool\" >\"$work/runner.tar.gz\"; fi || fail 'the runner cannot be fetched'\n"
    "    [ -z \"$tool_token\" ] || token=$kept\n"
    "    [ -z \"$tool_sha256\" ] || printf '%s  %s\\n' \"$tool_sha256\" \"$work/runner.tar.gz\" |\n"
    "        sha256sum -c >/dev/null 2>&1 || fail 'the runner is not the one GARM named'\n"
    "    umask 022\n"
    "    mkdir -p \"$folder\" && gzip -dc \"$work/runner.tar.gz\" | tar -xf - -C \"$folder\" ||\n"
    "        fail 'the runner cannot be unpacked'\n"
    "    [ ! -x \"$folder/bin/installdependencies.sh\" ] || \"$folder/bin/installdependencies.sh\" >/dev/null 2>&1\n"
    "    umask 077\n"
    "fi\n"
    "cd \"$folder\" || fail 'there is no folder for the runner'\n"
    "say installing 'configuring the runner'\n"
    "id \"$user\" >/dev/null 2>&1 || user=\n"
    "if [ \"$jit\" = true ]; then\n"
    "    http GET \"$metadata/credentials/runner\" >.runner &&\n"
    "        http GET \"$metadata/credentials/credentials\" >.credentials &&\n"
    "        http GET \"$metadata/credentials/credentials_rsaparams\" >.credentials_rsaparams ||\n"
    "        fail 'GARM gives no credentials'\n"
    "else\n"
    "    registration=$(http GET \"$metadata/runner-registration-token/\") || fail 'GARM gives no token'\n"
    "    set -- --unattended --ephemeral --no-default-labels --url \"$url\" --token \"$registration\" \\\n"
    "        --name \"$name\" --labels \"$labels\"\n"
    "    [ -z \"$group\" ] || set -- \"$@\" --runnergroup \"$group\"\n"
    "    RUNNER_ALLOW_RUNASROOT=1 ./config.sh \"$@\" || fail 'the runner cannot be registered'\n"
    "fi\n"
    "[ -z \"$user\" ] || chown -R \"$user\" \"$folder\"\n"
    "agent=$(sed -n 's/.*\"[aA]gent_*[iI]d\"[^0-9]*\\([0-9][0-9]*\\).*/\\1/p' .runner | head -n 1)\n"
    "more=; [ -z \"$agent\" ] || more=',\"agent_id\":'$agent\n"
    "os=$([ ! -r /etc/os-release ] || . /etc/os-release\n"
    "    printf '\"os_name\":\"%s\",\"os_version\":\"%s\"' \"${NAME-}\" \"${VERSION_ID-}\")\n"
    "http POST \"$callback/system-info/\" \"{$os$more}\" >/dev/null\n"
    "say idle 'waiting for a job' \"$more\"\n"
    "if [ -n \"$user\" ]; then su -s /bin/sh \"$user\" -c ./run.sh; else RUNNER_ALLOW_RUNASROOT=1 ./run.sh; fi\n"
    "over 0\n";

static void add(struct strbuf *b, const char *name, const char *value)
{
    strbuf_addf(b, "%s=", name);
    job_quote(b, value);
    strbuf_addc(b, '\n');
}

/* GARM names architectures as Go does, GitHub's downloads as Node does. */
static const json_t *find_tool(const json_t *bootstrap)
{
    const char *arch = value_text(bootstrap, "arch", "amd64");
    const char *wanted = str_eq(arch, "amd64") ? "x64" : arch;
    const json_t *tool;
    size_t i;

    json_array_foreach(value_at(bootstrap, "tools"), i, tool)
    {
        if (str_eq(value_text(tool, "os", ""), "linux") &&
            (str_eq(value_text(tool, "architecture", ""), wanted) ||
             str_eq(value_text(tool, "architecture", ""), arch)))
            return tool;
    }
    return NULL;
}

static void add_labels(struct strbuf *b, const json_t *bootstrap)
{
    auto_strbuf struct strbuf list = {0};
    const json_t *label;
    size_t i;

    strbuf_adds(&list, "");
    json_array_foreach(value_at(bootstrap, "labels"), i, label)
        strbuf_addf(&list, "%s%s", list.len ? "," : "", json_is_string(label) ? json_string_value(label) : "");
    add(b, "labels", list.data ? list.data : "");
}

char *garm_script(const json_t *bootstrap, const char *folder, const char *user, struct failure *fail)
{
    static const struct {
        const char *variable, *member;
    } needed[] = {{"callback", "callback-url"}, {"metadata", "metadata-url"}, {"token", "instance-token"},
                  {"name", "name"}};
    const json_t *tool = find_tool(bootstrap);
    const char *bundle = value_text(bootstrap, "ca-cert-bundle", NULL);
    auto_strbuf struct strbuf b = {0};
    auto_free char *ca = NULL;
    size_t len;

    strbuf_adds(&b, "#!/bin/sh\n");
    for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
        const char *value = value_text(bootstrap, needed[i].member, "");

        if (!*value) {
            failure_set(fail, CLI_FAILED, "GARM's bootstrap document has no %s", needed[i].member);
            return NULL;
        }
        add(&b, needed[i].variable, value);
    }
    if (bundle && !base64_decode(bundle, &ca, &len)) {
        failure_set(fail, CLI_FAILED, "ca-cert-bundle in GARM's bootstrap document is not base64");
        return NULL;
    }
    add(&b, "ca", ca ? ca : "");
    add(&b, "url", value_text(bootstrap, "repo_url", ""));
    add(&b, "group", value_text(bootstrap, "github-runner-group", ""));
    add(&b, "jit", value_true(bootstrap, "jit_config_enabled") ? "true" : "false");
    add(&b, "tool", value_text(tool, "download_url", ""));
    add(&b, "tool_sha256", value_text(tool, "sha256_checksum", ""));
    add(&b, "tool_token", value_text(tool, "temp_download_token", ""));
    add(&b, "folder", folder);
    add(&b, "user", user);
    add_labels(&b, bootstrap);
    strbuf_adds(&b, body);
    return strbuf_take(&b);
}
