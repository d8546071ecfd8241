#!/usr/bin/env bash
# The Go client: what is generated is what the protos bring; it builds, is vetted, passes its tests with the race
# detector and the conformance suite; and it can be installed from its zip into an empty folder.
. "$(dirname "$0")/lib.sh"

export GOFLAGS=-mod=readonly GOBIN=$work/bin
readonly staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2

step() { printf '\n== %s\n' "$1"; }

command -v go >/dev/null || skip 'it takes Go 1.24 or later, which is not here.'
read -r major minor < <(go env GOVERSION | sed -E 's/^go([0-9]+)\.([0-9]+).*/\1 \2/')
[ "$major" -gt 1 ] || [ "$minor" -ge 24 ] || skip "it takes Go 1.24 or later; this is $(go env GOVERSION)."
command -v protoc >/dev/null || skip 'it takes protoc (package protobuf-compiler).'
if [ ! -x "$SESSIOND_BINARY" ]; then
  echo "There is no $SESSIOND_BINARY: build it, or name another in SESSIOND_BINARY."
  exit 1
fi

rm -rf "$work/proxy"
mkdir -p "$GOBIN"
cd client/go
go mod download || skip 'the modules that it stands on cannot be fetched.'
go mod verify
if [ "$(cat "$GOBIN/staticcheck.version" 2>/dev/null)" != "$staticcheck $(go env GOVERSION)" ]; then
  (cd / && GOFLAGS='' go install "$staticcheck") || skip "$staticcheck cannot be fetched."
  echo "$staticcheck $(go env GOVERSION)" >"$GOBIN/staticcheck.version"
fi

step 'generated code'
./generate.sh --check

step 'format, vet, staticcheck'
unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || { echo "gofmt would change: $unformatted"; exit 1; }
go vet ./...
go mod tidy -diff
"$GOBIN/staticcheck" ./...

# go_tests NAME ARGUMENT…: `go test`, with a report. Nothing is skipped: what it takes is here.
go_tests() {
  local name=$1
  shift
  CI=true go test -json "$@" >"$reports/$name.json" || failed=1
  /usr/bin/python3 - "$reports/$name" <<'PYTHON'
import collections
import json
import sys
import xml.etree.ElementTree as ElementTree

outputs, results = collections.defaultdict(str), {}
for line in open(sys.argv[1] + ".json"):
    if not line.startswith("{"):
        print(line, end="")
        continue
    event = json.loads(line)
    key = (event.get("Package") or event.get("ImportPath", ""), event.get("Test", ""))
    if "output" in event["Action"]:
        outputs[key] += event["Output"]
    elif event["Action"] in ("pass", "fail", "skip", "build-fail"):
        results[key] = (event["Action"], event.get("Elapsed", 0))
suite = ElementTree.Element("testsuite", name="go")
passed = 0
for (package, test), (result, seconds) in results.items():
    broken = "fail" in result
    if broken:
        print(outputs[package, test])
    if not test and not broken:
        continue
    case = ElementTree.SubElement(suite, "testcase", classname=package, name=test or "(builds)", time=str(seconds))
    if broken:
        said = "".join(c for c in outputs[package, test] if c.isprintable() or c == "\n")
        ElementTree.SubElement(case, "failure").text = said
    if result == "skip":
        ElementTree.SubElement(case, "skipped")
    passed += result == "pass"
ElementTree.ElementTree(suite).write(sys.argv[1] + ".xml", encoding="utf-8")
print(f"{passed} passed, {len(suite) - passed} failed or skipped")
PYTHON
}

step 'tests, with the race detector'
go_tests tests -race -timeout 5m ./...

step 'conformance'
go build -race -o "$GOBIN/conformance" ./conformance
cd "$root"
conformance go "$GOBIN/conformance"

step 'installed from its zip into an empty folder'
cd client/go
go run ./internal/release "$work/proxy"
stranger=$(mktemp -d)
trap 'merge_reports; chmod -R u+w "$stranger"; rm -rf "$stranger"' EXIT
mkdir "$stranger/app"
cd "$stranger/app"
# What it stands on comes from the cache, whose sums were checked above; a cache of its own, because what it caches of
# this module is soon another.
cached=$(go env GOMODCACHE)/cache/download
export GOFLAGS='' GOMODCACHE=$stranger/cache GOSUMDB=off GOPROXY=file://$work/proxy,file://$cached,$(go env GOPROXY)
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
go_tests installed .

exit "$failed"
