// Streaming calls on the real server, over the wire: what ends them, and who hears of it.
#include "server/rpc/stream.h"

#include <google/rpc/status.pb.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "server/rpc/server.h"
#include "sessiond/v1/admin_service.grpc.pb.h"
#include "sessiond/v1/session_service.grpc.pb.h"
#include "state_machine/refusal.h"
#include "tests/handled_calls.h"

namespace sessiond::rpc {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

v1::ImportSessionsRequest Imported(int line) {
  v1::ImportSessionsRequest request;
  request.set_line(line);
  request.mutable_session()->set_session_id("0192f3c4-9f2e-7abc-8def-0123456789ab");
  request.mutable_session()->set_workflow("interview");
  return request;
}

// Answers every import with its line; tells watchers that it began, and then whatever ends them.
class FakeService {
 public:
  using Imports = Stream<v1::ImportSessionsRequest, v1::ImportSessionsResponse>;
  using Watch = Stream<v1::WatchSessionsRequest, v1::WatchSessionsResponse>;

  Awaitable<absl::Status> ImportSessions(CallInfo, Imports& stream) {
    for (;;) {
      const std::optional<v1::ImportSessionsRequest> request = co_await stream.Read();
      if (!request.has_value()) co_return absl::OkStatus();
      v1::ImportSessionsResponse response;
      response.set_line(request->line());
      if (!co_await stream.Write(response)) co_return absl::OkStatus();
    }
  }

  Awaitable<absl::Status> WatchSessions(CallInfo, Watch& stream) {
    const std::optional<v1::WatchSessionsRequest> request = co_await stream.Read();
    if (!request.has_value()) co_return absl::OkStatus();
    v1::WatchSessionsResponse response;
    response.mutable_bookmark();
    response.set_resume_token(std::string(flood_bytes, 'x'));
    for (const Flush flush : onwards) {
      co_await stream.Write("", response, flush);
      threads.push_back(std::this_thread::get_id());
    }
    while (co_await stream.Write(response) && flood_bytes > 0) ++written;
    while (!stream.over() && !stream.draining()) co_await stream.news()->signal.Wait();
    if (stream.over()) left.Notify();
    response.mutable_heartbeat();
    co_await stream.Write(response);
    co_return absl::OkStatus();
  }

  // A request with this line may not be sent.
  int refused_line = 0;
  // When not 0, watchers are written to without end.
  std::size_t flood_bytes = 0;
  // What watchers are told first, one for each, and on which thread the watch then went on.
  std::vector<Flush> onwards;
  std::vector<std::thread::id> threads;
  std::atomic<int> written = 0;
  absl::Notification left;
};

class StreamTest : public testing::Test {
 protected:
  StreamTest() : metrics_(Services()), journal_(metrics_) {
    ServerOptions options{.listeners = {{Address{"127.0.0.1"}}}};
    options.dispatcher = &dispatcher_;
    server_ = Server::Start(std::move(options), metrics_).value();
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->bound().front().port),
                                   grpc::InsecureChannelCredentials());
    context_.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  }

  // As Bind makes it, with a check of the test's own in place of the caller's roles.
  Method Checked() {
    return {MethodOf<v1::ImportSessionsRequest>(), {}, [this](CallInfo, RawStream& raw) {
              return HandleChecked(service_, raw);
            }};
  }
  static Awaitable<absl::Status> HandleChecked(FakeService& service, RawStream& raw) {
    FakeService::Imports stream(raw, [&service](const v1::ImportSessionsRequest& request) {
      if (request.line() != service.refused_line) return absl::OkStatus();
      return absl::Status(Refusal(v1::NOT_ALLOWED, "Not this one."));
    });
    const absl::Status status = co_await service.ImportSessions({}, stream);
    co_return stream.refusal().ok() ? status : stream.refusal();
  }

  static std::vector<std::string> Services() {
    return {MethodOf<v1::ImportSessionsRequest>()->service()->full_name(),
            MethodOf<v1::WatchSessionsRequest>()->service()->full_name()};
  }

  auto Import() { return v1::AdminService::NewStub(channel_)->ImportSessions(&context_); }
  auto Watch(const std::string& namespace_name = "") {
    v1::WatchSessionsRequest request;
    request.set_namespace_(namespace_name);
    return v1::SessionService::NewStub(channel_)->WatchSessions(&context_, request);
  }

  static std::string ReasonOf(const grpc::Status& status) {
    google::rpc::Status details;
    google::rpc::ErrorInfo info;
    if (!details.ParseFromString(status.error_details()) || details.details().empty()) return "";
    details.details(0).UnpackTo(&info);
    return info.reason();
  }

  FakeService service_;
  Metrics metrics_;
  Journal journal_;
  Dispatcher dispatcher_{
      {Checked(), Bind(service_, &FakeService::WatchSessions)}, nullptr, metrics_, journal_};
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  grpc::ClientContext context_;
};

