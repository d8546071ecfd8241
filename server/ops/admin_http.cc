#include "server/ops/admin_http.h"

#include <httplib.h>

#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace sessiond {
namespace {

constexpr char kText[] = "text/plain; charset=utf-8";
constexpr int kThreads = 2;           // One for Prometheus, one for probes.
constexpr int kIoTimeoutSeconds = 5;  // A peer that dawdles keeps a thread no longer than this.
constexpr int kBodyBytesMax = 1024;   // Nobody has anything to tell us.

void Answer(httplib::Response& response, bool ok, const std::string& text) {
  response.status = ok ? 200 : 503;
  response.set_content(text, kText);
}

void AnswerReadiness(const Readiness& readiness, bool verbose, httplib::Response& response) {
  const SteadyTime now = SteadyTime::Now();
  const bool ready = readiness.ready(now);
  std::string text;
  for (const Readiness::Check& check : readiness.Checks(now)) {
    if (verbose || !check.ok) {
      absl::StrAppend(&text, check.ok ? "[+] " : "[-] ", check.name, ": ", check.detail, "\n");
    }
  }
  absl::StrAppend(&text, ready ? "ready\n" : "not ready\n");
  Answer(response, ready, text);
}

}  // namespace

struct AdminHttp::Server {
  Options options;
  Address address;
  httplib::Server http;
  std::thread thread;
};

absl::StatusOr<std::unique_ptr<AdminHttp>> AdminHttp::Start(Options options) {
  auto server = std::make_unique<Server>();
  server->options = std::move(options);
  server->address = server->options.listen;
  httplib::Server& http = server->http;
  http.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  http.set_keep_alive_max_count(1);  // A kept connection would keep a thread.
  http.set_read_timeout(kIoTimeoutSeconds);
  http.set_write_timeout(kIoTimeoutSeconds);
  http.set_payload_max_length(kBodyBytesMax);
  // httplib's own default sets SO_REUSEPORT, with which two daemons would share a port.
  http.set_socket_options([](socket_t fd) {
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  });

  const Options& made = server->options;
  http.Get("/", [](const httplib::Request&, httplib::Response& response) {
    Answer(response, true, "sessiond " SESSIOND_VERSION "\n/livez\n/readyz?verbose\n/metrics\n");
  });
  http.Get("/livez", [](const httplib::Request&, httplib::Response& response) {
    Answer(response, true, "alive\n");
  });
  http.Get("/readyz", [&made](const httplib::Request& request, httplib::Response& response) {
    AnswerReadiness(*made.readiness, request.has_param("verbose"), response);
  });
  http.Get("/metrics", [&made](const httplib::Request&, httplib::Response& response) {
    response.set_content(made.metrics(), "text/plain; version=0.0.4; charset=utf-8");
  });

  Address& address = server->address;
  const bool bound = address.port != 0 ? http.bind_to_port(address.host, address.port)
                                       : (address.port = http.bind_to_any_port(address.host)) > 0;
  if (!bound)
    return absl::UnavailableError(absl::StrCat("cannot listen on ", ToString(made.listen)));
  server->thread = std::thread([&http] { http.listen_after_bind(); });
  while (!http.is_running()) std::this_thread::yield();  // Before that, stop() is without effect.
  return std::unique_ptr<AdminHttp>(new AdminHttp(std::move(server)));
}

AdminHttp::AdminHttp(std::unique_ptr<Server> server) : server_(std::move(server)) {}

AdminHttp::~AdminHttp() {
  server_->http.stop();
  server_->thread.join();
}

const Address& AdminHttp::address() const { return server_->address; }

}  // namespace sessiond
