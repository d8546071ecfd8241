// The write path, whole, on a real PostgreSQL: what is answered is what is kept, once, in order,
// and without a gap, from many threads and from two stores at once.
#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "db/session_store.h"
#include "db/sql/statements.h"
#include "state_machine/present.h"
#include "state_machine/session_id.h"
#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"
#include "tests/store_fixture.h"

namespace sessiond::db {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::HasSubstr;
using testing::IsEmpty;
using v1::Session;
using v1::SessionEvent;

// So many sessions are read otherwise than one: of those kept, only in partitions that have moved.
constexpr std::size_t kMany = 16;

constexpr char kCounter[] = "current_question_number";
constexpr char kUuid[] = "0192f3c4-9f2e-7abc-8def-0123456789ab";
constexpr char kOtherUuid[] = "0192f3c4-9f2e-7abc-8def-ffffffffffff";

// For tests that change rows by hand, of which what is kept knows nothing.
void KeepNothing(SessionStoreOptions& options) { options.cache_bytes_max = 0; }

testing::AssertionResult Same(const google::protobuf::Message& one,
                              const google::protobuf::Message& other) {
  std::string difference;
  MessageDifferencer differencer;
  differencer.ReportDifferencesToString(&difference);
  if (differencer.Compare(one, other)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << difference;
}

absl::Status Execute(const TestDatabase& database, const std::string& sql) {
  return database.Connect()->Execute(sql, TestDeadline());
}

TEST(Statements, AreAllPreparedByTheMigratedSchema) {
  TestDatabase database;
  const auto expect_prepared = [&](absl::Span<const Statement* const> statements) {
    EXPECT_GT(statements.size(), 10u);
    for (const Statement* statement : statements) {
      const auto opened =
          Connection::Open({.dsn = database.dsn(), .statements = {&statement, 1}}, TestDeadline());
      EXPECT_TRUE(opened.ok()) << statement->name << ": " << opened.status();
    }
  };
  expect_prepared(kAllStatements);
  expect_prepared(kAllQueries);
}

TEST(Statements, DoNotFitADatabaseThatIsNotMigrated) {
  TestDatabase database(TestDatabase::Schema::kEmpty);
  const auto store = SessionStore::Open({.settings = {.dsn = database.dsn()}}, TestDeadline());
  EXPECT_EQ(ReasonOf(store.status()), v1::SCHEMA_MISMATCH) << store.status();
}

// -----------------------------------------------------------------------------------------------
// what is read is what was answered

// Does what is to be done, and reads it back.
class Script {
 public:
  explicit Script(SessionStore& store) : store_(store) {}

  void Do(Command command) {
    const auto outcome = SubmitAndWait(store_, std::move(command));
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    id_ = outcome->session.session_id();
    events_.insert(events_.end(), outcome->events.begin(), outcome->events.end());
    const auto read = ReadAndWait(store_, id_);
    ASSERT_TRUE(read.ok() && read->session.has_value()) << read.status();
    EXPECT_TRUE(Same(*read->session, outcome->session));
    EXPECT_EQ(outcome->session.etag(), EtagOf(outcome->session));
  }
  void Update(const std::string& text) {
    v1::UpdateSessionRequest request;
    ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
    Do(About(id_, request));
  }

  const std::string& id() const { return id_; }
  const std::vector<SessionEvent>& events() const { return events_; }

 private:
  SessionStore& store_;
  std::string id_;
  std::vector<SessionEvent> events_;
};

TEST(SessionStore, ReadsWhatItAnswered) {
  TestDatabase database;
  const auto store = OpenStore(database);
  for (const char* name : {"ticket_export", "interview", "execution"}) {
    SCOPED_TRACE(name);
    const auto workflow = store->catalog().Newest(name);
    Script script(*store);
    v1::CreateSessionRequest creation = NewSession(name);
    creation.set_creating(true);
    creation.set_actor("änna \"quoted\"");
    creation.set_reason("why\nnot\t\\");
    creation.mutable_session()->set_namespace_("other");
    creation.mutable_session()->set_hold(true);
    (*creation.mutable_session()->mutable_labels())["a.b"] = "{\"x\": [1, null]}";
    script.Do(Create(workflow, creation));
    script.Update(R"pb(session {
                         labels { key: "empty" value: "" }
                         owner_id: "later"
                       }
                       update_mask { paths: "labels" paths: "hold" paths: "owner_id" })pb");
    if (name == std::string("ticket_export")) {
      script.Update(R"pb(
        session {
          context {
            fields {
              key: "jira_project_key"
              value { string_value: "Ω😀'\\\"" }
            }
            fields {
              key: "site_description"
              value { string_value: "\001\n\r\t" }
            }
          }
        }
        update_mask { paths: "context" })pb");
    }
    if (name == std::string("interview")) {
      script.Update(R"pb(session { references { key: "job_posting" value: "j" } }
                         counter_increments { key: "current_question_number" value: 41 }
                         update_mask { paths: "references.job_posting" })pb");
      script.Do(Increment(script.id(), kCounter, 1));
    }
    script.Do(About<v1::ActivateSessionRequest>(script.id()));
    script.Do(About<v1::PauseSessionRequest>(script.id()));
    script.Do(About<v1::ResumeSessionRequest>(script.id()));
    const v1::Stage* stage = workflow->FirstStage();
    while (stage != nullptr && (stage = workflow->NextStage(stage->name())) != nullptr)
      script.Do(Advance(script.id(), stage->name()));
    if (name == std::string("execution")) script.Do(About<v1::StopSessionRequest>(script.id()));
    script.Do(Delete(script.id(), false));
    script.Do(About<v1::UndeleteSessionRequest>(script.id()));
    script.Do(Delete(script.id(), true));

    const auto events = AllEvents(database).at(script.id());
    ASSERT_EQ(events.size(), script.events().size());
    for (std::size_t i = 0; i < events.size(); ++i)
      EXPECT_TRUE(Same(events[i], script.events()[i])) << i;
  }
  Script failed(*store);
  failed.Do(Create(store->catalog().Newest("ticket_export"), NewSession("ticket_export")));
  v1::FailSessionRequest request;
  request.set_reason("the site is gone");
  failed.Do(About(failed.id(), request));
  failed.Do(Delete(failed.id(), true));
  ExpectSound(database);
}

TEST(SessionStore, KeepsAnyContextAsItWas) {
  TestDatabase database;
  SessionStoreOptions options;
  const auto store = OpenStore(database, [](SessionStoreOptions& options) {
    options.workflows.push_back((*Workflow::Parse(R"pb(
                                  name: "free"
                                  id_format: UUID
                                  statuses { name: "any" }
                                  fields { name: "object" type: STRUCT }
                                  fields { name: "number" type: NUMBER }
                                )pb"))
                                    ->definition());
  });
  const uint64_t seed = TestSeed();
  std::mt19937_64 random(seed);
  Script script(*store);
  script.Do(Create(store->catalog().Newest("free"), NewSession("free")));
  static const char* const kTexts[] = {"",          "\"",  "\\u0000", "\n\x01\x1F",
                                       "ä€😀\u2028", "1e5", "null"};
  for (int i = 0; i < 40; ++i) {
    v1::UpdateSessionRequest request;
    auto& context = *request.mutable_session()->mutable_context()->mutable_fields();
    auto& object = *context["object"].mutable_struct_value()->mutable_fields();
    for (int field = 0; field < 8; ++field) {
      Value& value = object[absl::StrCat(kTexts[random() % std::size(kTexts)], field)];
      switch (random() % 5) {
        case 0:
          value = StringValue(kTexts[random() % std::size(kTexts)]);
          break;
        case 1:
          value = NumberValue(std::ldexp(static_cast<double>(static_cast<int64_t>(random())),
                                         static_cast<int>(random() % 600) - 400));
          break;
        case 2:
          value = BoolValue(random() % 2 == 0);
          break;
        case 3:
          *value.mutable_list_value()->add_values() = NullValue();
          break;
        default:
          value.mutable_struct_value();
      }
    }
    context["number"] = NumberValue(std::ldexp(1.0, static_cast<int>(random() % 2000) - 1000));
    request.mutable_update_mask()->add_paths("context");
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    script.Do(About(script.id(), request));
  }
  ExpectSound(database);
}

// -----------------------------------------------------------------------------------------------
// many at once

TEST(SessionStore, ChangesOfOneSessionFromManyThreadsComeOneAfterAnother) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  constexpr int kThreads = 32, kEach = 25;
  std::vector<std::thread> threads;
  std::vector<std::vector<int>> seen(kThreads);
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      for (int i = 0; i < kEach; ++i) {
        const auto outcome = SubmitAndWait(*store, Increment(id, kCounter, 1));
        ASSERT_TRUE(outcome.ok()) << outcome.status();
        // One event a change: the counter and the sequence go together.
        EXPECT_EQ(outcome->session.counters().at(kCounter) + 1, outcome->session.sequence());
        seen[thread].push_back(outcome->session.sequence());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<int> all;
  for (const auto& sequences : seen) {
    EXPECT_TRUE(std::is_sorted(sequences.begin(), sequences.end()));
    all.insert(sequences.begin(), sequences.end());
  }
  EXPECT_EQ(all.size(), static_cast<std::size_t>(kThreads * kEach)) << "each its own";
  EXPECT_EQ(AllSessions(database).at(id).counters().at(kCounter), kThreads * kEach);
  const auto events = AllEvents(database).at(id);
  for (std::size_t i = 1; i < events.size(); ++i) {
    EXPECT_EQ(events[i].sequence(), events[i - 1].sequence() + 1);
    EXPECT_EQ(events[i].old_state(), events[i - 1].new_state());
    EXPECT_EQ(events[i].old_status(), events[i - 1].new_status());
  }
  ExpectSound(database);
}

// An etag lets exactly one of those through who read the same.
TEST(SessionStore, OfManyWhoReadTheSameEtagOneChangesTheSession) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const auto other = OpenStore(database);
  const std::string id = NewSessionIn(*store, "execution").session_id();
  for (int round = 0; round < 20; ++round) {
    const auto read = ReadAndWait(*store, id);
    ASSERT_TRUE(read.ok());
    PendingList pending;
    for (int i = 0; i < 8; ++i) {
      Command command = SetLabel(id, "round", absl::StrCat(round, ".", i));
      std::get<v1::UpdateSessionRequest>(command.request).set_etag(read->session->etag());
      pending.push_back(std::make_unique<Pending>(i % 2 == 0 ? *store : *other, command));
    }
    int won = 0;
    for (const auto& one : pending) {
      won += one->Wait().ok() ? 1 : 0;
      EXPECT_TRUE(one->Wait().ok() || ReasonOf(one->Wait().status()) == v1::ETAG_MISMATCH);
    }
    EXPECT_EQ(won, 1);
  }
  ExpectSound(database);
}

// At least kMany sessions, the last `neighbours` of them of one partition, so that it moves while
// most of them stand still.
std::vector<std::string> Neighbourhood(SessionStore& store, std::size_t neighbours) {
  std::map<int16_t, std::vector<std::string>> by_partition;
  for (;;) {
    const std::string id = NewSessionIn(store, "ticket_export").session_id();
    std::vector<std::string>& same = by_partition[PartitionOf(id, 64)];
    same.push_back(id);
    if (same.size() < neighbours) continue;
    std::vector<std::string> ids;
    for (const auto& [partition, others] : by_partition)
      if (&others != &same) ids.insert(ids.end(), others.begin(), others.end());
    ids.insert(ids.end(), same.begin(), same.end());
    if (ids.size() >= kMany) return ids;
  }
}

// Nothing that is read is older than what anybody was answered before, at either of two stores, and
// all of it is as it was answered. Of sessions so many bytes are kept.
void ExpectNothingOlderThanWhatWasAnswered(std::size_t cache_bytes_max) {
  SCOPED_TRACE(absl::StrCat(cache_bytes_max, " bytes kept"));
  const auto keep = [=](SessionStoreOptions& options) {
    options.cache_bytes_max = cache_bytes_max;
  };
  const uint64_t seed = TestSeed();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  TestDatabase database;
  const auto one = OpenStore(database, keep);
  const auto two = OpenStore(database, keep);
  constexpr std::size_t kNeighbours = 4;
  const std::vector<std::string> ids = Neighbourhood(*one, kNeighbours);
  std::map<std::string, std::atomic<int>> answered;
  for (const std::string& id : ids) answered[id] = 1;
  absl::Mutex mutex;
  std::map<std::pair<std::string, int>, Session> answers, reads;
  const auto expect_new_enough = [&](SessionStore& store, std::vector<std::string> wanted) {
    std::vector<int> known;
    for (const std::string& id : wanted) known.push_back(answered.at(id));
    const auto found = ReadAllAndWait(store, wanted);
    ASSERT_TRUE(found.ok()) << found.status();
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const std::optional<Session>& session = (*found)[i].session;
      ASSERT_TRUE(session.has_value());
      EXPECT_GE(session->sequence(), known[i]);
      absl::MutexLock lock(&mutex);
      const auto [before, first] = reads.try_emplace({wanted[i], session->sequence()}, *session);
      EXPECT_TRUE(first || Same(before->second, *session));
    }
  };
  std::atomic<int> writing = 2;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 6; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937_64 random(seed + static_cast<uint64_t>(thread));
      SessionStore& store = thread % 2 == 0 ? *one : *two;
      if (thread < 2) {
        for (int i = 0; i < 200; ++i) {
          const std::size_t of = random() % 2 == 0 ? kNeighbours : ids.size();
          const std::string& id = ids[ids.size() - 1 - random() % of];
          const auto outcome = SubmitAndWait(store, SetLabel(id, "n", absl::StrCat(i)));
          EXPECT_TRUE(outcome.ok()) << outcome.status();
          if (!outcome.ok()) break;
          const int sequence = outcome->session.sequence();
          std::atomic<int>& latest = answered.at(id);
          for (int known = latest; known < sequence;) latest.compare_exchange_weak(known, sequence);
          absl::MutexLock lock(&mutex);
          answers[{id, sequence}] = outcome->session;
        }
        --writing;
        return;
      }
      while (writing > 0) {
        std::vector<std::string> wanted = ids;
        std::shuffle(wanted.begin(), wanted.end(), random);
        if (random() % 2 == 0) wanted.resize(2);
        expect_new_enough(store, wanted);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // What was once taken for newer than it is would stay so, now that nothing moves.
  expect_new_enough(*one, ids);
  expect_new_enough(*two, ids);
  EXPECT_GT(reads.size(), 100u);
  for (const auto& [what, session] : reads) {
    if (what.second == 1) continue;  // As it was made.
    const auto answer = answers.find(what);
    ASSERT_NE(answer, answers.end());
    EXPECT_TRUE(Same(session, answer->second));
  }
}

TEST(SessionStore, ReadsNothingOlderThanWhatWasAnswered) {
  ExpectNothingOlderThanWhatWasAnswered(48 << 20);
  // Half of them, and a few: reads go beside, by several connections at once.
  ExpectNothingOlderThanWhatWasAnswered(30 << 10);
  ExpectNothingOlderThanWhatWasAnswered(10 << 10);
}

// By rows changed by hand, which nothing kept knows of.
TEST(SessionStore, LooksManyUpOnlyInPartitionsThatHaveMoved) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::vector<std::string> ids = Neighbourhood(*store, 2);
  const std::string& changed = ids.back();
  const std::string& neighbour = ids[ids.size() - 2];
  const auto read = [&] {
    const auto found = ReadAllAndWait(*store, ids);
    EXPECT_TRUE(found.ok()) << found.status();
    return found->back().session.value().owner_id();
  };
  const std::string owner = read();
  EXPECT_EQ(read(), owner);
  ASSERT_TRUE(Execute(database, absl::StrCat("UPDATE sessions SET owner_id = 'another', sequence = "
                                             "sequence + 1 WHERE id = '",
                                             changed, "'"))
                  .ok());
  EXPECT_EQ(read(), owner) << "is kept";
  ASSERT_TRUE(SubmitAndWait(*store, SetLabel(neighbour, "a", "1")).ok());
  EXPECT_EQ(read(), "another") << "the partition has moved";
}

