#include "server/ops/admin_http.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <exception>
#include <list>
#include <string>
#include <thread>
#include <utility>  // Before Asio, whose coroutines use std::exchange without including it.

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/identity/certificate_identity.h"
#include "server/identity/server_context.h"

namespace sessiond {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;

using Request = http::request<http::empty_body>;
using Response = http::response<http::string_body>;

// More than probes and scrapers ever need, and very cheap to hold: a further connection replaces
// the oldest one.
constexpr std::size_t kConnectionsMax = 128;
constexpr std::uint32_t kHeadBytesMax = 8192;
// While there is no descriptor left for another connection.
constexpr std::chrono::milliseconds kAcceptPause{100};

// Awaits an operation, and stores its result in `error`.
auto Into(beast::error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

// Whether a query has a parameter of this name, with or without a value.
bool Has(absl::string_view query, absl::string_view name) {
  for (const absl::string_view pair : absl::StrSplit(query, '&')) {
    if (pair.substr(0, pair.find('=')) == name) return true;
  }
  return false;
}

std::string ReadinessPage(const Readiness& readiness, bool verbose, bool* ready) {
  const SteadyTime now = SteadyTime::Now();
  *ready = readiness.ready(now);
  std::string text;
  for (const Readiness::Check& check : readiness.Checks(now)) {
    if (verbose || !check.ok) {
      absl::StrAppend(&text, check.ok ? "[+] " : "[-] ", check.name, ": ", check.detail, "\n");
    }
  }
  absl::StrAppend(&text, *ready ? "ready\n" : "not ready\n");
  return text;
}

Response Text(http::status status, std::string text) {
  Response response(status, 11, std::move(text));
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  return response;
}

Response WhoAreYou() {
  Response refused = Text(http::status::unauthorized,
                          "This is for callers with a role: bring a token or a certificate.\n");
  refused.set(http::field::www_authenticate, "Bearer");
  return refused;
}

Response Answer(const AdminHttp::Options& options, const Request& request,
                const access::Credentials& credentials) {
  if (request.method() != http::verb::get && request.method() != http::verb::head) {
    Response refused =
        Text(http::status::method_not_allowed, "Nothing can be changed here: use GET.\n");
    refused.set(http::field::allow, "GET, HEAD");
    return refused;
  }
  const absl::string_view target(request.target().data(), request.target().size());
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(target, absl::MaxSplits('?', 1));
  const auto [path, query] = parts;
  if (path == "/")
    return Text(http::status::ok,
                "sessiond " SESSIOND_VERSION "\n/livez\n/readyz?verbose\n/metrics\n");
  if (path == "/livez") {
    if (options.readiness->alive(SteadyTime::Now())) return Text(http::status::ok, "alive\n");
    return Text(http::status::service_unavailable,
                "not alive: it has stopped going round, or answering on its own port; "
                "/readyz?verbose says more, and a restart helps\n");
  }
  if (path == "/readyz") {
    const bool verbose = Has(query, "verbose");
    const bool may_look = options.may_look(credentials);
    if (verbose && !may_look) return WhoAreYou();
    bool ready = false;
    std::string page = ReadinessPage(*options.readiness, verbose, &ready);
    if (!may_look) page = ready ? "ready\n" : "not ready\n";
    return Text(ready ? http::status::ok : http::status::service_unavailable, std::move(page));
  }
  if (path == "/metrics") {
    if (!options.open_metrics() && !options.may_look(credentials)) return WhoAreYou();
    Response scraped = Text(http::status::ok, options.metrics());
    scraped.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
    return scraped;
  }
  return Text(http::status::not_found, "There is nothing here. See /\n");
}

// With the values of its headers.
access::Credentials CredentialsOf(const Request& request, const X509* certificate) {
  access::Credentials credentials;
  if (certificate != nullptr) credentials.certificate = identity::CertificateIdentity(*certificate);
  const auto [begin, end] = request.equal_range(http::field::authorization);
  for (auto each = begin; each != end; ++each)
    credentials.authorization.emplace_back(each->value().data(), each->value().size());
  return credentials;
}

// A context for handshakes, made of what is served at this moment.
std::shared_ptr<asio::ssl::context> ContextOf(const identity::TlsMaterial& material) {
  const auto client_auth = material.client_ca_pem.empty() ? identity::ClientAuth::kNone
                                                          : identity::ClientAuth::kOptional;
  auto context = identity::NewServerContext(material, client_auth);
  if (!context.ok()) return nullptr;
  return std::make_shared<asio::ssl::context>(context->release());
}

// Whether a peer has sent something that is no request, or is too large.
bool IsUnreadable(const beast::error_code& error) {
  return error.category() == http::make_error_code(http::error::bad_method).category() &&
         error != http::error::end_of_stream && error != http::error::partial_message;
}

Response AnswerUnreadable(const beast::error_code& error) {
  if (error == http::error::header_limit) {
    return Text(http::status::request_header_fields_too_large,
                "This is more than anybody has to say here.\n");
  }
  return Text(http::status::bad_request, "This is no HTTP/1 request.\n");
}

}  // namespace

// One thread serves all peers, each in a coroutine, and each gets one response.
class AdminHttp::Server {
 public:
  explicit Server(Options options) : options_(std::move(options)) {}

  ~Server() {
    context_.stop();
    if (thread_.joinable()) thread_.join();
  }

