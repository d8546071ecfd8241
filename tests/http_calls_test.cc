// Calls over HTTP as their callers see them, and callers that are wrong, slow or gone. The services
// behind them are fakes.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/http/connect_protocol.h"
#include "server/http/http_server.h"
#include "server/ops/readiness.h"
#include "server/rpc/dispatcher.h"
#include "sessiond/v1/admin_service.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "state_machine/refusal.h"
#include "tests/handled_calls.h"

namespace sessiond::http {
namespace {

using rpc::Bind;
using rpc::CallInfo;
using testing::HasSubstr;
using testing::StartsWith;

constexpr absl::Duration kPatience = absl::Seconds(20);
// For what is not to end by itself.
constexpr std::chrono::minutes kLong{10};
constexpr absl::string_view kGetSession = "/sessiond.v1.SessionService/GetSession";
constexpr absl::string_view kUpdateSession = "/sessiond.v1.SessionService/UpdateSession";
constexpr absl::string_view kWatchSessions = "/sessiond.v1.SessionService/WatchSessions";
constexpr absl::string_view kImportSessions = "/sessiond.v1.AdminService/ImportSessions";
constexpr char kId[] = "0192f3c4-9f2e-7abc-8def-0123456789ab";
const std::string kAsk = absl::StrCat("{\"sessionId\":\"", kId, "\"}");

// Goes on on another thread, when told, or when the caller has gone.
class Elsewhere {
 public:
  Elsewhere(const absl::Notification& told, const std::atomic<bool>& left)
      : told_(told), left_(left) {}
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> waiter) {
    std::thread([this, waiter] {
      while (!told_.HasBeenNotified() && !left_) absl::SleepFor(absl::Milliseconds(1));
      waiter.resume();
    }).detach();
  }
  void await_resume() const noexcept {}

 private:
  const absl::Notification& told_;
  const std::atomic<bool>& left_;
};

class FakeService {
 public:
  using Imports = rpc::Stream<v1::ImportSessionsRequest, v1::ImportSessionsResponse>;
  using Watch = rpc::Stream<v1::WatchSessionsRequest, v1::WatchSessionsResponse>;

  Awaitable<absl::StatusOr<v1::Session>> GetSession(CallInfo call, v1::GetSessionRequest request) {
    ++gets;
    if (hangs) {
      Elsewhere elsewhere(go_on, deaf ? never : *call.asker.deadline.left);
      co_await elsewhere;
      if (*call.asker.deadline.left) {
        ++departures;
        co_return absl::CancelledError("The caller left.");
      }
    }
    if (!refusal.ok()) co_return refusal;
    v1::Session session;
    session.set_session_id(request.session_id());
    session.set_owner_id(std::string(reply_bytes, 'x'));
    co_return session;
  }
  Awaitable<absl::StatusOr<v1::Session>> UpdateSession(CallInfo, v1::UpdateSessionRequest request) {
    ++updates;
    co_return request.session();
  }

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
    ++watches;
    v1::WatchSessionsResponse response;
    response.mutable_bookmark();
    response.set_resume_token(std::string(flood_bytes, 'x'));
    while (co_await stream.Write(response) && flood_bytes > 0) ++written;
    while (!stream.over() && !stream.draining()) co_await stream.news()->signal.Wait();
    if (stream.over()) ++departures;
    response.mutable_heartbeat();
    response.set_resume_token("the last one");
    co_await stream.Write(response);
    co_return absl::OkStatus();
  }

  // GetSession waits until told, or until its caller leaves, unless it is deaf to that.
  std::atomic<bool> hangs = false;
  bool deaf = false;
  const std::atomic<bool> never = false;
  absl::Notification go_on;
  absl::Status refusal;
  std::size_t reply_bytes = 3;
  // When not 0, watchers are written to without end.
  std::size_t flood_bytes = 0;
  std::atomic<int> gets = 0;
  std::atomic<int> updates = 0;
  std::atomic<int> watches = 0;
  std::atomic<int> written = 0;
  std::atomic<int> departures = 0;
};

bool Eventually(const std::function<bool()>& condition) {
  for (const absl::Time end = absl::Now() + kPatience; absl::Now() < end;
       absl::SleepFor(absl::Milliseconds(2))) {
    if (condition()) return true;
  }
  return false;
}

// Of what comes for a caller, before it is read.
constexpr int kLittle = 4096;

