#!/bin/bash
# What HAProxy and nginx say of their clients, and what the server makes of it: the page
# docs/howto/behind-haproxy.md and the second half of docs/howto/behind-nginx.md as their reader follows
# them, each in an empty directory; then the other forms of the header that HAProxy can send. The network
# is the test's own (a namespace). Skipped, with a word, where that cannot be had.
#
#   tests/balancers/run.sh [PROGRAM]
set -u
here=$(cd "$(dirname "$0")" && pwd)
pages=$here/../../docs/howto
program=$(realpath "${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/edgeloop}")
[ -x "$program" ] || { echo "there is no $program; cargo build --release"; exit 1; }

if [ -z "${INSIDE:-}" ]; then
    for part in haproxy nginx nc curl redis-cli openssl unshare ip; do
        command -v $part >/dev/null || { echo "skipped: $part is missing"; exit 0; }
    done
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || { echo 'skipped: nginx has no module stream'; exit 0; }
    unshare --net --pid true 2>/dev/null || { echo 'skipped: only root has a network of its own'; exit 0; }
    for part in haproxy_page nginx_page forms_of_the_header; do
        # Whatever is started ends with the first process of the namespace.
        work=$(mktemp -d)
        INSIDE=$work timeout -k 5 60 unshare --net --pid --fork --kill-child --mount-proc "$0" "$program" $part
        code=$?
        rm -rf "$work"
        [ $code -eq 0 ] || exit $code
    done
    exit
fi

ip link set lo up
work=$INSIDE
mkdir "$work/bin" "$work/empty" && ln -s "$program" "$work/bin/edgeloop"
export PATH=$work/bin:$PATH
chmod 755 "$work"
cd "$work/empty" || exit 1

