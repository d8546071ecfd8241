// What the C++ client does beside its calls: hooks, pushback, ends; refusals and plain values.
#include "sessiond/connect.h"

#include <cmath>
#include <cstdlib>
#include <deque>
#include <limits>
#include <map>
#include <thread>
#include <utility>

#include "gmock/gmock.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "state_machine/refusal.h"
#include "tests/on_the_wire.h"

namespace sessiond {
namespace {

using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Pair;
using ::testing::SizeIs;
using ::testing::StartsWith;

// Answers GetSession as told, and remembers the metadata of every call.
class RememberingService final : public v1::SessionService::Service {
 public:
  using Context = grpc::ServerContext;

  // The next call is refused with this, and with this trailer if it is not empty.
  void RefuseNext(absl::Status status, std::string pushback = "") {
    const std::lock_guard lock(mutex_);
    refusals_.emplace_back(OnTheWire(status), std::move(pushback));
  }
  grpc::Status GetSession(Context* context, const v1::GetSessionRequest* request,
                          v1::Session* response) override {
    Note(*context);
    response->set_session_id(request->session_id());
    const std::lock_guard lock(mutex_);
    if (refusals_.empty()) return grpc::Status::OK;
    auto [status, pushback] = std::move(refusals_.front());
    refusals_.pop_front();
    if (!pushback.empty()) context->AddTrailingMetadata("grpc-retry-pushback-ms", pushback);
    return status;
  }
  // Answers nothing until the client is gone, or for a minute.
  grpc::Status PauseSession(Context* context, const v1::PauseSessionRequest*,
                            v1::Session*) override {
    Note(*context);
    for (int i = 0; i < 12'000 && !context->IsCancelled(); ++i) {
      absl::SleepFor(absl::Milliseconds(5));  // A synchronous server has no event for it.
    }
    return grpc::Status::CANCELLED;
  }
  grpc::Status WatchSessions(Context* context, const v1::WatchSessionsRequest*,
                             grpc::ServerWriter<v1::WatchSessionsResponse>* stream) override {
    Note(*context);
    v1::WatchSessionsResponse bookmark;
    bookmark.mutable_bookmark();
    bookmark.set_resume_token("a");
    stream->Write(bookmark);
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    return grpc::Status::CANCELLED;
  }
  // The values of a key, call by call; "" for none.
  std::vector<std::string> Metadata(const std::string& key) {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> values;
    for (auto& metadata : metadata_) values.push_back(metadata[key]);
    return values;
  }
  void AwaitCalls(std::size_t count) {
    std::unique_lock lock(mutex_);
    called_.wait(lock, [&] { return metadata_.size() >= count; });
  }

 private:
  void Note(const Context& context) {
    std::map<std::string, std::string> metadata;
    for (const auto& [key, value] : context.client_metadata()) {
      metadata.emplace(std::string(key.data(), key.size()),
                       std::string(value.data(), value.size()));
    }
    const std::lock_guard lock(mutex_);
    metadata_.push_back(std::move(metadata));
    called_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable called_;
  std::deque<std::pair<grpc::Status, std::string>> refusals_;
  std::vector<std::map<std::string, std::string>> metadata_;
};

class ConnectTest : public testing::Test {
 protected:
  ConnectTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    options_.server = absl::StrCat("127.0.0.1:", port);
    options_.calls.backoff_initial = absl::Milliseconds(1);
    options_.calls.on_call = [this](const CallRecord& call) { calls_.push_back(call); };
    options_.calls.on_retry = [this](const absl::Status&, absl::Duration pause) {
      pauses_.push_back(pause);
    };
  }
  ~ConnectTest() override { server_->Shutdown(std::chrono::system_clock::now()); }

  Client Connected() { return *Client::Connect(options_); }
  static absl::StatusOr<v1::Session> Get(const Client& client) {
    return client.sessions().GetSession({});
  }

