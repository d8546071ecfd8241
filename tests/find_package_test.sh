#!/usr/bin/env bash
# Another CMake project finds the installed client with find_package(sessiond), builds against it, and runs.
#
#   tests/find_package_test.sh CMAKE BUILD_DIR
set -euo pipefail
cmake=${1:?the cmake to use} build=${2:?the build directory to install from}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$cmake" --install "$build" --component client --prefix "$work/prefix" >"$work/install.log"
for file in share/sessiond/sessiond.protoset share/sessiond/proto/{sessiond/v1/session_service.proto,service_config.json,README.md}; do
  [ -s "$work/prefix/$file" ] || { echo "not installed: $file"; exit 1; }
done

cat >"$work/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(other LANGUAGES CXX)
find_package(sessiond 0.1 REQUIRED)
add_executable(other other.cc)
target_link_libraries(other PRIVATE sessiond::client)
CMAKE

# Nobody listens where it calls: what is tried here is that everything links, and that google.rpc is there once.
cat >"$work/other.cc" <<'CPP'
#include <iostream>

#include "sessiond/client.h"
#include "sessiond/credentials.h"

int main() {
  const auto channel = sessiond::MakeChannel("unix:/nonexistent/sessiond.sock", {.token = "t"});
  if (!channel.ok()) return 1;
  sessiond::SessionClient client(*channel, {.timeout = absl::Milliseconds(100)});
  const auto session = client.CreateSession({});
  google::rpc::ErrorInfo info;
  info.set_reason(sessiond::v1::ErrorReason_Name(sessiond::GetReason(session.status())));
  std::cout << absl::StatusCodeToString(session.status().code()) << " " << info.reason() << "\n";
}
CPP

"$cmake" -G Ninja -S "$work" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/configure.log" 2>&1 ||
  { cat "$work/configure.log"; exit 1; }
"$cmake" --build "$work/build" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
answer=$("$work/build/other")
echo "$answer"
[ "$answer" = 'UNAVAILABLE ERROR_REASON_UNSPECIFIED' ]
