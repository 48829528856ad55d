#!/bin/bash
# The WebSocket echo server against the Autobahn test suite's fuzzing client: groups 1 to 7, 9 and
# 10. 12 and 13 are about compression, which is not offered. Every case must pass. The suite is a
# program for Python 2.7; where that is missing this is skipped, with a word.
#
#   tests/autobahn/run.sh [SERVER]     default: the example websocket_echo, release build
set -eu
here=$(cd "$(dirname "$0")" && pwd)
server=${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/examples/websocket_echo}
[ -x "$server" ] || { echo "there is no $server; cargo build --release --example websocket_echo"; exit 1; }

# The suite's last release, and the last Python that it runs on.
python=
for candidate in python2.7 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/2.7.*/bin/python2.7; do
    "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null && python=$candidate
done
[ -n "$python" ] || { echo 'skipped: there is no Python 2.7'; exit 0; }

work=$(mktemp -d)
echo_pid=
trap '[ -z "$echo_pid" ] || kill "$echo_pid" 2>/dev/null; rm -rf "$work"' EXIT
log=$work/install.log
"$python" -m virtualenv "$work/python" >"$log" 2>&1 \
    || { timeout 120 "$python" -m pip install --target "$work/tools" 'virtualenv<20.22' >"$log" 2>&1 \
        && PYTHONPATH="$work/tools" "$python" -m virtualenv "$work/python" >"$log" 2>&1; } \
    || { echo 'skipped: no virtualenv for Python 2.7'; exit 0; }
timeout 400 "$work/python/bin/pip" install autobahntestsuite==25.10.1 >"$log" 2>&1 \
    || { echo 'skipped: autobahntestsuite cannot be fetched'; exit 0; }

port=$(("$$" % 10000 + 20000))
"$server" "127.0.0.1:$port" &
echo_pid=$!
cat >"$work/spec.json" <<END
{"outdir": "$work/report", "servers": [{"agent": "edgeloop", "url": "ws://127.0.0.1:$port"}],
 "cases": ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"],
 "exclude-cases": [], "exclude-agent-cases": {}}
END
(cd "$work" && timeout 900 python/bin/wstest -m fuzzingclient -s spec.json >run.log 2>&1) \
    || { tail -n 20 "$work/run.log"; exit 1; }
kill -0 "$echo_pid" || { echo 'the server has ended'; exit 1; }
"$python" - "$work/report/index.json" <<'END'
import collections, json, sys
cases = json.load(open(sys.argv[1]))['edgeloop']
counts = collections.Counter(case['behavior'] for case in cases.values())
closes = collections.Counter(case['behaviorClose'] for case in cases.values())
print('%d cases: %s; closing: %s' % (len(cases), dict(counts), dict(closes)))
good = ('OK', 'INFORMATIONAL')
bad = [name for name, case in cases.items() if case['behavior'] not in good or case['behaviorClose'] not in good]
if bad or len(cases) < 290:
    print('not passed: %s' % sorted(bad))
    sys.exit(1)
END