  RememberingService service_;
  std::unique_ptr<grpc::Server> server_;
  ConnectOptions options_;
  std::vector<CallRecord> calls_;
  std::vector<absl::Duration> pauses_;
};

absl::Status Draining() { return Refusal(v1::DRAINING, "This daemon is going down"); }

TEST_F(ConnectTest, TheAddressIsTakenFromTheEnvironment) {
  setenv("SESSIOND_SERVER", options_.server.c_str(), 1);
  const auto client = Client::Connect();
  unsetenv("SESSIOND_SERVER");
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE(Get(*client).ok());
}

TEST_F(ConnectTest, AnAddressIsTakenAsPeopleWriteIt) {
  const std::string plain = options_.server;
  for (const std::string& written : {absl::StrCat("http://", plain), absl::StrCat("dns:", plain),
                                     absl::StrCat("http://", plain, "/")}) {
    options_.server = written;
    EXPECT_TRUE(Get(Connected()).ok()) << written;
  }
  for (const char* bad :
       {"127.0.0.1:x", "::1:7377", "ftp://localhost", "a b", "http://u:s3cret@h"}) {
    options_.server = bad;
    const absl::Status status = Client::Connect(options_).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), Not(HasSubstr("s3cret")));
  }
}

TEST_F(ConnectTest, TheSchemeOfAnAddressSaysWhetherThereIsTls) {
  options_.server = absl::StrCat("https://", options_.server);
  options_.calls.timeout = absl::Seconds(2);
  EXPECT_THAT(Get(Connected()).status().code(),
              AnyOf(absl::StatusCode::kUnavailable, absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(service_.Metadata("user-agent"), IsEmpty());
  options_.server = "http://127.0.0.1:7377";
  options_.credentials = Credentials{.tls = TlsOptions()};
  EXPECT_EQ(Client::Connect(options_).status().code(), absl::StatusCode::kInvalidArgument);
}

// What was said is nearer than the environment.
TEST_F(ConnectTest, WithoutTlsMeansWithoutThatOfTheEnvironment) {
  options_.server = absl::StrCat("http://", options_.server);
  setenv("SESSIOND_CA_FILE", "/nowhere/ca.pem", 1);
  const auto client = Client::Connect(options_);
  unsetenv("SESSIOND_CA_FILE");
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_TRUE(Get(*client).ok());
}

// Nothing listens where the proxy is to be.
TEST_F(ConnectTest, NoProxyIsBetweenAClientAndItsOwnMachine) {
  for (const char* name : {"grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy"})
    unsetenv(name);
  setenv("http_proxy", "http://127.0.0.1:9", 1);
  const auto through_connect = Get(Connected());
  options_.credentials = Credentials{.token = "a-token"};
  const auto with_token = Get(Connected());
  SessionClient without_credentials(MakeChannel(options_.server), options_.calls);
  const auto on_a_channel = without_credentials.GetSession({});
  unsetenv("http_proxy");
  EXPECT_TRUE(through_connect.ok()) << through_connect.status();
  EXPECT_TRUE(with_token.ok()) << with_token.status();
  EXPECT_TRUE(on_a_channel.ok()) << on_a_channel.status();
}

TEST_F(ConnectTest, CallsSayWhichClientMakesThem) {
  ASSERT_TRUE(Get(Connected()).ok());
  EXPECT_THAT(service_.Metadata("user-agent"),
              ElementsAre(StartsWith(absl::StrCat("sessiond-cpp/", Version(), " "))));
}

TEST_F(ConnectTest, WhatIsPreparedGoesAlongWithEveryAttemptAndWithWatches) {
  int prepared = 0;
  options_.calls.prepare = [&](grpc::ClientContext& context) {
    context.AddMetadata("traceparent", absl::StrCat("00-", ++prepared));
  };
  const Client client = Connected();
  service_.RefuseNext(Draining());
  ASSERT_TRUE(Get(client).ok());
  const auto watch = client.Watch({});
  for (const auto& response : watch->Responses()) {
    if (response.ok()) watch->Stop();
  }
  EXPECT_THAT(service_.Metadata("traceparent"), ElementsAre("00-1", "00-2", "00-3"));
}

TEST_F(ConnectTest, EveryCallThatEndsIsToldOnce) {
  service_.RefuseNext(Draining());
  service_.RefuseNext(Refusal(v1::NEVER_EXISTED, "No such session"));
  EXPECT_EQ(GetReason(Get(Connected()).status()), v1::NEVER_EXISTED);
  ASSERT_THAT(calls_, SizeIs(1));
  EXPECT_EQ(calls_[0].method, "GetSession");
  EXPECT_EQ(calls_[0].attempts, 2);
  EXPECT_EQ(GetReason(calls_[0].status), v1::NEVER_EXISTED);
  EXPECT_GE(calls_[0].duration, pauses_[0]);
}

TEST_F(ConnectTest, PushbackMakesAPauseLonger) {
  service_.RefuseNext(Draining(), "80");
  ASSERT_TRUE(Get(Connected()).ok());
  EXPECT_THAT(pauses_, ElementsAre(absl::Milliseconds(80)));
}

TEST_F(ConnectTest, PushbackThatIsNegativeOrNoNumberEndsTheCall) {
  for (const char* pushback : {"-1", "soon"}) {
    service_.RefuseNext(Draining(), pushback);
    EXPECT_EQ(GetReason(Get(Connected()).status()), v1::DRAINING) << pushback;
  }
  EXPECT_THAT(pauses_, IsEmpty());
  EXPECT_THAT(service_.Metadata("user-agent"), SizeIs(2));
}

TEST_F(ConnectTest, ATimeoutHoldsForACopyOnly) {
  const Client client = Connected();
  EXPECT_TRUE(absl::IsDeadlineExceeded(
      client.WithTimeout(absl::Milliseconds(50)).sessions().PauseSession({}).status()));
  EXPECT_EQ(client.sessions().options().timeout, absl::Seconds(10));
}

TEST_F(ConnectTest, CloseEndsCallsAndWatches) {
  options_.calls.timeout = absl::Minutes(5);
  const Client client = Connected();
  std::thread call(
      [&] { EXPECT_TRUE(absl::IsCancelled(client.sessions().PauseSession({}).status())); });
  const auto watch = client.Watch({});
  std::thread watching([&] {
    for (const auto& response : watch->Responses()) EXPECT_TRUE(response.ok());
  });
  service_.AwaitCalls(2);
  client.Close();
  call.join();
  watching.join();
  EXPECT_TRUE(absl::IsCancelled(Get(client).status()));
}

TEST_F(ConnectTest, CloseEndsThePauseBeforeARetry) {
  const Client* closing = nullptr;
  options_.calls.timeout = absl::Minutes(5);
  options_.calls.on_retry = [&](const absl::Status&, absl::Duration) { closing->Close(); };
  const Client client = Connected();
  closing = &client;
  service_.RefuseNext(Draining(), "60000");
  EXPECT_TRUE(absl::IsCancelled(Get(client).status()));
}

TEST(RefusalInfo, HoldsAllThatTheDaemonSaid) {
  const absl::Status status = Refusal(v1::INVALID_TRANSITION, "Cannot transition")
                                  .With("from", "PAUSED")
                                  .Violation("target_stage", "is not the next one")
                                  .RetryAfter(absl::Milliseconds(1500));
  const auto refusal = GetRefusal(status);
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->code, absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(refusal->reason, v1::INVALID_TRANSITION);
  EXPECT_EQ(refusal->name, "INVALID_TRANSITION");
  EXPECT_EQ(refusal->category, v1::SessionError::USER_FIXABLE);
  EXPECT_EQ(refusal->message, "Cannot transition");
  EXPECT_THAT(refusal->metadata, ElementsAre(Pair("from", "PAUSED")));
  ASSERT_THAT(refusal->fields, SizeIs(1));
  EXPECT_EQ(refusal->fields[0].path, "target_stage");
  EXPECT_EQ(refusal->fields[0].description, "is not the next one");
  EXPECT_EQ(refusal->retry_after, absl::Milliseconds(1500));
}

absl::Status WithInfo(const std::string& domain, const std::string& reason) {
  google::rpc::ErrorInfo info;
  info.set_domain(domain);
  info.set_reason(reason);
  (*info.mutable_metadata())["category"] = "TEMPORARY";
  absl::Status status = absl::PermissionDeniedError("no");
  status.SetPayload("type.googleapis.com/google.rpc.ErrorInfo",
                    absl::Cord(info.SerializeAsString()));
  return status;
}

TEST(RefusalInfo, ANewerReasonHasItsName) {
  const auto refusal = GetRefusal(WithInfo("sessiond", "FROM_THE_FUTURE"));
  ASSERT_TRUE(refusal.has_value());
  EXPECT_EQ(refusal->reason, v1::ERROR_REASON_UNSPECIFIED);
  EXPECT_EQ(refusal->name, "FROM_THE_FUTURE");
}

TEST(RefusalInfo, WhatSomebodyInBetweenSaysIsNotTheDaemons) {
  const absl::Status status = WithInfo("proxy.example", "NEVER_EXISTED");
  EXPECT_FALSE(GetRefusal(status).has_value());
  EXPECT_EQ(GetReason(status), v1::ERROR_REASON_UNSPECIFIED);
  EXPECT_EQ(GetCategory(status), "");
}

TEST(NotFound, SaysWhyAndSinceWhen) {
  const auto missing = GetNotFound(Refusal(v1::DELETED, "It was deleted")
                                       .With("session_id", "s1")
                                       .With("delete_time", "2026-01-01T00:00:00.5Z"));
  ASSERT_TRUE(missing.has_value());
  EXPECT_EQ(missing->why, v1::DELETED);
  EXPECT_EQ(missing->session_id, "s1");
  EXPECT_EQ(missing->since, absl::FromUnixMillis(1'767'225'600'500));
  EXPECT_FALSE(GetNotFound(Draining()).has_value());
  EXPECT_FALSE(GetNotFound(absl::NotFoundError("a proxy's")).has_value());
}

TEST(Values, ComeBackAsTheyWereGiven) {
  const Map values = {{"text", "a"},
                      {"yes", true},
                      {"none", nullptr},
                      {"count", 3},
                      {"largest", int64_t{1} << 53},
                      {"ratio", 0.25},
                      {"list", List{1, "two", List{}, Map{{"a", "b"}}}},
                      {"map", Map{{"deep", Map{}}}}};
  const auto fields = ToStruct(values);
  ASSERT_TRUE(fields.ok()) << fields.status();
  EXPECT_EQ(ToMap(*fields), values);
  EXPECT_EQ(*ToMap(*fields).at("count").number(), 3);
  EXPECT_EQ(*Value(absl::UnixEpoch()).string(), "1970-01-01T00:00:00+00:00");
}

TEST(Values, WhatANumberOfJsonDoesNotHoldIsRefusedByItsPath) {
  const auto trouble = [](const Map& values) {
    return std::string(ToStruct(values).status().message());
  };
  EXPECT_THAT(trouble({{"a", Map{{"id", (int64_t{1} << 53) + 1}}}}),
              StartsWith("a.id: 9007199254740993 loses digits"));
  EXPECT_THAT(trouble({{"a", List{0, std::numeric_limits<uint64_t>::max()}}}),
              StartsWith("a[1]: 18446744073709551615 loses digits"));
  EXPECT_THAT(trouble({{"a", std::nan("")}}), HasSubstr("is no number of JSON"));
}

TEST(Values, MapsOfTheContractBecomePlainOnes) {
  v1::Session session;
  (*session.mutable_labels())["team"] = "a";
  EXPECT_THAT(ToMap(session.labels()), ElementsAre(Pair("team", "a")));
}

}  // namespace
}  // namespace sessiond
