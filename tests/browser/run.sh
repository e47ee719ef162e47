#!/bin/sh
# Browser tests of the dashboard against a running daemon; prints TAP, then "N passed, N failed".
#
#   DROVER_URL=http://127.0.0.1:8460 DROVER_TOKEN=… tests/browser/run.sh [test name part …]
#
# DROVER_URL    the daemon, as its public_url spells it
# DROVER_TOKEN  a token of role admin, or
# DROVER_CODE   the code of a one-time sign-in link
# DROVER_IMAGE  image to boot (demo)
# DROVER_GUEST  what it is: linux (a shell on the console) or echo (prints back what is typed)
# DROVER_RESTART  a program that kills the daemon and starts it again; without it that is not tested
# DROVER_CLI    the command drover; without it the lines that pages show are not run
# CHROMIUM      the browser (/usr/bin/chromium)
#
# Exits 77 with a sentence when something it needs is missing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
chromium=${CHROMIUM:-/usr/bin/chromium}

skip() {
    echo "1..0 # SKIP $1"
    exit 77
}

[ -n "${DROVER_URL:-}" ] || skip "DROVER_URL is not set"
[ -n "${DROVER_TOKEN:-}${DROVER_CODE:-}" ] || skip "neither DROVER_TOKEN nor DROVER_CODE is set"
[ -x "$chromium" ] || skip "$chromium is missing: apt-get install chromium"
command -v npm >/dev/null || skip "npm is missing: apt-get install nodejs npm"

# Playwright needs Node 20; Debian 12 has 18, and the npm package "node" brings a newer one.
node=node
major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
if [ "${major:-0}" -lt 20 ]; then
    newer="$here/.node"
    if [ ! -x "$newer/node_modules/.bin/node" ]; then
        mkdir -p "$newer"
        npm install --prefix "$newer" --no-save --no-audit --no-fund --loglevel=error node@22 >&2 ||
            skip "Node 20 or newer is missing and could not be fetched"
    fi
    node="$newer/node_modules/.bin/node"
fi
if [ ! -d "$here/node_modules/playwright-core" ]; then
    (cd "$here" && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error >&2) ||
        skip "the packages of tests/browser/package-lock.json could not be fetched"
fi
CHROMIUM=$chromium exec "$node" "$here/suite.mjs" "$@"