// Whatever happens to some sessions at once, by many threads and two daemons, the audit rebuilds
// every one of them.
TEST(SessionStore, AuditRebuildsEverySessionAfterManyThreadsAndTwoStores) {
  const uint64_t seed = TestSeed();
  TestDatabase database;
  const auto one = OpenStore(database);
  const auto two = OpenStore(database, [](SessionStoreOptions& options) { options.lanes = 3; });
  std::vector<std::pair<std::string, std::string>> sessions;  // id, workflow
  for (int i = 0; i < 24; ++i) {
    const char* const name = i % 3 == 0 ? "interview" : i % 3 == 1 ? "execution" : "ticket_export";
    sessions.emplace_back(NewSessionIn(*one, name).session_id(), name);
  }
  std::vector<std::thread> threads;
  std::atomic<int> accepted = 0, refused = 0, created = 24;
  for (int thread = 0; thread < 16; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937_64 random(seed + static_cast<uint64_t>(thread));
      SessionStore& store = thread % 2 == 0 ? *one : *two;
      for (int i = 0; i < 120; ++i) {
        const auto& [id, workflow] = sessions[random() % sessions.size()];
        const auto command = [&, id = id, workflow = workflow]() -> Command {
          switch (random() % 12) {
            case 0:
              return Create(store.catalog().Newest(workflow), NewSession(workflow));
            case 1:
              return About<v1::PauseSessionRequest>(id);
            case 2:
            case 3:
              return About<v1::ResumeSessionRequest>(id);
            case 4:
              return random() % 8 == 0 ? Delete(id, true) : About<v1::UndeleteSessionRequest>(id);
            case 5:
              return About<v1::FailSessionRequest>(id);
            case 6:
              return Advance(id, random() % 2 == 0 ? "upload" : "processing");
            case 7:
              return Advance(id, random() % 4 == 0 ? "completed" : "review");
            case 8:
              return workflow == "interview" ? Increment(id, kCounter, 1)
                                             : SetLabel(id, "x", absl::StrCat(i));
            default:
              return SetLabel(id, absl::StrCat("k", random() % 4), absl::StrCat(i));
          }
        }();
        const auto outcome = SubmitAndWait(store, command);
        if (!outcome.ok()) {
          EXPECT_NE(CategoryOf(ReasonOf(outcome.status())), Category::kAdminRequired)
              << outcome.status();
          EXPECT_NE(CategoryOf(ReasonOf(outcome.status())), Category::kTemporary)
              << outcome.status();
          ++refused;
          continue;
        }
        ++accepted;
        if (outcome->events[0].type() == SessionEvent::CREATED) ++created;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(accepted, 500) << "seed " << seed;
  EXPECT_GT(refused, 50) << "seed " << seed;
  EXPECT_EQ(AllSessions(database).size(), static_cast<std::size_t>(created));
  ExpectSound(database);
}

// -----------------------------------------------------------------------------------------------
// request ids

TEST(RequestId, TwiceInOneGroupIsOneEffect) {
  TestDatabase database;
  std::atomic<int> groups_failed = 0;
  const auto store = OpenStore(database, [&](SessionStoreOptions& options) {
    options.lanes = 1;
    options.settings.lock_timeout = options.settings.lock_moment = absl::Seconds(20);
    options.on_group = [&](const GroupReport& report) {
      groups_failed += report.committed ? 0 : 1;
    };
  });
  const std::string id = NewSessionIn(*store, "interview").session_id();
  const Command change = WithRequestId(Increment(id, kCounter, 1), "same");
  const Command creation =
      WithRequestId(Create(store->catalog().Newest("interview"), NewSession("interview")), "same");
  PendingList pending;
  {
    Stall stall(database, *store);
    for (int i = 0; i < 5; ++i) {
      pending.push_back(std::make_unique<Pending>(*store, change));
      pending.push_back(std::make_unique<Pending>(*store, creation));
    }
    pending.push_back(
        std::make_unique<Pending>(*store, WithRequestId(Increment(id, kCounter, 2), "same")));
    pending.push_back(std::make_unique<Pending>(
        *store, WithRequestId(About<v1::PauseSessionRequest>(id), "same")));
  }
  for (int i = 0; i < 10; ++i) {
    const auto& outcome = pending[i]->Wait();
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    EXPECT_EQ(outcome->events.size(), i < 2 ? 1u : 0u) << "only the first adds to the audit";
    EXPECT_TRUE(Same(outcome->session, pending[i % 2]->Wait()->session));
  }
  EXPECT_EQ(ReasonOf(pending[10]->Wait().status()), v1::REQUEST_ID_REUSED);
  EXPECT_EQ(ReasonOf(pending[11]->Wait().status()), v1::REQUEST_ID_REUSED);
  EXPECT_EQ(groups_failed, 0) << "found in the group itself, not by the database";
  EXPECT_EQ(AllSessions(database).at(id).counters().at(kCounter), 1);
  EXPECT_EQ(AllSessions(database).size(), 3u) << "with the decoy";
  ExpectSound(database);
}

TEST(RequestId, OfParallelTwinsOverTwoStoresIsOneEffect) {
  TestDatabase database;
  const auto one = OpenStore(database);
  const auto two = OpenStore(database);
  const std::string id = NewSessionIn(*one, "interview").session_id();
  constexpr int kRounds = 60;
  for (int round = 0; round < kRounds; ++round) {
    const Command change =
        WithRequestId(Increment(id, kCounter, 1), absl::StrCat("change-", round));
    const auto creation = [&](SessionStore& store) {
      return WithRequestId(Create(store.catalog().Newest("interview"), NewSession("interview")),
                           absl::StrCat("creation-", round));
    };
    PendingList pending;
    for (SessionStore* store : {one.get(), two.get()}) {
      pending.push_back(std::make_unique<Pending>(*store, change));
      pending.push_back(std::make_unique<Pending>(*store, creation(*store)));
    }
    std::size_t events = 0;
    for (const auto& twin : pending) {
      ASSERT_TRUE(twin->Wait().ok()) << twin->Wait().status();
      events += twin->Wait()->events.size();
    }
    EXPECT_EQ(events, 2u) << "one of the changes, one of the creations";
    EXPECT_EQ(pending[1]->Wait()->session.session_id(), pending[3]->Wait()->session.session_id());
  }
  EXPECT_EQ(AllSessions(database).at(id).counters().at(kCounter), kRounds);
  EXPECT_EQ(AllSessions(database).size(), kRounds + 1u);
  ExpectSound(database);
}

TEST(RequestId, RepeatedLaterIsAnsweredWithTheSessionAsItStandsNow) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  Command pause = WithRequestId(About<v1::PauseSessionRequest>(id), "p");
  std::get<v1::PauseSessionRequest>(pause.request).set_etag("r1");
  ASSERT_TRUE(SubmitAndWait(*store, pause).ok());
  ASSERT_TRUE(SubmitAndWait(*store, About<v1::StopSessionRequest>(id)).ok());
  // Neither the state nor the etag fits any more; a replay is answered before they are looked at.
  const auto stopped = SubmitAndWait(*store, pause);
  ASSERT_TRUE(stopped.ok()) << stopped.status();
  EXPECT_EQ(stopped->session.state(), Session::STOPPED);
  EXPECT_EQ(stopped->session.etag(), "r3");
  EXPECT_THAT(stopped->events, IsEmpty());
  ASSERT_TRUE(SubmitAndWait(*store, Delete(id, false)).ok());
  const auto deleted = SubmitAndWait(*store, pause);
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  EXPECT_EQ(deleted->session.state(), Session::DELETED);
  ExpectSound(database);
}

TEST(RequestId, IsReusedWithAnotherMethodOrPayload) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  ASSERT_TRUE(SubmitAndWait(*store, WithRequestId(SetLabel(id, "a", "1"), "q")).ok());
  for (const Command& other :
       {SetLabel(id, "a", "2"), SetLabel(id, "b", "1"), About<v1::PauseSessionRequest>(id)}) {
    const auto reused = SubmitAndWait(*store, WithRequestId(other, "q"));
    EXPECT_EQ(ReasonOf(reused.status()), v1::REQUEST_ID_REUSED) << reused.status();
    EXPECT_EQ(ErrorInfoOf(reused.status()).metadata().at("request_id"), "q");
  }
  EXPECT_TRUE(SubmitAndWait(*store, WithRequestId(SetLabel(id, "a", "1"), "q")).ok());
}

