// A workflow definition, checked and ready for use. Immutable.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/struct.pb.h"
#include "sessiond/v1/session.pb.h"
#include "sessiond/v1/workflow.pb.h"

namespace sessiond {

// Everything that a session's status is derived from.
struct Standing {
  v1::Session::State state;
  absl::string_view stage;
  // The type of the running task; empty when none runs.
  absl::string_view running_task;
  bool failed = false;
  bool completed = false;
};

// Whether all of the rule's conditions hold.
bool Holds(const v1::StatusRule& rule, const Standing& standing);

// The longest string that a field takes, in bytes.
std::size_t StringBytesMax(const v1::FieldSpec& field);

class Workflow {
 public:
  // INVALID_ARGUMENT: CheckWorkflow found something wrong; the sentence says the first problem and
  // where it is.
  static absl::StatusOr<std::shared_ptr<const Workflow>> Make(v1::Workflow definition);
  // The same, from textproto; where is then also a line and a column.
  static absl::StatusOr<std::shared_ptr<const Workflow>> Parse(absl::string_view textproto);
  // A revision that was accepted once, perhaps by a daemon with a less strict check. Sessions
  // follow it, so only what this class cannot work without is checked. INVALID_ARGUMENT: this
  // daemon does not understand the definition.
  static absl::StatusOr<std::shared_ptr<const Workflow>> Restore(v1::Workflow definition);

  const v1::Workflow& definition() const { return definition_; }
  const std::string& name() const { return definition_.name(); }
  int32_t revision() const { return definition_.revision(); }

  // The stage a session begins at; null when the workflow has none.
  const v1::Stage* FirstStage() const;
  // The only stage reachable from `stage`; null for the last one.
  const v1::Stage* NextStage(absl::string_view stage) const;
  // Null when there is no such stage.
  const v1::Stage* FindStage(absl::string_view stage) const;
  bool IsLastStage(absl::string_view stage) const;

  // The third state machine, a derived one: the first status whose conditions all hold.
  const std::string& StatusOf(const Standing& standing) const;
  // Whether sessions can be marked as failed.
  bool HasFailedStatus() const;

  bool HasCounter(absl::string_view name) const;
  bool HasReference(absl::string_view name) const;

  // Null when there is no such type.
  const v1::TaskType* FindTaskType(absl::string_view name) const;
  const v1::MessageType* FindMessageType(absl::string_view name) const;
  // The types of tasks that run in `stage`.
  std::vector<std::string> TaskTypesIn(absl::string_view stage) const;
  // How often a task may fail.
  int max_retries() const;

  // Every violation of the field list in `context`, as path → what is wrong.
  using Violations = std::vector<std::pair<std::string, std::string>>;
  Violations CheckContext(const google::protobuf::Struct& context) const;

  // What `session` lacks for `stage`: the owner, and the fields that this stage and those before it
  // require.
  std::vector<std::string> MissingFields(const v1::Session& session, absl::string_view stage) const;

  // absl::InfiniteDuration() for never; a retention of 0 also means never.
  absl::Duration recovery_window() const;
  absl::Duration after_end() const;
  absl::Duration after_delete() const;
  absl::Duration abandon_after() const;

 private:
  explicit Workflow(v1::Workflow definition) : definition_(std::move(definition)) {}
  int StageIndex(absl::string_view stage) const;

  const v1::Workflow definition_;
};

}  // namespace sessiond
