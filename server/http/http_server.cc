#include "server/http/http_server.h"

#include <algorithm>
#include <exception>
#include <list>
#include <map>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "server/http/asio.h"
#include "server/http/connect_call.h"
#include "server/identity/server_context.h"
#include "server/ops/rate_limited_warning.h"

namespace sessiond::http {
namespace {

// While there is no descriptor left for another connection.
constexpr std::chrono::milliseconds kAcceptPause{100};
// How often it is looked for peers that have gone while their calls run.
constexpr std::chrono::seconds kDeparturePeriod{1};

// A context for handshakes, made of what is served at this moment.
std::shared_ptr<asio::ssl::context> ContextOf(const identity::TlsMaterial& material) {
  const auto client_auth = material.client_ca_pem.empty() ? identity::ClientAuth::kNone
                                                          : identity::ClientAuth::kOptional;
  auto context = identity::NewServerContext(material, client_auth);
  if (!context.ok()) return nullptr;
  return std::make_shared<asio::ssl::context>(context->release());
}

}  // namespace

// One thread serves all peers, each in a coroutine.
class HttpServer::Server {
 public:
  explicit Server(Options options) : options_(std::move(options)), budget_(options_.bytes_max) {}

  ~Server() {
    if (thread_.joinable()) {
      absl::Notification ended;
      asio::co_spawn(context_, EndConnections(ended), asio::detached);
      ended.WaitForNotification();
      asio::post(context_, [this] { stopping_ = true; });
      EndCalls();
      context_.stop();
      thread_.join();
    }
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
    asio::co_spawn(context_, LookForDepartures(), asio::detached);
    thread_ = std::thread([this] { context_.run(); });
    return absl::OkStatus();
  }