TEST(RequestId, CoversMapsInWhateverOrderTheyCome) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const auto creation = [&](int first, int step) {
    v1::CreateSessionRequest request = NewSession("interview");
    for (int i = 0, label = first; i < 40; ++i, label += step)
      (*request.mutable_session()->mutable_labels())[absl::StrCat("k", label)] =
          absl::StrCat(label);
    return WithRequestId(Create(store->catalog().Newest("interview"), request), "q");
  };
  ASSERT_TRUE(SubmitAndWait(*store, creation(0, 1)).ok());
  const auto backwards = SubmitAndWait(*store, creation(39, -1));
  EXPECT_TRUE(backwards.ok()) << backwards.status();
}

TEST(RequestId, OfAnotherSessionOrCallerIsAnother) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string one = NewSessionIn(*store, "interview").session_id();
  const std::string two = NewSessionIn(*store, "interview").session_id();
  for (const char* caller : {"anna", "bert"}) {
    for (const std::string& id : {one, two}) {
      Command command = WithRequestId(Increment(id, kCounter, 1), "q");
      command.caller = caller;
      for (int i = 0; i < 2; ++i) EXPECT_TRUE(SubmitAndWait(*store, command).ok());
    }
  }
  EXPECT_EQ(AllSessions(database).at(one).counters().at(kCounter), 2);
  EXPECT_EQ(AllSessions(database).at(two).counters().at(kCounter), 2);
  Command creation =
      WithRequestId(Create(store->catalog().Newest("interview"), NewSession("interview")), "q");
  const auto by_tester = SubmitAndWait(*store, creation);
  creation.caller = "anna";
  const auto by_anna = SubmitAndWait(*store, creation);
  ASSERT_TRUE(by_tester.ok() && by_anna.ok());
  EXPECT_NE(by_tester->session.session_id(), by_anna->session.session_id());
  ExpectSound(database);
}

