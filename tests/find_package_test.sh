#!/usr/bin/env bash
# Another CMake project finds the installed client with find_package(sessiond), and builds against it. What it builds is
# docs/clients/cpp.md: the page's CMakeLists.txt, its first example, and the blocks behind that as one program. Both run
# against a daemon of sessiond::testing.
#
#   tests/find_package_test.sh CMAKE BUILD_DIR
set -euo pipefail
cmake=${1:?the cmake to use} build=$(realpath "${2:?the build directory to install from}")
page=$(dirname "$0")/../docs/clients/cpp.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"

"$cmake" --install "$build" --component client --prefix "$work/prefix" >"$work/install.log"
for file in share/sessiond/sessiond.protoset share/sessiond/proto/{sessiond/v1/session_service.proto,service_config.json,README.md}; do
  [ -s "$work/prefix/$file" ] || { echo "not installed: $file"; exit 1; }
done

# block LANGUAGE N: the page's N-th block of a language.
block() {
  awk -v fence="\`\`\`$1" -v wanted="$2" '
    $0 == fence { inside = ++seen; next }
    /^```$/ { inside = 0 }
    inside == wanted' "$page"
}
blocks=$(grep -c '^```cpp$' "$page")
[ "$blocks" -gt 2 ] || { echo "$page has no blocks."; exit 1; }

block cpp 1 >"$work/example.cc"
for ((n = 2; n <= blocks; n++)); do block cpp "$n"; done >"$work/blocks"
{
  printf '#include <iostream>\n\n'
  grep '^#include' "$work/blocks"
  # Aliases of namespaces stand in a function too.
  printf '\nabsl::Status Page() {\n'
  grep -v '^#include' "$work/blocks"
  printf '}\n\nint main() {\n  const absl::Status status = Page();\n  if (!status.ok()) std::cerr << status << "\\n";\n'
  printf '  return status.ok() ? 0 : 1;\n}\n'
} >"$work/page.cc"

# Where nobody listens; that google.rpc is linked once; and a daemon for the others.
cat >"$work/other.cc" <<'CPP'
#include <cstdlib>
#include <iostream>

#include "sessiond/client.h"
#include "sessiond/credentials.h"
#include "sessiond/test_server.h"

int main(int, char** programs) {
  const auto channel = sessiond::MakeChannel("unix:/nonexistent/sessiond.sock", {.token = "t"});
  if (!channel.ok()) return 1;
  sessiond::SessionClient client(*channel, {.timeout = absl::Milliseconds(100)});
  const auto session = client.CreateSession({});
  google::rpc::ErrorInfo info;
  info.set_reason(sessiond::v1::ErrorReason_Name(sessiond::GetReason(session.status())));
  std::cout << absl::StatusCodeToString(session.status().code()) << " " << info.reason() << std::endl;

  const auto none = sessiond::TestServer::Start({.binary = "/nonexistent/sessiond"});
  std::cout << absl::StatusCodeToString(none.status().code()) << std::endl;
  const auto wrong = sessiond::TestServer::Start({.arguments = {"--no-such-option"}});
  std::cout << absl::StatusCodeToString(wrong.status().code()) << std::endl;
  const auto server = sessiond::TestServer::Start();
  if (!server.ok()) {
    std::cerr << server.status() << "\n";
    return 1;
  }
  const std::string& http = (*server)->http_address();
  std::cout << "HTTP at 127.0.0.1: " << (http.rfind("127.0.0.1:", 0) == 0) << std::endl;
  setenv("SESSIOND_SERVER", (*server)->address().c_str(), 1);
  while (*++programs != nullptr) {
    std::cout << "== " << std::flush;
    if (std::system(*programs) != 0) return 1;
  }
}
CPP

# What the page names, and the other programs beside it; warnings are errors, as readers have them.
{
  block cmake 1
  cat <<'CMAKE'
target_compile_options(example PRIVATE -Wall -Wextra -Werror)
add_executable(page page.cc)
target_compile_options(page PRIVATE -Wall -Wextra -Werror)
target_link_libraries(page PRIVATE sessiond::client sessiond::testing)
add_executable(other other.cc)
target_link_libraries(other PRIVATE sessiond::client sessiond::testing)
CMAKE
} >"$work/CMakeLists.txt"

"$cmake" -G Ninja -S "$work" -B "$work/build" -DCMAKE_PREFIX_PATH="$work/prefix" >"$work/configure.log" 2>&1 ||
  { cat "$work/configure.log"; exit 1; }
"$cmake" --build "$work/build" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
export SESSIOND_BINARY=$build/server/sessiond
[ -x "$SESSIOND_BINARY" ] || { echo "There is no $SESSIOND_BINARY."; exit 1; }
(cd "$work" && build/other build/example build/page) | tee "$work/said"
{
  printf 'UNAVAILABLE ERROR_REASON_UNSPECIFIED\nNOT_FOUND\nFAILED_PRECONDITION\nHTTP at 127.0.0.1: 1\n== '
  block text 1
} >"$work/expected"
# The example says what the page says it does; the page's other blocks, that they were run.
diff "$work/expected" <(head -n "$(wc -l <"$work/expected")" "$work/said")
grep -q '^== Berlin, 2 tickets$' "$work/said"
grep -q '^failed: no rows$' "$work/said"
