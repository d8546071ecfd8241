#!/usr/bin/env bash
# Generates what is generated of this module from proto/sessiond/v1: the package sessiondv1, and reasons.go.
#
#   client/go/generate.sh           writes it
#   client/go/generate.sh --check   says whether it is what the protos bring, and writes nothing
#
# It takes go and protoc. The two plugins are pinned here, and built into build/clients/go/bin.
set -euo pipefail
cd "$(dirname "$0")"
module=$PWD
root=$(cd ../.. && pwd)

readonly protoc_gen_go=google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.11
readonly protoc_gen_go_grpc=google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.0
readonly package=github.com/sessiond/sessiond/client/go/sessiondv1

export GOBIN=$root/build/clients/go/bin
mkdir -p "$GOBIN"
for tool in "$protoc_gen_go" "$protoc_gen_go_grpc"; do
  name=${tool##*/}
  if [ "$(cat "$GOBIN/${name%@*}.version" 2>/dev/null)" != "$tool" ]; then
    (cd / && go install "$tool")
    echo "$tool" >"$GOBIN/${name%@*}.version"
  fi
done

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
mapfile -t protos < <(cd "$root/proto" && printf '%s\n' sessiond/v1/*.proto)
# Protos that name their Go package themselves need no M option.
options=
for proto in "${protos[@]}"; do
  grep -q '^option go_package' "$root/proto/$proto" || options+=",M$proto=$package;sessiondv1"
done
PATH=$GOBIN:$PATH protoc -I "$root/proto" \
  --go_out="$out" --go_opt="module=$package$options" \
  --go-grpc_out="$out" --go-grpc_opt="module=$package$options" "${protos[@]}"
# Which protoc it was is left out: the same protos bring the same bytes.
sed -i -E '/^\/\/ (- )?\s*protoc +\(?v?[0-9(].*$/d' "$out"/*.go

if [ "${1:-}" = --check ]; then
  diff -r "$out" sessiondv1 && go run ./internal/reasons | diff - reasons.go ||
    { echo 'What is generated is not what the protos bring: run client/go/generate.sh' >&2; exit 1; }
  exit
fi
rm -rf sessiondv1
mkdir sessiondv1
cp "$out"/*.go sessiondv1/
go run ./internal/reasons >"$out/reasons.go"
cp "$out/reasons.go" reasons.go
echo "wrote $module/sessiondv1 and reasons.go"