TEST(RequestId, OfARefusalIsNotKept) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  const Command resume = WithRequestId(About<v1::ResumeSessionRequest>(id), "q");
  EXPECT_EQ(ReasonOf(SubmitAndWait(*store, resume).status()), v1::INVALID_TRANSITION);
  ASSERT_TRUE(SubmitAndWait(*store, About<v1::PauseSessionRequest>(id)).ok());
  EXPECT_TRUE(SubmitAndWait(*store, resume).ok());
}

TEST(RequestId, OfACreationFindsItsSessionWhicheverIdItHas) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const auto interview = store->catalog().Newest("interview");
  const auto creation = [&](const std::string& session_id, const std::string& request_id) {
    v1::CreateSessionRequest request = NewSession("interview");
    request.set_session_id(session_id);
    return SubmitAndWait(*store, WithRequestId(Create(interview, request), request_id));
  };
  const auto drawn = creation("", "drawn");
  ASSERT_TRUE(drawn.ok());
  ASSERT_TRUE(SubmitAndWait(*store, SetLabel(drawn->session.session_id(), "a", "1")).ok());
  const auto drawn_again = creation("", "drawn");
  ASSERT_TRUE(drawn_again.ok()) << drawn_again.status();
  EXPECT_EQ(drawn_again->session.session_id(), drawn->session.session_id());
  EXPECT_EQ(drawn_again->session.labels().at("a"), "1");
  EXPECT_EQ(drawn_again->session.next_stage(), "completed") << "presented, too";
  EXPECT_THAT(drawn_again->events, IsEmpty());

  ASSERT_TRUE(creation(kUuid, "own").ok());
  const auto own_again = creation(kUuid, "own");
  ASSERT_TRUE(own_again.ok()) << own_again.status();
  EXPECT_EQ(own_again->session.session_id(), kUuid);
  EXPECT_THAT(own_again->events, IsEmpty());

  EXPECT_EQ(ReasonOf(creation(kOtherUuid, "own").status()), v1::REQUEST_ID_REUSED);
  EXPECT_EQ(ReasonOf(creation("", "own").status()), v1::REQUEST_ID_REUSED);
  EXPECT_EQ(ReasonOf(creation(kOtherUuid, "drawn").status()), v1::REQUEST_ID_REUSED);
  EXPECT_EQ(ReasonOf(creation(kUuid, "another").status()), v1::SESSION_EXISTS);
  EXPECT_EQ(ReasonOf(creation(kUuid, "").status()), v1::SESSION_EXISTS);
  EXPECT_EQ(AllSessions(database).size(), 2u);
  ExpectSound(database);
}

