#!/usr/bin/env bash
# The Go client: what is generated is what the protos bring; it builds, is vetted, passes its tests with the race
# detector and the conformance suite; and it can be installed from its zip into an empty folder.
#
#   tests/clients/go_test.sh [BUILD [REPORT]]
#
# BUILD is the folder the daemon was built in (build/release); REPORT is where to leave a report (JUnit XML). What is
# fetched has pinned versions and stays in build/clients/go. Exits with 77 where a toolchain is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
build=$(realpath -m "${1:-build/release}")
report=${2:+$(realpath -m "$2")}
work=$root/build/clients/go
export SESSIOND_BINARY=${SESSIOND_BINARY:-$build/server/sessiond}
export SESSIONCTL_BINARY=${SESSIONCTL_BINARY:-$build/client/sessionctl}
export GOFLAGS=-mod=readonly GOBIN=$work/bin
readonly staticcheck=honnef.co/go/tools/cmd/staticcheck@v0.8.2

skip() {
  echo "The go client is not tested: $1"
  exit 77
}
step() { printf '\n== %s\n' "$1"; }

command -v go >/dev/null || skip 'it takes Go 1.24 or later, which is not here.'
read -r major minor < <(go env GOVERSION | sed -E 's/^go([0-9]+)\.([0-9]+).*/\1 \2/')
[ "$major" -gt 1 ] || [ "$minor" -ge 24 ] || skip "it takes Go 1.24 or later; this is $(go env GOVERSION)."
command -v protoc >/dev/null || skip 'it takes protoc (package protobuf-compiler).'
if [ ! -x "$SESSIOND_BINARY" ]; then
  echo "There is no $SESSIOND_BINARY: build it, or name another in SESSIOND_BINARY."
  exit 1
fi

rm -rf "$work/reports" "$work/proxy"
mkdir -p "$work/reports" "$GOBIN"
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

failed=0
# go_tests NAME ARGUMENT…: `go test`, with a report. Nothing is skipped: what it takes is here.
go_tests() {
  local name=$1
  shift
  CI=true go test -json "$@" >"$work/reports/$name.json" || failed=1
  /usr/bin/python3 - "$work/reports/$name" <<'PYTHON'
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

if [ -x "$root/tests/conformance/run" ]; then
  step 'conformance'
  go build -race -o "$GOBIN/conformance" ./conformance
  "$root/tests/conformance/run" --junit "$work/reports/conformance.xml" "$GOBIN/conformance" || failed=1
fi

step 'installed from its zip into an empty folder'
go run ./internal/release "$work/proxy"
stranger=$(mktemp -d)
trap 'chmod -R u+w "$stranger"; rm -rf "$stranger"' EXIT
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

if [ -n "$report" ]; then
  /usr/bin/python3 - "$report" "$work"/reports/*.xml <<'PYTHON'
import sys
import xml.etree.ElementTree as ElementTree

merged = ElementTree.Element("testsuites")
for path in sys.argv[2:]:
    merged.append(ElementTree.parse(path).getroot())
ElementTree.ElementTree(merged).write(sys.argv[1], encoding="utf-8", xml_declaration=True)
PYTHON
fi
exit "$failed"
