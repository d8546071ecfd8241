#!/usr/bin/env bash
# Writes src/gen: the messages and services of proto/sessiond/v1, and google.rpc's details of refusals, which the package
# keeps to itself. PROTO says where proto/ is, if it is not two folders up.
set -euo pipefail
cd "$(dirname "$0")/.."
proto=$(cd "${PROTO:-../../proto}" && pwd)
# google.rpc may lie beside the contract, or among what others have written.
rpc=$proto
if [ ! -d "$rpc/google/rpc" ]; then rpc=$(dirname "$(dirname "$(find "$proto/.." -path '*/google/rpc/status.proto' -not -path '*/build/*' -print -quit | xargs dirname)")"); fi
rm -rf src/gen
for root in $(printf '%s\n' "$proto" "$rpc" | sort -u); do
  npx --no-install buf generate "$root" --template '{
    "version": "v2",
    "plugins": [{"local": ["npx", "--no-install", "protoc-gen-es"], "out": "src/gen",
                 "opt": ["target=ts", "import_extension=js"]}]
  }' --path "$root/sessiond" --path "$root/google/rpc" 
done