TEST(RequestId, DrawnForACallerIsNeverShared) {
  TestDatabase database;
  const auto store = OpenStore(database);
  std::set<std::string> ids;
  for (int i = 0; i < 20; ++i) {
    const auto outcome = SubmitAndWait(
        *store, Create(store->catalog().Newest("execution"), NewSession("execution")));
    ASSERT_TRUE(outcome.ok());
    EXPECT_FALSE(outcome->events[0].request_id().empty());
    EXPECT_TRUE(ids.insert(outcome->session.session_id()).second);
    EXPECT_TRUE(ids.insert(outcome->events[0].request_id()).second);
  }
}

// -----------------------------------------------------------------------------------------------
// what is gone

// As archiving will leave it.
void Archive(const TestDatabase& database, const std::string& id) {
  const absl::Status archived = Execute(
      database,
      absl::StrCat("INSERT INTO tombstones SELECT partition, id, namespace, workflow, owner_id, "
                   "created_at, '2026-01-01T00:00:00Z' FROM sessions WHERE id = '",
                   id,
                   "'; UPDATE partitions SET position = position + 1 WHERE partition = "
                   "(SELECT partition FROM sessions WHERE id = '",
                   id, "'); DELETE FROM sessions WHERE id = '", id, "'"));
  EXPECT_TRUE(archived.ok()) << archived;
}