  void EndCalls() {
    asio::co_spawn(context_, CutCalls(), asio::detached);
    const absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](int* calls) { return *calls == 0; }, &calls_));
  }

  const Address& address() const { return options_.listen; }

 private:
  using Peers = std::list<std::shared_ptr<Peer>>;

  // Counts a call, for EndCalls.
  class Running {
   public:
    explicit Running(Server& server) : server_(server) { Add(1); }
    ~Running() { Add(-1); }
    Running(const Running&) = delete;

   private:
    void Add(int calls) {
      const absl::MutexLock lock(&server_.mutex_);
      server_.calls_ += calls;
    }
    Server& server_;
  };

  asio::awaitable<void> Accept() {
    for (;;) {
      beast::error_code error;
      tcp::socket socket = co_await acceptor_.async_accept(Into(error));
      if (!error) {
        Welcome(std::move(socket));
      } else if (acceptor_.is_open()) {
        asio::steady_timer pause(context_, kAcceptPause);
        co_await pause.async_wait(Into(error));
      }
      if (!acceptor_.is_open()) co_return;
    }
  }

  void Welcome(tcp::socket socket) {
    if (!Fits(socket)) return;
    beast::error_code error;
    socket.set_option(tcp::no_delay(true), error);
    asio::co_spawn(context_, Serve(std::move(socket)), asio::detached);
  }

  // Until no call runs: cuts the connections that have one, and those whose answer is not taken in
  // time.
  asio::awaitable<void> CutCalls() {
    std::map<std::shared_ptr<Peer>, int> answered;  // And with which request.
    for (asio::steady_timer timer(context_); AnyCalls();) {
      // What a cut leads to may remove the peer from the list.
      for (const auto& peer : Peers(peers_)) {
        const auto before = answered.find(peer);
        const bool still = before != answered.end() && before->second == peer->requests();
        if (peer->has_call() || (still && !peer->idle())) peer->Cut();
      }
      answered.clear();
      for (const auto& peer : peers_) {
        if (!peer->idle()) answered.emplace(peer, peer->requests());
      }
      beast::error_code cancelled;
      timer.expires_after(options_.times.last);
      co_await timer.async_wait(Into(cancelled));
    }
  }

  bool AnyCalls() {
    const absl::MutexLock lock(&mutex_);
    return calls_ > 0;
  }

  // Takes no connection any more, answers the requests that are on their way, and closes the rest.
  asio::awaitable<void> EndConnections(absl::Notification& ended) {
    const absl::Cleanup tell = [&ended] { ended.Notify(); };
    ending_ = true;
    // Who waits in the listener's queue has been promised an answer by the kernel.
    beast::error_code error;
    acceptor_.non_blocking(true, error);
    for (std::size_t i = 0; i < options_.connections_max && !error; ++i) {
      tcp::socket socket = acceptor_.accept(error);
      if (error) break;
      Welcome(std::move(socket));
      co_await OthersTurn();
    }
    acceptor_.close(error);
    co_await OthersTurn();
    for (const auto& peer : Peers(peers_)) peer->Finish();
    last_peer_left_.expires_after(options_.times.last);
    if (!peers_.empty()) co_await last_peer_left_.async_wait(Into(error));
  }

  // That of a connection that was accepted just before, and then of the coroutine that serves it.
  asio::awaitable<void> OthersTurn() {
    for (int turns = 0; turns < 2; ++turns) co_await asio::post(context_, asio::use_awaitable);
  }

  // Makes room if there is none. False: all that there may be have a request.
  bool Fits(const tcp::socket& socket) {
    const std::string address = AddressOf(socket);
    const auto of_address = [&address](const Peer& peer) { return peer.address() == address; };
    const auto has = std::count_if(peers_.begin(), peers_.end(),
                                   [&of_address](const auto& peer) { return of_address(*peer); });
    const std::size_t most = options_.connections_per_address_max;
    if (static_cast<std::size_t>(has) >= most && !MakeRoom(of_address)) {
      if (options_.metrics != nullptr)
        options_.metrics->ConnectionRefused(RefusedConnection::kTooManyOfAddress);
      beast::error_code gone;
      const std::string who = socket.remote_endpoint(gone).address().to_string();
      per_address_warning_.WarnOfRefusal(
          "http", "connections are refused: there are too many from one address",
          absl::StrCat(who, " has ", most, " (--connections-per-address-max)"));
      return false;
    }
    return peers_.size() < options_.connections_max || MakeRoom([](const Peer&) { return true; });
  }

  // Cuts the oldest of `these` that is idle. False: there is none.
  template <class These>
  bool MakeRoom(These these) {
    const auto idle = std::find_if(peers_.begin(), peers_.end(), [&these](const auto& peer) {
      return peer->idle() && these(*peer);
    });
    if (idle == peers_.end()) return false;
    (*idle)->Cut();
    peers_.erase(idle);
    return true;
  }

  asio::awaitable<void> Serve(tcp::socket socket) {
    try {
      if (options_.tls == nullptr) {
        auto connection = std::make_shared<Connection<beast::tcp_stream>>(context_, options_.times,
                                                                          std::move(socket));
        co_await Run(std::move(connection));
        co_return;
      }
      const std::shared_ptr<asio::ssl::context> context = TlsContext();
      if (context == nullptr) co_return;
      auto connection =
          std::make_shared<Connection<Tls>>(context_, options_.times, std::move(socket), *context);
      co_await Run(std::move(connection));
    } catch (const std::exception&) {
      // Out of memory, for example: this peer gets no response.
    }
  }

  template <class Stream>
  asio::awaitable<void> Run(std::shared_ptr<Connection<Stream>> connection) {
    connection->mark = [this](const Exchange& exchange, Response& response) {
      options_.cors.Mark(exchange, response);
    };
    peers_.push_back(connection);
    if (ending_) connection->Finish();
    std::exception_ptr failed;
    try {
      typename Connection<Stream>::Handler route = [this](Exchange& exchange) {
        return Route(exchange);
      };
      co_await connection->Serve(std::move(route));
    } catch (...) {
      failed = std::current_exception();
    }
    peers_.remove(connection);
    if (peers_.empty()) last_peer_left_.cancel();
    if (failed != nullptr) std::rethrow_exception(failed);
  }

  asio::awaitable<void> Route(Exchange& exchange) {
    if (stopping_) co_return;
    const bool is_call = options_.dispatcher != nullptr && IsCallPath(exchange.target().first);
    if (!is_call) {
      Response response = options_.probes.Answer(exchange);
      // Peers that do not read it are many, too.
      const rpc::ByteBudget::Share held = budget_.Take(response.body().size());
      if (!held) response = TextResponse(503, "Too many are being answered: try again.\n");
      response.keep_alive(false);
      co_await exchange.Respond(std::move(response));
    } else if (exchange.head().method() == beast::http::verb::options) {
      Response response = options_.cors.Preflight(exchange);
      co_await exchange.Respond(std::move(response));
    } else if (!options_.cors.Allows(exchange)) {
      Response response = Cors::Refusal();
      co_await exchange.Respond(std::move(response));
    } else if (ManyCalls()) {
      Response response = TextResponse(503, "Too many calls are under way: try again.\n");
      response.set(beast::http::field::retry_after, "1");
      co_await exchange.Respond(std::move(response));
    } else {
      const Running running(*this);
      CallHost host{*options_.dispatcher, budget_, converter_};
      co_await ServeCall(exchange, host);
    }
  }

  // Calls may last, as watches do, and probes need connections too.
  bool ManyCalls() {
    constexpr std::size_t kForProbes = 64;
    const std::size_t calls_max =
        options_.connections_max - std::min(kForProbes, options_.connections_max / 16);
    const absl::MutexLock lock(&mutex_);
    return static_cast<std::size_t>(calls_) >= calls_max;
  }

  asio::awaitable<void> LookForDepartures() {
    for (asio::steady_timer timer(context_);;) {
      timer.expires_after(kDeparturePeriod);
      beast::error_code cancelled;
      co_await timer.async_wait(Into(cancelled));
      // What one that has gone leads to may remove it from the list.
      const Peers peers = peers_;
      for (const auto& peer : peers) {
        if (!peer->idle()) peer->CheckDeparture();
      }
    }
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
  // Of the calls that run. Here, so that it outlives their coroutines, which the context destroys.
  absl::Mutex mutex_;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  rpc::ByteBudget budget_;

  asio::io_context context_{1};
  // Has nothing to do when the calls have ended.
  asio::thread_pool converter_{1};

  // Only for its thread.
  // Every connection ends with its next answer.
  bool ending_ = false;
  asio::steady_timer last_peer_left_{context_};
  // No call may begin any more: nobody would wait for its end.
  bool stopping_ = false;
  tcp::acceptor acceptor_{context_};
  // Oldest first.
  Peers peers_;
  RateLimitedWarning per_address_warning_;
  std::shared_ptr<const identity::TlsMaterial> served_;
  std::shared_ptr<asio::ssl::context> context_of_served_;

  std::thread thread_;
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(Options options) {
  auto server = std::make_unique<Server>(std::move(options));
  if (absl::Status status = server->Start(); !status.ok()) return status;
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(server)));
}

HttpServer::HttpServer(std::unique_ptr<Server> server) : server_(std::move(server)) {}

HttpServer::~HttpServer() = default;

void HttpServer::EndCalls() { server_->EndCalls(); }

const Address& HttpServer::address() const { return server_->address(); }

}  // namespace sessiond::http
