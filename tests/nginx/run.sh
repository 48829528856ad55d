#!/bin/bash
# The page docs/howto/behind-nginx.md as its reader follows it: its configuration and its commands,
# with nginx as Debian starts it, a master that is root and workers that are not. For as long as that
# lasts port 80, /run, and nginx's folders are the test's own (namespaces). Skipped, with a word, where
# that cannot be had.
#
#   tests/nginx/run.sh [PROGRAM]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
page=$here/../../docs/howto/behind-nginx.md
program=$(realpath "${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/edgeloop}")
[ -x "$program" ] || { echo "there is no $program; cargo build --release"; exit 1; }

if [ -z "${INSIDE:-}" ]; then
    for part in nginx curl unshare ip; do
        command -v $part >/dev/null || { echo "skipped: $part is missing"; exit 0; }
    done
    grep -qs '^user www-data' /etc/nginx/nginx.conf || { echo "skipped: this is not Debian's nginx"; exit 0; }
    unshare --mount --net --pid true 2>/dev/null || { echo 'skipped: only root can follow the page here'; exit 0; }
    # Whatever is started ends with the first process of the namespace.
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    INSIDE=$work timeout -k 5 120 unshare --mount --net --pid --fork --kill-child --mount-proc "$0" "$program"
    exit
fi

ip link set lo up
work=$INSIDE
for folder in /run /etc/nginx/sites-enabled /etc/nginx/conf.d /var/log/nginx /var/lib/nginx; do
    mount -t tmpfs -o mode=755 tmpfs "$folder"
done
# What stands between ```KIND and ```, the first time.
block() { awk -v kind='```'"$1" '$0 == kind { on = 1; next } /^```/ { if (on) exit } on' "$page"; }
block nginx >/etc/nginx/sites-enabled/edgeloop
mkdir "$work/bin" && ln -s "$program" "$work/bin/edgeloop"
export PATH=$work/bin:$PATH
umask 022

fail() {
    printf 'FAILED: %s\n' "$1"
    ls -l /run
    cat /var/log/nginx/error.log "$work/server" 2>/dev/null
    exit 1
}
serve=$(block sh | sed -n 1p) ask=$(block sh | sed -n 2p)
[[ $serve == 'edgeloop web '* && $ask == 'curl '* ]] || fail 'the page begins with other commands'
$serve 2>"$work/server" &
for _ in $(seq 100); do [ -S /run/edgeloop.sock ] && break; sleep 0.05; done
nginx || fail 'nginx does not take the configuration'
ps -eo user,args | grep -q '^www-data.*nginx: worker' || fail 'its workers are not www-data'

$ask -s -m 10 | tr -d '\r' >"$work/answer" || fail "$ask"
grep -q '^HTTP/1.1 200' "$work/answer" && tail -n 1 "$work/answer" | grep -q 'Hello, World!' || {
    cat "$work/answer"
    fail "$ask"
}
# What the page says of bodies: a handler that takes all before it answers, and one that does not.
head -c 20000 /dev/urandom >"$work/body"
curl -s -m 10 --data-binary "@$work/body" http://127.0.0.1/echo | cmp - "$work/body" || fail 'a small body through /echo'
su -s /bin/bash nobody -c 'curl -s -m 5 --unix-socket /run/edgeloop.sock http://a/plaintext' >/dev/null \
    && fail 'somebody who is not in the group can connect'
echo ok
