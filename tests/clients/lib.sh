# What the tests of the clients share. Sourced by tests/clients/LANGUAGE_test.sh, which ./deploy/test runs as
#
#   tests/clients/LANGUAGE_test.sh [BUILD [REPORT]]
#
# with the folder the daemon was built in (build/release), and where to leave a report (JUnit XML). A script builds its
# package from the tree, runs the package's own tests, and plays the conformance suite. What it fetches has pinned
# versions; programs stay in $work, modules in the language's own cache.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit
root=$PWD
language=$(basename "$0" _test.sh)
build=$(realpath -m "${1:-build/release}")
report=${2:+$(realpath -m "$2")}
work=$root/build/clients/$language
reports=$work/reports
mkdir -p "$work"
rm -rf "$reports"
mkdir -p "$reports"

export SESSIOND_BINARY=${SESSIOND_BINARY:-$build/server/sessiond}
export SESSIONCTL_BINARY=${SESSIONCTL_BINARY:-$build/client/sessionctl}

# However it ends, the reports there are become one.
trap 'merge_reports' EXIT

merge_reports() {
  [ -n "$report" ] || return 0
  /usr/bin/python3 - "$report" "$reports"/*.xml <<'PYTHON'
import pathlib
import sys
import xml.etree.ElementTree as ElementTree

merged = ElementTree.Element("testsuites")
for path in map(pathlib.Path, sys.argv[2:]):
    if path.exists():
        merged.append(ElementTree.parse(path).getroot())
if len(merged):
    ElementTree.ElementTree(merged).write(sys.argv[1], encoding="utf-8", xml_declaration=True)
PYTHON
}

# skip WHY: a toolchain is missing. ./deploy/test counts that as skipped, and with CI=true as failed.
skip() {
  echo "The $language client is not tested: $1"
  exit 77
}

# conformance NAME ADAPTER…: plays the suite; its report is NAME's. Goes on when scenarios fail, and says so at the end.
failed=0
conformance() {
  local name=$1
  shift
  tests/conformance/run --junit "$reports/conformance-$name.xml" "$@" || failed=1
}

# tests COMMAND…: runs tests that leave a report of their own in $reports.
tests() {
  "$@" || failed=1
}
