#include "server/state_machine/workflow.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/text_format.h"

namespace sessiond {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;

constexpr int kStringBytesMax = 4096;  // Where a field gives no max_length of its own.

absl::Duration OrNever(bool has, const google::protobuf::Duration& duration) {
  if (!has) return absl::InfiniteDuration();
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

bool IsName(absl::string_view name) {
  if (name.empty() || name.size() > 63 || !(name[0] >= 'a' && name[0] <= 'z')) return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

template <class Repeated, class Item>
bool Contains(const Repeated& list, const Item& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

bool Holds(const v1::StatusRule& rule, const Standing& standing) {
  if (!rule.states().empty() && !Contains(rule.states(), static_cast<int>(standing.state)))
    return false;
  if (!rule.stages().empty() && !Contains(rule.stages(), std::string(standing.stage))) return false;
  if (!rule.running_tasks().empty() &&
      !Contains(rule.running_tasks(), std::string(standing.running_task))) {
    return false;
  }
  return (!rule.failed() || standing.failed) && (!rule.completed() || standing.completed);
}

// Nothing where the value fits.
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
  const int bytes_max = spec.max_length() > 0 ? spec.max_length() : kStringBytesMax;
  if (text.size() > static_cast<std::size_t>(bytes_max)) {
    return absl::StrCat("must be at most ", bytes_max, " bytes long, and has ", text.size());
  }
  return "";
}

// Collects what is wrong with a definition, and stops at the first.
class Check {
 public:
  void That(bool holds, const std::string& complaint) {
    if (status_.ok() && !holds) status_ = absl::InvalidArgumentError(complaint);
  }
  template <class Named>
  void NamesAreUnique(const Named& list, absl::string_view what) {
    std::set<std::string> seen;
    for (const auto& item : list) {
      That(IsName(item.name()),
           absl::StrCat(what, " \"", item.name(), "\": a name is [a-z][a-z0-9_]{0,62}"));
      That(seen.insert(item.name()).second,
           absl::StrCat(what, " \"", item.name(), "\" stands twice"));
    }
  }
  absl::Status status() const { return status_; }

 private:
  absl::Status status_;
};

constexpr v1::Session::State kStates[] = {v1::Session::CREATING, v1::Session::ACTIVE,
                                          v1::Session::PAUSED, v1::Session::STOPPED,
                                          v1::Session::DELETED};

}  // namespace

absl::StatusOr<std::shared_ptr<const Workflow>> Workflow::Make(v1::Workflow definition) {
  Check check;
  check.That(IsName(definition.name()), "name: must be [a-z][a-z0-9_]{0,62}");
  check.That(
      definition.id_format() == v1::Workflow::UUID || definition.id_format() == v1::Workflow::EXEC,
      "id_format: must be UUID or EXEC");
  check.NamesAreUnique(definition.stages(), "stage");
  check.NamesAreUnique(definition.fields(), "field");
  check.That(!definition.statuses().empty(), "statuses: at least one is needed");

  auto workflow = std::shared_ptr<const Workflow>(new Workflow(std::move(definition)));
  const v1::Workflow& checked = workflow->definition();
  for (const auto& field : checked.fields()) {
    check.That(field.type() != v1::FieldSpec::TYPE_UNSPECIFIED &&
                   v1::FieldSpec::Type_IsValid(field.type()),
               absl::StrCat("field \"", field.name(), "\": a type is needed"));
  }
  for (const auto& stage : checked.stages()) {
    for (const auto& required : stage.required_fields()) {
      const bool known = std::any_of(checked.fields().begin(), checked.fields().end(),
                                     [&](const auto& field) { return field.name() == required; });
      check.That(known, absl::StrCat("stage \"", stage.name(), "\" requires the unknown field \"",
                                     required, "\""));
    }
  }
  for (const auto& status : checked.statuses()) {
    check.That(IsName(status.name()),
               absl::StrCat("status \"", status.name(), "\": a name is [a-z][a-z0-9_]{0,62}"));
    for (const auto& stage : status.stages()) {
      check.That(
          workflow->FindStage(stage) != nullptr,
          absl::StrCat("status \"", status.name(), "\" names the unknown stage \"", stage, "\""));
    }
  }
  // Some status must hold wherever a session can stand, without a running task and with nothing
  // else special.
  for (const v1::Session::State state : kStates) {
    std::vector<absl::string_view> stages = {""};
    if (!checked.stages().empty()) stages.assign(1, checked.stages(0).name());
    for (const auto& stage : checked.stages()) stages.push_back(stage.name());
    for (const absl::string_view stage : stages) {
      const Standing standing{.state = state, .stage = stage};
      const bool any = std::any_of(checked.statuses().begin(), checked.statuses().end(),
                                   [&](const auto& rule) { return Holds(rule, standing); });
      check.That(any, absl::StrCat("statuses: none holds in state ", v1::Session::State_Name(state),
                                   ", stage \"", stage, "\""));
    }
  }
  if (!check.status().ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("workflow \"", checked.name(), "\": ", check.status().message()));
  }
  return workflow;
}

absl::StatusOr<std::shared_ptr<const Workflow>> Workflow::Parse(absl::string_view textproto) {
  v1::Workflow definition;
  if (!google::protobuf::TextFormat::ParseFromString(std::string(textproto), &definition)) {
    return absl::InvalidArgumentError("not a sessiond.v1.Workflow in textproto");
  }
  return Make(std::move(definition));
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
  return definition_.statuses()
      .rbegin()
      ->name();  // Make() has seen to it that this is never reached.
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
  for (const auto& [name, value] : context.fields()) {
    const auto spec = std::find_if(definition_.fields().begin(), definition_.fields().end(),
                                   [&](const auto& field) { return field.name() == name; });
    const std::string wrong =
        spec == definition_.fields().end()
            ? absl::StrCat("is not a field of workflow ", definition_.name(), "; it has: ",
                           absl::StrJoin(definition_.fields(), ", ",
                                         [](std::string* out, const auto& field) {
                                           out->append(field.name());
                                         }))
            : WhatIsWrong(*spec, value);
    if (!wrong.empty()) violations.emplace_back(absl::StrCat("context.", name), wrong);
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

absl::Duration Workflow::recovery_window() const {
  return OrNever(definition_.has_recovery_window(), definition_.recovery_window());
}
absl::Duration Workflow::after_end() const {
  return OrNever(definition_.retention().has_after_end(), definition_.retention().after_end());
}
absl::Duration Workflow::after_delete() const {
  return OrNever(definition_.retention().has_after_delete(),
                 definition_.retention().after_delete());
}

}  // namespace sessiond
