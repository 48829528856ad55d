#!/bin/bash
# The chat through `websockets` from PyPI; skipped, with a word, where it cannot be had.
#
#   tests/browser/python_client.sh [PROGRAM]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/edgeloop}
[ -x "$program" ] || { echo "there is no $program; cargo build --release"; exit 1; }
command -v python3 >/dev/null || { echo 'skipped: there is no Python 3'; exit 0; }
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$work"' EXIT
python3 -m venv "$work/python" >/dev/null 2>&1 || { echo 'skipped: there is no venv'; exit 0; }
timeout 120 "$work/python/bin/pip" install -q 'websockets>=13' >/dev/null 2>&1 \
    || { echo 'skipped: websockets cannot be fetched'; exit 0; }
"$program" chat -q -l 127.0.0.1:0 --port-file "$work/port" --rate 1000 &
pid=$!
for _ in $(seq 100); do [ -s "$work/port" ] && break; sleep 0.1; done
timeout 120 "$work/python/bin/python" "$here/python_client.py" "ws://$(cat "$work/port")/ws"
