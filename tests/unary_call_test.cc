// Unary calls whose peers take their time, or send what they should not, on the real server and
// over the wire; and the parts that bound what they hold.
#include <gmock/gmock.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "server/rpc/byte_budget.h"
#include "server/rpc/grpc_body.h"
#include "server/rpc/memory_growth.h"
#include "server/rpc/replies.h"
#include "server/rpc/server.h"
#include "server/rpc/turns.h"
#include "sessiond/v1/session_service.pb.h"
#include "state_machine/refusal.h"
#include "tests/handled_calls.h"

namespace sessiond::rpc {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr absl::Duration kLong = absl::Hours(1);
// More than anything here takes, on a machine that has other things to do.
constexpr absl::Duration kPatience = absl::Seconds(20);
constexpr char kId[] = "0192f3c4-9f2e-7abc-8def-0123456789ab";

std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (!details.ParseFromString(status.error_details()) || details.details().empty()) return "";
  details.details(0).UnpackTo(&info);
  return info.reason();
}

grpc::ByteBuffer BufferOf(const google::protobuf::Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

// Answers with sessions of some size.
class FakeService {
 public:
  Awaitable<absl::StatusOr<v1::Session>> GetSession(CallInfo, v1::GetSessionRequest) {
    v1::Session session;
    session.set_owner_id(std::string(reply_bytes, 'x'));
    co_return session;
  }
  Awaitable<absl::StatusOr<v1::Session>> CreateSession(CallInfo, v1::CreateSessionRequest request) {
    co_return std::move(*request.mutable_session());
  }

  std::size_t reply_bytes = 10;
};

// A call of a unary method whose client sends what it likes, one step after the other.
class LooseCall {
 public:
  LooseCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method)
      : stub_(channel) {
    context_.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    call_ = stub_.PrepareCall(&context_, "/sessiond.v1.SessionService/" + method, &queue_);
    call_->StartCall(this);
    Next();
  }

  bool Write(const google::protobuf::Message& message) {
    call_->Write(BufferOf(message), this);
    return Next();
  }
  bool WritesDone() {
    call_->WritesDone(this);
    return Next();
  }
  bool Read() {
    grpc::ByteBuffer bytes;
    call_->Read(&bytes, this);
    return Next();
  }
  grpc::Status Finish() {
    grpc::Status status;
    call_->Finish(&status, this);
    Next();
    return status;
  }

 private:
  bool Next() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call_;
};

class UnaryCallTest : public testing::Test {
 protected:
  void Start(Patience patience = {.request = kLong}) {
    ServerOptions options{.listeners = {{Address{"127.0.0.1"}}}, .patience = patience};
    options.dispatcher = &dispatcher_;
    server_ = Server::Start(std::move(options), metrics_).value();
    channel_ = Connect();
  }

  // By a connection of its own.
  std::shared_ptr<grpc::Channel> Connect() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    // The windows stay as small as they are at first, however little the program reads.
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->bound().front().port),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  // How often calls ended like this.
  int Counted(absl::string_view code) { return HandledCalls(metrics_, "GetSession", code); }

  // Until so many replies have been taken on, or refused.
  void AwaitCounted(int calls) {
    while (Counted("OK") + Counted("ResourceExhausted") < calls)
      absl::SleepFor(absl::Milliseconds(10));
  }

  v1::GetSessionRequest Request() {
    v1::GetSessionRequest request;
    request.set_session_id(kId);
    return request;
  }

  absl::Status capacity_;
  FakeService service_;
  Metrics metrics_{{std::string(MethodOf<v1::GetSessionRequest>()->service()->full_name())}};
  Journal journal_{metrics_};
  Dispatcher dispatcher_{
      {Bind(service_, &FakeService::GetSession), Bind(service_, &FakeService::CreateSession)},
      nullptr,
      metrics_,
      journal_,
      [this](SteadyTime, db::Importance) { return capacity_; }};
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(UnaryCallTest, ARequestThatDoesNotComeEndsInItsTime) {
  Start({.request = absl::Milliseconds(500)});
  for (const bool with_message : {false, true}) {
    LooseCall call(channel_, "GetSession");
    // Without its end it is not all there either.
    if (with_message) {
      ASSERT_TRUE(call.Write(Request()));
    }
    const grpc::Status status = call.Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
    EXPECT_THAT(status.error_message(), HasSubstr("within 500ms"));
  }
  EXPECT_EQ(Counted("DeadlineExceeded"), 2);
}