TEST(Archived, IsWhatEveryCallIsTold) {
  TestDatabase database;
  const auto store = OpenStore(database, KeepNothing);
  const auto created = SubmitAndWait(
      *store, WithRequestId(Create(store->catalog().Newest("interview"), NewSession("interview")),
                            "creation"));
  ASSERT_TRUE(created.ok());
  const std::string id = created->session.session_id();
  const Command labelled = WithRequestId(SetLabel(id, "a", "1"), "label");
  ASSERT_TRUE(SubmitAndWait(*store, labelled).ok());
  Archive(database, id);

  const auto read = ReadAndWait(*store, id);
  ASSERT_TRUE(read.ok());
  EXPECT_FALSE(read->session.has_value());
  ASSERT_TRUE(read->tombstone.has_value());
  EXPECT_EQ(ToRfc3339(read->tombstone->archive_time), "2026-01-01T00:00:00.000000Z");

  const auto archived = [&](const Command& command) {
    const absl::Status status = SubmitAndWait(*store, command).status();
    EXPECT_EQ(ReasonOf(status), v1::ARCHIVED) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("2026-01-01"));
  };
  archived(About<v1::PauseSessionRequest>(id));
  archived(About<v1::UndeleteSessionRequest>(id));
  // Repeated, too: a miss always says why.
  archived(labelled);
  archived(WithRequestId(Create(store->catalog().Newest("interview"), NewSession("interview")),
                         "creation"));

  v1::CreateSessionRequest again = NewSession("interview");
  again.set_session_id(id);
  EXPECT_EQ(
      ReasonOf(SubmitAndWait(*store, Create(store->catalog().Newest("interview"), again)).status()),
      v1::SESSION_EXISTS);
}

