#!/usr/bin/env bash
# The TypeScript client: builds the package, checks its types, runs its tests and the conformance suite, installs what
# was built into an empty folder and runs the documentation's examples there.
#
#   tests/clients/typescript_test.sh [CMAKE BUILD]     BUILD has the daemon; build/release unless said otherwise
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
build=${2:-$root/build/release}
export SESSIOND_BINARY=${SESSIOND_BINARY:-$build/server/sessiond}
export SESSIONCTL_BINARY=${SESSIONCTL_BINARY:-$build/client/sessionctl}
conformance=${CONFORMANCE:-$root/tests/conformance/run}
work=$root/build/clients/typescript
installed=$root/build/clients/typescript-installed

skip() {
  echo "$1"
  exit 77
}
node -e 'process.exitCode = parseInt(process.versions.node) < 20 ? 1 : 0' 2>/dev/null ||
  skip 'node 20 or newer is not here.'
command -v npm >/dev/null || skip 'npm is not here.'
[ -x "$SESSIOND_BINARY" ] || skip "The daemon is not here: $SESSIOND_BINARY. Build it, or set SESSIOND_BINARY."

# A lock file that names a registry works at its writer's only.
if grep -n '"resolved"' client/typescript/package-lock.json; then
  echo 'package-lock.json names where packages come from. Make it with npm install --omit-lockfile-registry-resolved.'
  exit 1
fi
version=$(sed -n 's/^project(sessiond VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
grep -qF "\"version\": \"$version\"" client/typescript/package.json ||
  { echo "package.json has another version than CMakeLists.txt, which says $version."; exit 1; }

# What was downloaded stays; everything else is made anew.
mkdir -p "$work"
find "$work" -mindepth 1 -maxdepth 1 ! -name node_modules ! -name installed.json -exec rm -rf {} +
(cd client/typescript && git ls-files -coz --exclude-standard . 2>/dev/null | xargs -0 cp --parents -t "$work") ||
  cp -r client/typescript/. "$work"
if [ -f LICENSE ]; then cp LICENSE "$work"; fi
cd "$work"
if ! cmp -s package-lock.json installed.json; then
  npm ci --no-audit --no-fund || skip 'Packages that the build needs cannot be fetched.'
  cp package-lock.json installed.json
fi

ROOT=$root npm run --silent generate
npm run --silent format
npm run --silent build
npm test --silent

rm -rf "$installed"
mkdir "$installed"
npm pack --silent --pack-destination "$installed"
(cd "$installed" && npm install --silent --no-audit --no-fund --prefer-offline ./*.tgz)
node scripts/run_examples.mjs "$installed" node_modules/.bin/tsc README.md "$root/docs/clients/typescript.md"

"$conformance" --junit "$work/conformance.xml" node "$work/build/conformance/adapter.js"
