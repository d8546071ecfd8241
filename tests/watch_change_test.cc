// Sessions taken back behind their events, held against what the state machine really made of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "google/protobuf/util/message_differencer.h"
#include "server/watch/change.h"
#include "sessiond/v1/session_service.pb.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"
#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"
#include "tests/commands.h"

namespace sessiond::watch {
namespace {

using google::protobuf::util::MessageDifferencer;
using v1::Session;
using v1::SessionEvent;

constexpr char kId[] = "0192f3c4-9f2e-7abc-8def-0123456789ab";

// What filters look at.
Session Filterable(const Session& session) {
  Session part;
  part.set_session_id(session.session_id());
  part.set_namespace_(session.namespace_());
  part.set_workflow(session.workflow());
  part.set_owner_id(session.owner_id());
  part.set_owner_display_name(session.owner_display_name());
  part.set_state(session.state());
  part.set_stage(session.stage());
  part.set_status(session.status());
  part.set_hold(session.hold());
  part.set_has_blocking_errors(session.has_blocking_errors());
  part.set_sequence(session.sequence());
  *part.mutable_context() = session.context();
  *part.mutable_counters() = session.counters();
  *part.mutable_references() = session.references();
  *part.mutable_labels() = session.labels();
  *part.mutable_create_time() = session.create_time();
  *part.mutable_update_time() = session.update_time();
  if (session.has_fail_time()) *part.mutable_fail_time() = session.fail_time();
  if (session.has_complete_time()) *part.mutable_complete_time() = session.complete_time();
  if (session.has_delete_time()) *part.mutable_delete_time() = session.delete_time();
  return part;
}

void ExpectSame(const SessionPtr& got, const std::optional<Session>& wanted) {
  ASSERT_EQ(got != nullptr, wanted.has_value());
  if (got == nullptr) return;
  std::string difference;
  MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  EXPECT_TRUE(differencer.Compare(Filterable(*got), Filterable(*wanted))) << difference;
}

// One command that was accepted, and the session around it.
struct Accepted {
  std::optional<Session> before;
  Decision decision;
};

// A session to which random things happen.
class Life {
 public:
  Life(uint64_t seed, const std::string& workflow)
      : random_(seed), workflow_(BuiltinWorkflow(workflow)) {
    v1::CreateSessionRequest request = NewSession(workflow);
    request.set_session_id(kId);
    Do(Create(workflow_, request));
  }

  void Do(Command command) {
    command.seed = {random_(), random_()};
    const std::optional<Session> before = aggregate_.session;
    now_ += absl::Seconds(1 + Pick(1000));
    absl::StatusOr<Decision> decision = Decide(*workflow_, aggregate_, command, now_);
    if (!decision.ok() || decision->events.empty()) return;
    for (const v1::SessionError& error : decision->errors) errors_.push_back(error.error_id());
    history.push_back({before, *decision});
    Apply(*decision, &aggregate_);
  }

  void DoSomething() {
    switch (Pick(17)) {
      case 0:
        return Do(About<v1::PauseSessionRequest>(kId));
      case 1:
        return Do(About<v1::ResumeSessionRequest>(kId));
      case 2:
        return Pick(4) > 0 ? void() : Do(About<v1::StopSessionRequest>(kId));
      case 3:
        return Do(About<v1::FailSessionRequest>(kId));
      case 4:
        return Do(About<v1::RecoverSessionRequest>(kId));
      case 5:
        return Do(Delete(kId, Pick(4) == 0));
      case 6:
        return Do(About<v1::UndeleteSessionRequest>(kId));
      case 7:
        return Do(Advance(
            kId, aggregate_.session->stage() == "site_info_collection" ? "upload" : NextStage()));
      case 8:
        return Do(SetLabel(kId, Pick(2) == 0 ? "a" : "b.c", std::to_string(Pick(3))));
      case 9:
        return Do(Increment(kId, workflow_->definition().counters(0), Pick(3)));
      case 10:
      case 11:
        return Update();
      case 12:
        return RecordError();
      case 13:
        return ResolveError();
      case 14:
        return AppendMessages();
      case 15:
        return Task();
      default:
        return Detach();
    }
  }

  std::vector<Accepted> history;

 private:
  int Pick(int count) { return static_cast<int>(random_() % static_cast<uint64_t>(count)); }

  std::string NextStage() const {
    const auto& stages = workflow_->definition().stages();
    for (int i = 0; i + 1 < stages.size(); ++i) {
      if (stages[i].name() == aggregate_.session->stage()) return stages[i + 1].name();
    }
    return "";
  }

  void Update() {
    v1::UpdateSessionRequest request;
    Session& session = *request.mutable_session();
    session.set_session_id(kId);
    session.set_hold(Pick(2) == 0);
    session.set_owner_display_name(std::to_string(Pick(3)));
    if (Pick(2) == 0) (*session.mutable_labels())["a"] = std::to_string(Pick(3));
    auto& context = *session.mutable_context()->mutable_fields();
    if (Pick(2) == 0) context["site_name"] = StringValue(std::to_string(Pick(3)));
    if (Pick(2) == 0) context["jira_project_key"] = StringValue("J");
    if (Pick(2) == 0) (*session.mutable_references())["job_posting"] = std::to_string(Pick(2));
    static const char* const kPaths[] = {
        "hold",       "owner_display_name", "labels",
        "labels.a",   "labels.`a`",         "context",
        "references", "context.site_name",  "references.job_posting"};
    request.mutable_update_mask()->add_paths(kPaths[Pick(std::size(kPaths))]);
    Do(About(kId, request));
  }

