#!/usr/bin/env bash
# The Go client: generated code is what the protos bring; it builds, is vetted, passes its tests with the race detector
# and the conformance suite; and a stranger can install it from its zip into an empty folder.
#
#   tests/clients/go_test.sh      SESSIOND_BINARY and SESSIONCTL_BINARY name other programs than those of build/release
#
# Exits with 77 where what it needs is not here.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD

missing() {
  echo "$1"
  exit 77
}
step() { printf '\n== %s\n' "$1"; }

command -v go >/dev/null || missing 'go is not here: the Go client takes Go 1.24 or later.'
read -r major minor < <(go env GOVERSION | sed -E 's/^go([0-9]+)\.([0-9]+).*/\1 \2/')
[ "$major" -gt 1 ] || [ "$minor" -ge 24 ] || missing "This is $(go env GOVERSION): the Go client takes Go 1.24 or later."
command -v protoc >/dev/null || missing 'protoc is not here.'

program() { # VARIABLE PATH-IN-A-BUILD
  local preset
  if [ -n "${!1:-}" ]; then
    realpath "${!1}"
    return
  fi
  for preset in release dev; do
    if [ -x "build/$preset/$2" ]; then
      realpath "build/$preset/$2"
      return
    fi
  done
}
SESSIOND_BINARY=$(program SESSIOND_BINARY server/sessiond)
SESSIONCTL_BINARY=$(program SESSIONCTL_BINARY client/sessionctl)
export SESSIOND_BINARY SESSIONCTL_BINARY
[ -n "$SESSIOND_BINARY" ] || missing 'There is no sessiond: build it, or name it in SESSIOND_BINARY.'

out=$root/build/go
mkdir -p "$out/bin"
export GOFLAGS=-mod=readonly GOBIN=$out/bin
cd client/go

step 'modules'
go mod download || missing 'The modules that the Go client stands on are not here and cannot be fetched.'
go mod verify

step 'generated code'
./generate.sh --check

step 'format and vet'
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "gofmt would change: $unformatted"; exit 1; }
go vet ./...
go mod tidy -diff
readonly staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2
if [ "$(cat "$GOBIN/staticcheck.version" 2>/dev/null)" != "$staticcheck $(go env GOVERSION)" ]; then
  (cd / && GOFLAGS='' go install "$staticcheck") || missing "$staticcheck is not here and cannot be fetched."
  echo "$staticcheck $(go env GOVERSION)" >"$GOBIN/staticcheck.version"
fi
"$GOBIN/staticcheck" ./...

step 'tests, with the race detector'
CI=true go test -race -timeout 5m ./...

if [ -x "$root/tests/conformance/run" ]; then
  step 'conformance'
  go build -race -o "$GOBIN/conformance" ./conformance
  "$root/tests/conformance/run" --sessiond "$SESSIOND_BINARY" --sessionctl "$SESSIONCTL_BINARY" \
    --junit "$out/conformance.xml" "$GOBIN/conformance"
fi

step 'installed from its zip into an empty folder'
rm -rf "$out/proxy"
go run ./internal/release "$out/proxy"
stranger=$(mktemp -d)
cleanup() { chmod -R u+w "$stranger" && rm -rf "$stranger"; }
trap cleanup EXIT
mkdir "$stranger/app"
cd "$stranger/app"
# What it stands on comes from the cache, whose sums were checked above; a cache of its own, because what it caches of
# this module is soon another.
cached=$(go env GOMODCACHE)/cache/download
export GOFLAGS='' GOMODCACHE=$stranger/cache GOPROXY=file://$out/proxy,file://$cached,$(go env GOPROXY)
export GOSUMDB=off
go mod init example.com/app
go get github.com/sessiond/sessiond/client/go
awk '/^```go$/ { inside = 1; next } /^```$/ && inside { exit } inside' "$root/client/go/README.md" >main.go
cat >main_test.go <<'GO'
package main

import (
	"testing"

	"github.com/sessiond/sessiond/client/go/sessiondtest"
)

func TestTheFirstExample(t *testing.T) {
	t.Setenv("SESSIOND_SERVER", sessiondtest.Start(t).Address)
	main()
}
GO
go mod tidy
CI=true go test -v .