TEST_F(UnaryCallTest, NothingIsReadOfACallThatIsRefused) {
  Start();
  capacity_ = Overloaded("changes");
  LooseCall call(channel_, "CreateSession");
  const grpc::Status status = call.Finish();
  EXPECT_EQ(ReasonOf(status), "OVERLOADED") << status.error_message();
}

TEST_F(UnaryCallTest, ASecondMessageIsRefused) {
  Start();
  LooseCall call(channel_, "GetSession");
  ASSERT_TRUE(call.Write(Request()));
  call.Write(Request());
  const grpc::Status status = call.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("two request messages"));
  EXPECT_EQ(Counted("InvalidArgument"), 1);
}

TEST_F(UnaryCallTest, ACallWithoutAMessageIsToldSo) {
  Start();
  LooseCall call(channel_, "GetSession");
  ASSERT_TRUE(call.WritesDone());
  EXPECT_THAT(call.Finish().error_message(), HasSubstr("no request message"));
}

TEST_F(UnaryCallTest, ALargeRequestIsAnsweredLikeAnyOther) {
  Start();
  v1::CreateSessionRequest request;
  request.mutable_session()->set_workflow("interview");
  request.mutable_session()->set_owner_id("u1");
  (*request.mutable_session()->mutable_context()->mutable_fields())["k"].set_string_value(
      std::string(60'000, 'x'));
  // Unknown to the contract, and dropped.
  request.mutable_session()
      ->GetReflection()
      ->MutableUnknownFields(request.mutable_session())
      ->AddLengthDelimited(1'000, std::string(2 << 20, 'x'));
  LooseCall call(channel_, "CreateSession");
  ASSERT_TRUE(call.Write(request) && call.WritesDone());
  EXPECT_TRUE(call.Read());
  const grpc::Status status = call.Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(UnaryCallTest, AReplyThatNobodyReadsIsCutInItsTime) {
  Start({.reply = absl::Milliseconds(100)});
  service_.reply_bytes = 4'000'000;
  LooseCall call(channel_, "GetSession");
  ASSERT_TRUE(call.Write(Request()) && call.WritesDone());
  AwaitCounted(1);
  // A stop waits for calls that have not ended. The client would have to read to hear of it.
  const SteadyTime begin = SteadyTime::Now();
  server_->Stop(kPatience);
  EXPECT_LT(SteadyTime::Now() - begin, kPatience / 2);
}

TEST_F(UnaryCallTest, TooManyUnreadRepliesRefuseFurtherLargeOnesAndNoSmallOnes) {
  Start();
  service_.reply_bytes = 4'000'000;
  std::deque<LooseCall> calls;
  // 64 MiB are held, and some more is on its way.
  constexpr int kCalls = 40;
  for (int i = 0; i < kCalls; ++i) {
    LooseCall& call = calls.emplace_back(channel_, "GetSession");
    ASSERT_TRUE(call.Write(Request()) && call.WritesDone());
  }
  AwaitCounted(kCalls);
  EXPECT_GE(Counted("OK"), 15);
  EXPECT_GE(Counted("ResourceExhausted"), 5);
  service_.reply_bytes = 10;
  LooseCall small(channel_, "GetSession");
  ASSERT_TRUE(small.Write(Request()) && small.WritesDone());
  EXPECT_TRUE(small.Read());
  EXPECT_TRUE(small.Finish().ok());
}

TEST_F(UnaryCallTest, UnreadRepliesMakeRoomWhenTheyAreScarce) {
  // Long enough for the replies to become too many.
  Start({.reply_when_scarce = absl::Seconds(1)});
  service_.reply_bytes = 4'000'000;
  std::deque<LooseCall> calls;
  const SteadyTime end = SteadyTime::Now() + kPatience / 2;
  while (Counted("ResourceExhausted") == 0) {
    ASSERT_LT(SteadyTime::Now(), end);
    LooseCall& call = calls.emplace_back(channel_, "GetSession");
    ASSERT_TRUE(call.Write(Request()) && call.WritesDone());
  }
  // Whoever reads is answered again, long before the others' deadlines.
  const SteadyTime begin = SteadyTime::Now();
  for (bool answered = false; !answered;) {
    ASSERT_LT(SteadyTime::Now() - begin, kPatience / 2);
    const auto channel = Connect();
    LooseCall call(channel, "GetSession");
    ASSERT_TRUE(call.Write(Request()) && call.WritesDone());
    answered = call.Read() && call.Finish().ok();
  }
}

TEST_F(UnaryCallTest, ADrainWaitsForHalfARequestNoLongerThanAMoment) {
  Start({.request = kLong, .request_in_drain = absl::Milliseconds(100)});
  LooseCall call(channel_, "GetSession");
  LooseCall whole(channel_, "GetSession");
  ASSERT_TRUE(whole.Write(Request()) && whole.WritesDone() && whole.Read());
  const SteadyTime begin = SteadyTime::Now();
  server_->Stop(kPatience);
  EXPECT_LT(SteadyTime::Now() - begin, kPatience / 2);
  EXPECT_EQ(ReasonOf(call.Finish()), "DRAINING");
}

TEST(CheckArrival, SaysWhyARequestIsGivenUp) {
  const Patience patience;
  const auto check = [&](absl::Duration waited, std::size_t grown, bool draining) {
    return CheckArrival(waited, grown, draining, patience);
  };
  EXPECT_TRUE(check(absl::Seconds(9), 64 << 20, false).ok());
  EXPECT_TRUE(absl::IsDeadlineExceeded(check(absl::Seconds(10), 0, false)));
  EXPECT_TRUE(check(absl::Milliseconds(999), 0, true).ok());
  EXPECT_EQ(sessiond::ReasonOf(check(absl::Seconds(1), 0, true)), v1::DRAINING);
  const absl::Status refused = check(absl::Milliseconds(50), (64 << 20) + 1, false);
  EXPECT_EQ(sessiond::ReasonOf(refused), v1::OVERLOADED);
  EXPECT_TRUE(RetryDelayOf(refused).has_value());
}

TEST(MemoryGrowth, IsWhatExceedsTheLeastOfTheLastMinute) {
  MemoryGrowth growth;
  const SteadyTime begin = SteadyTime::Now();
  const auto at = [&](int seconds, std::size_t allocated) {
    return growth.At(begin + absl::Seconds(seconds), allocated);
  };
  EXPECT_EQ(at(0, 100), 0);
  EXPECT_EQ(at(1, 150), 50);
  EXPECT_EQ(at(2, 90), 0);
  EXPECT_EQ(at(3, 100), 10);
  // Half a minute later the least is still known; after another half, what stayed is at rest.
  EXPECT_EQ(at(31, 190), 100);
  EXPECT_EQ(at(59, 190), 100);
  EXPECT_EQ(at(62, 190), 0);
  // Long unseen: nothing is known.
  EXPECT_EQ(at(1'000, 500), 0);
}

TEST(ByteBudget, LeavesWhatIsSpared) {
  ByteBudget budget(100);
  ByteBudget::Share first = budget.Take(60, 30);
  EXPECT_TRUE(first);
  EXPECT_FALSE(budget.Take(20, 30));
  EXPECT_TRUE(budget.Take(20));
  first = {};
  EXPECT_EQ(budget.left(), 100);
}

// Notes when it is its turn, and ends it when it is told to.
Detached TakeTurn(Turns& turns, std::size_t size, int number, std::vector<int>* began,
                  std::deque<std::function<void()>>* ends) {
  auto waiting = turns.Take(size);
  auto turn = std::make_shared<Turns::Turn>(co_await waiting);
  began->push_back(number);
  if (ends != nullptr) ends->push_back([turn]() mutable { turn.reset(); });
}

TEST(Turns, ComeInTheirOrderAsRoomIsMade) {
  Turns turns(10);
  std::vector<int> began;
  std::deque<std::function<void()>> ends;
  TakeTurn(turns, 6, 1, &began, &ends);
  TakeTurn(turns, 6, 2, &began, &ends);
  TakeTurn(turns, 1, 3, &began, &ends);  // There is room, but 2 came first.
  EXPECT_THAT(began, ElementsAre(1));
  ends[0]();
  ends[0] = nullptr;
  EXPECT_THAT(began, ElementsAre(1, 2, 3));
  ends.clear();
}

TEST(Turns, ThatEndAtOnceDoNotPileUp) {
  Turns turns(1);
  std::vector<int> began;
  std::deque<std::function<void()>> ends;
  TakeTurn(turns, 1, 0, &began, &ends);
  for (int i = 1; i < 100'000; ++i) TakeTurn(turns, 1, i, &began, nullptr);
  ends.clear();
  EXPECT_EQ(began.size(), 100'000);
}

}  // namespace
}  // namespace sessiond::rpc
