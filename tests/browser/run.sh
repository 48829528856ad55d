#!/bin/bash
# The chat page in a real browser; skipped, with a word, where there is none.
#
#   tests/browser/run.sh [PROGRAM]       PICTURES=DIR also takes pictures of the page, SCENE=WORDS plays
#                                        only the scenes with these words in their names
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=${1:-${CARGO_TARGET_DIR:-$here/../../target}/release/edgeloop}
for browser in chromium chromium-browser google-chrome ''; do command -v "$browser" >/dev/null && break; done
[ -n "$browser" ] || { echo 'skipped: there is no Chromium'; exit 0; }
command -v npm >/dev/null || { echo 'skipped: there is no npm'; exit 0; }
[ -x "$program" ] || { echo "there is no $program; cargo build --release"; exit 1; }
work=$(mktemp -d)
# Whatever ends this script ends the scenes, and they the servers and the browser, whose files are in
# the directory, too.
scenes=
trap 'if [ -n "$scenes" ]; then kill "$scenes" 2>/dev/null || :; wait "$scenes" || :; fi; rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
cp "$here"/*.mjs "$work"
(cd "$work" && timeout 120 npm install --silent --no-fund --no-audit playwright-core@1 >/dev/null) \
    || { echo 'skipped: playwright-core cannot be fetched'; exit 0; }
TMPDIR=$work timeout --kill-after=10 300 node "$work/chat.mjs" "$program" "$(command -v "$browser")" "${PICTURES:-}" &
scenes=$!
wait "$scenes" && scenes= || { code=$?; scenes=; exit "$code"; }
