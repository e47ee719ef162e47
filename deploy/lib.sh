# shellcheck shell=bash
# What deploy/quickstart and tests/run share: saying what happens, waiting with a deadline,
# installing packages. Sourced; sets functions, SAY_AS, and
# the EXIT trap while a command runs.

SAY_AS=${SAY_AS:-drover}

say() { printf '%s: %s\n' "$SAY_AS" "$*"; }
warn() { printf '%s: %s\n' "$SAY_AS" "$*" >&2; }
die() { warn "$*"; exit 1; }

# packages_in SECTION...: the names listed for them in deploy/packages.
packages_in() {
    local file section
    file=$(dirname "${BASH_SOURCE[0]}")/packages
    for section in "$@"; do
        sed -n "/^\[$section\]\$/,/^\[/p" "$file" | grep -vE '^(\[|#|$)'
    done
}

# packages_missing NAME...: those that are not installed.
packages_missing() {
    local name
    for name in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || printf '%s\n' "$name"
    done
}

# node_packages: what brings Node 18 or newer and npm; nothing when both are there (Debian's npm
# cannot be installed beside another vendor's Node).
node_packages() {
    if command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)' 2>/dev/null; then
        return 0
    fi
    packages_in node
}

# kill_group PID: the process group that run_logged made, politely, then not.
kill_group() {
    kill -TERM -- "-$1" 2>/dev/null || return 0
    wait_until 5 "process $1 to end" group_is_gone "$1" 2>/dev/null || kill -KILL -- "-$1" 2>/dev/null || true
}
group_is_gone() { ! kill -0 -- "-$1" 2>/dev/null; }

# wait_until SECONDS WHAT COMMAND...: until the command succeeds; says what it waited for when not.
wait_until() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        if ((SECONDS >= deadline)); then
            warn "waited in vain for $what"
            return 1
        fi
        sleep 0.2
    done
}

# run_logged SECONDS LABEL LOG COMMAND...: output goes to LOG; a line every 15 s tells that it is
# alive and what it last said. After SECONDS it is ended with status 124. Callers that want something
# done at the end of the shell put it into AT_EXIT; the EXIT trap is used here. RUN_THROUGH: words before the command.
RUN_THROUGH=()
run_logged() {
    local limit=$1 label=$2 log=$3 started=$SECONDS next=15 pid rc=0 timed_out=
    shift 3
    mkdir -p "$(dirname "$log")"
    # A shell's background commands ignore SIGINT, and what they start would inherit that. 8 and 9 are
    # the callers' locks.
    setsid env --default-signal=INT,QUIT,HUP "${RUN_THROUGH[@]}" "$@" >"$log" 2>&1 </dev/null 8>&- 9>&- &
    pid=$!
    # Ctrl-C reaches this shell alone; the EXIT trap takes the other session with it.
    # shellcheck disable=SC2064
    trap "kill_group $pid; ${AT_EXIT:-}" EXIT
    while kill -0 "$pid" 2>/dev/null; do
        if ((SECONDS - started >= limit)); then
            timed_out=1
            warn "$label: not finished after ${limit}s, stopping it"
            kill_group "$pid"
            break
        fi
        if ((SECONDS - started >= next)); then
            say "$label: ${next}s ... $(last_line "$log")"
            next=$((next + 15))
        fi
        sleep 0.2
    done
    wait "$pid" || rc=$?
    # shellcheck disable=SC2064
    trap "${AT_EXIT:--}" EXIT
    [[ -z $timed_out ]] || rc=124
    return "$rc"
}

last_line() { tail -c 2000 "$1" | tr '\r' '\n' | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c 1-90; }

# install_packages LOG NAME...: those that are missing, without a question.
install_packages() {
    local log=$1 missing
    shift
    mapfile -t missing < <(packages_missing "$@")
    if ((${#missing[@]} == 0)); then
        return 0
    fi
    [[ $(id -u) == 0 ]] || die "these packages are missing and only root can install them: ${missing[*]}"
    command -v apt-get >/dev/null || die "these packages are missing and there is no apt-get: ${missing[*]}"
    say "installing ${#missing[@]} packages: ${missing[*]}"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends
        -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold -o APT::Sandbox::User=root)
    run_logged 300 "apt-get update" "$log" "${apt[@]}" update ||
        warn "apt-get update failed, trying with the lists there are ($log)"
    if ! run_logged 1200 "apt-get install" "$log" "${apt[@]}" install "${missing[@]}"; then
        tail -n 20 "$log" >&2
        die "the packages could not be installed; the whole log is $log"
    fi
}

# ensure_qemu_user: libvirt's QEMU driver does not load without this user, which Debian creates with
# the package libvirt-daemon-system. Nothing else of that package is needed, so here it is created
# the same way (same ids), and the package finds it when it comes later.
ensure_qemu_user() {
    ! getent passwd libvirt-qemu >/dev/null || return 0
    say "creating the user libvirt-qemu"
    getent group kvm >/dev/null || groupadd --system kvm
    getent group libvirt-qemu >/dev/null || groupadd --system --gid 64055 libvirt-qemu
    useradd --system --key SYS_UID_MAX=64055 --uid 64055 --gid kvm --groups libvirt-qemu --no-create-home \
        --home-dir /var/lib/libvirt --shell /usr/sbin/nologin --comment "Libvirt Qemu" libvirt-qemu
}
