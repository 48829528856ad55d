#!/bin/bash
# Measures edgeloop beside the servers that people would otherwise pick.
#
#   benches/peers/run.sh [quick|full] [--only REGEX] [--results DIR]
#   benches/peers/run.sh build LIST NAME…
#
#   quick            the default: a few connections for some hundredths of a second. Shows that
#                    everything works, and says nothing about times. Two minutes beside building.
#   full             under an hour on a machine that does nothing else; writes docs/benchmarks.md and
#                    its pictures
#   build            only builds these, and writes to LIST what there is; `cargo bench --bench versus`
#                    asks for it when a peer is named
#   --only REGEX     only measurements whose name fits, as `echo-50 tokio` or
#                    `broadcast-1000-stopped redis`
#   --results DIR    keep what was measured here, and do not measure again what is here already
#
# What is missing is skipped with a word. Everything is built under ${CARGO_TARGET_DIR:-target}/peers.
# PEERS_LEFT_OUT="nats-server monoio" leaves programs out that take long to build.
set -u
shopt -s extglob
here=$(cd "$(dirname "$0")" && pwd) || exit 1
root=$(cd "$here/../.." && pwd) || exit 1
cd "$root" || exit 1

kind=quick results= only=() names=() list=
while [ $# -gt 0 ]; do
    case $1 in
        build) kind=build list=${2:?build needs a list} names=("${@:3}"); break ;;
        quick | full) kind=$1 ;;
        --only) only=(--only "${2:?--only needs a pattern}"); shift ;;
        --results) results=${2:?--results needs a directory}; shift ;;
        *) sed -n '2,/^set /s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift
done

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
build=$target/peers
bin=$build/bin
list=${list:-$build/programs}
mkdir -p "$bin" || exit 1
: >"$list" || exit 1
# A server may be on a path that a user's shell does not search.
PATH=$PATH:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin

# have NAME PATH VERSION: a line of the list for what can be measured.
have() { printf '%s\t%s\t%s\n' "$1" "$2" "$(tr '\t\n' '  ' <<<"$3" | sed 's/ *$//')" >>"$list"; }
# lack NAME REASON: the same for what cannot.
lack() { printf '%s\t-\t%s\n' "$1" "$2" >>"$list"; }

left_out() {
    [ $kind != build ] || { [[ " ${names[*]} " != *" $1 "* ]]; return; }
    [[ " ${PEERS_LEFT_OUT:-} " == *" $1 "* ]] || return 1
    lack "$1" 'left out, because it takes long to build'
}

# build_by NAME COMMAND…: says how it went, and keeps the log of what failed.
build_by() {
    local name=$1 log=$build/$1.log
    shift
    printf 'building %s\n' "$name"
    # In the foreground, or Ctrl-C would not reach it, and the script would go on.
    timeout --foreground -k 10 600 "$@" >"$log" 2>&1 && return 0
    local reason
    reason=$(grep -iE 'error|denied|not found|forbidden' "$log" | tail -n 1 | cut -c 1-160 | tr '\t' ' ')
    lack "$name" "cannot be built: ${reason:-see $log}"
    return 1
}

# of_c NAME LIBRARY PACKAGE…: one file of C.
of_c() {
    local name=$1 flags=() version='' cc
    left_out "$name" && return
    command -v "${CC:-cc}" >/dev/null || { lack "$name" 'no C compiler'; return; }
    cc="cc $("${CC:-cc}" -dumpfullversion 2>/dev/null || "${CC:-cc}" -dumpversion)"
    if [ $# -gt 1 ]; then
        pkg-config --exists "$2" 2>/dev/null \
            || { lack "$name" "the library is missing: apt-get install $3 pkg-config"; return; }
        read -ra flags < <(pkg-config --cflags --libs "$2")
        version="$2 $(pkg-config --modversion "$2"), "
    fi
    build_by "$name" "${CC:-cc}" -O2 -Wall -Wextra -std=gnu11 "$here/$name/main.c" -o "$bin/$name" \
        ${flags[@]+"${flags[@]}"} && have "$name" "$bin/$name" "$version$cc"
}

# of_rust NAME: a crate of its own; its library has the folder's name, but for the floor.
of_rust() {
    local name=$1 library=${1#floor-} version
    left_out "$name" && return
    build_by "$name" cargo build --release --locked --manifest-path "$here/$name/Cargo.toml" \
        --target-dir "$build/rust" || return
    version=$(sed -n "/^name = \"$library\"/{n;s/version = \"\(.*\)\"/\1/p;q}" "$here/$name/Cargo.lock")
    have "$name" "$build/rust/release/$name" "$library $version, $rustc"
}

# of_go NAME MODULE PACKAGE: a module of its own.
of_go() {
    local name=$1 module=$2 package=${3:-.} folder=$here/${4:-$1} version=
    left_out "$name" && return
    command -v go >/dev/null || { lack "$name" 'Go is missing'; return; }
    build_by "$name" env -C "$folder" GOFLAGS='-mod=readonly -buildvcs=false' \
        go build -trimpath -o "$bin/$name" "$package" || return
    [ -n "$module" ] && version="$(sed -n "s|.*$module \(v[^ ]*\).*|\1|p" "$folder/go.mod" | head -n 1), "
    have "$name" "$bin/$name" "$version$(go version | cut -d ' ' -f 3)"
}

# found NAME PACKAGE VERSION-COMMAND…: a program that the system has.
found() {
    local name=$1 package=$2 path
    shift 2
    left_out "$name" && return
    path=$(command -v "$name") || { lack "$name" "not installed: apt-get install $package"; return; }
    have "$name" "$path" "$("$@" 2>&1 | grep -oE '[0-9]+(\.[0-9]+)+' | head -n 1)"
}

rustc=$(rustc --version | cut -d ' ' -f 1,2)
commit=$(git describe --always --dirty 2>/dev/null)
# By hand: a build of the benches replaces what is in cargo's own folder.
left_out edgeloop || { build_by edgeloop cargo build --release --locked \
    && cp "$target/release/edgeloop" "$bin/edgeloop" && have edgeloop "$bin/edgeloop" \
        "$("$bin/edgeloop" --version), commit ${commit:-unknown}, $rustc"; }
of_c floor-c
for name in floor-mio tokio monoio smol; do of_rust "$name"; done
of_go go-net ''
of_go gnet github.com/panjf2000/gnet/v2
of_go evio github.com/tidwall/evio
of_go nats-server github.com/nats-io/nats-server/v2 github.com/nats-io/nats-server/v2 nats
of_c libuv libuv libuv1-dev
of_c libevent libevent_core libevent-dev
found redis-server redis-server redis-server --version
found ncat ncat ncat --version
found nginx nginx nginx -v

[ "$kind" != build ] || exit 0
results=${results:-$build/results-$kind-$(date +%Y%m%d-%H%M%S)}
mkdir -p "$results" || exit 1
printf 'building the measuring program\n'
if ! cargo bench --locked --no-run --bench versus >"$build/versus.log" 2>&1; then
    cat "$build/versus.log"
    exit 1
fi
page=()
[ "$kind" = full ] && page=(--page "$root/docs/benchmarks.md")
printf 'results are kept in %s\n' "$results"
exec cargo bench --quiet --locked --bench versus -- all "$kind" "$list" "$results" \
    ${only[@]+"${only[@]}"} ${page[@]+"${page[@]}"}
