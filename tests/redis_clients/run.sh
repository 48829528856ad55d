#!/bin/bash
# The key-value store through redis-py as PyPI has it; skipped, with a word, where it cannot be had.
#
#   tests/redis_clients/run.sh [PROGRAM]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/edgeloop}
[ -x "$program" ] || { echo "there is no $program; cargo build --release"; exit 1; }
command -v python3 >/dev/null || { echo 'skipped: there is no Python 3'; exit 0; }
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$work"' EXIT
timeout 20 python3 -m venv "$work/python" >/dev/null 2>&1 || { echo 'skipped: there is no venv'; exit 0; }
timeout 20 "$work/python/bin/pip" install -q --disable-pip-version-check 'redis>=8' >/dev/null 2>&1 \
    || { echo 'skipped: redis-py cannot be fetched'; exit 0; }
"$program" kv -q -l 127.0.0.1:0 --port-file "$work/port" &
pid=$!
for _ in $(seq 100); do [ -s "$work/port" ] && break; sleep 0.1; done
timeout 20 "$work/python/bin/python" "$here/redis_py.py" "$(cat "$work/port")"