// A peer that sends what it is told to, and no more.
class Caller {
 public:
  // `room_bytes`: how much may come unread; nothing: megabytes.
  explicit Caller(const Address& address, std::optional<int> room_bytes = std::nullopt) {
    if (room_bytes.has_value())
      setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &*room_bytes, sizeof(*room_bytes));
    const timeval patience = {.tv_sec = absl::ToInt64Seconds(kPatience), .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    const int at_once = 1;
    setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof(at_once));
    EXPECT_TRUE(Connect(fd_, address));
  }
  ~Caller() { Leave(); }
  Caller(const Caller&) = delete;

  // Whether somebody listens.
  static bool MayConnect(const Address& address) {
    const int fd = NewSocket();
    const bool may = Connect(fd, address);
    close(fd);
    return may;
  }

  void Leave() {
    if (fd_ >= 0) close(std::exchange(fd_, -1));
  }
  bool Send(absl::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(sent);
    }
    return true;
  }
  bool Post(absl::string_view path, absl::string_view body,
            absl::string_view headers = "Content-Type: application/json\r\n") {
    return Send(absl::StrCat("POST ", path, " HTTP/1.1\r\nHost: x\r\n", headers,
                             "Content-Length: ", body.size(), "\r\n\r\n", body));
  }

  struct Answer {
    int status = 0;
    std::string head;
    std::string body;
  };
  // The next answer; status 0: the connection has ended.
  Answer Hear() {
    Answer answer = HearHead();
    const std::size_t length = answer.head.find("Content-Length: ");
    if (length != std::string::npos) {
      const std::size_t bytes = std::stoul(answer.head.substr(length + 16));
      while (heard_.size() < bytes && More()) continue;
      answer.body = heard_.substr(0, bytes);
      heard_.erase(0, bytes);
    }
    return answer;
  }
  // Without a body: all that there is of an answer to HEAD.
  Answer HearHead() {
    Answer answer;
    std::size_t end = 0;
    while ((end = heard_.find("\r\n\r\n")) == std::string::npos) {
      if (!More()) return answer;
    }
    answer.head = heard_.substr(0, end + 2);
    heard_.erase(0, end + 4);
    EXPECT_TRUE(absl::SimpleAtoi(answer.head.substr(9, 3), &answer.status)) << answer.head;
    return answer;
  }
  // The next chunk of an answer; empty: it was the last, or the connection has ended.
  std::string HearChunk() {
    std::size_t end = 0;
    while ((end = heard_.find("\r\n")) == std::string::npos) {
      if (!More()) return "";
    }
    const std::size_t bytes = std::stoul(heard_.substr(0, end), nullptr, 16);
    while (heard_.size() < end + 2 + bytes + 2 && More()) continue;
    std::string chunk = heard_.substr(end + 2, bytes);
    heard_.erase(0, end + 2 + bytes + 2);
    return chunk;
  }
  // Whether the connection has ended, and nothing more was said.
  bool Ended() { return !More() && heard_.empty(); }

 private:
  static int NewSocket() { return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); }
  static bool Connect(int fd, const Address& address) {
    sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(address.port), .sin_addr = {}};
    inet_pton(AF_INET, address.host.c_str(), &to.sin_addr);
    return connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0;
  }
  bool More() {
    char part[4096];
    const ssize_t read = recv(fd_, part, sizeof(part), 0);
    if (read > 0) heard_.append(part, read);
    return read > 0;
  }

  int fd_ = NewSocket();
  std::string heard_;
};

class HttpCallsTest : public testing::Test {
 protected:
  HttpCallsTest() { Start({}); }
  ~HttpCallsTest() override {
    if (!service_.go_on.HasBeenNotified()) service_.go_on.Notify();
  }

  void Start(HttpServer::Options options) {
    server_ = nullptr;
    options.listen = {"127.0.0.1", 0};
    options.probes = {.readiness = &readiness_};
    options.dispatcher = &dispatcher_;
    server_ = HttpServer::Start(std::move(options)).value();
  }
  Caller NewCaller() { return Caller(server_->address()); }
  Caller::Answer Ask(absl::string_view text) {
    Caller caller = NewCaller();
    caller.Send(text);
    return caller.Hear();
  }
  // How often GetSession ended like this.
  int Counted(absl::string_view code) { return HandledCalls(metrics_, "GetSession", code); }
  // What a stranger gets meanwhile.
  void ExpectServed() {
    Caller caller = NewCaller();
    caller.Send("GET /livez HTTP/1.1\r\n\r\n");
    EXPECT_GT(caller.Hear().status, 0);
  }

  static std::string Line(int line) {
    return Envelope(0, absl::StrCat(R"({"line":)", line, R"(,"session":{"sessionId":")", kId,
                                    R"(","workflow":"interview"}})"));
  }
  static std::string Chunk(absl::string_view piece) {
    return absl::StrCat(absl::Hex(piece.size()), "\r\n", piece, "\r\n");
  }
  static std::string StreamHead(absl::string_view path, absl::string_view more = "") {
    return absl::StrCat("POST ", path, " HTTP/1.1\r\nContent-Type: application/connect+json\r\n",
                        "Transfer-Encoding: chunked\r\n", more, "\r\n");
  }
  static std::string WatchCall(absl::string_view more = "") {
    return absl::StrCat(StreamHead(kWatchSessions, more), Chunk(Envelope(0, "{}")), "0\r\n\r\n");
  }

  Readiness readiness_;
  FakeService service_;
  Metrics metrics_{{"sessiond.v1.SessionService", "sessiond.v1.AdminService"}};
  Journal journal_{metrics_};
  rpc::Dispatcher dispatcher_{
      {Bind(service_, &FakeService::GetSession), Bind(service_, &FakeService::UpdateSession),
       Bind(service_, &FakeService::WatchSessions), Bind(service_, &FakeService::ImportSessions)},
      nullptr,
      metrics_,
      journal_};
  std::unique_ptr<HttpServer> server_;
};

// ------------------------------------------------------------------------------------ unary

