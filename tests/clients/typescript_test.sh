#!/usr/bin/env bash
# The TypeScript client: the package is built, its types checked, its tests run, one of them in a Chromium; then it is
# installed into an empty folder, where the documentation's examples are run.
. "$(dirname "$0")/lib.sh"

source=$work/source
installed=$work/installed
node -e 'process.exitCode = parseInt(process.versions.node) < 20 ? 1 : 0' 2>/dev/null || skip 'it takes node 20 or newer.'
command -v npm >/dev/null || skip 'it takes npm.'

# A lock file that names a registry is of use where that one is reached only.
if grep -n '"resolved"' client/typescript/package-lock.json; then
  echo 'package-lock.json says where packages come from. Make it with npm install --omit-lockfile-registry-resolved.'
  exit 1
fi
version=$(sed -n 's/^project(sessiond VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
grep -qF "\"version\": \"$version\"" client/typescript/package.json ||
  { echo "package.json has another version than CMakeLists.txt, which says $version."; exit 1; }

# From a copy: the tree stays clean. What was fetched stays; everything else is made anew.
mkdir -p "$source"
find "$source" -mindepth 1 -maxdepth 1 ! -name node_modules -exec rm -rf {} +
tar -C client/typescript --exclude=./{node_modules,build,dist,src/gen} -c . | tar -C "$source" -x
if [ -f LICENSE ]; then cp LICENSE "$source"; fi
cd "$source"
if ! cmp -s package-lock.json "$work/fetched.json"; then
  npm ci --silent --no-audit --no-fund || skip 'its tools cannot be fetched.'
  cp package-lock.json "$work/fetched.json"
fi

ROOT=$root npm run --silent generate
npm run --silent format
export NODE_OPTIONS="--test-reporter=spec --test-reporter-destination=stdout --test-reporter=junit \
  --test-reporter-destination=$reports/node.xml"
tests npm test --silent # Builds and checks types, too.
unset NODE_OPTIONS

rm -rf "$installed"
mkdir "$installed"
npm pack --silent --pack-destination "$installed"
(cd "$installed" && npm install --silent --no-audit --no-fund --prefer-offline ./*.tgz)
node scripts/run_examples.mjs "$installed" node_modules/.bin/tsc README.md "$root/docs/clients/typescript.md"

cd "$root"
conformance typescript node "$source/build/conformance/adapter.js"
exit "$failed"
