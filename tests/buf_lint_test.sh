#!/usr/bin/env bash
# The contract passes `buf lint`, with the exceptions that buf.yaml gives reasons for.
set -uo pipefail
cd "$(dirname "$0")/.."
buf=(npx -y @bufbuild/buf@1.75.0)
if ! "${buf[@]}" --version; then
  echo 'buf is not here and cannot be fetched: that takes npx and a network.'
  exit 77
fi
exec "${buf[@]}" lint
