// The watcher against a fake daemon: what is handed out, what is not, and what makes it go on; and
// `sessionctl session watch`, as a shell runs it and on a terminal.
#include "sessiond/watcher.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/cpp/steady_time.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "sessiond/client.h"
#include "state_machine/refusal.h"
#include "tests/fake_session_service.h"
#include "tests/terminal.h"

namespace sessiond {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

using Response = v1::WatchSessionsResponse;

// Longer than a daemon that speaks takes, on a machine that has other things to do.
constexpr absl::Duration kSilence = absl::Seconds(5);

Response Bookmark(const std::string& token) {
  Response response;
  response.mutable_bookmark();
  response.set_resume_token(token);
  return response;
}

Response Heartbeat(const std::string& token) {
  Response response;
  response.mutable_heartbeat();
  response.set_resume_token(token);
  return response;
}

v1::Session SomeSession(const std::string& id, const std::string& status = "active") {
  v1::Session session;
  session.set_session_id(id);
  session.set_workflow("ticket_export");
  session.set_owner_id("ada");
  session.set_state(v1::Session::ACTIVE);
  session.set_stage("upload");
  session.set_status(status);
  session.set_sequence(4);
  session.mutable_update_time()->set_seconds(1'767'225'600);
  return session;
}

Response Present(const std::string& id, const std::string& token) {
  Response response;
  *response.mutable_session() = SomeSession(id);
  response.set_resume_token(token);
  return response;
}

Response Change(const std::string& id, int sequence, const std::string& token,
                const std::string& status = "active") {
  Response response;
  v1::SessionEvent& event = *response.mutable_change()->mutable_event();
  event.set_session_id(id);
  event.set_sequence(sequence);
  event.mutable_event_time()->set_seconds(1'767'225'600 + sequence);
  event.set_type(v1::SessionEvent::UPDATED);
  event.set_old_state(v1::Session::ACTIVE);
  event.set_new_state(v1::Session::ACTIVE);
  event.set_old_status("active");
  event.set_new_status(status);
  event.set_actor("grace");
  event.set_reason("it is\x1b[31m due");
  *response.mutable_change()->mutable_session() = SomeSession(id, status);
  response.set_matches(true);
  response.set_resume_token(token);
  return response;
}

absl::Status Draining() { return Refusal(v1::DRAINING, "This daemon is going down."); }

// `present s1`, `bookmark`, `s1#2`, or the status.
std::string Told(const absl::StatusOr<Response>& response) {
  if (!response.ok()) return absl::StatusCodeToString(response.status().code());
  switch (response->kind_case()) {
    case Response::kSession:
      return absl::StrCat("present ", response->session().session_id());
    case Response::kBookmark:
      return "bookmark";
    case Response::kChange:
      return absl::StrCat(response->change().event().session_id(), "#",
                          response->change().event().sequence());
    default:
      return "unexpected";
  }
}

class WatcherTest : public testing::Test {
 protected:
  WatcherTest() {
    options_.backoff_initial = absl::Milliseconds(1);
    options_.on_retry = [this](const absl::Status& why, absl::Duration pause) {
      troubles_.push_back(why);
      pauses_.push_back(pause);
    };
    options_.on_resume = [this](bool anew) { heard_.push_back(anew ? "(anew)" : "(resumed)"); };
  }

  // Walks through the responses until one is told as `last`, or the range ends.
  void Watch(Watcher& watcher, const std::string& last = "") {
    for (const auto& response : watcher.Responses()) {
      heard_.push_back(Told(response));
      status_ = response.status();
      if (heard_.back() == last) watcher.Stop();
    }
  }
  void Watch(const std::string& last = "", const v1::WatchSessionsRequest& request = {}) {
    Watcher watcher(MakeChannel(server_.Address()), request, options_);
    Watch(watcher, last);
    token_ = watcher.resume_token();
  }
  std::vector<std::string> Requests() { return server_.sessions.Requests(); }

  FakeServer server_;
  WatchOptions options_;
  std::vector<std::string> heard_;
  std::vector<absl::Status> troubles_;
  std::vector<absl::Duration> pauses_;
  absl::Status status_;
  std::string token_;
};

TEST_F(WatcherTest, TheInitialStateThenOneBookmarkThenEveryChange) {
  server_.sessions.NextWatch({Present("s1", "a"), Present("s2", "b"), Bookmark("c"),
                              Change("s1", 2, "d"), Change("s2", 2, "e")});
  v1::WatchSessionsRequest request;
  request.set_initial_state(true);
  request.set_filter("hold = true");
  Watch("s2#2", request);
  EXPECT_THAT(heard_, ElementsAre("present s1", "present s2", "bookmark", "s1#2", "s2#2"));
  EXPECT_THAT(Requests(), ElementsAre("filter: \"hold = true\" initial_state: true"));
  EXPECT_EQ(token_, "e");
}

TEST_F(WatcherTest, AStreamThatBreaksOffIsResumedBehindWhatWasTold) {
  server_.sessions.NextWatch({Bookmark("a"), Change("s1", 2, "b")}, Draining());
  server_.sessions.NextWatch({Bookmark("b"), Change("s1", 3, "c")},
                             absl::UnavailableError("Socket closed"));
  server_.sessions.NextWatch({Bookmark("c"), Change("s1", 4, "d")});
  v1::WatchSessionsRequest request;
  request.add_session_ids("s1");
  Watch("s1#4", request);
  EXPECT_THAT(heard_, ElementsAre("bookmark", "s1#2", "(resumed)", "s1#3", "(resumed)", "s1#4"));
  EXPECT_THAT(Requests(),
              ElementsAre("session_ids: \"s1\"", "session_ids: \"s1\" resume_token: \"b\"",
                          "session_ids: \"s1\" resume_token: \"c\""));
  EXPECT_EQ(GetReason(troubles_[0]), v1::DRAINING);
}

TEST_F(WatcherTest, ACompleteInitialStateIsNotAskedForAgain) {
  server_.sessions.NextWatch({Present("s1", "a"), Bookmark("b")}, Draining());
  server_.sessions.NextWatch({Bookmark("b"), Change("s1", 2, "c")});
  v1::WatchSessionsRequest request;
  request.set_initial_state(true);
  Watch("s1#2", request);
  EXPECT_THAT(heard_, ElementsAre("present s1", "bookmark", "(resumed)", "s1#2"));
  EXPECT_THAT(Requests(), ElementsAre("initial_state: true", "resume_token: \"b\""));
}

TEST_F(WatcherTest, AnInitialStateThatBreaksOffIsToldAnewAndTheCallerHearsOfIt) {
  server_.sessions.NextWatch({Present("s1", "a"), Present("s2", "a")}, Draining());
  server_.sessions.NextWatch({Present("s2", "b"), Bookmark("c"), Change("s2", 2, "d")});
  v1::WatchSessionsRequest request;
  request.set_initial_state(true);
  Watch("s2#2", request);
  EXPECT_THAT(heard_,
              ElementsAre("present s1", "present s2", "(anew)", "present s2", "bookmark", "s2#2"));
}

TEST_F(WatcherTest, WhatWasRefusedBeforeAnythingWasHeardIsAskedAsBefore) {
  server_.sessions.RefuseNext(Draining(), 3);
  server_.sessions.NextWatch({Present("s1", "a"), Bookmark("b")});
  v1::WatchSessionsRequest request;
  request.set_initial_state(true);
  Watch("bookmark", request);
  EXPECT_THAT(heard_, ElementsAre("(resumed)", "present s1", "bookmark"));
  EXPECT_THAT(Requests(), testing::Each("initial_state: true"));
}

TEST_F(WatcherTest, HeartbeatsMoveTheTokenOnAndAreKeptBack) {
  server_.sessions.NextWatch({Bookmark("a"), Heartbeat("b"), Heartbeat("c")}, Draining());
  server_.sessions.NextWatch({Bookmark("c"), Change("s1", 2, "d")});
  Watch("s1#2");
  EXPECT_THAT(heard_, ElementsAre("bookmark", "(resumed)", "s1#2"));
  EXPECT_THAT(Requests(), ElementsAre("", "resume_token: \"c\""));
}

TEST_F(WatcherTest, ADaemonThatFallsSilentIsLeft) {
  options_.silence_max = kSilence;
  server_.sessions.NextWatch({Bookmark("a")});
  server_.sessions.NextWatch({});
  server_.sessions.NextWatch({Bookmark("a"), Change("s1", 2, "b")});
  Watch("s1#2");
  EXPECT_THAT(heard_, ElementsAre("bookmark", "(resumed)", "s1#2"));
  ASSERT_THAT(troubles_, SizeIs(2));
  EXPECT_EQ(troubles_[0].message(), "Nothing was heard for 5s");
}

TEST_F(WatcherTest, AfterASilenceTheStreamGoesOnThroughAnotherChannel) {
  options_.silence_max = kSilence;
  FakeServer other;
  other.sessions.NextWatch({Bookmark("a"), Change("s1", 2, "b")});
  options_.reconnect = [&other] { return MakeChannel(other.Address()); };
  server_.sessions.NextWatch({Bookmark("a")});
  Watch("s1#2");
  EXPECT_THAT(heard_, ElementsAre("bookmark", "(resumed)", "s1#2"));
  EXPECT_THAT(Requests(), SizeIs(1));
  EXPECT_THAT(other.sessions.Requests(), ElementsAre("resume_token: \"a\""));
}

TEST_F(WatcherTest, ATokenFileKeepsThePosition) {
  std::string folder = testing::TempDir() + "watch.XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  options_.token_file = folder + "/position";
  v1::WatchSessionsRequest request;
  request.set_initial_state(true);
  server_.sessions.NextWatch({Bookmark("a"), Change("s1", 2, "b"), Change("s1", 3, "c")});
  Watch("s1#3", request);
  server_.sessions.NextWatch({Bookmark("c"), Change("s1", 4, "d")});
  Watch("s1#4", request);
  EXPECT_THAT(heard_, ElementsAre("bookmark", "s1#2", "s1#3", "bookmark", "s1#4"));
  EXPECT_THAT(Requests(), ElementsAre("initial_state: true", "resume_token: \"c\""));

  options_.token_file = folder + "/missing/position";
  server_.sessions.NextWatch({Bookmark("e"), Change("s1", 5, "f")});
  Watch("s1#5", request);
  EXPECT_EQ(heard_.back(), "NOT_FOUND");
  EXPECT_THAT(std::string(status_.message()), HasSubstr(options_.token_file));
}

TEST_F(WatcherTest, ATokenFileThatIsAFolderEndsTheWatchWithItsName) {
  options_.token_file = testing::TempDir();
  Watch();
  EXPECT_THAT(std::string(status_.message()),
              AllOf(HasSubstr(options_.token_file), HasSubstr("Is a directory")));
  EXPECT_THAT(Requests(), IsEmpty());
}

TEST_F(WatcherTest, ADaemonWhoseHeartBeatsIsNot) {
  options_.silence_max = kSilence;
  server_.sessions.NextWatch({Bookmark("a")});
  std::thread daemon([this] {
    for (int beat = 0; beat < 5; ++beat) {
      absl::SleepFor(absl::Milliseconds(1500));
      server_.sessions.Tell(Heartbeat("b"));
    }
    server_.sessions.Tell(Change("s1", 2, "c"));
  });
  Watch("s1#2");
  daemon.join();
  EXPECT_THAT(troubles_, IsEmpty());
  EXPECT_THAT(Requests(), SizeIs(1));
}

TEST_F(WatcherTest, WithoutALimitOfItsOwnSilenceIsThreeHeartbeats) {
  server_.sessions.NextWatch({Bookmark("a")});
  server_.sessions.NextWatch({Bookmark("a"), Change("s1", 2, "b")});
  v1::WatchSessionsRequest request;
  request.mutable_heartbeat_interval()->set_seconds(2);
  Watch("s1#2", request);
  ASSERT_THAT(troubles_, SizeIs(1));
  EXPECT_EQ(troubles_[0].message(), "Nothing was heard for 6s");
}

TEST_F(WatcherTest, RefusalsThatDoNotPassByThemselvesEndTheRange) {
  for (const auto reason : {v1::INVALID_FILTER, v1::INVALID_RESUME_TOKEN, v1::CONSTRAINT_VIOLATION,
                            v1::PAYLOAD_TOO_LARGE}) {
    heard_.clear();
    server_.sessions.RefuseNext(Refusal(reason, "no"));
    Watch();
    EXPECT_THAT(heard_, SizeIs(1)) << v1::ErrorReason_Name(reason);
    EXPECT_EQ(GetReason(status_), reason);
  }
  server_.sessions.RefuseNext(absl::UnimplementedError("What is a watch?"));
  Watch();
  EXPECT_EQ(heard_.back(), "UNIMPLEMENTED");
  EXPECT_THAT(troubles_, IsEmpty());
}

TEST_F(WatcherTest, RefusalsThatPassByThemselvesDoNot) {
  for (const auto reason : {v1::OVERLOADED, v1::DATABASE_UNAVAILABLE, v1::LOCK_TIMEOUT}) {
    server_.sessions.RefuseNext(Refusal(reason, "not now"));
  }
  server_.sessions.RefuseNext(absl::CancelledError("in a hurry"));
  server_.sessions.RefuseNext(absl::InternalError("A proxy's time has passed"));
  server_.sessions.RefuseNext(absl::UnknownError("A proxy was restarted"));
  server_.sessions.NextWatch({}, absl::OkStatus());
  server_.sessions.NextWatch({Bookmark("a")});
  Watch("bookmark");
  EXPECT_THAT(heard_, ElementsAre("(resumed)", "bookmark"));
  EXPECT_THAT(troubles_, SizeIs(7));
}

TEST_F(WatcherTest, AnExpiredTokenIsHandedToTheCallerWithTheOldest) {
  server_.sessions.NextWatch({Bookmark("a"), Change("s1", 2, "b")}, Draining());
  server_.sessions.NextWatch({}, Refusal(v1::RESUME_TOKEN_EXPIRED, "Changes were removed since.")
                                     .With("oldest", "2026-01-01T00:00:00Z"));
  Watch();
  EXPECT_THAT(heard_, ElementsAre("bookmark", "s1#2", "OUT_OF_RANGE"));
  EXPECT_EQ(status_.code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(GetDetail<google::rpc::ErrorInfo>(status_)->metadata().at("oldest"),
            "2026-01-01T00:00:00Z");
}

TEST_F(WatcherTest, PausesGrowAndAreShortAgainOnceSomethingWasHeard) {
  options_.backoff_initial = absl::Milliseconds(10);
  server_.sessions.RefuseNext(Draining(), 4);
  server_.sessions.NextWatch({Bookmark("a")}, Draining());
  server_.sessions.NextWatch({Bookmark("a"), Change("s1", 2, "b")});
  Watch("s1#2");
  ASSERT_THAT(pauses_, SizeIs(5));
  EXPECT_GT(pauses_[2], pauses_[0]);  // Four times as long, less half of it at most.
  EXPECT_GE(pauses_[3], absl::Milliseconds(40));
  EXPECT_LE(pauses_[4], absl::Milliseconds(10));
}

TEST_F(WatcherTest, RetryInfoMakesAPauseLonger) {
  server_.sessions.RefuseNext(Refusal(v1::OVERLOADED, "later").RetryAfter(absl::Milliseconds(90)));
  server_.sessions.NextWatch({Bookmark("a")});
  Watch("bookmark");
  EXPECT_THAT(pauses_, ElementsAre(absl::Milliseconds(90)));
}

TEST_F(WatcherTest, StopFromAnotherThreadEndsAWaitAtOnce) {
  server_.sessions.NextWatch({Bookmark("a")});
  Watcher watcher(MakeChannel(server_.Address()), {}, options_);
  std::thread stop([&] {
    server_.sessions.AwaitWatches(1);
    watcher.Stop();
  });
  const Stopwatch watch;
  Watch(watcher);
  EXPECT_LT(watch.elapsed(), absl::Seconds(20)) << "the silence would have ended it";
  stop.join();
  EXPECT_THAT(troubles_, IsEmpty());
  heard_.clear();
  Watch(watcher);
  EXPECT_THAT(heard_, IsEmpty());
}

TEST_F(WatcherTest, StopEndsAPauseAtOnce) {
  server_.sessions.RefuseNext(Refusal(v1::OVERLOADED, "later").RetryAfter(absl::Hours(1)));
  Watcher watcher(MakeChannel(server_.Address()), {}, options_);
  std::thread stop([&] {
    server_.sessions.AwaitWatches(1);
    watcher.Stop();
  });
  Watch(watcher);
  stop.join();
  EXPECT_THAT(heard_, IsEmpty());
}

TEST_F(WatcherTest, AResponseCountsWhenTheNextStepIsMade) {
  server_.sessions.NextWatch({Bookmark("b"), Change("s1", 2, "c"), Change("s1", 3, "d")});
  v1::WatchSessionsRequest request;
  request.set_resume_token("a");
  Watcher watcher(MakeChannel(server_.Address()), request, options_);
  std::vector<std::string> tokens = {watcher.resume_token()};
  for (const auto& response : watcher.Responses()) {
    tokens.push_back(watcher.resume_token());
    if (Told(response) == "s1#3") break;
  }
  tokens.push_back(watcher.resume_token());
  EXPECT_THAT(tokens, ElementsAre("a", "a", "b", "c", "c"));
}

TEST_F(WatcherTest, ACallerThatLeavesInTheMiddleHoldsNobodyUp) {
  std::vector<Response> many(1000, Change("s1", 2, "b"));
  server_.sessions.NextWatch(many);
  Watcher watcher(MakeChannel(server_.Address()), {}, options_);
  for (const auto& response : watcher.Responses()) {
    ASSERT_TRUE(response.ok());
    break;
  }
}

TEST(Watcher, ADaemonThatIsRestartedIsFoundAgain) {
  const std::string address = absl::StrCat("unix:", testing::TempDir(), "watcher_test.", getpid());
  auto server = std::make_unique<FakeServer>(address);
  server->sessions.NextWatch({Bookmark("a"), Change("s1", 2, "b")});
  int retries = 0;
  WatchOptions options{.backoff_initial = absl::Milliseconds(10)};
  options.on_retry = [&](const absl::Status&, absl::Duration) {
    if (++retries != 3) return;
    server = std::make_unique<FakeServer>(address);
    server->sessions.NextWatch({Bookmark("b"), Change("s1", 3, "c")});
  };
  Watcher watcher(MakeChannel(address), {}, options);
  std::vector<std::string> heard;
  for (const auto& response : watcher.Responses()) {
    heard.push_back(Told(response));
    if (heard.back() == "s1#2") server.reset();
    if (heard.back() == "s1#3") watcher.Stop();
  }
  EXPECT_THAT(heard, ElementsAre("bookmark", "s1#2", "s1#3"));
  ASSERT_NE(server, nullptr);
  EXPECT_THAT(server->sessions.Requests(), ElementsAre("resume_token: \"b\""));
}

// ---- sessionctl session watch

struct Outcome {
  int exit_code;
  std::string out;
  std::string err;
};

std::string ReadFile(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class WatchCommandTest : public testing::Test {
 protected:
  WatchCommandTest() { setenv("SESSIOND_SERVER", server_.Address().c_str(), 1); }

  // `arguments` as a person types them into a shell, off a terminal.
  Outcome Run(const std::string& arguments) {
    const std::string path = absl::StrCat(testing::TempDir(), "watch_command_test.", getpid());
    const int status = std::system(absl::StrCat(SESSIONCTL " session watch ", arguments, " >", path,
                                                ".out 2>", path, ".err </dev/null")
                                       .c_str());
    return {WEXITSTATUS(status), ReadFile(path + ".out"), ReadFile(path + ".err")};
  }

  FakeServer server_;
};

TEST_F(WatchCommandTest, OffATerminalItIsALineForEachChange) {
  Response gone = Change("s2", 6, "e", "done");
  gone.set_matches(false);
  gone.mutable_change()->mutable_event()->set_type(v1::SessionEvent::ARCHIVED);
  gone.mutable_change()->mutable_event()->clear_reason();
  server_.sessions.NextWatch(
      {Present("s1", "a"), Bookmark("b"), Change("s1", 5, "c"), Heartbeat("d"), gone});
  const Outcome outcome = Run("--until-status done");
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_EQ(outcome.out,
            "2026-01-01 00:00:00Z  s1       #4   present             -   "
            "state ACTIVE; stage upload; status active\n"
            "2026-01-01 00:00:05Z  s1       #5   UPDATED             grace  "
            "reason: it is\\x1b[31m due\n"
            "2026-01-01 00:00:06Z  s2       #6   ARCHIVED            grace  "
            "status active → done; matches no more\n");
  EXPECT_EQ(outcome.err, "To go on from here: the same command with --from-token e\n");
}

TEST_F(WatchCommandTest, JsonIsAnObjectALineAndNamesAreIdsAlone) {
  for (const char* format : {"json", "jsonl"}) {
    server_.sessions.NextWatch({Bookmark("a"), Change("s1", 5, "b", "done")});
    const Outcome outcome = Run(absl::StrCat("--until-status done -o ", format));
    std::vector<Response> responses;
    for (const absl::string_view line : absl::StrSplit(outcome.out, '\n', absl::SkipEmpty())) {
      ASSERT_TRUE(
          google::protobuf::util::JsonStringToMessage(std::string(line), &responses.emplace_back())
              .ok())
          << line;
    }
    ASSERT_THAT(responses, SizeIs(2));
    EXPECT_TRUE(responses[0].has_bookmark());
    EXPECT_EQ(responses[1].change().event().sequence(), 5);
    EXPECT_EQ(responses[1].resume_token(), "b");
  }
  server_.sessions.NextWatch({Bookmark("a"), Change("s1", 5, "b", "done")});
  EXPECT_EQ(Run("--until-status done -o name").out, "s1\n");
}

TEST_F(WatchCommandTest, FlagsBecomeTheRequest) {
  const auto request = [this](const std::string& arguments) {
    server_.sessions.NextWatch({Bookmark("a"), Change("s1", 5, "b", "done")});
    EXPECT_EQ(Run(arguments + " --until-status done").exit_code, 0) << arguments;
    return server_.sessions.Requests().back();
  };
  EXPECT_EQ(request("s1 s2 --no-initial"), "session_ids: \"s1\" session_ids: \"s2\"");
  EXPECT_EQ(request("--filter 'hold = true' -n - --heartbeat 2s"),
            "namespace: \"-\" filter: \"hold = true\" initial_state: true "
            "heartbeat_interval { seconds: 2 }");
  EXPECT_EQ(request("--event-type task-failed --event-type CREATED --from-token t"),
            "event_types: TASK_FAILED event_types: CREATED resume_token: \"t\"");
}

TEST_F(WatchCommandTest, ABreakIsToldOnceAndWhatIsRefusedIsExplained) {
  server_.sessions.NextWatch({Bookmark("a")}, Draining());
  server_.sessions.NextWatch({}, Draining());
  server_.sessions.NextWatch({Bookmark("a"), Change("s1", 5, "b")},
                             Refusal(v1::RESUME_TOKEN_EXPIRED, "Changes were removed since."));
  const Outcome outcome = Run("");
  EXPECT_EQ(outcome.exit_code, 64 + 11);
  EXPECT_THAT(outcome.err,
              AllOf(StartsWith("The watch broke off and is tried again: This daemon is going "
                               "down.\nThe watch goes on.\nerror: Changes were removed since.\n"),
                    Not(HasSubstr("--from-token b"))));
}

TEST_F(WatchCommandTest, OnATerminalItIsATableThatIsDrawnInItsPlace) {
  server_.sessions.NextWatch({Present("s1", "a"), Present("s2", "a"), Bookmark("b")});
  Terminal terminal({"sessionctl", "session", "watch"});
  // The first drawings may have come before the bookmark, and before the second session.
  std::string begin = terminal.Until("live");
  begin += terminal.Until("\033[?7h");
  EXPECT_THAT(begin, AllOf(HasSubstr("live"), HasSubstr("2 sessions"), HasSubstr("0 changes"),
                           HasSubstr("s1 "), HasSubstr("s2 "), Not(HasSubstr("\033[7m"))));
  EXPECT_FALSE(terminal.Echoes());

  server_.sessions.Tell(Change("s1", 5, "c", "done"));
  // It is drawn every second, also when nothing has changed.
  std::string changed = terminal.Until("1 change,");
  changed += terminal.Until("s1 ");
  // Back over five lines: the status, an empty one, the headings, and two sessions.
  EXPECT_THAT(changed, AllOf(HasSubstr("\033[5A"), HasSubstr("1 change,"), EndsWith("\033[7ms1 ")));
  EXPECT_THAT(terminal.Until("\033[?7h"), AllOf(HasSubstr("done"), HasSubstr("UPDATED")));
  EXPECT_THAT(terminal.Until("s1 "), Not(IsEmpty()));

  terminal.Resize(5, 100);
  EXPECT_THAT(terminal.Until("\033[H\033[J"), Not(IsEmpty()));
  EXPECT_THAT(terminal.Until("\033[?7h"), AllOf(HasSubstr("1 of 2 sessions"), HasSubstr("s1 ")));

  terminal.Type("\x03");
  const std::string end = terminal.Until("--from-token c\r\n");
  EXPECT_THAT(
      end, AllOf(HasSubstr("left"), EndsWith("--from-token c\r\n"), Not(HasSubstr("\033[?1049h"))));
  EXPECT_TRUE(terminal.Echoes());
  EXPECT_EQ(terminal.Wait(), 0);
}

TEST_F(WatchCommandTest, ATerminalShowsThatTheDaemonIsAwayAndThenThatItIsBack) {
  server_.sessions.NextWatch({Present("s1", "a"), Bookmark("b")},
                             Refusal(v1::DRAINING, "Going down.").RetryAfter(absl::Seconds(1)));
  server_.sessions.NextWatch({Bookmark("b"), Change("s1", 5, "c")});
  Terminal terminal({"sessionctl", "session", "watch"});
  EXPECT_THAT(terminal.Until("trying again"), EndsWith("trying again"));
  EXPECT_THAT(terminal.Until("resumed 1 time"), AllOf(HasSubstr("Going down."), HasSubstr("live")));
}

TEST_F(WatchCommandTest, WhatIsRefusedAtFirstDrawsNothing) {
  server_.sessions.RefuseNext(Refusal(v1::INVALID_FILTER, "What?").With("position", "0"));
  Terminal terminal({"sessionctl", "session", "watch", "--filter", "x"});
  EXPECT_THAT(terminal.Until("INVALID_FILTER"),
              AllOf(HasSubstr("error:"), Not(HasSubstr("\033[?7l"))));
  EXPECT_EQ(terminal.Wait(), 64 + 3);
}

}  // namespace
}  // namespace sessiond
