// What must be true, kept beside the model database: each commit is decided again on what had been
// committed before it, and must come to the same; each answer must be what some moment between call
// and answer calls for; each session must be what its events say. And for watches: every event,
// with its session before and after.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "db/write/submission.h"
#include "server/watch/change.h"
#include "state_machine/decide.h"
#include "state_machine/workflow_catalog.h"
#include "tests/simulation/model_database.h"
#include "tests/simulation/scheduler.h"

namespace sessiond::simulation {

// A command on its way through one daemon.
struct Attempt : db::Submission {
  // The steps of the scheduler between which it takes effect, if it does.
  int64_t called = 0, answered = 0;
  absl::Time called_at;
};

// What a session was from one step on.
struct Version {
  Aggregate aggregate;
  int64_t from = 0, until = 0;
  // When its task was heard of: no facts, but no event is dated before the one that was seen. They
  // move no position, so that one may come between a decision and its commit.
  std::vector<google::protobuf::Timestamp> heartbeats;
};

// An event, for watches.
struct Record {
  watch::Change change;
  // Its session was archived or erased, and it with it.
  bool removed = false;
};

class History {
 public:
  History(Scheduler& scheduler, const ModelDatabase& database, const WorkflowCatalog& catalog,
          int partition_count);

  // REQUIRES: the attempt outlives this.
  void OnCalled(const Attempt& attempt);
  void OnCommit(const Writes& writes, ModelDatabase& database);
  void OnAnswer(const Attempt& attempt);
  // All that was committed and acknowledged is there.
  void CheckEnd(ModelDatabase& database);

  // As it is now; empty if it was never there.
  const Aggregate& Now(const std::string& session_id);
  const std::vector<std::unique_ptr<Record>>& Log(int16_t partition) const {
    return log_[partition];
  }
  // Where an event is; nothing if there is none.
  std::optional<std::pair<int16_t, int64_t>> Find(const std::string& session_id,
                                                  int32_t sequence) const;
  // Whether a session looked like that once, but for what a reader's moment adds.
  bool WasOnce(const v1::Session& session) const;

  // For reports.
  int64_t commits = 0, events = 0, acknowledged = 0, refusals = 0, repetitions = 0, unknown = 0;

 private:
  // What a request did.
  struct Effect {
    std::string session_id, fingerprint;
    std::vector<std::string> events;  // Serialized.
    std::string session;              // As it left it.
    std::vector<std::string> errors, artifacts;
    int32_t first_sequence = 0, last_sequence = 0;
    std::string task_id;
    int64_t step = 0;
    absl::Time time;
    bool acknowledged = false;
  };

  std::vector<Version>& VersionsOf(const std::string& session_id);
  absl::StatusOr<Decision> DecideOn(const Aggregate& aggregate, const Command& command,
                                    absl::Time now) const;
  void TakeCommand(const std::vector<const Writes::Event*>& events, const Writes& writes);
  void AddRecords(const std::vector<const Writes::Event*>& events,
                  std::optional<v1::Session> before, const Decision& decision);
  void CheckStored(const std::string& session_id, ModelDatabase& database);
  void CheckDone(const Attempt& attempt, const db::Outcome& outcome, Effect& effect);
  void CheckRepeated(const Attempt& attempt, const db::Outcome& outcome, const Effect& effect);
  // Whether its request id may have been used for another request.
  bool MayBeReused(const Attempt& attempt) const;
  void CheckNothingOrRefused(const Attempt& attempt);

  Scheduler& scheduler_;
  const ModelDatabase& database_;
  const WorkflowCatalog& catalog_;
  // By request key.
  std::map<std::string, std::vector<const Attempt*>> attempts_;
  // By session.
  std::map<std::string, std::vector<const Attempt*>> erasures_;
  std::map<std::string, Effect> effects_;
  std::map<std::string, std::vector<Version>> versions_;
  // Made of the events alone.
  std::map<std::string, v1::Session> replayed_;
  std::vector<std::vector<std::unique_ptr<Record>>> log_;
  std::map<std::pair<std::string, int32_t>, std::pair<int16_t, int64_t>> places_;
};

// Without what Present adds, and without heartbeats, which are no facts. Equal texts, equal
// sessions.
std::string Standing(v1::Session session);
std::string Bytes(const google::protobuf::Message& message);

}  // namespace sessiond::simulation