TEST(SessionStore, ReadsAgainWhenItsConnectionWasLost) {
  TestDatabase database;
  const auto store = OpenStore(database);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  for (int i = 0; i < 5; ++i) {
    ASSERT_TRUE(Execute(database,
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()")
                    .ok());
    // It may be another database by now: nothing that was read counts any more.
    const std::string name = absl::StrCat("Name ", i);
    ASSERT_TRUE(
        Execute(database, absl::StrCat("UPDATE sessions SET owner_display_name = '", name, "'"))
            .ok());
    const auto read = ReadAndWait(*store, id);
    ASSERT_TRUE(read.ok()) << read.status();
    ASSERT_TRUE(read->session.has_value());
    EXPECT_EQ(read->session->owner_display_name(), name);
  }
}

// What was read is kept as it was answered: for as long as it would be answered so.
// Each session so many times at once.
void ExpectReadAnew(std::size_t times) {
  SCOPED_TRACE(absl::StrCat(times, " times"));
  TestDatabase database;
  const auto store = OpenStore(database);
  const auto other = OpenStore(database);
  const auto look_up = [&](const std::string& id) {
    const auto found = ReadAllAndWait(*store, std::vector<std::string>(times, id));
    EXPECT_TRUE(found.ok()) << found.status();
    return found->back();
  };
  const auto read = [&](const std::string& id) { return look_up(id).session.value(); };
  const std::string id = NewSessionIn(*store, "ticket_export").session_id();
  EXPECT_EQ(read(id).DebugString(), read(id).DebugString());
  const std::string talk = NewSessionIn(*store, "interview").session_id();
  EXPECT_EQ(read(talk).message_count(), 0);
  for (const Command& command :
       {SetLabel(id, "a", "1"), Append(talk, "question"),
        RecordError(talk, AnError(v1::SessionError::BLOCKING)), Delete(talk, /*force=*/true),
        About<v1::UndeleteSessionRequest>(talk)}) {
    const auto changed = SubmitAndWait(*other, command);
    ASSERT_TRUE(changed.ok()) << changed.status();
    EXPECT_TRUE(Same(read(command.session_id), changed->session));
  }

  // Signs of life move no sequence.
  ASSERT_TRUE(SubmitAndWait(*store, Advance(id, "upload")).ok());
  ASSERT_TRUE(SubmitAndWait(*store, StartTask(id, "processing", kUuid, "processing")).ok());
  const Session before = read(id);
  ASSERT_TRUE(SubmitAndWait(*other, Heartbeat(id, kUuid)).ok());
  const Session after = read(id);
  EXPECT_EQ(after.sequence(), before.sequence());
  EXPECT_GT(FromProto(after.current_task().heartbeat_time()),
            FromProto(before.current_task().heartbeat_time()));
  EXPECT_GT(FromProto(after.current_task().duration()),
            FromProto(before.current_task().duration()));

  // Nor does the end of the time for recovery.
  std::string brief;
  for (int millis = 100; brief.empty() || !read(brief).recoverable(); millis *= 2) {
    brief = NewSessionIn(*store, "interview").session_id();
    ASSERT_TRUE(
        Execute(database, absl::StrCat("UPDATE sessions SET recover_before_at = "
                                       "clock_timestamp() + ",
                                       millis, " * interval '1 ms' WHERE id = '", brief, "'"))
            .ok());
  }
  const SteadyTime deadline = TestDeadline();
  while (read(brief).recoverable()) ASSERT_LT(SteadyTime::Now(), deadline);

  Archive(database, id);
  const Aggregate archived = look_up(id);
  EXPECT_FALSE(archived.session.has_value());
  EXPECT_TRUE(archived.tombstone.has_value());
}

TEST(SessionStore, ReadsAnewWhatHasChangedOrLooksDifferentByNow) {
  ExpectReadAnew(1);
  ExpectReadAnew(kMany);
}

TEST(NeverExisted, IsWhatEveryCallIsTold) {
  TestDatabase database;
  const auto store = OpenStore(database);
  EXPECT_EQ(ReasonOf(SubmitAndWait(*store, About<v1::PauseSessionRequest>(kUuid)).status()),
            v1::NEVER_EXISTED);
  for (const std::size_t times : {std::size_t{1}, kMany}) {
    const auto read = ReadAllAndWait(*store, std::vector<std::string>(times, kUuid));
    ASSERT_TRUE(read.ok());
    for (const Aggregate& one : *read)
      EXPECT_FALSE(one.session.has_value() || one.tombstone.has_value());
  }
}

// -----------------------------------------------------------------------------------------------
// workflows

TEST(Workflows, AreStoredOnceHoweverManyStoresOpen) {
  TestDatabase database;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back([&] { OpenStore(database); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(database.Ask("SELECT string_agg(name || ' ' || revision, ', ' ORDER BY name) FROM "
                         "workflows"),
            "execution 1, interview 1, ticket_export 1");
}

TEST(Workflows, OfAnotherDaemonAreLoadedWhenASessionKeepsOne) {
  TestDatabase database;
  const auto old = OpenStore(database);
  // The other daemon's definition of interviews has one stage more.
  v1::Workflow changed = BuiltinDefinition("interview");
  changed.mutable_stages(1)->set_name("assessing");
  changed.add_stages()->set_name("completed");
  const auto newer =
      OpenStore(database, [&](SessionStoreOptions& options) { options.workflows = {changed}; });
  ASSERT_EQ(newer->catalog().Newest("interview")->revision(), 2);
  ASSERT_EQ(old->catalog().Newest("interview")->revision(), 1);
  const Session read_first = NewSessionIn(*newer, "interview");
  const Session changed_first = NewSessionIn(*newer, "interview");
  EXPECT_EQ(read_first.workflow_revision(), 2);

  // By a change…
  const auto advanced = SubmitAndWait(*old, Advance(changed_first.session_id(), "assessing"));
  ASSERT_TRUE(advanced.ok()) << advanced.status();
  EXPECT_EQ(advanced->session.state(), Session::ACTIVE);
  EXPECT_EQ(old->catalog().Newest("interview")->revision(), 2);
  // … and by a read.
  const auto third =
      OpenStore(database, [](SessionStoreOptions& options) { options.workflows.clear(); });
  changed.add_stages()->set_name("archived");
  const auto newest =
      OpenStore(database, [&](SessionStoreOptions& options) { options.workflows = {changed}; });
  const Session of_newest = NewSessionIn(*newest, "interview");
  const auto read = ReadAndWait(*third, of_newest.session_id());
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->session->next_stage(), "assessing");
  // A session keeps the revision it began with.
  EXPECT_EQ(ReadAndWait(*newest, read_first.session_id())->session->workflow_revision(), 2);
  ExpectSound(database);
}

TEST(Workflows, ThatThisDaemonDoesNotUnderstandMakeARefusal) {
  TestDatabase database;
  const auto store = OpenStore(database, KeepNothing);
  const std::string id = NewSessionIn(*store, "interview").session_id();
  ASSERT_TRUE(Execute(database, absl::StrCat("INSERT INTO workflows (name, revision, definition) "
                                             "VALUES ('interview', 7, '{\"from\": \"a later "
                                             "version\"}'); "
                                             "UPDATE sessions SET workflow_revision = 7 "
                                             "WHERE id = '",
                                             id, "'"))
                  .ok());
  const auto refused = SubmitAndWait(*store, SetLabel(id, "a", "1"));
  EXPECT_EQ(ReasonOf(refused.status()), v1::SCHEMA_MISMATCH) << refused.status();
  const auto read = ReadAndWait(*store, id);
  ASSERT_TRUE(read.ok() && read->session.has_value());
  EXPECT_EQ(read->session->workflow_revision(), 7);
  // Everybody else goes on.
  EXPECT_EQ(NewSessionIn(*store, "interview").workflow_revision(), 1);
}

// -----------------------------------------------------------------------------------------------
// the audit

TEST(Audit, CannotBeChangedInTheDatabaseItself) {
  TestDatabase database;
  const auto store = OpenStore(database);
  for (const bool empty : {true, false}) {
    if (!empty) NewSessionIn(*store, "interview");
    for (const char* sql :
         {"UPDATE session_events SET reason = 'forged'", "DELETE FROM session_events",
          "TRUNCATE session_events", "UPDATE session_events SET reason = '' WHERE false",
          "BEGIN; SET LOCAL sessiond.purging = 'on'; UPDATE session_events SET reason = 'forged'",
          "BEGIN; SET LOCAL sessiond.purging = 'on'; TRUNCATE session_events",
          "BEGIN; SET LOCAL sessiond.purging = 'off'; DELETE FROM session_events"}) {
      EXPECT_FALSE(Execute(database, sql).ok()) << sql;
    }
  }
  EXPECT_EQ(database.Ask("SELECT count(*)::text FROM session_events"), "1");
  EXPECT_TRUE(Execute(database,
                      "BEGIN; SET LOCAL sessiond.purging = 'on'; "
                      "DELETE FROM session_events; COMMIT")
                  .ok());
  EXPECT_EQ(database.Ask("SELECT count(*)::text FROM session_events"), "0");
}

}  // namespace
}  // namespace sessiond::db