  void RecordError() {
    v1::RecordErrorRequest request;
    request.mutable_error()->set_category(v1::SessionError::USER_FIXABLE);
    request.mutable_error()->set_severity(Pick(2) == 0 ? v1::SessionError::BLOCKING
                                                       : v1::SessionError::INFO);
    request.mutable_error()->set_user_message("It went wrong.");
    Do(About(kId, request));
  }

  void ResolveError() {
    if (errors_.empty()) return;
    v1::ResolveErrorRequest request;
    request.set_error_id(errors_[Pick(static_cast<int>(errors_.size()))]);
    request.set_resolution("It was mended.");
    Do(About(kId, request));
  }

  void AppendMessages() {
    v1::AppendMessagesRequest request;
    for (int n = 1 + Pick(3); n > 0; --n) {
      request.add_messages()->set_type("question");
      request.mutable_messages()->rbegin()->set_content("Why?");
    }
    Do(About(kId, request));
  }

  void Task() {
    const v1::SessionTask& task = aggregate_.session->current_task();
    if (task.status() != v1::SessionTask::RUNNING) {
      v1::StartTaskRequest request;
      request.set_task_type(Pick(2) == 0 ? "processing" : "export");
      return Do(About(kId, request));
    }
    if (Pick(2) == 0) {
      v1::FailTaskRequest request;
      request.set_task_id(task.task_id());
      return Do(About(kId, request));
    }
    v1::CompleteTaskRequest request;
    request.set_task_id(task.task_id());
    request.set_advance_to_stage(NextStage());
    Do(About(kId, request));
  }

  void Detach() {
    v1::DetachReferenceRequest request;
    request.set_name("job_posting");
    request.set_value("1");
    Command command{.caller = "tester", .session_id = kId};
    command.request = request;
    Do(std::move(command));
  }