fail() {
    printf 'FAILED: %s\n' "$1"
    tail -n 40 ./*.log
    exit 1
}
# wait_for WHAT COMMAND…: until the command succeeds, for ten seconds.
wait_for() {
    local what=$1 deadline=$((SECONDS + 10))
    shift
    until "$@"; do
        [ $SECONDS -lt $deadline ] || fail "it never came: $what"
        sleep 0.02
    done
}
# has NAME PATTERN: a line of its log has it.
has() { grep -Eqs -- "$2" "$1.log"; }
# block FILE KIND NUMBER: what stands between ```KIND and ```, the NUMBERth time.
block() { awk -v kind='```'"$2" -v wanted="$3" '$0 == kind { on = ++count == wanted; next } /^```/ { on = 0 } on' "$1"; }

# follow PAGE NUMBER ANSWER…: starts what the block of that number starts, each server with a log of its
# own, and asks what the next block asks.
follow() {
    local page=$1 number=$2 line name
    shift 2
    while read -r line; do
        name=$(cut -d' ' -f2 <<<"$line")
        case $line in
        'edgeloop '*' &') eval "${line% &} 2>$name.log &"; wait_for "$name listens" has "$name" ' listening ' ;;
        *) eval "$line" || fail "$line" ;;
        esac
    done < <(block "$page" sh "$number")
    while read -r line; do
        eval "timeout 10 $line" >answer.log 2>errors.log </dev/null || fail "$line"
        has answer "$1" || fail "$line is not answered with $1"
        shift
    done < <(block "$page" sh $((number + 1)))
    [ $# -eq 0 ] || fail 'the page asks less'
    for name in echo chat kv web; do
        wait_for "$name knows its client" has $name ' opened .* peer=127\.0\.0\.1:[0-9]+ via=(127\.0\.0\.1|unix:)'
    done
    wait_for 'the access log' has web ' /plaintext peer=127\.0\.0\.1 via=(127\.0\.0\.1|unix) '
    for name in echo chat kv web; do has $name ' (WARN|ERROR) ' && fail "$name is not content"; done
}

haproxy_page() {
    block "$pages/behind-haproxy.md" haproxy 1 >haproxy.cfg
    follow "$pages/behind-haproxy.md" 1 '^hello$' '^HTTP/1.1 200' ' addr=127\.0\.0\.1:' '^Hello, World!$'
    # A check is no client, and logs nothing that anybody would see.
    wait_for 'a check' has echo ' closed .* peer=127\.0\.0\.1:[0-9]+ reason='
    for name in echo chat kv web; do
        [ "$(grep -Ec ' INFO ' $name.log)" -eq "$(grep -Ec ' listening | INFO +access' $name.log)" ] \
            || fail "$name says more than that it listens"
    done
}

nginx_page() {
    block "$pages/behind-nginx.md" nginx 2 >nginx.conf
    follow "$pages/behind-nginx.md" 2 '^hello$' '/kick NAME' ' addr=127\.0\.0\.1:' '^Hello, World!$'
}

# forms [OPTION…]: a request through HAProxy with each of these, whose address has to be in the log.
forms_of_the_header() {
    openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 1 -subj /CN=client 2>openssl.log \
        || fail 'openssl makes no certificate'
    cat key.pem cert.pem >both.pem
    edgeloop web -v --listen 127.0.0.1:7000,unix:web.sock --proxy-protocol 127.0.0.1,unix 2>web.log &
    edgeloop web -v --listen 127.0.0.1:7001 2>plain.log &
    wait_for 'both listen' eval 'has web " listening " && has plain " listening "'
    cat >haproxy.cfg <<'END'
defaults
    mode tcp
    timeout connect 5s
    timeout client 10s
    timeout server 10s
    unique-id-format %{+X}o\ %ci:%cp_%fi:%fp_%Ts_%rt:%pid
listen text
    bind 127.0.0.1:8000
    server one 127.0.0.1:7000 send-proxy
listen binary
    bind 127.0.0.1:8001
    server one 127.0.0.1:7000 send-proxy-v2 check check-send-proxy inter 100ms
listen checksum
    bind 127.0.0.1:8002
    server one 127.0.0.1:7000 send-proxy-v2 proxy-v2-options crc32c,unique-id
listen tls
    bind 127.0.0.1:8003 ssl crt both.pem ca-file cert.pem verify required
    server one 127.0.0.1:7000 send-proxy-v2-ssl-cn
listen http
    mode http
    bind 127.0.0.1:8004
    server one 127.0.0.1:7000 send-proxy-v2
listen socket
    bind 127.0.0.1:8005
    server one unix@web.sock send-proxy
listen without
    bind 127.0.0.1:8006
    server one 127.0.0.1:7000
listen unasked
    bind 127.0.0.1:8007
    server one 127.0.0.1:7001 send-proxy
END
    haproxy -D -f haproxy.cfg 2>haproxy.log || fail 'HAProxy does not start'
    local port scheme
    for port in 8000 8001 8002 8003 8004 8005; do
        scheme=http
        [ $port -eq 8003 ] && scheme=https
        curl -ksS -m 10 --cert both.pem --local-port $((port + 30000)) $scheme://127.0.0.1:$port/plaintext >answer.log 2>&1
        has answer '^Hello, World!$' || fail "$port is not answered"
        wait_for "the client of $port" has web " opened .* peer=127\.0\.0\.1:$((port + 30000)) via=(127\.0\.0\.1|unix:)"
    done
    # Two clients of HTTP do not share a connection of HAProxy.
    curl -sS -m 10 --local-port 38014 http://127.0.0.1:8004/plaintext >answer.log 2>&1
    wait_for 'the second client of 8004' has web ' opened .* peer=127\.0\.0\.1:38014 via=127\.0\.0\.1:'
    wait_for 'ten checks' eval '[ "$(grep -Ec " closed .* peer=127\.0\.0\.1:[0-9]+ reason=" web.log)" -gt 10 ]'
    [ "$(grep -Ec ' (INFO|WARN|ERROR) ' web.log)" -eq 1 ] || fail 'there is more in the log than who listens'
    # One side without the other.
    curl -sS -m 10 http://127.0.0.1:8006/ >answer.log 2>&1 && fail 'a header is not required'
    wait_for 'a warning' has web ' WARN .* peer=127\.0\.0\.1:[0-9]+ reason=bad_proxy_header '
    curl -sS -m 10 -i http://127.0.0.1:8007/ >answer.log 2>&1
    has answer '^HTTP/1.1 400' || fail 'a header is taken for a request'
}

$2
echo "$2 ok"