TEST_F(HttpCallsTest, AnswersJsonAndProtobuf) {
  Caller caller = NewCaller();
  caller.Post(kGetSession, kAsk);
  const auto json = caller.Hear();
  EXPECT_EQ(json.status, 200);
  EXPECT_THAT(json.head, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_EQ(json.body, absl::StrCat("{\"sessionId\":\"", kId, "\",\"ownerId\":\"xxx\"}"));

  v1::GetSessionRequest request;
  request.set_session_id(kId);
  caller.Post(kGetSession, request.SerializeAsString(), "Content-Type: application/proto\r\n");
  const auto proto = caller.Hear();
  EXPECT_EQ(proto.status, 200);
  EXPECT_THAT(proto.head, HasSubstr("Content-Type: application/proto\r\n"));
  v1::Session session;
  ASSERT_TRUE(session.ParseFromString(proto.body));
  EXPECT_EQ(session.session_id(), kId);
  EXPECT_EQ(Counted("OK"), 2);
}

TEST_F(HttpCallsTest, WhatIsNoCallIsToldSo) {
  const struct {
    std::string request;
    int status;
    const char* body;
  } kCases[] = {
      {absl::StrCat("GET ", kUpdateSession, "?encoding=json HTTP/1.1\r\n\r\n"), 405, "POST"},
      {absl::StrCat("PUT ", kGetSession, " HTTP/1.1\r\n\r\n"), 405, "POST"},
      {absl::StrCat("GET ", kWatchSessions, "?encoding=json HTTP/1.1\r\n\r\n"), 405, "POST"},
      {"GET /sessiond.v1.SessionService/Nothing HTTP/1.1\r\n\r\n", 404, "unimplemented"},
      {"GET /a.b/\xff\x80 HTTP/1.1\r\n\r\n", 404, "There is no method a.b/\\\\xff\\\\x80"},
      {absl::StrCat("POST ", kGetSession,
                    " HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"),
       415, "application/json"},
      {absl::StrCat("POST ", kGetSession,
                    " HTTP/1.1\r\nContent-Type: application/connect+json\r\n\r\n"),
       415, "application/json"},
      {absl::StrCat("POST ", kWatchSessions, " HTTP/1.1\r\nContent-Type: application/json\r\n\r\n"),
       415, "application/json"},
      {absl::StrCat("POST ", kGetSession, " HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}"), 505, "1.1"},
      {absl::StrCat("GET ", kGetSession, "?encoding=xml HTTP/1.1\r\n\r\n"), 415, "json"},
      {absl::StrCat("POST ", kGetSession,
                    " HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"),
       501, "unimplemented"},
  };
  for (const auto& [request, status, body] : kCases) {
    const auto answer = Ask(request);
    EXPECT_EQ(answer.status, status) << request;
    EXPECT_THAT(answer.body, HasSubstr(body)) << request;
  }
  EXPECT_EQ(service_.gets, 0);
}

TEST_F(HttpCallsTest, WhatCurlSendsIsJson) {
  const auto with = [this](absl::string_view headers) {
    Caller caller = NewCaller();
    caller.Post(kGetSession, kAsk, headers);
    return caller.Hear().status;
  };
  EXPECT_EQ(with("Content-Type: application/x-www-form-urlencoded\r\n"), 200);
  EXPECT_EQ(with(""), 200);
  // A page could send it without asking first.
  EXPECT_EQ(with("Origin: https://evil.example\r\n"), 403);
}

TEST_F(HttpCallsTest, GetsWhatChangesNothing) {
  const auto get = [this](absl::string_view query) {
    return Ask(absl::StrCat("GET ", kGetSession, "?", query, " HTTP/1.1\r\n\r\n"));
  };
  const std::string message =
      absl::StrReplaceAll(kAsk, {{"{", "%7B"}, {"}", "%7D"}, {"\"", "%22"}});
  EXPECT_EQ(get(absl::StrCat("encoding=json&connect=v1&message=", message)).status, 200);
  v1::GetSessionRequest request;
  request.set_session_id(kId);
  const auto proto = get(absl::StrCat("base64=1&encoding=proto&message=",
                                      absl::WebSafeBase64Escape(request.SerializeAsString())));
  EXPECT_EQ(proto.status, 200);
  EXPECT_THAT(proto.head, HasSubstr("application/proto"));
  const auto refused = get("encoding=json&message=%");
  EXPECT_EQ(refused.status, 400);
  EXPECT_THAT(refused.body, HasSubstr("INVALID_FIELD"));
}

TEST_F(HttpCallsTest, AConnectionTakesManyRequests) {
  Caller caller = NewCaller();
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(caller.Post(kGetSession, kAsk));
    ASSERT_EQ(caller.Hear().status, 200);
  }
  // Or all at once; refused ones among them do not end it.
  std::string many;
  for (int i = 0; i < 200; ++i) {
    const std::string body = i % 2 == 0 ? kAsk : "{";
    absl::StrAppend(&many, "POST ", kGetSession, " HTTP/1.1\r\nContent-Length: ", body.size(),
                    "\r\n\r\n", body);
  }
  ASSERT_TRUE(caller.Send(many));
  for (int i = 0; i < 200; ++i) ASSERT_EQ(caller.Hear().status, i % 2 == 0 ? 200 : 400) << i;
  caller.Post(kGetSession, kAsk, "Connection: close\r\n");
  EXPECT_EQ(caller.Hear().status, 200);
  EXPECT_TRUE(caller.Ended());
}

TEST_F(HttpCallsTest, CallersWithALargeBodyMayAskFirst) {
  for (const char* expect : {"100-continue", "100-Continue"}) {
    Caller caller = NewCaller();
    caller.Send(absl::StrCat("POST ", kGetSession, " HTTP/1.1\r\nExpect: ", expect,
                             "\r\nContent-Length: ", kAsk.size(), "\r\n\r\n"));
    ASSERT_EQ(caller.Hear().status, 100);
    caller.Send(kAsk);
    EXPECT_EQ(caller.Hear().status, 200);
  }
  // And need not send what is not wanted.
  EXPECT_EQ(
      Ask(absl::StrCat("POST ", kGetSession,
                       " HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 100000000\r\n\r\n"))
          .status,
      429);
}

TEST_F(HttpCallsTest, ABodyMayComeInChunks) {
  Caller caller = NewCaller();
  const auto post = [&](absl::string_view chunks) {
    caller.Send(absl::StrCat("POST ", kGetSession,
                             " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", chunks));
    return caller.Hear();
  };
  EXPECT_EQ(post(absl::StrCat(Chunk(kAsk), "0\r\n\r\n")).status, 200);
  EXPECT_EQ(post(absl::StrCat(Chunk(kAsk.substr(0, 7)), Chunk(kAsk.substr(7)), "0\r\n\r\n")).status,
            200);
  EXPECT_EQ(post(absl::StrCat("2;a=b\r\n{}\r\n0\r\nX-Trailer: y\r\n\r\n")).status, 400);
  // Still the same connection; this ends it.
  const auto bad = post("xyz\r\n");
  EXPECT_EQ(bad.status, 400);
  EXPECT_THAT(bad.body, HasSubstr("not in chunks"));
  EXPECT_TRUE(caller.Ended());
}

