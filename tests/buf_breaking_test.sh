#!/usr/bin/env bash
# The contract breaks nobody who uses the last release: `buf breaking`, against the contract as it was then, which is
# kept in tests/contract without its comments.
#
#   tests/buf_breaking_test.sh            compares
#   tests/buf_breaking_test.sh --renew    makes today's contract the one to compare with: a release does
set -uo pipefail
cd "$(dirname "$0")/.."
if [ "${1:-}" = --renew ]; then
  rm -rf tests/contract
  for file in proto/sessiond/v1/*.proto; do
    kept=tests/contract/${file#proto/}
    mkdir -p "${kept%/*}"
    sed -e '1n' -e '/^ *\/\//d' "$file" >"$kept"  # All comments but the first line, which says what it is.
  done
  exit
fi
buf=(npx -y @bufbuild/buf@1.75.0)
if ! "${buf[@]}" --version; then
  echo 'buf is not here and cannot be fetched: that takes npx and a network.'
  exit 77
fi
if ! "${buf[@]}" breaking --against tests/contract; then
  echo 'The contract is only added to (proto/README.md, "What may change").'
  exit 1
fi
