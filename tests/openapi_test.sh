#!/usr/bin/env bash
# The OpenAPI document (docs/openapi.json, which is what the daemon serves) by others' code: it is an
# OpenAPI 3.1 document, and messages of the contract, as Protobuf prints them, are what it says.
#
# 77: what is pinned below cannot be fetched.
set -euo pipefail
cd "$(dirname "$0")/.."

# protobuf: the newest that takes what Debian's protoc generates.
readonly packages=(
  openapi-spec-validator==0.7.2
  jsonschema==4.26.0
  rfc3339-validator==0.1.4
  protobuf==4.25.8
)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ! { python3 -m venv "$work/venv" && "$work/venv/bin/pip" install -q "${packages[@]}"; } >"$work/log" 2>&1; then
  tail -n 5 "$work/log"
  echo "Cannot fetch ${packages[*]}."
  exit 77
fi
mkdir "$work/generated"
find proto -name '*.proto' -exec protoc -Iproto --python_out="$work/generated" {} +
PYTHONPATH=$work/generated "$work/venv/bin/python" tests/openapi_check.py docs/openapi.json