  std::mt19937_64 random_;
  const std::shared_ptr<const Workflow> workflow_;
  Aggregate aggregate_;
  absl::Time now_ = absl::FromUnixSeconds(1'767'225'600);
  std::vector<std::string> errors_;
};

// All events of a life, as the database would have them; `after` of the last of each command is
// known for sure.
std::vector<db::StoredEvent> StoredOf(const std::vector<Accepted>& history) {
  std::vector<db::StoredEvent> stored;
  std::optional<absl::Time> previous, failed, deleted;
  for (const Accepted& accepted : history) {
    for (std::size_t i = 0; i < accepted.decision.events.size(); ++i) {
      db::StoredEvent event{.partition = 1, .position = static_cast<int64_t>(stored.size()) + 1};
      event.step.event = accepted.decision.events[i];
      event.step.before = accepted.decision.before[i];
      event.step.previous_time = previous;
      previous = FromProto(event.step.event.event_time());
      const SessionEvent::Type type = event.step.event.type();
      if (type == SessionEvent::RECOVERED) event.step.marked_time = failed;
      if (type == SessionEvent::UNDELETED) event.step.marked_time = deleted;
      if (type == SessionEvent::FAILED) failed = previous;
      if (type == SessionEvent::DELETED) deleted = previous;
      stored.push_back(std::move(event));
    }
  }
  return stored;
}

// By event: the session around the command it is of, where the event alone makes that.
void ExpectTruth(const std::vector<ChangePtr>& changes, const std::vector<Accepted>& history,
                 std::size_t begin) {
  std::size_t index = 0;
  for (const Accepted& accepted : history) {
    const std::size_t events = accepted.decision.events.size();
    for (std::size_t i = 0; i < events; ++i, ++index) {
      if (index < begin || index - begin >= changes.size()) continue;
      const Change& change = *changes[index - begin];
      SCOPED_TRACE(change.event.DebugString());
      EXPECT_EQ(change.event.sequence(), accepted.decision.events[i].sequence());
      if (i == 0) ExpectSame(change.before, accepted.before);
      if (i + 1 == events) ExpectSame(change.after, accepted.decision.session);
      EXPECT_EQ(change.after->state(), change.event.new_state());
      EXPECT_EQ(change.after->status(), change.event.new_status());
      if (index == 0) continue;
      EXPECT_EQ(change.before->state(), change.event.old_state());
      EXPECT_EQ(change.before->status(), change.event.old_status());
    }
  }
}

class Rewind : public testing::TestWithParam<const char*> {};

TEST_P(Rewind, WhatIsReadLaterIsJudgedAsItWas) {
  const uint64_t seed = TestSeed();
  std::size_t events_in_all = 0;
  for (uint64_t round = 0; round < 300; ++round) {
    SCOPED_TRACE(absl::StrCat("seed ", seed, ", round ", round));
    Life life(seed + round, GetParam());
    for (int step = 0; step < 60; ++step) life.DoSomething();
    std::vector<db::StoredEvent> all = StoredOf(life.history);
    events_in_all += all.size();
    // Some stretch of them; what comes later has to be taken back first.
    const std::size_t begin = round % all.size();
    const std::size_t end = begin + std::min<std::size_t>(all.size() - begin, 1 + round % 20);
    db::StoredEvents stored;
    for (std::size_t i = begin; i < end; ++i) stored.events.push_back(all[i]);
    for (std::size_t i = end; i < all.size(); ++i) stored.later[kId].push_back(all[i].step);
    stored.sessions[kId] = std::make_shared<Session>(life.history.back().decision.session);
    const std::vector<ChangePtr> changes = ChangesOf(std::move(stored));
    ASSERT_EQ(changes.size(), end - begin);
    ExpectTruth(changes, life.history, begin);
    for (const ChangePtr& change : changes)
      EXPECT_EQ(change->session->sequence(), static_cast<int>(all.size()));
    if (HasFailure()) return;
  }
  EXPECT_GT(events_in_all, 3000u);
}

TEST_P(Rewind, EveryFactOfACommandIsJudgedByItself) {
  const uint64_t seed = TestSeed();
  for (uint64_t round = 0; round < 100; ++round) {
    SCOPED_TRACE(absl::StrCat("seed ", seed, ", round ", round));
    Life life(seed + round, GetParam());
    for (int step = 0; step < 60; ++step) life.DoSomething();
    std::vector<db::CommittedEvent> committed;
    for (const Accepted& accepted : life.history) {
      const auto session = std::make_shared<Session>(accepted.decision.session);
      const auto before =
          accepted.before.has_value() ? std::make_shared<Session>(*accepted.before) : nullptr;
      for (const SessionEvent& event : accepted.decision.events) {
        committed.push_back({.partition = 1,
                             .position = event.sequence(),
                             .event = event,
                             .session = session,
                             .session_before = before});
      }
    }
    const std::vector<ChangePtr> changes = ChangesOf(std::move(committed));
    ExpectTruth(changes, life.history, 0);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Workflows, Rewind, testing::Values("ticket_export", "interview"));

TEST(ChangesOf, OfASessionThatIsGoneItsTombstoneAndLastEventTell) {
  db::StoredEvents stored;
  db::StoredEvent end{.partition = 1, .position = 9};
  end.step.event.set_session_id(kId);
  end.step.event.set_type(SessionEvent::ERASED);
  end.step.event.set_old_state(Session::STOPPED);
  end.step.event.set_old_status("stopped");
  stored.events.push_back(end);
  stored.tombstones[kId].set_namespace_("default");
  const std::vector<ChangePtr> changes = ChangesOf(std::move(stored));
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_TRUE(changes[0]->before_is_partial);
  EXPECT_EQ(changes[0]->before->namespace_(), "default");
  EXPECT_EQ(changes[0]->before->state(), Session::STOPPED);
  EXPECT_EQ(changes[0]->before->status(), "stopped");
  EXPECT_EQ(changes[0]->after, nullptr);
  EXPECT_EQ(changes[0]->session, nullptr);
}

TEST(ChangesOf, MessagesAreCutWhereTheyPassTheLimit) {
  std::vector<db::CommittedEvent> committed(1);
  committed[0].session = std::make_shared<Session>();
  committed[0].messages.resize(3);
  committed[0].messages[0].set_content(std::string(kAppendedBytesMax / 2, 'x'));
  committed[0].messages[1].set_content(std::string(kAppendedBytesMax / 4, 'x'));
  committed[0].messages[2].set_content(std::string(kAppendedBytesMax / 2, 'x'));
  EXPECT_EQ(ChangesOf(std::move(committed))[0]->messages.size(), 2u);
}

// A watch that could not be sent one change would end at it again and again.
TEST(Change, ThatDoesNotFitIntoAMessageComesWithoutWhatItsEventChanged) {
  const auto wire_of = [](std::size_t bytes) {
    Change change;
    change.event.set_session_id("s");
    (*change.event.mutable_changes()->mutable_fields())["context"].set_string_value(
        std::string(bytes, 'x'));
    auto session = std::make_shared<v1::Session>();
    session->set_fail_reason(std::string(1 << 20, 'x'));
    change.session = session;
    v1::WatchSessionsResponse response;
    EXPECT_TRUE(response.ParseFromString(change.wire()));
    EXPECT_TRUE(change.event.has_changes());
    return response;
  };
  EXPECT_TRUE(wire_of(2 << 20).change().event().has_changes());
  const v1::WatchSessionsResponse large = wire_of(kEventBytesMax - 100);
  EXPECT_FALSE(large.change().event().has_changes());
  EXPECT_EQ(large.change().event().session_id(), "s");
  EXPECT_EQ(large.change().session().fail_reason().size(), std::size_t{1} << 20);
  EXPECT_LT(large.ByteSizeLong(), kMessageBytesMax);
}

}  // namespace
}  // namespace sessiond::watch
