#!/bin/bash
# TLS as others speak it: Python's ssl, openssl, curl, redis-cli and our own load. First the page
# docs/howto/tls.md as its reader follows it: its commands, in an empty directory. Each part is skipped,
# with a word, where its program is missing.
#
#   tests/tls_clients/run.sh [PROGRAM]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
page=$here/../../docs/howto/tls.md
program=$(realpath "${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/edgeloop}")
[ -x "$program" ] || { echo "there is no $program; cargo build --release"; exit 1; }
command -v openssl >/dev/null || { echo 'skipped: openssl is missing'; exit 0; }

work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/here" && ln -s "$program" "$work/bin/edgeloop"
export PATH=$work/bin:$PATH
cd "$work/here"

fail() {
    printf 'FAILED: %s\n' "$1"
    cat "$work"/*.log 2>/dev/null || true
    exit 1
}
has() {
    command -v "$1" >/dev/null || { echo "skipped: $1 is missing"; return 1; }
}
# What stands between ```sh and ```, the first time or the second.
block() { awk -v want="$1" '$0 == "```sh" { on = ++n == want; next } /^```/ { on = 0 } on' "$page"; }

# serve NAME COMMAND...: on a free port; `port` is where.
serve() {
    local name=$1
    shift
    rm -f "$work/$name.port"
    "$@" --port-file "$work/$name.port" 2>"$work/$name.log" &
    pids+=($!)
    for _ in $(seq 200); do [ -s "$work/$name.port" ] && break; sleep 0.05; done
    [ -s "$work/$name.port" ] || fail "$* does not listen"
    port=$(grep '^tls:' "$work/$name.port" | sed 's/.*://')
}

make=$(block 1 | sed -n 1p) web=$(block 1 | sed -n 2p) ask=$(block 2 | sed -n 1p) load=$(block 2 | sed -n 2p)
[[ $make == 'openssl '* && $web == 'edgeloop web '* && $ask == 'curl '* && $load == 'edgeloop load '* ]] \
    || fail 'the page begins with other commands'
$make 2>/dev/null || fail "$make"
# The ports of the page may be taken here.
serve web ${web/127.0.0.1:7000,tls:127.0.0.1:7443/127.0.0.1:0,tls:127.0.0.1:0}
if has curl; then
    [ "$(${ask/7443/$port} -s -m 10)" = 'Hello, World!' ] || fail "$ask"
    [ "$(curl -k -s -m 10 "https://127.0.0.1:$port/plaintext")" = 'Hello, World!' ] || fail 'curl -k'
    [ "$(curl -0 -k -s -m 10 "https://127.0.0.1:$port/plaintext")" = 'Hello, World!' ] || fail 'curl -0'
    code=0
    curl -s -m 10 "https://localhost:$port/plaintext" || code=$?
    [ $code = 60 ] || fail "curl believes a certificate that nobody signed ($code)"
    echo 'curl ok'
fi
${load/7443/$port} -q -n 2000 -c 20 >"$work/load.log" || fail "$load"

serve echo edgeloop echo -l tls:127.0.0.1:0 --tls-cert cert.pem --tls-key key.pem
edgeloop load "tls:localhost:$port" --tls-ca cert.pem -q -n 2000 -c 20 >"$work/load.log" || fail 'load tls:'
edgeloop load "tls:localhost:$port" --insecure -q -n 2000 -c 20 >"$work/load.log" || fail 'load --insecure'
edgeloop load "tls:localhost:$port" -q -n 1 -c 1 >"$work/load.log" 2>&1 && fail 'load believes everything'
echo 'edgeloop load ok'
if has python3; then timeout 120 python3 "$here/judge.py" "$port" cert.pem || fail "Python's ssl"; fi
# talk OPTIONS -- LINES: openssl says each line once the one before has come back; K changes the keys.
talk() {
    local options=() line got
    while [ "$1" != -- ]; do options+=("$1"); shift; done
    shift
    coproc CLIENT { exec openssl s_client -connect "localhost:$port" -CAfile cert.pem -verify_return_error "${options[@]}" 2>&1; }
    local pid=$CLIENT_PID out=${CLIENT[0]} in=${CLIENT[1]}
    : >"$work/client.log"
    for line; do
        echo "$line" >&"$in"
        while IFS= read -r -t 20 -u "$out" got; do
            echo "$got" >>"$work/client.log"
            [ "$got" = "${line/#K/KEYUPDATE}" ] && continue 2
        done
        fail "openssl ${options[*]} gets no answer to $line"
    done
    eval "exec $in>&-"
    cat <&"$out" >>"$work/client.log" || true
    wait "$pid" || fail "openssl ${options[*]}"
}
for version in -tls1_2 -tls1_3; do
    # Behind an answer the tickets have come.
    talk $version -sess_out "$work/session" -- one two
    talk $version -sess_in "$work/session" -- three
    grep -q '^Reused' "$work/client.log" || fail "openssl $version is not resumed"
done
talk -tls1_3 -- one K two K K three
echo 'openssl ok'

if has redis-cli; then
    serve kv edgeloop kv -l tls:127.0.0.1:0 --tls-cert cert.pem --tls-key key.pem
    redis=(redis-cli --tls --cacert cert.pem -h localhost -p "$port")
    [ "$("${redis[@]}" ping)" = PONG ] || fail 'redis-cli --tls'
    head -c 500000 /dev/urandom | base64 -w 0 >"$work/value"
    "${redis[@]}" -x set value <"$work/value" >/dev/null || fail 'redis-cli --tls set'
    [ "$("${redis[@]}" get value | tr -d '\n' | cmp - "$work/value" && echo same)" = same ] || fail 'redis-cli --tls get'
    edgeloop load "rediss://localhost:$port" --tls-ca cert.pem --command incr -q -n 2000 -c 20 >"$work/load.log" || fail 'load rediss:'
    echo 'redis-cli ok'
fi

serve broadcast edgeloop broadcast -l tls:127.0.0.1:0,127.0.0.1:0 --history 1 --tls-cert cert.pem --tls-key key.pem
# Behind its own farewell a speaker has been heard. Who comes later has the line from the history.
echo hello | openssl s_client -nocommands -connect "localhost:$port" >/dev/null 2>&1 || fail 'openssl to a broadcast'
line=$(sleep 2 | openssl s_client -nocommands -connect "localhost:$port" 2>/dev/null | grep -x hello) || true
[ "$line" = hello ] || fail 'a broadcast to openssl'
serve lines edgeloop broadcast -l tls:127.0.0.1:0 --tls-cert cert.pem --tls-key key.pem
edgeloop load "tls:localhost:$port" --tls-ca cert.pem -m broadcast --publishers 2 -q -n 2000 -c 20 >"$work/load.log" || fail 'load broadcast'
echo 'broadcast ok'
