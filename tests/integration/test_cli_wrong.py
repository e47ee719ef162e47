"""Wrong uses of the command: each ends with a word about what is wrong, a remedy, and its exit status."""
import pytest
from test_cli import daemon, drover  # noqa: F401

# The line, its exit status, what it says, what it advises.
WRONG = [
    ("", 2, "no command given", "drover help"),
    ("vm", 2, "'vm' needs another word", "drover help vm"),
    ("vmm list", 2, "did you mean 'vm list'?", "drover help vm list"),
    ("vm lst", 2, "did you mean 'vm list'?", "drover help vm list"),
    ("list vms", 2, "did you mean 'vm list'?", "drover help vm list"),
    ("help nosuch", 2, "no command 'nosuch'", "drover help"),
    ("help vm lst", 2, "did you mean 'vm list'?", "drover help vm list"),
    ("vm create x --memroy 5", 2, "did you mean --memory?", "drover help vm create"),
    ("vm create x --cpus", 2, "needs a value", "drover help vm create"),
    ("vm create x --cpus many", 2, "--cpus", "drover help vm create"),
    ("vm create x --network moon", 1, "must be one of", "drover help vm create"),
    ("vm create x --memory lots", 2, "", "drover help vm create"),
    ("vm create x --wait forever", 2, "", "drover help vm create"),
    ("vm start", 2, "takes VM", "drover help vm start"),
    ("vm start a b", 2, "takes VM", "drover help vm start"),
    ("vm start nosuch", 4, "", ""),
    ("vm show nosuch", 4, "", ""),
    ("vm wait nosuch --for never", 4, "no VM nosuch", "drover vm list"),
    ("vm set x cpus", 2, "", ""),
    ("vm list -o xml", 2, "", ""),
    ("vm start x --watch", 2, "", ""),
    ("pool create", 2, "takes NAME", "drover help pool create"),
    ("pool show nosuch", 4, "", ""),
    ("lease create nosuch", 1, "", "drover help lease create"),
    ("lease create nosuch --for ever", 2, "", "drover help lease create"),
    ("image show nosuch", 4, "", ""),
    ("image upload nosuch /nonexistent", 2, "", ""),
    ("project set default", 2, "say what is to change", "drover help project set"),
    ("project show nosuch", 4, "", ""),
    ("quota set vms", 2, "", ""),
    ("token create x --role king", 1, "", ""),
    ("token create x --expires soon", 2, "", ""),
    ("webhook redeliver x soon", 2, "SEQ", "drover help webhook redeliver"),
    ("op show nosuch", 4, "", ""),
    ("console nosuch", 4, "", ""),
    ("exec nosuch -- true", 4, "", ""),
    ("cp here there", 2, "", "drover help cp"),
    ("run", 125, "", ""),
    ("apply", 2, "", "drover help apply"),
    ("apply -f /nonexistent", 2, "", ""),
    ("export dragon", 2, "", ""),
    ("completion tcsh", 2, "bash, zsh and fish", "drover help completion"),
    ("top --sort beauty", 2, "beauty", "cpu, memory"),
    ("ksm tnue auto", 2, "did you mean 'ksm tune'?", "drover help ksm tune"),
    ("ksm tune loud", 1, "", ""),
    ("context use nosuch", 4, "", "drover context list"),
    ("recording play /nonexistent", 1, "cannot be opened", "drover help recording play"),
    ("--url http://127.0.0.1:1 vm list", 3, "cannot reach", "droverd"),
    ("--url nonsense vm list", 2, "", ""),
    ("--context nosuch vm list", 2, "", ""),
    ("--token x --token-file y vm list", 2, "exclude each other", "drover help vm list"),
    ("--token-file /nonexistent vm list", 2, "", ""),
]


@pytest.mark.parametrize("line, status, says, advises", WRONG, ids=[w[0] or "nothing" for w in WRONG])
def test_it_says_what_is_wrong_and_what_to_do(drover, tmp_path, line, status, says, advises):  # noqa: F811
    apart = line.startswith(("--url", "--context"))
    env = {"HOME": str(tmp_path), "DROVER_URL": ""} if apart or "context" in line else None
    done = drover(*line.split(), env=env, status=status)
    shown = done.stderr.decode()
    assert done.stdout == b"" and shown.count("drover: ") == 1, shown
    what, _, remedy = shown[shown.index("drover: "):].partition("\n  try: ")
    assert says in what and remedy.strip() and advises in remedy, shown


def test_a_family_lists_its_commands(drover):  # noqa: F811
    for words in (["pool", "--help"], ["--help", "pool"], ["help", "pool"]):
        shown = drover(*words).stdout.decode()
        assert shown.startswith("Usage: drover pool COMMAND") and "pool create NAME " in shown and "vm list" not in shown
    assert b"pool create NAME " in drover("pool", status=2).stderr
    assert b"ksm tune off|static|auto" in drover("help", "ksm").stdout
    assert drover("ci", "gitlab", "--help").stdout.count(b"  ci gitlab ") == 4


def test_the_version_is_an_option_too(drover):  # noqa: F811
    version = drover("version").stdout
    assert drover("--version").stdout == drover("vm", "list", "--version").stdout == drover("vm", "--version").stdout == version


def test_a_new_pool_takes_no_name_that_is_taken(drover):  # noqa: F811
    drover("pool", "create", "cli-new", "--memory", "64", "--ready", "0", "--max", "1")
    refused = drover("pool", "create", "cli-new", "--memory", "64", "--ready", "0", "--max", "2", status=5).stderr
    assert b"there is a pool 'cli-new' already" in refused and b"pool put" in refused
    assert drover("pool", "show", "cli-new", parse=True)["max"] == 1
    drover("pool", "put", "cli-new", "--memory", "64", "--ready", "0", "--max", "2")
    assert drover("pool", "show", "cli-new", parse=True)["max"] == 2
    drover("pool", "delete", "cli-new")
