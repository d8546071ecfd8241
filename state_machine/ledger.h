// The ledger of one decision: each Record is one change of the session and the one event that tells
// of it. It sees to what all events have in common: sequence, time, status, trigger, who and why.
#pragma once

#include <initializer_list>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "state_machine/decide.h"
#include "state_machine/struct_json.h"
#include "state_machine/workflow.h"

namespace sessiond {

class Ledger {
 public:
  // Opens on the aggregate as it is; without a session, for a birth. REQUIRES: `workflow` and
  // `command` outlive the ledger.
  Ledger(const Workflow& workflow, const Aggregate& aggregate, const Command& command,
         absl::Time now);

  const v1::Session& session() const { return decision_.session; }
  // Never before the session's last event: clocks may step back; the audit does not.
  absl::Time now() const { return now_; }
  // On whose behalf: the request's actor, else the caller.
  const std::string& actor() const { return actor_; }
  // A lower-case UUID, another at each call; the same for the same command.
  std::string DrawId();

  using Change = absl::FunctionRef<void(v1::Session& session, Struct& changes)>;
  void Record(v1::SessionEvent::Type type, Change change);
  // Within a change: what a field was before, for filters.
  void Before(const std::string& path, Value value);

  // Records a change of the current task, which exists, and tells of the fields named.
  void RecordTask(v1::SessionEvent::Type type, absl::FunctionRef<void(v1::SessionTask&)> change,
                  std::initializer_list<absl::string_view> fields);
  // The worker of the current task was heard of; no fact about the session.
  void RecordHeartbeat();
  // Records the last event: nothing but it and a tombstone is left.
  void RecordEnd(Decision::End end);

  // What a blocking error, or its resolution, does to the session.
  void AddBlocking(const std::string& error_id, v1::Session& session, Struct& changes);
  void RemoveBlocking(const std::string& error_id, v1::Session& session, Struct& changes);

  // For the rows below the session, which no event changes.
  Decision& decision() { return decision_; }

  Decision Close() && { return std::move(decision_); }

 private:
  const Workflow& workflow_;
  const Command& command_;
  absl::Time now_;
  std::string actor_, reason_;
  bool by_user_ = false;
  uint64_t draws_ = 0;
  Decision decision_;
};

// Adds a changed field.
void Set(Struct& changes, absl::string_view path, Value value);
Value StructValue(const Struct& fields);
Value MapValue(const google::protobuf::Map<std::string, std::string>& map);
Value MapValue(const google::protobuf::Map<std::string, int32_t>& map);

}  // namespace sessiond
