// What lies below a session, and what is done to many sessions at once: errors, messages,
// artifacts, archiving, erasure, detaching, import. And every kind of command at random, of which
// the audit must rebuild what became of the session.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "state_machine/evolve.h"
#include "state_machine/import_completion.h"
#include "state_machine/present.h"
#include "state_machine/timestamps.h"
#include "tests/life.h"

namespace sessiond {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using v1::Session;
using v1::SessionArtifact;
using v1::SessionError;
using v1::SessionEvent;
using v1::SessionTask;

constexpr char kMessage[] = "0192f3c4-0000-7000-8000-00000000000a";
constexpr char kError[] = "0192f3c4-0000-7000-8000-00000000000e";

// A session that any workflow takes, ACTIVE at its first stage.
Life Begun(const std::string& workflow, bool creating = false) {
  Life life(BuiltinWorkflow(workflow), IdOf(workflow));
  life.Begin(creating);
  return life;
}

// The error that was recorded last.
std::string Record(Life& life, const SessionError& error) {
  const auto decision = life.Do(RecordError(life.id, error));
  EXPECT_TRUE(decision.ok()) << decision.status();
  return decision.ok() ? decision->errors.front().error_id() : "";
}

std::vector<std::string> ChangedPaths(const SessionEvent& event) {
  std::vector<std::string> paths;
  for (const auto& [path, value] : event.changes().fields()) paths.push_back(path);
  std::sort(paths.begin(), paths.end());
  return paths;
}

// -----------------------------------------------------------------------------------------------
// what each state accepts

struct Row {
  const char* situation;
  const char *record, *resolve, *resolve_again, *append, *add, *remove, *recover;
};

constexpr char kShut[] = "!SESSION_NOT_ACTIVE";
constexpr char kLost[] = "!NOT_RECOVERABLE";
constexpr char kGone[] = "!DELETED";
constexpr char kNone[] = "!NEVER_EXISTED";
constexpr char kPast[] = "!ARCHIVED";
constexpr char kTwice[] = "!ALREADY_RESOLVED";

// clang-format off
constexpr Row kRows[] = {
  // situation        record            resolve           again   append               add                delete              recover
  {"CREATING",       "ERROR_RECORDED", "ERROR_RESOLVED", kTwice, kShut,               "ARTIFACTS_ADDED", "ARTIFACT_DELETED", kLost},
  {"ACTIVE",         "ERROR_RECORDED", "ERROR_RESOLVED", kTwice, "MESSAGES_APPENDED", "ARTIFACTS_ADDED", "ARTIFACT_DELETED", "RECOVERED"},
  {"PAUSED",         "ERROR_RECORDED", "ERROR_RESOLVED", kTwice, kShut,               "ARTIFACTS_ADDED", "ARTIFACT_DELETED", "RECOVERED"},
  {"failed, ACTIVE", "ERROR_RECORDED", "ERROR_RESOLVED", kTwice, kShut,               "ARTIFACTS_ADDED", "ARTIFACT_DELETED", "RECOVERED"},
  {"failed, PAUSED", "ERROR_RECORDED", "ERROR_RESOLVED", kTwice, kShut,               "ARTIFACTS_ADDED", "ARTIFACT_DELETED", "RECOVERED"},
  {"STOPPED",        "ERROR_RECORDED", "ERROR_RESOLVED", kTwice, kShut,               kShut,             kShut,              kLost},
  {"COMPLETED",      "ERROR_RECORDED", "ERROR_RESOLVED", kTwice, kShut,               kShut,             kShut,              kLost},
  {"DELETED",        kGone,            kGone,            kGone,  kGone,               kGone,             kGone,              kGone},
  {"never existed",  kNone,            kNone,            kNone,  kNone,               kNone,             kNone,              kNone},
  {"archived",       kPast,            kPast,            kPast,  kPast,               kPast,             kPast,              kPast},
};
// clang-format on

TEST(Below, EverySituationAnswersEveryCallAsTheTableSays) {
  int asked = 0;
  for (const char* name : {"ticket_export", "execution", "interview", "onboarding"}) {
    const auto workflow = BuiltinWorkflow(name);
    const bool stages = workflow->definition().stages_size() > 0;
    for (const Row& row : kRows) {
      const std::string situation = row.situation;
      const bool failed = absl::StrContains(situation, "failed");
      if ((failed && !workflow->HasFailedStatus()) || (situation == "COMPLETED" && !stages) ||
          (situation == "COMPLETED" && std::string(name) == "onboarding")) {  // needs fields
        continue;
      }
      Life life = Begun(name, situation == "CREATING");
      const std::string open = Record(life, AnError(SessionError::INFO));
      const std::string closed = Record(life, AnError(SessionError::BLOCKING));
      life.Must(ResolveError(life.id, closed));
      life.Must(AddArtifacts(life.id, {AnArtifact("f1")}));
      if (absl::StrContains(situation, "PAUSED"))
        life.Must(About<v1::PauseSessionRequest>(life.id));
      if (failed) life.Must(About<v1::FailSessionRequest>(life.id));
      if (situation == "STOPPED" || situation == "DELETED")
        life.Must(About<v1::StopSessionRequest>(life.id));
      if (situation == "COMPLETED") life.AdvanceTo("completed");
      if (situation == "DELETED") life.Must(Delete(life.id, false));
      if (situation == "never existed") life.aggregate = {};
      if (situation == "archived") {
        life.aggregate = {};
        life.aggregate.tombstone = Tombstone{.archive_time = kBegin};
      }
      // Only some have messages; where the state lets them through, the type does not.
      const auto& types = workflow->definition().message_types();
      const bool appends = std::string(row.append) == "MESSAGES_APPENDED";
      const std::pair<Command, std::string> calls[] = {
          {RecordError(life.id, AnError(SessionError::BLOCKING, "f1")), row.record},
          {ResolveError(life.id, open), row.resolve},
          {ResolveError(life.id, closed), row.resolve_again},
          {Append(life.id, "question"), types.empty() && appends ? "!INVALID_FIELD" : row.append},
          {AddArtifacts(life.id, {AnArtifact("f2"), AnArtifact("")}), row.add},
          {DeleteArtifact(life.id, "f1"), row.remove},
          {About<v1::RecoverSessionRequest>(life.id), row.recover},
      };
      for (std::size_t i = 0; i < std::size(calls); ++i) {
        SCOPED_TRACE(absl::StrCat(name, ", ", situation, ", call ", i + 1));
        const auto decision = life.Try(calls[i].first);
        EXPECT_EQ(Facts(decision), calls[i].second) << decision.status();
        ++asked;
        if (!decision.ok() || calls[i].second == "RECOVERED") continue;
        EXPECT_EQ(decision->session.state(), life.session().state());
        EXPECT_EQ(decision->session.status(), life.session().status());
      }
    }
  }
  EXPECT_EQ(asked, 7 * (10 + 7 + 8 + 9));
}

TEST(Below, TheEtagComesBeforeTheStateAndTheStateBeforeWhatIsNamed) {
  Life life = Begun("interview");
  life.Must(About<v1::PauseSessionRequest>(life.id));
  Command append = Append(life.id, "no such type");
  std::get<v1::AppendMessagesRequest>(append.request).set_etag("r999");
  EXPECT_EQ(Facts(life.Try(append)), "!ETAG_MISMATCH");
  EXPECT_EQ(Facts(life.Try(Append(life.id, "no such type"))), kShut);
  Command record = RecordError(life.id, AnError(SessionError::INFO, "no such file"));
  std::get<v1::RecordErrorRequest>(record.request).set_etag("r999");
  EXPECT_EQ(Facts(life.Try(record)), "!ETAG_MISMATCH");
  life.Must(About<v1::StopSessionRequest>(life.id));
  EXPECT_EQ(Facts(life.Try(DeleteArtifact(life.id, "no such file"))), kShut);
}

// -----------------------------------------------------------------------------------------------
// errors

TEST(Errors, AreRecordedAsTheyAreGivenAndOutputOnlyFieldsAreNot) {
  Life life = Begun("ticket_export");
  life.AdvanceTo("upload");
  life.Must(AddArtifacts(life.id, {AnArtifact("f1"), AnArtifact("t1", SessionArtifact::TICKET)}));
  SessionError given = AnError(SessionError::WARNING, "f1", "t1");
  given.set_error_code("E42");
  (*given.mutable_technical_details()->mutable_fields())["line"].set_number_value(7);
  SessionError forged = given;
  forged.set_error_id(kError);
  forged.set_session_id("another");
  forged.set_resolver("me");
  forged.set_resolution("done");
  *forged.mutable_create_time() = ToProto(kBegin - absl::Hours(1));
  *forged.mutable_resolve_time() = ToProto(kBegin);
  forged.mutable_age()->set_seconds(5);
  const absl::Time when = life.now;
  const auto decision = life.Do(RecordError(life.id, forged));
  ASSERT_TRUE(decision.ok()) << decision.status();
  ASSERT_EQ(decision->errors.size(), 1u);
  const SessionError& error = decision->errors[0];
  EXPECT_NE(error.error_id(), kError);
  EXPECT_EQ(error.error_id().size(), 36u);
  given.set_error_id(error.error_id());
  given.set_session_id(life.id);
  given.set_operation_stage("upload");
  *given.mutable_create_time() = ToProto(when);
  EXPECT_TRUE(MessageDifferencer::Equals(error, given)) << error.DebugString();
  EXPECT_THAT(ChangedPaths(decision->events[0]),
              ElementsAre(absl::StrCat("errors.", error.error_id())));
}

TEST(Errors, AreAboutWhatTheSessionHasAndOfTheRightKind) {
  Life life = Begun("ticket_export");
  life.Must(AddArtifacts(life.id, {AnArtifact("f1"), AnArtifact("t1", SessionArtifact::TICKET)}));
  const auto record = [&](const char* file, const char* ticket) {
    return life.Try(RecordError(life.id, AnError(SessionError::INFO, file, ticket)));
  };
  EXPECT_TRUE(record("f1", "t1").ok());
  for (const auto& [file, ticket] : {std::pair{"t1", ""}, {"", "f1"}, {"f2", "t1"}, {"f1", "t2"}}) {
    const auto refused = record(file, ticket);
    EXPECT_EQ(Facts(refused), "!ARTIFACT_NOT_FOUND") << file << ", " << ticket;
    EXPECT_EQ(refused.status().code(), absl::StatusCode::kNotFound);
  }
  EXPECT_EQ(Metadata(record("t1", "").status(), "kind"), "FILE");
  EXPECT_EQ(Metadata(record("", "f1").status(), "artifact_id"), "f1");
  SessionError elsewhere = AnError(SessionError::INFO);
  elsewhere.set_operation_stage("nowhere");
  const auto refused = life.Try(RecordError(life.id, elsewhere));
  EXPECT_EQ(Facts(refused), "!INVALID_FIELD");
  EXPECT_THAT(Violations(refused.status()), ElementsAre("error.operation_stage"));
}

TEST(Errors, ThatBlockAreCountedWithEveryOneOfThem) {
  for (const char* name : {"ticket_export", "execution", "interview", "onboarding"}) {
    Life life = Begun(name);
    const auto blocking = [&] {
      EXPECT_EQ(life.session().has_blocking_errors(), life.aggregate.blocking.count > 0);
      return life.aggregate.blocking.count;
    };
    Record(life, AnError(SessionError::WARNING));
    EXPECT_EQ(blocking(), 0);
    const std::string one = Record(life, AnError(SessionError::BLOCKING));
    EXPECT_THAT(ChangedPaths(life.events.back()), Contains("has_blocking_errors"));
    const std::string two = Record(life, AnError(SessionError::BLOCKING));
    EXPECT_THAT(ChangedPaths(life.events.back()), Not(Contains("has_blocking_errors")));
    EXPECT_EQ(blocking(), 2);
    EXPECT_THAT(life.aggregate.blocking.ids, ElementsAre(one, two));
    life.Must(ResolveError(life.id, one));
    EXPECT_EQ(blocking(), 1);
    EXPECT_EQ(Facts(life.Try(ResolveError(life.id, one))), kTwice);
    life.Must(About<v1::StopSessionRequest>(life.id));
    life.Must(ResolveError(life.id, two));
    EXPECT_EQ(blocking(), 0);
    Record(life, AnError(SessionError::BLOCKING));
    EXPECT_EQ(blocking(), 1) << "a late diagnosis";
  }
}

TEST(Errors, ThatBlockKeepASessionInItsStageWhereTheWorkflowSaysSo) {
  for (const auto& [name, next, blocks] :
       {std::tuple{"ticket_export", "upload", true}, {"interview", "completed", false}}) {
    Life life = Begun(name);
    Record(life, AnError(SessionError::WARNING));
    EXPECT_TRUE(life.Try(Advance(life.id, next)).ok());
    const std::string one = Record(life, AnError(SessionError::BLOCKING));
    const std::string two = Record(life, AnError(SessionError::BLOCKING));
    const auto refused = life.Try(Advance(life.id, next));
    EXPECT_EQ(Facts(refused), blocks                          ? "!BLOCKING_ERRORS"
                              : std::string(next) == "upload" ? "ADVANCED"
                                                              : "ADVANCED+COMPLETED");
    if (!blocks) continue;
    EXPECT_EQ(Metadata(refused.status(), "count"), "2");
    EXPECT_EQ(Metadata(refused.status(), "first_error_id"), one);
    life.Must(ResolveError(life.id, one));
    EXPECT_EQ(Metadata(life.Try(Advance(life.id, next)).status(), "first_error_id"), two);
    life.Must(ResolveError(life.id, two));
    life.Must(Advance(life.id, next));
  }
}

TEST(Errors, AreResolvedOnceByWhoeverSaysSo) {
  Life life = Begun("ticket_export");
  const std::string id = Record(life, AnError(SessionError::BLOCKING));
  const auto unknown = life.Try(ResolveError(life.id, kError));
  EXPECT_EQ(Facts(unknown), "!ERROR_NOT_FOUND");
  EXPECT_EQ(Metadata(unknown.status(), "error_id"), kError);
  Command resolve = ResolveError(life.id, id);
  std::get<v1::ResolveErrorRequest>(resolve.request).set_actor("anna");
  const absl::Time when = life.now;
  const auto resolved = life.Do(resolve);
  ASSERT_TRUE(resolved.ok());
  const SessionError& error = resolved->errors.front();
  EXPECT_EQ(error.resolver(), "anna");
  EXPECT_EQ(error.resolution(), "uploaded again");
  EXPECT_EQ(FromProto(error.resolve_time()), when);
  EXPECT_THAT(ChangedPaths(resolved->events[0]),
              ElementsAre(absl::StrCat("errors.", id, ".resolution"),
                          absl::StrCat("errors.", id, ".resolve_time"),
                          absl::StrCat("errors.", id, ".resolver"), "has_blocking_errors"));
  const auto again = life.Try(resolve);
  EXPECT_EQ(Facts(again), kTwice);
  EXPECT_EQ(Metadata(again.status(), "resolve_time"), ToRfc3339(when));
  EXPECT_THAT(std::string(again.status().message()), HasSubstr("by anna"));
}

TEST(Errors, BeyondThoseThatAreNamedAreStillCounted) {
  Life life = Begun("ticket_export");
  std::vector<std::string> ids;
  for (int i = 0; i < kBlockingErrorIdsMax + 5; ++i)
    ids.push_back(Record(life, AnError(SessionError::BLOCKING)));
  EXPECT_EQ(life.aggregate.blocking.count, kBlockingErrorIdsMax + 5);
  EXPECT_EQ(life.aggregate.blocking.ids.size(), static_cast<std::size_t>(kBlockingErrorIdsMax));
  for (const std::string& id : ids) {
    EXPECT_EQ(Facts(life.Try(Advance(life.id, "upload"))), "!BLOCKING_ERRORS");
    life.Must(ResolveError(life.id, id));
  }
  EXPECT_EQ(life.aggregate.blocking.count, 0);
  EXPECT_FALSE(life.session().has_blocking_errors());
  life.Must(Advance(life.id, "upload"));
}

// -----------------------------------------------------------------------------------------------
// messages

v1::AppendMessagesRequest Messages(const std::string& text) {
  v1::AppendMessagesRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  return request;
}

TEST(Messages, TakeTheNextSequencesAndCountQuestionsInTheSameFact) {
  Life life = Begun("interview");
  const auto first = life.Do(
      About(life.id, Messages(R"pb(
              messages { type: "question" content: "1" question_type: "technical" sequence: 77 }
              messages { type: "answer" content: "2" author: "anna" }
              messages { type: "question" content: "3" }
            )pb")));
  ASSERT_EQ(Facts(first), "MESSAGES_APPENDED");
  const auto second = life.Do(Append(life.id, "answer", 2));
  ASSERT_EQ(Facts(second), "MESSAGES_APPENDED");
  int sequence = 0;
  std::set<std::string> ids;
  for (const auto* decision : {&first, &second}) {
    for (const NewMessage& message : (*decision)->messages) {
      EXPECT_EQ(message.message.sequence(), ++sequence);
      EXPECT_EQ(message.message.session_id(), life.id);
      EXPECT_FALSE(message.id_brought);
      EXPECT_TRUE(ids.insert(message.message.message_id()).second);
    }
  }
  EXPECT_EQ(sequence, 5);
  EXPECT_EQ(life.session().message_count(), 5);
  EXPECT_EQ(life.session().counters().at("current_question_number"), 2);
  const auto& changes = first->events[0].changes().fields();
  EXPECT_EQ(changes.at("first_sequence").number_value(), 1);
  EXPECT_EQ(changes.at("last_sequence").number_value(), 3);
  EXPECT_EQ(changes.at("counters.current_question_number").number_value(), 2);
  EXPECT_THAT(first->events[0].ShortDebugString(), Not(HasSubstr("anna"))) << "contents apart";
}

TEST(Messages, NeverInvalidateAnEditorsEtag) {
  Life life = Begun("interview");
  const std::string etag = EtagOf(life.session());
  for (int i = 0; i < 3; ++i) life.Must(Append(life.id, "question", 2));
  EXPECT_EQ(EtagOf(life.session()), etag);
  EXPECT_EQ(life.session().sequence(), 4);
  Command label = SetLabel(life.id, "a", "b");
  std::get<v1::UpdateSessionRequest>(label.request).set_etag(etag);
  life.Must(label);
  EXPECT_EQ(EtagOf(life.session()), "r5");
}

TEST(Messages, AreOfTheWorkflowsTypesOrNoneOfTheBatchIsTaken) {
  Life life = Begun("interview");
  const auto refused =
      life.Do(About(life.id, Messages(R"pb(
                      messages { type: "question" content: "1" }
                      messages { type: "shout" content: "2" }
                      messages { type: "answer" content: "3" question_type: "technical" }
                      messages { type: "question" content: "4" question_type: "personal" }
                    )pb")));
  EXPECT_EQ(Facts(refused), "!INVALID_FIELD");
  EXPECT_THAT(
      Violations(refused.status()),
      ElementsAre("messages[1].type", "messages[2].question_type", "messages[3].question_type"));
  EXPECT_EQ(life.session().message_count(), 0);
  EXPECT_EQ(life.session().counters().at("current_question_number"), 0);
}

TEST(Messages, MayBringIdsThatTheSessionDoesNotHave) {
  Life life = Begun("interview");
  const auto brought = life.Do(Append(life.id, "answer", 2, kMessage));
  ASSERT_TRUE(brought.ok());
  EXPECT_TRUE(brought->messages[1].id_brought);
  EXPECT_EQ(brought->messages[1].message.message_id(), kMessage);
  EXPECT_THAT(Violations(life.Try(Append(life.id, "answer", 3, kMessage)).status()),
              ElementsAre("messages[2].message_id"));
  v1::AppendMessagesRequest twice = Messages(R"pb(messages { type: "answer" content: "1" }
                                                  messages { type: "answer" content: "2" })pb");
  for (v1::SessionMessage& message : *twice.mutable_messages()) message.set_message_id(kError);
  EXPECT_THAT(Violations(life.Try(About(life.id, twice)).status()),
              ElementsAre("messages[1].message_id"));
}

TEST(Messages, DoNotCountBeyondWhatACounterHolds) {
  Life life = Begun("interview");
  life.Must(Increment(life.id, "current_question_number", 2'147'483'646));
  EXPECT_EQ(Facts(life.Try(Append(life.id, "question", 2))), "!CONTEXT_VIOLATION");
  life.Must(Append(life.id, "question", 1));
  EXPECT_EQ(life.session().counters().at("current_question_number"), 2'147'483'647);
  EXPECT_EQ(Facts(life.Try(Append(life.id, "question", 1))), "!CONTEXT_VIOLATION");
  life.Must(Append(life.id, "answer", 1));
}

// -----------------------------------------------------------------------------------------------
// artifacts

TEST(Artifacts, HaveTheirOwnIdsOrDrawnOnesAndNoneTwice) {
  Life life = Begun("ticket_export");
  const auto added = life.Do(AddArtifacts(
      life.id, {AnArtifact("f1"), AnArtifact(""), AnArtifact("", SessionArtifact::TICKET)}));
  ASSERT_EQ(Facts(added), "ARTIFACTS_ADDED");
  ASSERT_EQ(added->artifacts.size(), 3u);
  std::set<std::string> ids;
  for (const SessionArtifact& artifact : added->artifacts) {
    EXPECT_TRUE(ids.insert(artifact.artifact_id()).second);
    EXPECT_EQ(artifact.session_id(), life.id);
    EXPECT_TRUE(artifact.has_create_time());
  }
  EXPECT_EQ(ChangedPaths(added->events[0]).size(), 3u);
  const auto again =
      life.Try(AddArtifacts(life.id, {AnArtifact("f2"), AnArtifact("f1"), AnArtifact("f2")}));
  EXPECT_EQ(Facts(again), "!INVALID_FIELD");
  EXPECT_THAT(Violations(again.status()),
              ElementsAre("artifacts[1].artifact_id", "artifacts[2].artifact_id"));
}

// It could be shown to nobody who watches.
TEST(Artifacts, ThatMakeAnEventTooLargeForAReplyComeInParts) {
  Life life = Begun("ticket_export");
  std::vector<SessionArtifact> artifacts;
  for (int i = 0; i < 450; ++i) {
    artifacts.push_back(AnArtifact(absl::StrCat("f", i)));
    artifacts.back().set_uri(std::string(8'000, 'x'));
  }
  EXPECT_EQ(Facts(life.Try(AddArtifacts(life.id, artifacts))), "!PAYLOAD_TOO_LARGE");
  artifacts.resize(400);
  EXPECT_EQ(Facts(life.Do(AddArtifacts(life.id, artifacts))), "ARTIFACTS_ADDED");
}

TEST(Artifacts, ThatGoLeaveTheirErrorsWithoutTheLink) {
  Life life = Begun("ticket_export");
  life.Must(AddArtifacts(life.id, {AnArtifact("f1"), AnArtifact("t1", SessionArtifact::TICKET)}));
  const std::string error = Record(life, AnError(SessionError::BLOCKING, "f1", "t1"));
  EXPECT_EQ(Facts(life.Try(DeleteArtifact(life.id, "f2"))), "!ARTIFACT_NOT_FOUND");
  const auto deleted = life.Do(DeleteArtifact(life.id, "f1"));
  ASSERT_EQ(Facts(deleted), "ARTIFACT_DELETED");
  EXPECT_THAT(deleted->deleted_artifacts, ElementsAre("f1"));
  EXPECT_THAT(ChangedPaths(deleted->events[0]), ElementsAre("artifacts.f1"));
  EXPECT_EQ(life.aggregate.errors.at(error).related_file_id(), "");
  EXPECT_EQ(life.aggregate.errors.at(error).related_ticket_id(), "t1");
  EXPECT_TRUE(life.session().has_blocking_errors());
  EXPECT_EQ(Facts(life.Try(DeleteArtifact(life.id, "f1"))), "!ARTIFACT_NOT_FOUND");
  EXPECT_EQ(Facts(life.Try(RecordError(life.id, AnError(SessionError::INFO, "f1")))),
            "!ARTIFACT_NOT_FOUND");
  life.Must(AddArtifacts(life.id, {AnArtifact("f1")}));
}

// -----------------------------------------------------------------------------------------------
// what is done to many

TEST(Purge, ArchivesWhatIsDueAndNotHeldAndNothingElse) {
  Life life = Begun("ticket_export");
  const Command purge = Share<v1::PurgeSessionsRequest>(life.id);
  EXPECT_EQ(Facts(life.Try(purge)), "nothing") << "it has no end yet";
  life.Must(About<v1::StopSessionRequest>(life.id));
  const absl::Time due = FromProto(life.session().purge_time());
  life.now = due - absl::Microseconds(1);
  EXPECT_EQ(Facts(life.Try(purge)), "nothing");
  life.now = due;
  const auto archived = life.Try(purge);
  ASSERT_EQ(Facts(archived), "ARCHIVED");
  EXPECT_EQ(archived->end, Decision::End::kArchived);
  const SessionEvent& event = archived->events[0];
  EXPECT_EQ(event.old_state(), Session::STOPPED);
  EXPECT_EQ(event.new_state(), Session::STATE_UNSPECIFIED);
  EXPECT_EQ(event.new_stage() + event.new_status(), "");
  EXPECT_EQ(event.sequence(), 3);
  EXPECT_EQ(event.actor(), "tester");

  v1::UpdateSessionRequest hold;
  hold.mutable_session()->set_hold(true);
  hold.mutable_update_mask()->add_paths("hold");
  Life held = life;
  held.Must(About(held.id, hold));
  EXPECT_EQ(Facts(held.Try(purge)), "!HOLD_ACTIVE");

  life.Must(purge);
  EXPECT_FALSE(life.aggregate.session.has_value());
  EXPECT_EQ(Facts(life.Try(purge)), "!ARCHIVED");
  v1::CreateSessionRequest again = NewSession("ticket_export");
  again.set_session_id(life.id);
  EXPECT_EQ(Facts(life.Try(Create(life.workflow, again))), "!SESSION_EXISTS");
}

TEST(Erasure, TakesTheOwnersSessionsWhereverTheyStandAndLeavesNoName) {
  for (const char* situation : {"CREATING", "ACTIVE", "STOPPED", "DELETED"}) {
    Life life = Begun("ticket_export", situation == std::string("CREATING"));
    if (situation == std::string("STOPPED")) life.Must(About<v1::StopSessionRequest>(life.id));
    if (situation == std::string("DELETED")) life.Must(Delete(life.id, true));
    EXPECT_EQ(Facts(life.Try(Erase(life.id, "somebody else"))), "nothing");
    v1::EraseOwnerRequest request;
    request.set_owner_id("owner-1");
    request.set_actor("the owner's name");
    request.set_reason("the owner asked");
    const auto erased = life.Do(WithRequestId(Share(life.id, request), "their request"));
    ASSERT_EQ(Facts(erased), "ERASED") << situation;
    EXPECT_EQ(erased->end, Decision::End::kErased);
    const SessionEvent& event = erased->events[0];
    EXPECT_EQ(event.actor() + event.reason() + event.request_id(), "");
    EXPECT_EQ(event.trigger(), SessionEvent::USER_ACTION);
    EXPECT_EQ(Facts(life.Try(Erase(life.id, "owner-1"))), "!ARCHIVED");
  }
  Life held("interview");
  v1::CreateSessionRequest creation = NewSession("interview");
  creation.set_session_id(held.id);
  creation.mutable_session()->set_hold(true);
  held.Must(Create(held.workflow, creation));
  EXPECT_EQ(Facts(held.Try(Erase(held.id, "owner-1"))), "!HOLD_ACTIVE");
}

TEST(Detaching, TakesTheReferenceOffOnceWhateverTheStateAndKeepsTheSession) {
  for (const char* situation : {"CREATING", "ACTIVE", "STOPPED", "DELETED"}) {
    Life life("interview");
    v1::CreateSessionRequest creation = NewSession("interview");
    creation.set_session_id(life.id);
    creation.set_creating(situation == std::string("CREATING"));
    (*creation.mutable_session()->mutable_references())["job_posting"] = "j1";
    life.Must(Create(life.workflow, creation));
    if (situation == std::string("STOPPED")) life.Must(About<v1::StopSessionRequest>(life.id));
    if (situation == std::string("DELETED")) life.Must(Delete(life.id, true));
    const Session before = life.session();
    EXPECT_EQ(Facts(life.Try(Detach(life.id, "job_posting", "j2"))), "nothing");
    EXPECT_EQ(Facts(life.Try(Detach(life.id, "manager", "j1"))), "nothing");
    const auto detached = life.Do(Detach(life.id, "job_posting", "j1"));
    ASSERT_EQ(Facts(detached), "REFERENCE_DETACHED") << situation;
    EXPECT_TRUE(
        detached->events[0].changes().fields().at("references.job_posting").has_null_value());
    EXPECT_EQ(detached->before[0].fields().at("references.job_posting").string_value(), "j1");
    EXPECT_TRUE(life.session().references().empty());
    EXPECT_EQ(life.session().state(), before.state());
    EXPECT_EQ(Facts(life.Try(Detach(life.id, "job_posting", "j1"))), "nothing");
  }
}

// -----------------------------------------------------------------------------------------------
// import

v1::ImportSessionsRequest Imported(const std::string& text) {
  v1::ImportSessionsRequest request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  request.mutable_session()->set_session_id(kUuid);
  return request;
}

absl::StatusOr<Decision> TryImport(const std::string& workflow, const std::string& text) {
  const Life life(BuiltinWorkflow(workflow), kUuid);
  return life.Try(Import(life.workflow, Imported(text)));
}

testing::AssertionResult Rebuilds(const Life& life) {
  const auto replayed = Replay(life.events);
  if (!replayed.ok()) return testing::AssertionFailure() << replayed.status();
  Session rebuilt = *replayed, session = life.session();
  // A bare heartbeat is no fact.
  for (Session* one : {&rebuilt, &session}) {
    if (one->has_current_task()) one->mutable_current_task()->clear_heartbeat_time();
  }
  std::string difference;
  MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  if (differencer.Compare(rebuilt, session)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << difference;
}

TEST(Imported, IsTakenOverWithAllThatLiesBelowInOneFact) {
  Life life("ticket_export");
  life.Must(Import(life.workflow, Imported(R"pb(
                     line: 7
                     session {
                       namespace: "old"
                       owner_id: "o"
                       owner_display_name: "O"
                       state: PAUSED
                       stage: "processing"
                       fail_time { seconds: 1767200000 }
                       fail_reason: "why"
                       hold: true
                       context {
                         fields {
                           key: "site_name"
                           value { string_value: "s" }
                         }
                       }
                       counters { key: "total_tickets_generated" value: 4 }
                       labels { key: "a" value: "b" }
                       create_time { seconds: 1767000000 }
                       sequence: 99
                       revision: 98
                       message_count: 3
                       has_blocking_errors: true
                       status: "x"
                     }
                     task {
                       task_type: "processing"
                       status: FAILED
                       retry_count: 2
                       start_time { seconds: 1767010000 }
                       fail_time { seconds: 1767020000 }
                       max_retries: 9
                       failure_context {
                         fields {
                           key: "k"
                           value { number_value: 1 }
                         }
                       }
                     }
                     artifacts {
                       artifact_id: "f1"
                       kind: FILE
                       display_name: "f"
                       create_time { seconds: 1767001000 }
                     }
                     artifacts { artifact_id: "t1" kind: TICKET }
                     errors {
                       category: TEMPORARY
                       severity: BLOCKING
                       user_message: "m"
                       related_file_id: "f1"
                       create_time { seconds: 1767002000 }
                     }
                     errors {
                       error_id: "0192f3c4-0000-7000-8000-00000000000e"
                       category: TEMPORARY
                       severity: BLOCKING
                       user_message: "n"
                       operation_stage: "upload"
                       related_ticket_id: "t1"
                       resolve_time { seconds: 1767003000 }
                       resolver: "r"
                       resolution: "s"
                     }
                     events {
                       fields {
                         key: "was"
                         value { string_value: "there" }
                       }
                     }
                   )pb")));
  ASSERT_EQ(life.events.size(), 1u);
  EXPECT_EQ(life.events[0].type(), SessionEvent::IMPORTED);
  const Session& session = life.session();
  EXPECT_EQ(session.state(), Session::PAUSED);
  EXPECT_EQ(session.status(), "failed");
  EXPECT_EQ(session.namespace_(), "old");
  EXPECT_EQ(session.sequence(), 1);
  EXPECT_EQ(session.revision(), 1);
  EXPECT_EQ(session.message_count(), 0);
  EXPECT_EQ(session.create_time().seconds(), 1767000000);
  EXPECT_EQ(session.recover_before_time().seconds(), 1767000000 + 7 * 24 * 3600);
  EXPECT_EQ(session.counters().at("total_tickets_generated"), 4);
  EXPECT_TRUE(session.has_blocking_errors());
  EXPECT_EQ(life.aggregate.blocking.count, 1) << "one is resolved";
  EXPECT_EQ(life.task().retry_count(), 2);
  EXPECT_EQ(life.task().max_retries(), 3);
  EXPECT_EQ(life.task().task_id().size(), 36u);
  EXPECT_EQ(life.aggregate.errors.size(), 2u);
  EXPECT_EQ(life.aggregate.errors.at(kError).operation_stage(), "upload");
  EXPECT_EQ(life.aggregate.artifacts.at("f1").create_time().seconds(), 1767001000);
  EXPECT_TRUE(Rebuilds(life));
  // And it goes on from there.
  EXPECT_EQ(Facts(life.Do(About<v1::RecoverSessionRequest>(life.id))), "RECOVERED");
  EXPECT_EQ(Facts(life.Do(RetryTask(life.id))), "TASK_RETRIED");
  EXPECT_TRUE(Rebuilds(life));
}

TEST(Imported, TimesAreAnsweredAsTheyAreKept) {
  const auto decision = TryImport("ticket_export", R"pb(
    session {
      session_id: "0192f3c4-0000-7000-8000-0000000000aa"
      owner_id: "o"
      owner_display_name: "O"
      workflow: "ticket_export"
      stage: "processing"
      create_time { seconds: 1759999999 nanos: 123456789 }
      fail_time { seconds: 1760000001 nanos: 999999999 }
      fail_reason: "r"
    }
    task {
      task_type: "processing"
      status: FAILED
      task_id: "0192f3c4-0000-7000-8000-000000000001"
      start_time { seconds: 1760000000 nanos: 1999 }
      fail_time { seconds: 1760000001 nanos: 2999 }
      heartbeat_timeout { seconds: 30 nanos: 1999999 }
    }
  )pb");
  ASSERT_TRUE(decision.ok()) << decision.status();
  const Session& session = decision->session;
  EXPECT_EQ(session.create_time().nanos(), 123456000);
  EXPECT_EQ(session.fail_time().nanos(), 999999000);
  EXPECT_EQ(session.current_task().start_time().nanos(), 1000);
  EXPECT_EQ(session.current_task().fail_time().nanos(), 2000);
  EXPECT_EQ(session.current_task().heartbeat_timeout().nanos(), 1000000);
}

TEST(Imported, MessagesKeepTheirOrderWhateverTheirTimes) {
  Life life("interview");
  const auto decision = life.Do(Import(life.workflow, Imported(R"pb(
                                         session {
                                           owner_id: "o"
                                           counters { key: "current_question_number" value: 5 }
                                         }
                                         messages {
                                           type: "question"
                                           content: "1"
                                           create_time { seconds: 1766000300 }
                                         }
                                         messages {
                                           type: "answer"
                                           content: "2"
                                           create_time { seconds: 1766000100 }
                                         }
                                         messages {
                                           type: "question"
                                           content: "3"
                                           message_id: "0192f3c4-0000-7000-8000-00000000000a"
                                         }
                                       )pb")));
  ASSERT_TRUE(decision.ok()) << decision.status();
  ASSERT_EQ(decision->messages.size(), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(decision->messages[i].message.sequence(), i + 1);
  EXPECT_EQ(decision->messages[0].message.create_time().seconds(), 1766000300);
  EXPECT_TRUE(decision->messages[2].id_brought);
  EXPECT_EQ(life.session().message_count(), 3);
  EXPECT_EQ(life.session().counters().at("current_question_number"), 5) << "as it was counted";
  EXPECT_TRUE(Rebuilds(life));
  EXPECT_EQ(life.Do(Append(life.id, "question"))->messages[0].message.sequence(), 4);
  EXPECT_EQ(Facts(life.Try(Append(life.id, "answer", 1, kMessage))), "!INVALID_FIELD");
}

TEST(Imported, WhatIsOverIsStoppedAndDatedForRetention) {
  const auto state = [](const std::string& text) {
    const auto decision = TryImport("ticket_export", text);
    EXPECT_TRUE(decision.ok()) << decision.status();
    return decision.ok() ? absl::StrCat(Session::State_Name(decision->session.state()), " ",
                                        decision->session.status(),
                                        decision->session.has_complete_time() ? " completed" : "",
                                        decision->session.has_purge_time() ? " purged" : "")
                         : "";
  };
  EXPECT_EQ(state("session {}"), "ACTIVE active");
  EXPECT_EQ(state("session { state: CREATING }"), "CREATING active");
  EXPECT_EQ(state("session { state: PAUSED stage: 'review' }"), "PAUSED active");
  EXPECT_EQ(state("session { state: STOPPED }"), "STOPPED stopped purged");
  EXPECT_EQ(state("session { stage: 'completed' }"), "STOPPED completed completed purged");
  EXPECT_EQ(state("session { stage: 'completed' state: ACTIVE }"),
            "STOPPED completed completed purged");
  EXPECT_EQ(state("session { complete_time { seconds: 1766000000 } }"),
            "STOPPED completed completed purged");
  EXPECT_EQ(state("session { state: DELETED }"), "DELETED stopped purged");
  EXPECT_EQ(state("session { state: DELETED stage: 'completed' }"),
            "DELETED completed completed purged");
  EXPECT_EQ(state("session {} task { task_type: 'export' status: RUNNING }"), "ACTIVE active");
}

TEST(Imported, WhatContradictsItselfIsRefusedWithEveryReason) {
  struct Case {
    const char *text, *field;
  };
  // clang-format off
  const Case cases[] = {
      {"session { stage: 'nowhere' }", "session.stage"},
      {"session { create_time { seconds: 1767225601 } }", "session.create_time"},
      {"session { delete_time { seconds: 1 } }", "session.delete_time"},
      {"session { counters { key: 'x' value: 1 } }", "session.counters.x"},
      {"session { counters { key: 'total_tickets_generated' value: -1 } }",
       "session.counters.total_tickets_generated"},
      {"session {} task { task_type: 'baking' status: RUNNING }", "task.task_type"},
      {"session {} task { task_type: 'export' }", "task.status"},
      {"session {} task { task_type: 'export' status: FAILED fail_time {} retry_count: -1 }", "task.retry_count"},
      {"session { state: STOPPED } task { task_type: 'export' status: RUNNING }", "task.status"},
      {"session { state: CREATING } task { task_type: 'export' status: RUNNING }", "task.status"},
      {"session { fail_time { seconds: 1 } } task { task_type: 'export' status: RUNNING }", "task.status"},
      {"session { stage: 'completed' } task { task_type: 'export' status: RUNNING }", "task.status"},
      {"session { complete_time { seconds: 1 } } task { task_type: 'export' status: RUNNING }", "task.status"},
      {"session {} artifacts { artifact_id: 'a' kind: FILE } artifacts { artifact_id: 'a' kind: FILE }",
       "artifacts[1].artifact_id"},
      {"session {} artifacts { artifact_id: 'a' kind: FILE } artifacts { artifact_id: 'a' kind: TICKET }",
       "artifacts[1].artifact_id"},
      {"session {} errors { severity: INFO related_file_id: 'a' }", "errors[0].related_file_id"},
      {"session {} artifacts { artifact_id: 'a' kind: FILE } errors { related_ticket_id: 'a' }",
       "errors[0].related_ticket_id"},
      {"session {} errors { operation_stage: 'nowhere' }", "errors[0].operation_stage"},
      {"session {} errors { error_id: 'e' } errors { error_id: 'e' }", "errors[1].error_id"},
      {"session {} messages { type: 'question' content: 'x' }", "messages[0].type"},
  };
  // clang-format on
  for (const Case& one : cases) {
    const auto refused = TryImport("ticket_export", one.text);
    EXPECT_EQ(Facts(refused), "!INVALID_FIELD") << one.text;
    EXPECT_THAT(Violations(refused.status()), ElementsAre(one.field)) << one.text;
  }
  EXPECT_THAT(Violations(TryImport("interview", "session { fail_time { seconds: 1 } }").status()),
              ElementsAre("session.fail_time"));
  EXPECT_EQ(Facts(TryImport("ticket_export",
                            "session { context { fields { key: 'x' value { "
                            "number_value: 1 } } } }")),
            "!CONTEXT_VIOLATION");
}

// 2026-01-01, when it is taken in, is 1767225600.
TEST(Imported, WhatCouldNotHaveComeToBeHereIsRefusedWithTheTimeThatIsWrong) {
  struct Case {
    const char *text, *field, *why;
  };
  // clang-format off
  const Case cases[] = {
      {"session { create_time { seconds: 9 } complete_time { seconds: 8 } }", "session.complete_time", "before session.create_time"},
      {"session { create_time { seconds: 9 } fail_time { seconds: 8 } }", "session.fail_time", "before session.create_time"},
      {"session { create_time { seconds: 9 } delete_time { seconds: 8 } state: DELETED }", "session.delete_time", "before session.create_time"},
      {"session { create_time { seconds: 1 } complete_time { seconds: 9 } delete_time { seconds: 8 } state: DELETED }", "session.delete_time", "before session.complete_time"},
      {"session { create_time { seconds: 1 } fail_time { seconds: 9 } delete_time { seconds: 8 } state: DELETED }", "session.delete_time", "before session.fail_time"},
      {"session { fail_reason: 'The converter is down' }", "session.fail_reason", "only of a session with a fail_time"},
      {"session {} errors { severity: INFO resolver: 'u1' }", "errors[0].resolver", "only of an error with a resolve_time"},
      {"session {} errors { severity: INFO resolution: 'x' }", "errors[0].resolution", "only of an error with a resolve_time"},
      {"session {} task { task_type: 'export' status: RUNNING start_time { seconds: 253402300799 } }", "task.start_time", "in the future"},
      {"session { create_time { seconds: 9 } } task { task_type: 'export' status: RUNNING start_time { seconds: 8 } }", "task.start_time", "before session.create_time"},
      {"session {} task { task_type: 'export' status: RUNNING start_time { seconds: 9 } heartbeat_time { seconds: 8 } }", "task.heartbeat_time", "before task.start_time"},
      {"session {} task { task_type: 'export' status: RUNNING heartbeat_time { seconds: 1767225601 } }", "task.heartbeat_time", "in the future"},
      {"session {} task { task_type: 'export' status: RUNNING complete_time { seconds: 9 } }", "task.complete_time", "only of a task that is COMPLETED"},
      {"session {} task { task_type: 'export' status: COMPLETED }", "task.complete_time", "required of a task that is COMPLETED"},
      {"session {} task { task_type: 'export' status: COMPLETED start_time { seconds: 9 } complete_time { seconds: 8 } }", "task.complete_time", "before task.start_time"},
      {"session {} task { task_type: 'export' status: COMPLETED complete_time { seconds: 1767225601 } }", "task.complete_time", "in the future"},
      {"session {} task { task_type: 'export' status: COMPLETED complete_time { seconds: 8 } heartbeat_time { seconds: 9 } start_time { seconds: 1 } }", "task.heartbeat_time", "behind the task's end"},
      {"session {} task { task_type: 'export' status: FAILED }", "task.fail_time", "required of a task that is FAILED"},
      {"session {} task { task_type: 'export' status: FAILED start_time { seconds: 9 } fail_time { seconds: 8 } }", "task.fail_time", "before task.start_time"},
      {"session {} task { task_type: 'export' status: FAILED fail_time { seconds: 9 } cancel_time { seconds: 9 } }", "task.cancel_time", "only of a task that is CANCELLED"},
      {"session {} task { task_type: 'export' status: CANCELLED }", "task.cancel_time", "required of a task that is CANCELLED"},
      {"session { create_time { seconds: 1 } complete_time { seconds: 8 } } task { task_type: 'export' status: COMPLETED start_time { seconds: 2 } complete_time { seconds: 9 } }", "task.complete_time", "behind session.complete_time"},
      {"session { create_time { seconds: 1 } fail_time { seconds: 8 } } task { task_type: 'export' status: FAILED start_time { seconds: 9 } fail_time { seconds: 9 } }", "task.start_time", "behind session.fail_time"},
      {"session { create_time { seconds: 9 } } errors { severity: INFO create_time { seconds: 8 } }", "errors[0].create_time", "before session.create_time"},
      {"session {} errors { severity: INFO create_time { seconds: 9 } resolve_time { seconds: 8 } }", "errors[0].resolve_time", "before errors[0].create_time"},
      {"session { create_time { seconds: 9 } } errors { severity: INFO resolve_time { seconds: 8 } }", "errors[0].resolve_time", "before session.create_time"},
      {"session { create_time { seconds: 1 } delete_time { seconds: 8 } state: DELETED } errors { severity: INFO create_time { seconds: 9 } }", "errors[0].create_time", "behind session.delete_time"},
      {"session { create_time { seconds: 9 } } artifacts { kind: FILE create_time { seconds: 8 } }", "artifacts[0].create_time", "before session.create_time"},
      {"session { create_time { seconds: 1 } complete_time { seconds: 8 } } artifacts { kind: FILE create_time { seconds: 9 } }", "artifacts[0].create_time", "behind session.complete_time"},
  };
  // clang-format on
  for (const Case& one : cases) {
    const auto refused = TryImport("ticket_export", one.text);
    EXPECT_EQ(Facts(refused), "!INVALID_FIELD") << one.text;
    EXPECT_THAT(Violations(refused.status()), testing::Contains(one.field)) << one.text;
    EXPECT_THAT(std::string(refused.status().message()), testing::HasSubstr(one.why)) << one.text;
  }
  for (const auto& [text, why] : {
           std::pair{"session { create_time { seconds: 9 } } messages { type: 'question' "
                     "create_time { seconds: 8 } }",
                     "messages[0].create_time lies before session.create_time"},
           std::pair{"session { create_time { seconds: 1 } complete_time { seconds: 8 } } "
                     "messages { type: 'question' create_time { seconds: 9 } }",
                     "messages[0].create_time lies behind session.complete_time"},
       }) {
    EXPECT_THAT(std::string(TryImport("interview", text).status().message()),
                testing::HasSubstr(why));
  }
}

TEST(Imported, WhatNobodyDatedContradictsNothing) {
  const auto decision = TryImport("ticket_export", R"pb(
    session { complete_time { seconds: 1766000000 } }
    task {
      task_type: "export"
      status: COMPLETED
      complete_time { seconds: 1765000000 }
    }
    errors {
      severity: INFO
      resolve_time { seconds: 1764000000 }
    }
    errors { severity: INFO }
    artifacts { kind: FILE }
  )pb");
  ASSERT_TRUE(decision.ok()) << decision.status();
  EXPECT_EQ(decision->session.create_time().seconds(), 1764000000) << "the first that is known";
  EXPECT_EQ(decision->session.current_task().start_time().seconds(), 1765000000);
  EXPECT_EQ(decision->session.current_task().heartbeat_time().seconds(), 1765000000);
  EXPECT_EQ(decision->errors[0].create_time().seconds(), 1764000000);
  EXPECT_EQ(decision->errors[1].create_time().seconds(), 1766000000) << "not behind the end";
  EXPECT_EQ(decision->artifacts[0].create_time().seconds(), 1766000000);
  // Who was heard of had begun, and who failed did nothing afterwards.
  const auto heard = TryImport("ticket_export", R"pb(
    session {}
    task {
      task_type: "export"
      status: COMPLETED
      heartbeat_time { seconds: 1764000000 }
      complete_time { seconds: 1765000000 }
    }
  )pb");
  ASSERT_TRUE(heard.ok()) << heard.status();
  EXPECT_EQ(heard->session.current_task().start_time().seconds(), 1764000000);
  EXPECT_EQ(heard->session.create_time().seconds(), 1764000000);
  const auto failed = TryImport("ticket_export", R"pb(
    session { fail_time { seconds: 1764000000 } }
    errors { severity: INFO }
    artifacts { kind: FILE }
  )pb");
  ASSERT_TRUE(failed.ok()) << failed.status();
  EXPECT_EQ(failed->errors[0].create_time().seconds(), 1764000000);
  EXPECT_EQ(failed->artifacts[0].create_time().seconds(), 1764000000);
  // Nobody keeps when it was updated.
  for (const char* text : {"session { update_time { seconds: 8 } }",
                           "session { create_time { seconds: 9 } update_time { seconds: 8 } }"}) {
    const auto updated = TryImport("ticket_export", text);
    EXPECT_TRUE(updated.ok()) << text << updated.status();
  }
  const auto now = TryImport("ticket_export", "session {}");
  EXPECT_EQ(now->session.create_time().seconds(), absl::ToUnixSeconds(kBegin));
}

TEST(Imported, IsLeftAsItIsWhenItIsThereOrWas) {
  Life life("interview");
  const Command import = Import(life.workflow, Imported("session { owner_id: 'o' }"));
  life.Must(import);
  EXPECT_EQ(Facts(life.Try(import)), "!SESSION_EXISTS");
  life.aggregate = {};
  life.aggregate.tombstone = Tombstone{.archive_time = kBegin};
  EXPECT_EQ(Facts(life.Try(import)), "!SESSION_EXISTS");
}

// -----------------------------------------------------------------------------------------------
// what an import left out

// An import that is run again with more, as the daemon does it.
struct Again {
  Life life;

  explicit Again(const std::string& workflow, const std::string& text)
      : life(BuiltinWorkflow(workflow), kUuid) {
    life.Must(Import(life.workflow, Imported(text)));
  }
  ImportCompletion Look(const std::string& text) const {
    std::vector<SessionEvent> imports;
    for (const SessionEvent& event : life.events) {
      if (event.type() == SessionEvent::IMPORTED) imports.push_back(event);
    }
    v1::ImportSessionsRequest request = Imported(text);
    if (request.session().workflow().empty())
      request.mutable_session()->set_workflow(life.workflow->name());
    return CompletionOf(life.session(), imports, request);
  }
  absl::StatusOr<Decision> Complete(const std::string& text) {
    const ImportCompletion completion = Look(text);
    EXPECT_EQ(completion.obstacle, "");
    Command command = Import(life.workflow, completion.missing);
    command.completes = life.session().sequence();
    return life.Do(command);
  }
};

constexpr char kTalk[] = R"pb(
  session {
    owner_id: "o"
    create_time { seconds: 1766000000 }
    counters { key: "current_question_number" value: 2 }
  }
  messages {
    type: "question"
    content: "1"
    create_time { seconds: 1766000100 }
  }
  messages {
    type: "answer"
    content: "2"
    create_time { seconds: 1766000200 }
  }
  messages {
    type: "question"
    content: "3"
    create_time { seconds: 1766000300 }
  }
)pb";
constexpr char kSilence[] = "session { owner_id: 'o' create_time { seconds: 1766000000 } }";

TEST(LeftOut, MessagesComeLaterInTheirOrderAndWithTheirTimes) {
  Again again("interview", kSilence);
  EXPECT_EQ(again.Look(kTalk).Missing(), "3 messages");
  const auto decision = again.Complete(kTalk);
  ASSERT_TRUE(decision.ok()) << decision.status();
  EXPECT_EQ(Facts(decision), "IMPORTED+MESSAGES_APPENDED");
  ASSERT_EQ(decision->messages.size(), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(decision->messages[i].message.sequence(), i + 1);
    EXPECT_EQ(decision->messages[i].message.create_time().seconds(), 1766000100 + i * 100);
  }
  const Session& session = again.life.session();
  EXPECT_EQ(session.message_count(), 3);
  EXPECT_EQ(session.counters().at("current_question_number"), 2);
  EXPECT_TRUE(Rebuilds(again.life));
  EXPECT_TRUE(again.Look(kTalk).all_there()) << "and never again";
  again.life.Must(Append(again.life.id, "question"));
  EXPECT_TRUE(again.Look(kTalk).all_there());
}

TEST(LeftOut, ErrorsArtifactsAndTheTaskComeLater) {
  const std::string session =
      "session { owner_id: 'o' owner_display_name: 'O' "
      "create_time { seconds: 1767000000 } stage: 'processing' } ";
  const std::string first = session + "artifacts { artifact_id: 'f' kind: FILE }";
  const std::string all = first + R"pb(
    artifacts { artifact_id: "g" kind: FILE }
    errors {
      error_id: "0192f3c4-0000-7000-8000-00000000000e"
      category: TEMPORARY
      severity: BLOCKING
      user_message: "m"
      related_file_id: "f"
    }
    errors { category: TEMPORARY severity: INFO user_message: "n" related_file_id: "g" }
    task {
      task_type: "processing"
      status: COMPLETED
      start_time { seconds: 1767000100 }
      complete_time { seconds: 1767000200 }
    }
    events {
      fields {
        key: "k"
        value { string_value: "v" }
      }
    }
  )pb";
  Again again("ticket_export", first);
  EXPECT_TRUE(again.Look(first).all_there());
  EXPECT_EQ(again.Look(all).Missing(), "2 errors, 1 artifact, 1 task");
  const auto decision = again.Complete(all);
  ASSERT_TRUE(decision.ok()) << decision.status();
  EXPECT_EQ(Facts(decision), "IMPORTED");
  EXPECT_TRUE(again.life.session().has_blocking_errors());
  EXPECT_EQ(again.life.aggregate.blocking.count, 1);
  EXPECT_EQ(again.life.task().status(), SessionTask::COMPLETED);
  EXPECT_EQ(again.life.task().complete_time().seconds(), 1767000200);
  EXPECT_EQ(decision->events[0].changes().fields().count("events"), 1);
  EXPECT_TRUE(Rebuilds(again.life));
  EXPECT_TRUE(again.Look(all).all_there());
  // What is deleted here does not come back.
  again.life.Must(DeleteArtifact(again.life.id, "g"));
  EXPECT_TRUE(again.Look(all).all_there());
}

TEST(LeftOut, WhatCannotBeAddedAnyMoreIsSaid) {
  Again talking("interview", kSilence);
  talking.life.Must(Append(talking.life.id, "question"));
  EXPECT_THAT(talking.Look(kTalk).obstacle, testing::HasSubstr("1 message by now"));

  Again some("interview", absl::StrCat(kSilence, "messages { type: 'question' content: '1' }"));
  EXPECT_THAT(some.Look(kTalk).obstacle, testing::HasSubstr("1 message by now"));

  const std::string session = "session { owner_id: 'o' owner_display_name: 'O' } ";
  const std::string error = "errors { category: TEMPORARY severity: INFO user_message: 'm' } ";
  Again unnamed("ticket_export", session + error);
  EXPECT_TRUE(unnamed.Look(session + error).all_there());
  EXPECT_THAT(unnamed.Look(session + error + error).obstacle,
              testing::HasSubstr("which of the 2 errors without an id are the 1 that are there"));

  const std::string task = "task { task_type: 'export' status: RUNNING }";
  Again paused("ticket_export", session);
  EXPECT_EQ(paused.Look(session + task).obstacle, "");
  paused.life.Must(About<v1::PauseSessionRequest>(paused.life.id));
  EXPECT_THAT(paused.Look(session + task).obstacle, testing::HasSubstr("without its task"));
  EXPECT_EQ(paused.Look(session + error).obstacle, "");
  paused.life.Must(Delete(paused.life.id, /*force=*/true));
  EXPECT_THAT(paused.Look(session + error).obstacle, testing::HasSubstr("deleted"));

  // And a session that changes while it is looked at is looked at again.
  Again changing("interview", kSilence);
  Command command = Import(changing.life.workflow, changing.Look(kTalk).missing);
  command.completes = changing.life.session().sequence();
  changing.life.Must(SetLabel(changing.life.id, "a", "b"));
  EXPECT_EQ(Facts(changing.life.Try(command)), "!CONFLICT");
}

TEST(LeftOut, NothingIsAddedToASessionOfAnotherWorkflow) {
  const Again again("interview", kSilence);
  EXPECT_EQ(again.Look("session { workflow: 'ticket_export' }").obstacle, "") << "nothing to add";
  EXPECT_EQ(
      again.Look("session { workflow: 'ticket_export' } messages { type: 'question' }").obstacle,
      "its workflow is interview, not ticket_export");
}

TEST(LeftOut, ErrorsAreAboutArtifactsOfTheRightKind) {
  const std::string first =
      "session { owner_id: 'o' owner_display_name: 'O' } artifacts { artifact_id: 'f' kind: FILE "
      "} ";
  const Again again("ticket_export", first);
  const auto error = [&](const std::string& link) {
    return absl::StrCat(first, "artifacts { artifact_id: 't' kind: TICKET } ",
                        "errors { category: TEMPORARY severity: INFO user_message: 'm' ", link,
                        "}");
  };
  EXPECT_EQ(again.Look(error("related_file_id: 'f' related_ticket_id: 't'")).obstacle, "");
  EXPECT_EQ(again.Look(error("related_ticket_id: 'f'")).obstacle,
            "an error is about f, which is no TICKET");
  EXPECT_EQ(again.Look(error("related_file_id: 't'")).obstacle,
            "an error is about t, which is no FILE");
}

TEST(LeftOut, WhatHasComeToBeHereByAnotherWayIsNamed) {
  const std::string session = "session { owner_id: 'o' owner_display_name: 'O' } ";
  Again again("ticket_export", session);
  again.life.Must(AddArtifacts(again.life.id, {AnArtifact("f")}));
  const auto refused = again.Complete(session +
                                      "artifacts { artifact_id: 'e' kind: FILE } "
                                      "artifacts { artifact_id: 'f' kind: FILE }");
  EXPECT_THAT(Violations(refused.status()), ElementsAre("artifacts[1].artifact_id"));
  EXPECT_THAT(std::string(refused.status().message()),
              testing::HasSubstr("is f, the id of an artifact"));
  again.life.Must(DeleteArtifact(again.life.id, "f"));
  EXPECT_TRUE(again.Complete(session + "artifacts { artifact_id: 'f' kind: FILE }").ok());
}

TEST(LeftOut, IsHeldAgainstTheSessionAsItStands) {
  Again again("interview", "session { owner_id: 'o' create_time { seconds: 1766000150 } }");
  EXPECT_THAT(Violations(again.Complete(kTalk).status()), ElementsAre("messages[0].create_time"));
}

TEST(LeftOut, NothingIsAddedToWhatWasNotImported) {
  Life life("interview");
  life.Begin();
  EXPECT_TRUE(CompletionOf(life.session(), {}, Imported(kTalk)).all_there());
}

// -----------------------------------------------------------------------------------------------
// everything at random

// What the test keeps of a session by itself.
struct Kept {
  std::map<std::string, bool> blocks;  // errors: whether they are in the way
  std::set<std::string> artifacts;
  int messages = 0, questions = 0;
};

// Draws commands of every kind; many of them make no sense.
class Drawing {
 public:
  Drawing(uint64_t seed, std::string workflow) : random_(seed), workflow_(std::move(workflow)) {}

  int Pick(int count) { return static_cast<int>(random_() % static_cast<uint64_t>(count)); }

  Command Next(const Life& life, const Kept& kept) {
    const std::string& id = life.id;
    const bool lives = life.aggregate.session.has_value();
    const std::string run =
        lives && Pick(8) != 0 ? life.task().task_id() : "0192f3c4-0000-7000-8000-0000000000ff";
    const v1::Stage* next = lives ? life.workflow->NextStage(life.session().stage()) : nullptr;
    const std::string to = next == nullptr ? "nowhere" : next->name();
    const std::string to_or_not = Pick(4) == 0 ? to : "";
    switch (Pick(27)) {
      case 0:
        return About<v1::PauseSessionRequest>(id);
      case 1:
        return About<v1::ResumeSessionRequest>(id);
      case 2:
        return Pick(6) == 0 ? About<v1::StopSessionRequest>(id) : SetLabel(id, "a", "b");
      case 3:
        return Pick(4) == 0 ? About<v1::FailSessionRequest>(id) : SetLabel(id, "c", "d");
      case 4:
        return Delete(id, Pick(8) == 0);
      case 5:
        return About<v1::UndeleteSessionRequest>(id);
      case 6:
        return Advance(id, to);
      case 7:
      case 8:
        return About<v1::RecoverSessionRequest>(id);
      case 9:
      case 10:
      case 11:
        return Timed(StartTask(id, Type(life), "", to_or_not));
      case 12:
        return Progress(id, run, Pick(100) / 7.0);
      case 13:
        return Heartbeat(id, run);
      case 14:
        return CompleteTask(id, run, to_or_not);
      case 15:
      case 16: {
        const SessionError error = Error(kept);
        return FailTask(id, run, Pick(2) == 0 ? &error : nullptr);
      }
      case 17:
        return Pick(2) == 0 ? CancelTask(id, run) : RetryTask(id);
      case 18:
        return RetryTask(id);
      case 19:
        return RecordError(id, Error(kept));
      case 20:
      case 21:
        return ResolveError(id, AnyOf(kept.blocks));
      case 22:
        return Append(id, Pick(3) == 0 ? "answer" : "question", 1 + Pick(3));
      case 23:
        return AddArtifacts(id, {AnArtifact(absl::StrCat("f", Pick(5))), AnArtifact("")});
      case 24:
        return DeleteArtifact(id, absl::StrCat("f", Pick(5)));
      case 25:
        return ByTimeout(FailTask(id, run));
      default:
        return Pick(20) == 0   ? Share<v1::PurgeSessionsRequest>(id)
               : Pick(20) == 0 ? Erase(id, "owner-1")
                               : Detach(id, "job_posting", "j");
    }
  }

 private:
  std::string Type(const Life& life) {
    const auto& types = life.workflow->definition().task_types();
    return types.empty() ? "none" : types[Pick(types.size())].name();
  }
  Command Timed(Command command) {
    if (Pick(2) == 0) {
      std::get<v1::StartTaskRequest>(command.request).mutable_heartbeat_timeout()->set_seconds(2);
    }
    return command;
  }
  SessionError Error(const Kept& kept) {
    const bool linked = Pick(3) == 0 && !kept.artifacts.empty();
    return AnError(Pick(4) == 0 ? SessionError::BLOCKING : SessionError::INFO,
                   linked ? *kept.artifacts.begin() : "");
  }
  std::string AnyOf(const std::map<std::string, bool>& errors) {
    if (errors.empty()) return kError;
    return std::next(errors.begin(), Pick(static_cast<int>(errors.size())))->first;
  }

  std::mt19937_64 random_;
  const std::string workflow_;
};

void Keep(const Decision& decision, Kept& kept) {
  for (const SessionError& error : decision.errors)
    kept.blocks[error.error_id()] =
        error.severity() == SessionError::BLOCKING && !error.has_resolve_time();
  for (const SessionArtifact& artifact : decision.artifacts)
    kept.artifacts.insert(artifact.artifact_id());
  for (const std::string& id : decision.deleted_artifacts) kept.artifacts.erase(id);
  for (const NewMessage& message : decision.messages) {
    EXPECT_EQ(message.message.sequence(), ++kept.messages);
    kept.questions += message.message.type() == "question" ? 1 : 0;
  }
}

// What holds wherever a session stands.
void ExpectSound(const Life& life, const Kept& kept) {
  const Session& session = life.session();
  int blocking = 0;
  for (const auto& [id, blocks] : kept.blocks) blocking += blocks ? 1 : 0;
  ASSERT_EQ(life.aggregate.blocking.count, blocking);
  ASSERT_EQ(session.has_blocking_errors(), blocking > 0);
  ASSERT_EQ(session.message_count(), kept.messages);
  ASSERT_EQ(life.aggregate.artifacts.size(), kept.artifacts.size());
  if (session.workflow() == "interview") {
    ASSERT_EQ(session.counters().at("current_question_number"), kept.questions);
  }
  const SessionTask& task = session.current_task();
  if (task.status() == SessionTask::RUNNING) {
    ASSERT_TRUE(session.state() == Session::ACTIVE || session.state() == Session::PAUSED);
    ASSERT_FALSE(session.has_fail_time());
    ASSERT_LT(task.retry_count(), task.max_retries());
  }
  ASSERT_EQ(session.has_complete_time(), life.workflow->IsLastStage(session.stage()));
  int revision = 0;
  for (const SessionEvent& event : life.events) {
    if (event.type() != SessionEvent::MESSAGES_APPENDED &&
        event.type() != SessionEvent::TASK_PROGRESSED) {
      revision = event.sequence();
    }
  }
  ASSERT_EQ(session.revision(), revision);
  ASSERT_TRUE(Rebuilds(life));
  if (session.workflow() == "onboarding") return;
  ASSERT_EQ(
      session.status(),
      ExpectedStatus(session.workflow(), Session::State_Name(session.state()), session.stage(),
                     task.status() == SessionTask::RUNNING ? task.task_type() : "",
                     session.has_fail_time(), session.has_complete_time()));
}

TEST(Audit, RebuildsASessionWhateverKindOfThingHappenedToIt) {
  const uint64_t seed = TestSeed();
  std::set<SessionEvent::Type> types;
  int accepted = 0;
  for (int round = 0; round < 120; ++round) {
    for (const char* name : {"ticket_export", "execution", "interview", "onboarding"}) {
      SCOPED_TRACE(absl::StrCat("seed ", seed, ", round ", round, ", workflow ", name));
      Drawing drawing(seed + static_cast<uint64_t>(round), name);
      Life life = Begun(name);
      Kept kept;
      for (int step = 0; step < 120 && life.aggregate.session.has_value(); ++step) {
        life.now += absl::Milliseconds(drawing.Pick(2000) - 500);
        const auto decision = life.Do(drawing.Next(life, kept));
        if (!decision.ok()) {
          ASSERT_NE(ReasonOf(decision.status()), v1::ERROR_REASON_UNSPECIFIED) << decision.status();
          continue;
        }
        ++accepted;
        ASSERT_LE(decision->events.size(), 4u);
        Keep(*decision, kept);
        for (const SessionEvent& event : decision->events) types.insert(event.type());
        if (decision->end != Decision::End::kNone) break;
        ExpectSound(life, kept);
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
  EXPECT_GT(accepted, 10000);
  // All but CREATED, ACTIVATED, REFERENCE_DETACHED, ARCHIVED (nothing is due so soon) and IMPORTED.
  EXPECT_EQ(types.size(), 22u);
}

}  // namespace
}  // namespace sessiond
