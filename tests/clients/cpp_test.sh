#!/usr/bin/env bash
# The C++ client: its adapter plays the conformance suite, and the suite notices defects through it. Its own tests are
# part of the build's (sessiond_client_test); tests/find_package_test.sh installs it, and runs what its page shows.
. "$(dirname "$0")/lib.sh"

adapter=$build/client/cpp/cpp_conformance
if [ ! -x "$adapter" ]; then
  echo "There is no $adapter: build it (cmake --build $build --target cpp_conformance)."
  exit 1
fi
conformance cpp "$adapter"
tests tests/conformance/self_test "$adapter"
exit "$failed"
