#include "state_machine/workflow.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "state_machine/readable.h"
#include "state_machine/timestamps.h"
#include "state_machine/workflow_check.h"
#include "state_machine/workflow_text.h"

namespace sessiond {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

constexpr int kStringBytesMax = 4096;  // For a field without a max_length of its own.
constexpr int kRetriesDefault = 3;     // For a workflow without max_retries of its own.

// 0 means for ever; it is also the value of an unset field.
absl::Duration RetentionOf(const google::protobuf::Duration& duration) {
  const absl::Duration kept = FromProto(duration);
  return kept == absl::ZeroDuration() ? absl::InfiniteDuration() : kept;
}

template <class Repeated, class Item>
bool Contains(const Repeated& list, const Item& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

// Empty when the value fits.
std::string WhatIsWrong(const v1::FieldSpec& spec, const Value& value) {
  const auto expect = [&](bool fits, absl::string_view type) {
    return fits ? std::string() : absl::StrCat("must be ", type);
  };
  switch (spec.type()) {
    case v1::FieldSpec::NUMBER:
      return expect(value.has_number_value(), "a number");
    case v1::FieldSpec::BOOL:
      return expect(value.has_bool_value(), "true or false");
    case v1::FieldSpec::STRUCT:
      return expect(value.has_struct_value(), "an object");
    case v1::FieldSpec::LIST:
      return expect(value.has_list_value(), "a list");
    default:
      break;
  }
  if (!value.has_string_value()) return "must be a string";
  const std::string& text = value.string_value();
  if (!spec.allowed_values().empty() && !Contains(spec.allowed_values(), text)) {
    return absl::StrCat("must be one of: ", absl::StrJoin(spec.allowed_values(), ", "));
  }
  if (text.size() > StringBytesMax(spec)) {
    return absl::StrCat("must be at most ", StringBytesMax(spec), " bytes long, and has ",
                        text.size());
  }
  return "";
}

}  // namespace

bool Holds(const v1::StatusRule& rule, const Standing& standing) {
  if (!rule.states().empty() && !Contains(rule.states(), static_cast<int>(standing.state)))
    return false;
  if (!rule.stages().empty() && !Contains(rule.stages(), standing.stage)) return false;
  if (!rule.running_tasks().empty() && !Contains(rule.running_tasks(), standing.running_task))
    return false;
  return (!rule.failed() || standing.failed) && (!rule.completed() || standing.completed);
}

std::size_t StringBytesMax(const v1::FieldSpec& field) {
  return field.max_length() > 0 ? field.max_length() : kStringBytesMax;
}

absl::StatusOr<std::shared_ptr<const Workflow>> Workflow::Make(v1::Workflow definition) {
  const std::vector<WorkflowProblem> problems = CheckWorkflow(definition);
  if (!problems.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("workflow \"", definition.name(), "\": ", Describe(problems.front())));
  }
  return std::shared_ptr<const Workflow>(new Workflow(std::move(definition)));
}

absl::StatusOr<std::shared_ptr<const Workflow>> Workflow::Parse(absl::string_view textproto) {
  WorkflowText text = ReadWorkflow(textproto);
  if (!text.problems.empty()) return absl::InvalidArgumentError(Describe(text.problems.front()));
  return std::shared_ptr<const Workflow>(new Workflow(std::move(text.definition)));
}

absl::StatusOr<std::shared_ptr<const Workflow>> Workflow::Restore(v1::Workflow definition) {
  if (definition.name().empty() || definition.statuses().empty() ||
      definition.id_format() == v1::Workflow::ID_FORMAT_UNSPECIFIED) {
    return absl::InvalidArgumentError("no name, no id_format or no statuses");
  }
  return std::shared_ptr<const Workflow>(new Workflow(std::move(definition)));
}

int Workflow::StageIndex(absl::string_view stage) const {
  for (int i = 0; i < definition_.stages_size(); ++i) {
    if (definition_.stages(i).name() == stage) return i;
  }
  return -1;
}

const v1::Stage* Workflow::FirstStage() const {
  return definition_.stages().empty() ? nullptr : &definition_.stages(0);
}

const v1::Stage* Workflow::FindStage(absl::string_view stage) const {
  const int index = StageIndex(stage);
  return index < 0 ? nullptr : &definition_.stages(index);
}

