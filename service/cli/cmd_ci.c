/* `ci`: what CI systems call. See deploy/ci/README.md. */
#include "service/cli/cmd_ci.h"

const struct command ci_commands[] = {
    {"ci gitlab config", "", 0, 0, "GitLab's custom executor: print a job's settings",
     gitlab_options, gitlab_config,
     "For config_exec. The options given here hold for the job's other stages, too; without a "
     "config_exec each of them takes them itself.", 0},
    {"ci gitlab prepare", "", 0, 0, "GitLab's custom executor: get the job's VM", gitlab_options,
     gitlab_prepare, "For prepare_exec. Trying again finds the VM of the first try.", 0},
    {"ci gitlab run", "SCRIPT STAGE", 2, 2, "GitLab's custom executor: run a script in the job's VM",
     gitlab_options, gitlab_run, "For run_exec.", 0},
    {"ci gitlab cleanup", "", 0, 0, "GitLab's custom executor: give the job's VM back",
     gitlab_options, gitlab_cleanup,
     "For cleanup_exec. Should it never be called, the lease ends by itself.", 0},
    {"ci garm", "", 0, 0, "an external provider for GARM", NULL, garm_run,
     "What to do is in the environment (GARM_COMMAND, ...), as GARM's interface v0.1.1 has it. "
     "Exit status 30: there is no such instance; 31: there is one already.", 0},
    {0}};
