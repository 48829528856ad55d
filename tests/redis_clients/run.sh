#!/bin/bash
# The key-value store through libraries as their registries have them: redis-py, Django's caches, ioredis,
# node-redis and go-redis; and through redis-cli, where users have passwords. Each is skipped, with a word,
# where it cannot be had.
#
#   tests/redis_clients/run.sh [PROGRAM]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/edgeloop}
[ -x "$program" ] || { echo "there is no $program; cargo build --release"; exit 1; }
work=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; rm -rf "$work"' EXIT

# Whatever a library needs is fetched beside the others; what is there afterwards is tried.
fetch_python() {
    timeout 30 python3 -m venv "$work/python"
    local fetch=(timeout 40 "$work/python/bin/pip" install -q --disable-pip-version-check)
    "${fetch[@]}" 'redis>=8' && touch "$work/has_redis_py"
    "${fetch[@]}" Django django-redis && touch "$work/has_django"
}
fetch_node() {
    timeout 40 npm install --silent --no-audit --no-fund --prefix "$work/node" ioredis redis \
        && touch "$work/has_node"
}
fetch_go() {
    cp -r "$here/go_redis" "$work/go"
    cd "$work/go"
    go mod init edgeloop-kv && timeout 60 go get github.com/redis/go-redis/v9 \
        && timeout 80 go build -mod=mod -o client . && touch "$work/has_go"
}
(set +e; fetch_python) >/dev/null 2>&1 &
(set +e; fetch_node) >/dev/null 2>&1 &
(set +e; fetch_go) >/dev/null 2>&1 &
wait

"$program" kv -q -l 127.0.0.1:0 --port-file "$work/port" &
pid=$!
for _ in $(seq 100); do [ -s "$work/port" ] && break; sleep 0.1; done
server=$(cat "$work/port")

# try NAME WHAT COMMAND...
try() {
    [ -e "$work/has_$1" ] || { echo "skipped: $2 cannot be had"; return 0; }
    NODE_PATH=$work/node/node_modules timeout 30 "${@:3}" "$server"
}
try redis_py redis-py "$work/python/bin/python" "$here/redis_py.py"
try django Django "$work/python/bin/python" "$here/django_caches.py"
try node ioredis node "$here/ioredis.js"
try node node-redis node "$here/node_redis.js"
try go go-redis "$work/go/client"

# The client that everybody has, where a password is asked for.
end() { kill "$pid"; wait "$pid" || :; pid=; }
with_cli() {
    local ask=(timeout 10 redis-cli -h "${server%:*}" -p "${server##*:}") said
    said=$("${ask[@]}" get k 2>&1; "${ask[@]}" -a wrong-wrong --no-auth-warning get k 2>&1
        "${ask[@]}" -a open-sesame --no-auth-warning set k v; "${ask[@]}" -3 -a open-sesame --no-auth-warning get k
        "${ask[@]}" --user alice --pass alice-secret --no-auth-warning get k 2>&1
        "${ask[@]}" --user alice --pass alice-secret --no-auth-warning acl whoami
        "${ask[@]}" -a open-sesame --no-auth-warning client list | grep -c 'user=default .*\|sesame' || :)
    [ "$(grep -v '^$' <<<"$said" | sort -u)" = "$(sort -u <<'SAID'
NOAUTH Authentication required.
AUTH failed: WRONGPASS invalid username-password pair or user is disabled.
OK
v
NOPERM this user has no permissions to access one of the keys used as arguments
alice
1
SAID
    )" ] || { printf 'redis-cli was answered:\n%s\n' "$said"; return 1; }
    echo 'ok: redis-cli with passwords'
}
end
if command -v redis-cli >/dev/null; then
    (umask 077; printf 'user default on >open-sesame ~* &* +@all\nuser alice on >alice-secret ~a:* +@all\n' >"$work/users")
    rm -f "$work/port"
    "$program" kv -q -l 127.0.0.1:0 --port-file "$work/port" --acl-file "$work/users" &
    pid=$!
    for _ in $(seq 100); do [ -s "$work/port" ] && break; sleep 0.1; done
    server=$(cat "$work/port")
    with_cli
    end
else
    echo 'skipped: there is no redis-cli'
fi