const v1::Stage* Workflow::NextStage(absl::string_view stage) const {
  const int index = StageIndex(stage);
  return index < 0 || index + 1 == definition_.stages_size() ? nullptr
                                                             : &definition_.stages(index + 1);
}

bool Workflow::IsLastStage(absl::string_view stage) const {
  return !definition_.stages().empty() && definition_.stages().rbegin()->name() == stage;
}

const std::string& Workflow::StatusOf(const Standing& standing) const {
  for (const auto& rule : definition_.statuses()) {
    if (Holds(rule, standing)) return rule.name();
  }
  // Make() has ensured that this can never be reached.
  return definition_.statuses().rbegin()->name();
}

bool Workflow::HasFailedStatus() const {
  return std::any_of(definition_.statuses().begin(), definition_.statuses().end(),
                     [](const auto& rule) { return rule.failed(); });
}

bool Workflow::HasCounter(absl::string_view name) const {
  return Contains(definition_.counters(), std::string(name));
}

bool Workflow::HasReference(absl::string_view name) const {
  return Contains(definition_.references(), std::string(name));
}

Workflow::Violations Workflow::CheckContext(const Struct& context) const {
  Violations violations;
  for (const auto& [key, value] : context.fields()) {
    const std::string& name = key;  // clang 14 captures no part of a pair.
    const auto spec = std::find_if(definition_.fields().begin(), definition_.fields().end(),
                                   [&](const auto& field) { return field.name() == name; });
    const std::string wrong =
        spec == definition_.fields().end()
            ? absl::StrCat("is not a field of workflow ", definition_.name(), "; it has",
                           definition_.fields().empty() ? " none" : ": ",
                           absl::StrJoin(definition_.fields(), ", ",
                                         [](std::string* out, const auto& field) {
                                           out->append(field.name());
                                         }))
            : WhatIsWrong(*spec, value);
    if (!wrong.empty())
      violations.emplace_back(absl::StrCat("context.", Readable(name, 64)), wrong);
  }
  std::sort(violations.begin(), violations.end());
  return violations;
}

std::vector<std::string> Workflow::MissingFields(const v1::Session& session,
                                                 absl::string_view stage) const {
  std::vector<std::string> missing;
  if (definition_.owner_id_required() && session.owner_id().empty()) missing.push_back("owner_id");
  if (definition_.owner_display_name_required() && session.owner_display_name().empty()) {
    missing.push_back("owner_display_name");
  }
  const int last = StageIndex(stage);
  for (int i = 0; i <= last; ++i) {
    for (const std::string& field : definition_.stages(i).required_fields()) {
      const auto found = session.context().fields().find(field);
      const bool given =
          found != session.context().fields().end() && !found->second.has_null_value() &&
          !(found->second.has_string_value() && found->second.string_value().empty());
      if (!given) missing.push_back(absl::StrCat("context.", field));
    }
  }
  return missing;
}

const v1::TaskType* Workflow::FindTaskType(absl::string_view name) const {
  for (const auto& type : definition_.task_types()) {
    if (type.name() == name) return &type;
  }
  return nullptr;
}

const v1::MessageType* Workflow::FindMessageType(absl::string_view name) const {
  for (const auto& type : definition_.message_types()) {
    if (type.name() == name) return &type;
  }
  return nullptr;
}

std::vector<std::string> Workflow::TaskTypesIn(absl::string_view stage) const {
  std::vector<std::string> names;
  for (const auto& type : definition_.task_types()) {
    if (Contains(type.stages(), std::string(stage))) names.push_back(type.name());
  }
  return names;
}

int Workflow::max_retries() const {
  return definition_.max_retries() > 0 ? definition_.max_retries() : kRetriesDefault;
}

absl::Duration Workflow::recovery_window() const {
  return definition_.has_recovery_window() ? FromProto(definition_.recovery_window())
                                           : absl::InfiniteDuration();
}
absl::Duration Workflow::after_end() const {
  return RetentionOf(definition_.retention().after_end());
}
absl::Duration Workflow::after_delete() const {
  return RetentionOf(definition_.retention().after_delete());
}
absl::Duration Workflow::abandon_after() const {
  return RetentionOf(definition_.retention().abandon_after());
}

}  // namespace sessiond