  absl::Status Start() {
    const auto failed = [this](const beast::error_code& why) {
      return absl::UnavailableError(
          absl::StrCat("cannot listen on ", ToString(options_.listen), ": ", why.message()));
    };
    beast::error_code error;
    const auto found = tcp::resolver(context_).resolve(
        options_.listen.host, absl::StrCat(options_.listen.port), tcp::resolver::passive, error);
    if (error) return failed(error);
    const tcp::endpoint endpoint = *found.begin();
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.set_option(tcp::acceptor::reuse_address(true), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(tcp::acceptor::max_listen_connections, error);
    if (error) return failed(error);
    options_.listen.port = acceptor_.local_endpoint().port();
    asio::co_spawn(context_, Accept(), asio::detached);
    thread_ = std::thread([this] { context_.run(); });
    return absl::OkStatus();
  }

  const Address& address() const { return options_.listen; }

 private:
  asio::awaitable<void> Accept() {
    for (;;) {
      beast::error_code error;
      tcp::socket socket = co_await acceptor_.async_accept(Into(error));
      if (error) {
        asio::steady_timer pause(context_, kAcceptPause);
        co_await pause.async_wait(Into(error));
        continue;
      }
      if (peers_.size() >= kConnectionsMax) {
        peers_.front()->close();
        peers_.pop_front();
      }
      asio::co_spawn(context_, Serve(std::move(socket)), asio::detached);
    }
  }

  asio::awaitable<void> Serve(tcp::socket socket) {
    if (options_.tls == nullptr) {
      beast::tcp_stream stream(std::move(socket));
      co_await Answer(stream, stream);
      co_return;
    }
    try {
      const std::shared_ptr<asio::ssl::context> context = TlsContext();
      if (context == nullptr) co_return;
      beast::ssl_stream<beast::tcp_stream> stream(std::move(socket), *context);
      co_await Answer(stream, beast::get_lowest_layer(stream));
    } catch (const std::exception&) {
      // Out of memory: there is not even a handshake.
    }
  }

  // `connection`: what is below the stream, or the stream itself.
  template <class Stream>
  asio::awaitable<void> Answer(Stream& stream, beast::tcp_stream& connection) {
    peers_.push_back(&connection);
    try {
      // For the whole exchange, whatever the peer does in the meantime.
      connection.expires_after(options_.time_max);
      if (co_await ShakeHands(stream)) co_await AnswerOnce(stream, connection);
    } catch (const std::exception&) {
      // Out of memory, for example: this peer gets no response.
    }
    peers_.remove(&connection);
  }

  static asio::awaitable<bool> ShakeHands(beast::tcp_stream&) { co_return true; }
  static asio::awaitable<bool> ShakeHands(beast::ssl_stream<beast::tcp_stream>& stream) {
    beast::error_code error;
    co_await stream.async_handshake(asio::ssl::stream_base::server, Into(error));
    co_return !error;
  }

  static X509* CertificateOf(beast::tcp_stream&) { return nullptr; }
  static X509* CertificateOf(beast::ssl_stream<beast::tcp_stream>& stream) {
    return SSL_get0_peer_certificate(stream.native_handle());
  }

  template <class Stream>
  asio::awaitable<void> AnswerOnce(Stream& stream, beast::tcp_stream& connection) {
    beast::error_code error;
    beast::flat_buffer buffer;
    http::request_parser<http::empty_body> parser;
    parser.header_limit(kHeadBytesMax);
    co_await http::async_read_header(stream, buffer, parser, Into(error));
    if (error && !IsUnreadable(error)) co_return;  // It has gone, or was too slow.

    Response response = error
                            ? AnswerUnreadable(error)
                            : sessiond::Answer(options_, parser.get(),
                                               CredentialsOf(parser.get(), CertificateOf(stream)));
    response.keep_alive(false);
    response.prepare_payload();
    http::response_serializer<http::string_body> serializer(response);
    co_await http::async_write_header(stream, serializer, Into(error));
    if (!error && parser.get().method() != http::verb::head)
      co_await http::async_write(stream, serializer, Into(error));
    if (error) co_return;
    // Waits until the peer has closed, too, so that the response is not lost on its way.
    connection.socket().shutdown(tcp::socket::shutdown_send, error);
    for (char rest[4096]; !error;)
      co_await connection.async_read_some(asio::buffer(rest), Into(error));
  }

  // Of what is served at this moment: made anew only when that has changed.
  std::shared_ptr<asio::ssl::context> TlsContext() {
    const std::shared_ptr<const identity::TlsMaterial> material = options_.tls->Get();
    if (material != served_) {
      context_of_served_ = ContextOf(*material);
      served_ = material;
    }
    return context_of_served_;
  }

  Options options_;
  asio::io_context context_{1};

  // Only for its thread.
  tcp::acceptor acceptor_{context_};
  // Oldest first.
  std::list<beast::tcp_stream*> peers_;
  std::shared_ptr<const identity::TlsMaterial> served_;
  std::shared_ptr<asio::ssl::context> context_of_served_;

  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<AdminHttp>> AdminHttp::Start(Options options) {
  auto server = std::make_unique<Server>(std::move(options));
  if (absl::Status status = server->Start(); !status.ok()) return status;
  return std::unique_ptr<AdminHttp>(new AdminHttp(std::move(server)));
}

AdminHttp::AdminHttp(std::unique_ptr<Server> server) : server_(std::move(server)) {}

AdminHttp::~AdminHttp() = default;

const Address& AdminHttp::address() const { return server_->address(); }

}  // namespace sessiond