TEST_F(StreamTest, EveryMessageIsAnsweredInItsTurn) {
  const auto stream = Import();
  v1::ImportSessionsResponse response;
  for (int line = 1; line <= 100; ++line) {
    ASSERT_TRUE(stream->Write(Imported(line)));
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.line(), line);
  }
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(HandledCalls(metrics_, "ImportSessions", "OK"), 1);
}

// A watch that is behind does not change threads for each message: it would fall further behind.
TEST_F(StreamTest, MessagesThatFollowEachOtherAreWrittenOnOneThread) {
  service_.onwards = {Flush::kNow, Flush::kWithNext, Flush::kWithNext, Flush::kNow};
  const auto stream = Watch();
  v1::WatchSessionsResponse response;
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(stream->Read(&response));
  context_.TryCancel();
  ASSERT_TRUE(service_.left.WaitForNotificationWithTimeout(kPatience));
  const auto& threads = service_.threads;
  EXPECT_EQ(threads[0], threads[3]);
  EXPECT_EQ(threads[1], threads[2]);
  EXPECT_NE(threads[0], threads[1]);
}

TEST_F(StreamTest, LargeMessagesAreWrittenOnTheStreamsThread) {
  service_.onwards = {Flush::kNow, Flush::kWithNext, Flush::kNow};
  service_.flood_bytes = 20'000;
  const auto stream = Watch();
  v1::WatchSessionsResponse response;
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(stream->Read(&response));
  context_.TryCancel();
  ASSERT_TRUE(service_.left.WaitForNotificationWithTimeout(kPatience));
  EXPECT_EQ(service_.threads[1], service_.threads[0]);
  EXPECT_EQ(service_.threads[2], service_.threads[0]);
}

TEST_F(StreamTest, ARefusedMessageEndsTheStreamWithItsReason) {
  const auto stream = Watch("NOT A NAMESPACE");
  v1::WatchSessionsResponse response;
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(ReasonOf(status), "INVALID_FIELD");
}

TEST_F(StreamTest, AMessageThatItsCallerMayNotSendIsRefused) {
  service_.refused_line = 2;
  const auto stream = Import();
  v1::ImportSessionsResponse response;
  ASSERT_TRUE(stream->Write(Imported(1)) && stream->Read(&response));
  ASSERT_TRUE(stream->Write(Imported(2)));
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(ReasonOf(status), "NOT_ALLOWED") << status.error_message();
}

TEST_F(StreamTest, AHandlerThatWaitsHearsThatItsClientLeft) {
  const auto stream = Watch();
  v1::WatchSessionsResponse response;
  ASSERT_TRUE(stream->Read(&response));
  EXPECT_TRUE(response.has_bookmark());
  context_.TryCancel();
  EXPECT_TRUE(service_.left.WaitForNotificationWithTimeout(kPatience));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(StreamTest, AStreamEndsAtItsDeadline) {
  context_.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(10)));
  const auto stream = Watch();
  EXPECT_TRUE(service_.left.WaitForNotificationWithTimeout(kPatience));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(StreamTest, ADrainLetsAHandlerSayItsLastWord) {
  const auto stream = Watch();
  v1::WatchSessionsResponse response;
  ASSERT_TRUE(stream->Read(&response));
  std::thread stop([this] { server_->Stop(kPatience); });
  EXPECT_TRUE(stream->Read(&response));
  EXPECT_TRUE(response.has_heartbeat());
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "DRAINING");
  stop.join();
}

TEST_F(StreamTest, ADrainDoesNotWaitForAClientThatHasNothingToSay) {
  const auto stream = Import();
  v1::ImportSessionsResponse response;
  ASSERT_TRUE(stream->Write(Imported(1)));
  ASSERT_TRUE(stream->Read(&response));
  std::thread stop([this] { server_->Stop(kPatience); });
  EXPECT_FALSE(stream->Read(&response));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "DRAINING");
  stop.join();
}

TEST_F(StreamTest, AReaderThatStopsIsWrittenToNoMoreAndHoldsUpNoDrain) {
  service_.flood_bytes = 100'000;
  const auto stream = Watch();
  v1::WatchSessionsResponse response;
  ASSERT_TRUE(stream->Read(&response));
  // Flow control has stopped the writer when nothing more is written for a while.
  for (int before = -1; before != service_.written; absl::SleepFor(absl::Milliseconds(200)))
    before = service_.written;
  EXPECT_LT(service_.written, 100);
  const absl::Time begin = absl::Now();
  server_->Stop(kPatience);
  EXPECT_LT(absl::Now() - begin, kPatience / 2);
  while (stream->Read(&response)) continue;
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace sessiond::rpc
