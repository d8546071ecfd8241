#!/usr/bin/env bash
# Writes src/gen: the messages and services of proto/sessiond/v1, and google.rpc's details of refusals, which the
# package keeps to itself. ROOT says where the repository is, if it is not two folders up.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$(cd "${ROOT:-../..}" && pwd)
rm -rf src/gen
for module in "$root/proto" "$root/third_party/googleapis"; do
  npx --no-install buf generate "$module" --template '{
    "version": "v2",
    "plugins": [{"local": ["npx", "--no-install", "protoc-gen-es"], "out": "src/gen",
                 "opt": ["target=ts", "import_extension=js"]}]
  }'
done
