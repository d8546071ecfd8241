// A daemon for the tests of a program that uses sessiond; link sessiond::testing:
//
//   auto server = sessiond::TestServer::Start();
//   ASSERT_TRUE(server.ok()) << server.status();
//   auto client = sessiond::Client::Connect({.server = (*server)->address()});
//
// It has a PostgreSQL of its own and throws its data away. Starting one takes seconds: share it
// among tests, each in sessions and namespaces of its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace sessiond {

struct TestServerOptions {
  // The program. Empty: the variable SESSIOND_BINARY; without that, `sessiond` on the PATH.
  std::string binary = {};
  // Added to `sessiond serve --ephemeral`.
  std::vector<std::string> arguments = {};
  absl::Duration start_timeout = absl::Minutes(1);
};

class TestServer {
 public:
  // Waits until it is ready. NOT_FOUND: there is no such program. FAILED_PRECONDITION: it ended
  // before it was ready. DEADLINE_EXCEEDED: it was not ready in time. Both with the end of its log.
  static absl::StatusOr<std::unique_ptr<TestServer>> Start(TestServerOptions options = {});
  // Ends it, and waits for its end. It also ends with the process that started it.
  ~TestServer();
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;

  // Where it listens: HOST:PORT.
  const std::string& address() const;
  // Where /readyz and /metrics are: HOST:PORT.
  const std::string& http_address() const;
  // The end of what it has logged.
  std::string log() const;

 private:
  class Process;
  explicit TestServer(std::unique_ptr<Process> process);

  const std::unique_ptr<Process> process_;
};

}  // namespace sessiond