TEST_F(HttpCallsTest, ALargeBodyIsRefusedWhenItIsAnnouncedOrFound) {
  const auto announced =
      Ask(absl::StrCat("POST ", kGetSession, " HTTP/1.1\r\nContent-Length: 8388609\r\n\r\n"));
  EXPECT_EQ(announced.status, 429);
  EXPECT_THAT(announced.body, HasSubstr("PAYLOAD_TOO_LARGE"));
  Caller caller = NewCaller();
  caller.Send(
      absl::StrCat("POST ", kGetSession, " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"));
  const std::string chunk = Chunk(std::string(1 << 20, ' '));
  for (int i = 0; i < 9 && caller.Send(chunk); ++i) continue;
  const auto found = caller.Hear();
  EXPECT_EQ(found.status, 429);
  EXPECT_THAT(found.body, HasSubstr("PAYLOAD_TOO_LARGE"));
  EXPECT_TRUE(caller.Ended());
}

// A request has one end, whoever reads it.
TEST_F(HttpCallsTest, ARequestWithTwoEndsIsRefused) {
  const std::string post = absl::StrCat("POST ", kGetSession, " HTTP/1.1\r\n");
  const std::string inner = absl::StrCat("POST ", kGetSession, " HTTP/1.1\r\n\r\n");
  for (const std::string& request : {
           absl::StrCat(post, "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
           absl::StrCat(post, "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n"),
           absl::StrCat(post, "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
           absl::StrCat(post, "Content-Length: 2, 3\r\n\r\n{}"),
           absl::StrCat(post, "Content-Length: -2\r\n\r\n{}"),
           absl::StrCat(post, "Content-Length: +2\r\n\r\n{}"),
           absl::StrCat(post, "Content-Length: 0x2\r\n\r\n{}"),
           absl::StrCat(post, "Content-Length: 99999999999999999999\r\n\r\n{}"),
           absl::StrCat(post, "Transfer-Encoding: identity\r\n\r\n", inner),
           absl::StrCat(post, "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
           absl::StrCat(post, "Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n\r\n{}"),
           absl::StrCat(post,
                        "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"),
           absl::StrCat(post,
                        "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
           absl::StrCat(post, "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
           absl::StrCat("GET ", kGetSession,
                        " HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
           absl::StrReplaceAll(absl::StrCat(post, "Content-Length: 2\r\n\r\n{}"), {{"\r\n", "\n"}}),
           absl::StrCat(post, "Host: x\nContent-Length: 2\r\n\r\n{}"),
       }) {
    Caller caller = NewCaller();
    caller.Send(request);
    const auto answer = caller.Hear();
    // Of a bare LF no head ends.
    EXPECT_TRUE(answer.status == 400 || answer.status == 501 || answer.status == 0)
        << answer.status << request;
    EXPECT_TRUE(caller.Ended()) << request;
  }
  EXPECT_EQ(service_.gets, 0);
}

// What has no limit of its own in a body: the head of a chunk, and what is behind the last.
TEST_F(HttpCallsTest, AChunkIsNotMadeOfHeads) {
  for (const char* begin : {"2;", "0\r\nX: "}) {
    Caller caller = NewCaller();
    caller.Send(absl::StrCat("POST ", kGetSession,
                             " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", begin));
    const std::string more(64 << 10, 'x');
    for (int i = 0; i < 32 && caller.Send(more); ++i) continue;
    const auto answer = caller.Hear();
    EXPECT_TRUE(answer.status == 400 || answer.status == 0) << answer.status;
  }
  EXPECT_EQ(service_.gets, 0);
}

TEST_F(HttpCallsTest, HalfABodyEndsInTime) {
  Start({.times = {.part = std::chrono::milliseconds(300)}});
  Caller caller = NewCaller();
  caller.Send(absl::StrCat("POST ", kGetSession, " HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"));
  const absl::Time begin = absl::Now();
  EXPECT_TRUE(caller.Ended());
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
  EXPECT_TRUE(Eventually([&] { return Counted("DeadlineExceeded") == 1; }));
}

// A byte now and then is not enough: the call has a deadline.
TEST_F(HttpCallsTest, ABodyThatTricklesEndsInTime) {
  Caller caller = NewCaller();
  caller.Send(
      absl::StrCat("POST ", kGetSession,
                   " HTTP/1.1\r\nConnect-Timeout-Ms: 500\r\nContent-Length: 100000\r\n\r\n"));
  const absl::Time begin = absl::Now();
  while (caller.Send(" ") && absl::Now() - begin < absl::Seconds(15))
    absl::SleepFor(absl::Milliseconds(10));
  EXPECT_LT(absl::Now() - begin, absl::Seconds(10));
}

// Bodies that are only announced take no room from others.
TEST_F(HttpCallsTest, ManyLargeAnnouncementsKeepNobodyOut) {
  std::list<Caller> slow;
  for (int i = 0; i < 40; ++i) {
    slow.emplace_back(server_->address())
        .Send(absl::StrCat("POST ", kGetSession, " HTTP/1.1\r\n",
                           i % 2 == 0 ? "Content-Length: 8000000" : "Transfer-Encoding: chunked",
                           "\r\n\r\n"));
  }
  for (int i = 0; i < 5; ++i) {
    Caller caller = NewCaller();
    caller.Post(kGetSession, kAsk);
    EXPECT_EQ(caller.Hear().status, 200);
    caller.Send(absl::StrCat("POST ", kGetSession,
                             " HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", Chunk(kAsk),
                             "0\r\n\r\n"));
    EXPECT_EQ(caller.Hear().status, 200);
  }
}

// What is held has a limit, and small calls do not need it.
TEST_F(HttpCallsTest, WhatIsHeldOfBodiesIsLimited) {
  Start({.bytes_max = 1 << 20});
  std::optional<Caller> half;
  Caller::Answer answer;
  int calls_between = 0;
  // Whichever of the two is read first keeps the other out, and this is about the second. What
  // comes between them, more each time, leaves time for the first.
  EXPECT_TRUE(Eventually([&] {
    half.emplace(server_->address())
        .Send(absl::StrCat("POST ", kGetSession, " HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n",
                           std::string(900'000, ' ')));
    for (int i = 0; i < calls_between; ++i) ExpectServed();
    ++calls_between;
    Caller another = NewCaller();
    another.Post(kGetSession, kAsk + std::string(300'000, ' '));
    answer = another.Hear();
    return answer.status == 429;
  }));
  EXPECT_THAT(answer.body, HasSubstr("OVERLOADED"));
  EXPECT_THAT(answer.head, HasSubstr("Retry-After: 1\r\n"));
  EXPECT_THAT(answer.head, HasSubstr("Trailer-Grpc-Retry-Pushback-Ms: 500\r\n"));
  Caller small = NewCaller();
  small.Post(kGetSession, kAsk);
  EXPECT_EQ(small.Hear().status, 200);
  // It is given back.
  half->Leave();
  EXPECT_TRUE(Eventually([&] {
    Caller again = NewCaller();
    again.Post(kGetSession, kAsk + std::string(300'000, ' '));
    return again.Hear().status == 200;
  }));
}

TEST_F(HttpCallsTest, RepliesThatNobodyReadsAreLimited) {
  Start({.times = {.part = std::chrono::milliseconds(1500)}, .bytes_max = 8 << 20});
  service_.reply_bytes = 3 << 20;
  std::list<Caller> unread;
  for (int i = 0; i < 6; ++i)
    unread.emplace_back(server_->address(), kLittle).Post(kGetSession, kAsk);
  EXPECT_TRUE(Eventually([&] { return Counted("ResourceExhausted") > 0; }));
  ExpectServed();
  // In time, whoever does not read is cut off, and others get theirs.
  EXPECT_TRUE(Eventually([&] {
    Caller caller = NewCaller();
    caller.Post(kGetSession, kAsk);
    return caller.Hear().status == 200;
  }));
}

TEST_F(HttpCallsTest, ACallWhoseCallerLeavesHearsOfIt) {
  service_.hangs = true;
  Caller caller = NewCaller();
  caller.Post(kGetSession, kAsk);
  ASSERT_TRUE(Eventually([&] { return service_.gets == 1; }));
  caller.Leave();
  EXPECT_TRUE(Eventually([&] { return service_.departures == 1; }));
}

TEST_F(HttpCallsTest, ACallIsAnsweredAtItsDeadlineWhateverItsHandlerDoes) {
  service_.hangs = service_.deaf = true;
  Caller caller = NewCaller();
  caller.Post(kGetSession, kAsk, "Content-Type: application/json\r\nConnect-Timeout-Ms: 3000\r\n");
  const Caller::Answer answer = caller.Hear();
  EXPECT_EQ(answer.status, 504);
  EXPECT_THAT(answer.body, HasSubstr("deadline_exceeded"));
  // The handler runs on: further calls of this caller take another connection.
  EXPECT_THAT(answer.head, HasSubstr("Connection: close\r\n"));
  EXPECT_EQ(service_.departures, 0);
  service_.go_on.Notify();
  EXPECT_TRUE(caller.Ended());
  EXPECT_EQ(service_.departures, 1);
}

TEST_F(HttpCallsTest, RefusalsHaveTheirDetails) {
  service_.refusal = Refusal(v1::RATE_LIMITED, "Too fast.").RetryAfter(absl::Milliseconds(1200));
  Caller caller = NewCaller();
  caller.Post(kGetSession, kAsk);
  auto answer = caller.Hear();
  EXPECT_EQ(answer.status, 429);
  EXPECT_THAT(answer.head, HasSubstr("Retry-After: 2\r\n"));
  EXPECT_THAT(answer.body, StartsWith(R"({"code":"resource_exhausted","message":"Too fast.")"));
  EXPECT_THAT(answer.body, HasSubstr(R"("reason":"RATE_LIMITED")"));
  service_.refusal = Refusal(v1::CREDENTIALS_INVALID, "Who?");
  caller.Post(kGetSession, kAsk);
  answer = caller.Hear();
  EXPECT_EQ(answer.status, 401);
  EXPECT_THAT(answer.head, HasSubstr("WWW-Authenticate: Bearer\r\n"));
  caller.Post(kGetSession, R"({"sessionId": 1})");
  answer = caller.Hear();
  EXPECT_EQ(answer.status, 400);
  EXPECT_THAT(answer.body, HasSubstr(R"("field":"session_id")"));
  caller.Post(kGetSession, kAsk, "Connect-Protocol-Version: 2\r\n");
  EXPECT_EQ(caller.Hear().status, 400);
}

TEST_F(HttpCallsTest, ADrainRefusesCallsAndCountsThemUntilTheyAreAnswered) {
  service_.hangs = true;
  Caller running = NewCaller();
  running.Post(kGetSession, kAsk);
  ASSERT_TRUE(Eventually([&] { return service_.gets == 1; }));
  dispatcher_.RefuseNewCalls();
  Caller late = NewCaller();
  late.Post(kGetSession, kAsk);
  const auto refused = late.Hear();
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.body, HasSubstr("DRAINING"));
  service_.go_on.Notify();
  dispatcher_.AwaitCalls(SteadyTime::Now() + kPatience);
  server_->EndCalls();
  EXPECT_EQ(running.Hear().status, 200);
}

TEST_F(HttpCallsTest, CallsThatHangAreCut) {
  service_.hangs = true;
  std::list<Caller> callers;
  for (int i = 0; i < 10; ++i) callers.emplace_back(server_->address()).Post(kGetSession, kAsk);
  ASSERT_TRUE(Eventually([&] { return service_.gets == 10; }));
  dispatcher_.RefuseNewCalls();
  server_->EndCalls();
  EXPECT_EQ(service_.departures, 10);
  ExpectServed();  // Probes are.
  for (Caller& caller : callers) EXPECT_TRUE(caller.Ended());
}

TEST_F(HttpCallsTest, AnAnswerThatIsBeingTakenIsNotCutWithTheCallsThatHang) {
  Start({.times = {.last = kLong}});
  service_.reply_bytes = 3 << 20;
  Caller answered(server_->address(), kLittle);
  answered.Post(kGetSession, kAsk);
  ASSERT_TRUE(Eventually([&] { return Counted("OK") == 1; }));
  service_.hangs = true;
  Caller hangs = NewCaller();
  hangs.Post(kGetSession, kAsk);
  ASSERT_TRUE(Eventually([&] { return service_.gets == 2; }));
  dispatcher_.RefuseNewCalls();
  std::thread ends([&] { server_->EndCalls(); });
  EXPECT_TRUE(hangs.Ended());
  EXPECT_GT(answered.Hear().body.size(), service_.reply_bytes);
  ends.join();
}

TEST_F(HttpCallsTest, AnAnswerThatNobodyTakesHoldsUpNoEnd) {
  Start({.times = {.part = kLong, .last = std::chrono::milliseconds(100)}});
  service_.reply_bytes = 3 << 20;
  Caller reads_nothing(server_->address(), kLittle);
  reads_nothing.Post(kGetSession, kAsk);
  ASSERT_TRUE(Eventually([&] { return Counted("OK") == 1; }));
  dispatcher_.RefuseNewCalls();
  const SteadyTime begin = SteadyTime::Now();
  server_->EndCalls();
  EXPECT_GE(SteadyTime::Now() - begin, absl::Milliseconds(100)) << "it had no time to be taken";
  EXPECT_LT(SteadyTime::Now() - begin, kPatience);
}

TEST_F(HttpCallsTest, WhoHasJustConnectedIsAnsweredWhenTheServerEnds) {
  Start({.times = {.last = kLong}});
  Caller rests = NewCaller();
  rests.Post(kGetSession, kAsk);
  EXPECT_EQ(rests.Hear().status, 200);
  dispatcher_.RefuseNewCalls();
  Caller late = NewCaller();
  const Address address = server_->address();
  std::thread ends([&] { server_ = nullptr; });
  EXPECT_TRUE(Eventually([&] { return !Caller::MayConnect(address); }));
  EXPECT_TRUE(rests.Ended());
  late.Post(kGetSession, kAsk);
  const auto refused = late.Hear();
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.head, HasSubstr("Connection: close\r\n"));
  EXPECT_THAT(refused.body, HasSubstr("DRAINING"));
  EXPECT_TRUE(late.Ended());
  late.Leave();
  ends.join();
}

TEST_F(HttpCallsTest, TheServerMayEndWhileCallsAndStreamsRun) {
  service_.hangs = true;
  std::list<Caller> callers;
  for (int i = 0; i < 10; ++i) {
    callers.emplace_back(server_->address()).Post(kGetSession, kAsk);
    callers.emplace_back(server_->address()).Send(WatchCall());
    callers.emplace_back(server_->address()).Send(StreamHead(kImportSessions));
  }
  ASSERT_TRUE(Eventually([&] { return service_.gets == 10 && service_.watches == 10; }));
  server_ = nullptr;
  EXPECT_EQ(service_.departures, 20);
}

// ---------------------------------------------------------------------------------- streams

TEST_F(HttpCallsTest, AStreamOfAnswers) {
  Caller caller = NewCaller();
  caller.Send(WatchCall());
  const auto head = caller.Hear();
  EXPECT_EQ(head.status, 200);
  EXPECT_THAT(head.head, HasSubstr("Content-Type: application/connect+json\r\n"));
  EXPECT_EQ(caller.HearChunk(), Envelope(0, R"({"bookmark":{}})"));
  std::thread drain([this] { dispatcher_.DrainStreams(kPatience); });
  EXPECT_THAT(caller.HearChunk(), HasSubstr("the last one"));
  EXPECT_THAT(caller.HearChunk(), HasSubstr(R"("reason":"DRAINING")"));
  EXPECT_EQ(caller.HearChunk(), "");
  drain.join();
  // Those that come now, too.
  Caller late = NewCaller();
  late.Send(WatchCall());
  EXPECT_EQ(late.Hear().status, 200);
  EXPECT_THAT(late.HearChunk(), HasSubstr(R"("reason":"DRAINING")"));
}

TEST_F(HttpCallsTest, AStreamInProtobuf) {
  Caller caller = NewCaller();
  caller.Post(kWatchSessions, Envelope(0, ""), "Content-Type: application/connect+proto\r\n");
  EXPECT_THAT(caller.Hear().head, HasSubstr("application/connect+proto"));
  v1::WatchSessionsResponse response;
  ASSERT_TRUE(response.ParseFromString(caller.HearChunk().substr(kEnvelopeBytes)));
  EXPECT_TRUE(response.has_bookmark());
}

TEST_F(HttpCallsTest, AStreamOfRequests) {
  Caller caller = NewCaller();
  caller.Send(StreamHead(kImportSessions));
  for (int line = 1; line <= 100; ++line) {
    const std::string message = Line(line);
    // Chunks and messages have nothing to do with each other.
    caller.Send(Chunk(message.substr(0, line)));
    caller.Send(Chunk(message.substr(line)));
    if (line == 1) {
      EXPECT_EQ(caller.Hear().status, 200);
    }
    ASSERT_EQ(caller.HearChunk(), Envelope(0, absl::StrCat("{\"line\":", line, "}"))) << line;
  }
  caller.Send("0\r\n\r\n");
  EXPECT_EQ(caller.HearChunk(), Envelope(2, "{}"));
  EXPECT_EQ(caller.HearChunk(), "");
}

TEST_F(HttpCallsTest, MessagesThatAreNoneEndAStreamWithTheReason) {
  const struct {
    std::string sent;
    const char* what;
  } kCases[] = {
      {Chunk(Envelope(0, "{\"namespace\":\"NOT A NAMESPACE\"}")), "INVALID_FIELD"},
      {Chunk(Envelope(0, "{\"a\":1}")), "INVALID_FIELD"},
      {Chunk(Envelope(1, "{}")), "not compressed"},
      {Chunk(Envelope(2, "{}")), "flags of a message are 2"},
      {Chunk(std::string("\0\0\0\0\7{}", 7)) + "0\r\n\r\n", "ends in the middle"},
      {Chunk(std::string("\0\0", 2)) + "0\r\n\r\n", "ends in the middle"},
      {Chunk(std::string("\0\xff\xff\xff\xff", 5)), "PAYLOAD_TOO_LARGE"},
      {"0\r\n\r\n", "no request message"},
      {"xyz\r\n", "not in chunks"},
  };
  for (const auto& [sent, what] : kCases) {
    Caller caller = NewCaller();
    caller.Send(absl::StrCat(StreamHead(kWatchSessions), sent));
    EXPECT_EQ(caller.Hear().status, 200);
    const std::string end = caller.HearChunk();
    EXPECT_EQ(end.substr(0, 1), "\2");
    EXPECT_THAT(end, HasSubstr(what));
    EXPECT_EQ(caller.HearChunk(), "");
  }
  for (const char* head : {"Connect-Protocol-Version: 2\r\n", "Connect-Timeout-Ms: x\r\n",
                           "Connect-Content-Encoding: gzip\r\n"}) {
    Caller caller = NewCaller();
    caller.Send(WatchCall(head));
    EXPECT_EQ(caller.Hear().status, 200);
    EXPECT_THAT(caller.HearChunk(), HasSubstr("\"error\""));
  }
}

TEST_F(HttpCallsTest, AStreamEndsAtItsTimeout) {
  Caller caller = NewCaller();
  caller.Send(WatchCall("Connect-Timeout-Ms: 5000\r\n"));
  EXPECT_EQ(caller.Hear().status, 200);
  EXPECT_THAT(caller.HearChunk(), HasSubstr("bookmark"));
  EXPECT_THAT(caller.HearChunk(), HasSubstr("deadline_exceeded"));
  EXPECT_TRUE(Eventually([&] { return service_.departures == 1; }));
}

TEST_F(HttpCallsTest, AWatchWhoseReaderLeavesHearsOfIt) {
  Caller caller = NewCaller();
  caller.Send(WatchCall());
  EXPECT_EQ(caller.Hear().status, 200);
  caller.Leave();
  EXPECT_TRUE(Eventually([&] { return service_.departures == 1; }));
}

TEST_F(HttpCallsTest, AReaderThatStopsIsWrittenToNoMoreAndIsCutInTime) {
  Start({.times = {.part = std::chrono::milliseconds(1000)}});
  service_.flood_bytes = 100'000;
  Caller caller = NewCaller();
  caller.Send(WatchCall());
  EXPECT_TRUE(Eventually([&] { return service_.departures == 1; }));
  EXPECT_LT(service_.written, 200);
}

TEST_F(HttpCallsTest, AReaderThatStopsHoldsUpNoEnd) {
  service_.flood_bytes = 100'000;
  std::list<Caller> callers;
  for (int i = 0; i < 5; ++i) callers.emplace_back(server_->address()).Send(WatchCall());
  ASSERT_TRUE(Eventually([&] { return service_.written > 5; }));
  const absl::Time begin = absl::Now();
  dispatcher_.RefuseNewCalls();
  dispatcher_.DrainStreams(absl::Milliseconds(200));
  server_->EndCalls();
  EXPECT_LT(absl::Now() - begin, kPatience / 2);
}

// As when a token ends that a stream was let in with.
TEST_F(HttpCallsTest, ADrainDoesNotWaitForAClientThatSendsNothing) {
  Caller caller = NewCaller();
  caller.Send(absl::StrCat(StreamHead(kImportSessions), Chunk(Line(1))));
  EXPECT_EQ(caller.Hear().status, 200);
  EXPECT_THAT(caller.HearChunk(), HasSubstr("\"line\":1"));
  const absl::Time begin = absl::Now();
  dispatcher_.DrainStreams(kPatience);
  EXPECT_LT(absl::Now() - begin, kPatience / 2);
  EXPECT_THAT(caller.HearChunk(), HasSubstr("DRAINING"));
}

// ------------------------------------------------------------------------------------- CORS

TEST_F(HttpCallsTest, PagesAreLetInByTheirOrigin) {
  Start({.cors = Cors("https://app.example, http://localhost:3000")});
  const auto with = [this](absl::string_view method, absl::string_view headers) {
    return Ask(absl::StrCat(
        method, " ", kGetSession, " HTTP/1.1\r\n", headers,
        "Content-Type: application/json\r\nContent-Length: ", method == "POST" ? kAsk.size() : 0,
        "\r\n\r\n", method == "POST" ? kAsk : ""));
  };
  const auto allowed = with("POST", "Origin: https://app.example\r\n");
  EXPECT_EQ(allowed.status, 200);
  EXPECT_THAT(allowed.head, HasSubstr("Access-Control-Allow-Origin: https://app.example\r\n"));
  EXPECT_THAT(allowed.head, HasSubstr("Vary: Origin\r\n"));
  for (const char* origin : {"https://evil.example", "null", "https://app.example.evil.example",
                             "http://app.example", "https://app.example:444", ""}) {
    const auto refused = with("POST", absl::StrCat("Origin: ", origin, "\r\n"));
    EXPECT_EQ(refused.status, 403) << origin;
    EXPECT_EQ(refused.head.find("Access-Control"), std::string::npos);
    EXPECT_EQ(with("OPTIONS", absl::StrCat("Origin: ", origin, "\r\n")).status, 403);
  }
  const auto preflight =
      with("OPTIONS",
           "Origin: http://localhost:3000\r\nAccess-Control-Request-Method: POST\r\n"
           "Access-Control-Request-Headers: authorization,connect-protocol-version\r\n");
  EXPECT_EQ(preflight.status, 204);
  EXPECT_THAT(preflight.head, HasSubstr("Access-Control-Allow-Methods: GET, POST\r\n"));
  EXPECT_THAT(preflight.head, HasSubstr("Connect-Protocol-Version"));
  EXPECT_EQ(with("OPTIONS", "").status, 403);
  // No page, or one that says nothing of itself.
  EXPECT_EQ(with("POST", "").status, 200);
  EXPECT_EQ(with("POST", "Sec-Fetch-Site: none\r\n").status, 200);
  for (const char* site : {"same-origin", "same-site", "cross-site"})
    EXPECT_EQ(with("POST", absl::StrCat("Sec-Fetch-Site: ", site, "\r\n")).status, 403) << site;
}

TEST_F(HttpCallsTest, NoPageIsLetInUnlessTold) {
  Caller caller = NewCaller();
  caller.Post(kGetSession, kAsk, "Origin: http://127.0.0.1\r\nContent-Type: application/json\r\n");
  const auto refused = caller.Hear();
  EXPECT_EQ(refused.status, 403);
  EXPECT_THAT(refused.body, HasSubstr("--http-allow-origins"));
  EXPECT_EQ(service_.gets, 0);
  Start({.cors = Cors("*")});
  Caller any = NewCaller();
  any.Post(kGetSession, kAsk, "Origin: https://x.example\r\nContent-Type: application/json\r\n");
  EXPECT_THAT(any.Hear().head, HasSubstr("Access-Control-Allow-Origin: https://x.example\r\n"));
}

// ------------------------------------------------------------------------------ connections

TEST_F(HttpCallsTest, OnlyIdleConnectionsMakeRoom) {
  Start({.connections_max = 8});
  service_.hangs = true;
  std::list<Caller> running;
  for (int i = 0; i < 7; ++i) running.emplace_back(server_->address()).Post(kGetSession, kAsk);
  ASSERT_TRUE(Eventually([&] { return service_.gets == 7; }));
  Caller idle = NewCaller();
  idle.Send("GET ");
  ExpectServed();
  EXPECT_TRUE(idle.Ended());
  running.emplace_back(server_->address()).Post(kGetSession, kAsk);
  ASSERT_TRUE(Eventually([&] { return service_.gets == 8; }));
  // Nobody is idle.
  Caller late = NewCaller();
  late.Send("GET /livez HTTP/1.1\r\n\r\n");
  EXPECT_EQ(late.Hear().status, 0);
  service_.go_on.Notify();
  for (Caller& caller : running) EXPECT_EQ(caller.Hear().status, 200);
}

// Calls may last as long as watches do.
TEST_F(HttpCallsTest, CallsLeaveConnectionsForProbes) {
  Start({.connections_max = 32});  // Of which two are left.
  service_.hangs = true;
  std::list<Caller> running;
  for (int i = 0; i < 30; ++i) running.emplace_back(server_->address()).Post(kGetSession, kAsk);
  ASSERT_TRUE(Eventually([&] { return service_.gets == 30; }));
  Caller late = NewCaller();
  late.Post(kGetSession, kAsk);
  const auto refused = late.Hear();
  EXPECT_EQ(refused.status, 503);
  EXPECT_THAT(refused.head, HasSubstr("Retry-After: 1\r\n"));
  ExpectServed();
  service_.go_on.Notify();
  for (Caller& caller : running) EXPECT_EQ(caller.Hear().status, 200);
}

TEST_F(HttpCallsTest, HeadsAndOldVersions) {
  Caller probe = NewCaller();
  probe.Send("HEAD /livez HTTP/1.1\r\n\r\n");
  EXPECT_GT(probe.HearHead().status, 0);
  Caller call = NewCaller();
  call.Send(absl::StrCat("HEAD ", kGetSession, " HTTP/1.1\r\n\r\n"));
  EXPECT_EQ(call.HearHead().status, 405);
  const auto old = Ask(absl::StrCat("GET ", kGetSession, "?encoding=json HTTP/1.0\r\n\r\n"));
  EXPECT_EQ(old.status, 400);
  EXPECT_THAT(old.head, HasSubstr("Connection: close\r\n"));
}

}  // namespace
}  // namespace sessiond::http
