// A server that goes down under load: what its callers are told, and how long it takes.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "db/base/steady_time.h"
#include "server/rpc/server.h"
#include "server/rpc/worker.h"
#include "sessiond/v1/session_service.grpc.pb.h"

namespace sessiond::rpc {
namespace {

// More than anything here takes, on a machine that has other things to do.
constexpr absl::Duration kPatience = absl::Seconds(20);

class FakeService {
 public:
  using Watch = Stream<v1::WatchSessionsRequest, v1::WatchSessionsResponse>;

  Awaitable<absl::StatusOr<v1::Session>> GetSession(CallInfo, v1::GetSessionRequest) {
    co_await lane_.Enter();
    v1::Session session;
    session.set_owner_id(std::string(500, 'x'));
    co_return session;
  }

  Awaitable<absl::Status> WatchSessions(CallInfo, Watch& stream) {
    v1::WatchSessionsResponse response;
    response.set_resume_token(std::string(100'000, 'x'));
    while (!stream.over() && !stream.draining() && co_await stream.Write(response)) continue;
    co_return absl::OkStatus();
  }

 private:
  // Resumes who waits on a thread of its own, as a lane does.
  Worker lane_;
};

// Calls the server from many places until it is told to stop, and counts what it is told.
class Callers {
 public:
  explicit Callers(std::string target) : target_(std::move(target)) {
    for (int i = 0; i < 8; ++i) threads_.emplace_back([this] { Call(); });
  }
  ~Callers() {
    done_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

  void AwaitAnswers(int answers) {
    std::unique_lock<std::mutex> lock(mutex_);
    const int wanted = codes_[grpc::StatusCode::OK] + answers;
    ASSERT_TRUE(WaitAtMost(kPatience, answered_, lock,
                           [&] { return codes_[grpc::StatusCode::OK] >= wanted; }));
  }
  std::map<int, int> codes() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return codes_;
  }

 private:
  void Call() {
    // A channel each, which comes back soon.
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 20);
    const auto stub = v1::SessionService::NewStub(
        grpc::CreateCustomChannel(target_, grpc::InsecureChannelCredentials(), arguments));
    v1::GetSessionRequest request;
    request.set_session_id("0192f3c4-9f2e-7abc-8def-0123456789ab");
    while (!done_) {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
      v1::Session session;
      const grpc::Status status = stub->GetSession(&context, request, &session);
      const std::lock_guard<std::mutex> lock(mutex_);
      ++codes_[status.error_code()];
      answered_.notify_all();
    }
  }

  const std::string target_;
  std::atomic<bool> done_ = false;
  std::mutex mutex_;
  std::condition_variable answered_;
  std::map<int, int> codes_;
  std::vector<std::thread> threads_;
};

class DrainTest : public testing::Test {
 protected:
  DrainTest()
      : metrics_({MethodOf<v1::GetSessionRequest>()->service()->full_name()}), journal_(metrics_) {
    Restart();
  }

  // On the same port, from the second time on.
  void Restart() {
    ServerOptions options{.listeners = {{Address{"127.0.0.1", port_}}}};
    server_.reset();
    dispatcher_ = std::make_unique<Dispatcher>(
        std::vector<Method>{Bind(service_, &FakeService::GetSession),
                            Bind(service_, &FakeService::WatchSessions)},
        nullptr, metrics_, journal_);
    options.dispatcher = dispatcher_.get();
    server_ = Server::Start(std::move(options), metrics_).value();
    port_ = server_->bound().front().port;
  }
  std::string target() const { return absl::StrCat("127.0.0.1:", port_); }

  // How long a stop takes.
  absl::Duration Stop(absl::Duration grace) {
    const SteadyTime begin = SteadyTime::Now();
    server_->Stop(grace);
    return SteadyTime::Now() - begin;
  }

  FakeService service_;
  Metrics metrics_;
  Journal journal_;
  std::unique_ptr<Dispatcher> dispatcher_;
  std::unique_ptr<Server> server_;
  int port_ = 0;
};

TEST_F(DrainTest, CallersAreToldNothingButUnavailable) {
  Callers callers(target());
  for (int restart = 0; restart < 20; ++restart) {
    ASSERT_NO_FATAL_FAILURE(callers.AwaitAnswers(100));
    EXPECT_LT(Stop(kPatience), kPatience / 2);
    Restart();
  }
  callers.AwaitAnswers(100);
  for (const auto& [code, calls] : callers.codes()) {
    EXPECT_TRUE(code == grpc::StatusCode::OK || code == grpc::StatusCode::UNAVAILABLE)
        << calls << " calls ended with code " << code;
  }
  RecordProperty("calls", callers.codes()[grpc::StatusCode::OK]);
}

TEST_F(DrainTest, PeersThatSayNothingDoNotHoldItUp) {
  std::vector<int> peers;
  for (int i = 0; i < 20; ++i) {
    sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port_), .sin_addr = {}};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    peers.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(connect(peers.back(), reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0);
    // Half of them begin as HTTP/2 does.
    if (i % 2 == 0) send(peers.back(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, MSG_NOSIGNAL);
  }
  Callers callers(target());
  callers.AwaitAnswers(100);
  EXPECT_LT(Stop(kPatience), kPatience / 4);
  for (const int peer : peers) close(peer);
}

TEST_F(DrainTest, StreamsThatNobodyReadsHoldItUpNoLongerThanTheGrace) {
  const auto channel = grpc::CreateChannel(target(), grpc::InsecureChannelCredentials());
  const auto stub = v1::SessionService::NewStub(channel);
  grpc::ClientContext contexts[5];
  std::vector<std::unique_ptr<grpc::ClientReader<v1::WatchSessionsResponse>>> streams;
  v1::WatchSessionsResponse response;
  for (grpc::ClientContext& context : contexts) {
    streams.push_back(stub->WatchSessions(&context, {}));
    ASSERT_TRUE(streams.back()->Read(&response));
  }
  EXPECT_LT(Stop(absl::Seconds(2)), kPatience / 2);
  for (const auto& stream : streams) {
    while (stream->Read(&response)) continue;
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
}

}  // namespace
}  // namespace sessiond::rpc
