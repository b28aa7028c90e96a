#!/usr/bin/env bash
# Would a client or server built from the earlier contract misunderstand this one?
#
# The earlier contract, first that applies:
#   1. $BREAKING_BASE, any git ref
#   2. the newest release tag (v*) that this commit descends from: what was released is a promise
#   3. on a branch: where it left main
#   4. the contract before its last change: HEAD while the work tree differs from it, else the commit before
#      the one that touched it last
# A break that is meant is named in proto/buf.yaml under `breaking`, with its reason.
set -euo pipefail
cd "$(dirname "$0")/.."

buf=${BUF:-.venv/bin/buf}

none() { echo "breaking: no base ($1); nothing to compare with"; exit 0; }
commit() { git rev-parse --quiet --verify "$1^{commit}" 2>/dev/null; }
has_proto() { git cat-file -e "$1:proto/buf.yaml" 2>/dev/null && [ -n "$(git ls-tree -r --name-only "$1" proto/scheduler_api)" ]; }

git rev-parse --git-dir >/dev/null 2>&1 || none "not a git repository"

if [ -n "${BREAKING_BASE:-}" ]; then
    base=$(commit "$BREAKING_BASE") || { echo "breaking: BREAKING_BASE=$BREAKING_BASE is not a commit here" >&2; exit 1; }
    has_proto "$base" || { echo "breaking: $BREAKING_BASE has no contract" >&2; exit 1; }
else
    head=$(commit HEAD) || none "no commit yet"
    base=
    if tag=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null); then
        base=$(commit "$tag")
    elif main=$(commit main) && fork=$(git merge-base "$main" HEAD 2>/dev/null) && [ "$fork" != "$head" ]; then
        base=$fork
    elif [ -n "$(git status --porcelain -- proto)" ]; then
        base=$head
    elif last=$(git log -1 --format=%H -- proto) && [ -n "$last" ]; then
        base=$(commit "$last^") || none "the contract never changed since the first commit"
    fi
    { [ -n "$base" ] && has_proto "$base"; } || none "no earlier commit has a contract"
fi

echo "breaking: against $(git log -1 --format='%h %s' "$base")"
exec "$buf" breaking proto --against ".git#ref=$base,subdir=proto"
