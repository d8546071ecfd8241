#include "server/rpc/validate.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "server/rpc/field_rules.h"
#include "server/rpc/plain_fields.h"
#include "server/rpc/text_rules.h"
#include "sessiond/v1/admin_service.pb.h"
#include "sessiond/v1/artifact_service.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "sessiond/v1/workflow_service.pb.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"
#include "state_machine/session_id.h"
#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"
#include "state_machine/update_mask.h"

namespace sessiond::rpc {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::Duration;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::Struct;
using google::protobuf::Timestamp;
using google::protobuf::Value;
using Check = FieldPlan::Check;

// -------------------------------------------------------------------------------------------------
// walk

struct Violation {
  std::string path, wrong;
  // FieldRules.known_as
  absl::string_view known_as;
};

// `1 second`, `30 days`.
std::string InWords(int seconds) {
  constexpr std::pair<int, absl::string_view> kUnits[] = {
      {24 * 3600, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
  const auto& [size, name] =
      *std::find_if(std::begin(kUnits), std::end(kUnits),
                    [&](const auto& unit) { return seconds % unit.first == 0; });
  return absl::StrCat(seconds / size, " ", name, seconds == size ? "" : "s");
}

std::string DurationProblem(const Duration& duration, const v1::FieldRules& rules) {
  if (rules.seconds_max() == 0) return "";
  const bool sound = duration.nanos() >= 0 && duration.nanos() <= 999'999'999;
  if (sound && FromProto(duration) >= absl::Seconds(rules.seconds_min()) &&
      FromProto(duration) <= absl::Seconds(rules.seconds_max())) {
    return "";
  }
  return absl::StrCat("must be ", InWords(rules.seconds_min()), " to ",
                      InWords(rules.seconds_max()));
}

std::string TimeProblem(const Timestamp& time) {
  // 0001-01-01 to 9999-12-31, as RFC 3339 can write it.
  constexpr int64_t kFirst = -62135596800, kLast = 253402300799;
  const bool sound = time.seconds() >= kFirst && time.seconds() <= kLast && time.nanos() >= 0 &&
                     time.nanos() <= 999'999'999;
  return sound ? "" : "must be a time between the years 1 and 9999";
}

// Collects what is wrong with a message. Paths are built only for violations.
class Walker {
 public:
  std::vector<Violation> violations;

  void Add(std::string path, std::string wrong, absl::string_view known_as = "") {
    if (full() && (known_as.empty() || violations.size() >= 2 * kViolationsMax)) return;
    violations.push_back({std::move(path), std::move(wrong), known_as});
  }

  void Walk(const Message& message, const MessagePlan& plan, const std::string& path) {
    for (const FieldPlan* field : plan.required) CheckGiven(message, *field, path);
    const Reflection& reflection = *message.GetReflection();
    for (const FieldPlan& field : plan.fields) {
      if (field.check == Check::kNothing) continue;
      if (field.check == Check::kMap) {
        WalkMap(message, field, path);
      } else if (!field.field->is_repeated()) {
        if (reflection.HasField(message, field.field)) WalkField(message, field, -1, path);
      } else {
        const int count = reflection.FieldSize(message, field.field);
        for (int i = 0; i < count; ++i) WalkField(message, field, i, path);
      }
    }
  }

 private:
  // More than a refusal has room for: a request can have millions of them, of some bytes each.
  // Those with known_as come first there, and so are added longer.
  static constexpr std::size_t kViolationsMax = 200;
  bool full() const { return violations.size() >= kViolationsMax; }

  static std::string Join(const std::string& path, absl::string_view name) {
    return path.empty() ? std::string(name) : absl::StrCat(path, ".", name);
  }

  // Checks required fields, and the number of entries in lists.
  void CheckGiven(const Message& message, const FieldPlan& plan, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    const v1::FieldRules& rules = plan.rules;
    const auto add = [&](std::string wrong) {
      Add(Join(path, plan.field->name()), std::move(wrong), rules.known_as());
    };
    if (!plan.field->is_repeated()) {
      if (reflection.HasField(message, plan.field)) return;
      return add(rules.text() == v1::FieldRules::NOT_BLANK ? "must not be blank" : "must be given");
    }
    const int count = reflection.FieldSize(message, plan.field);
    if (count < rules.items_min()) add("must be at least one");
    if (rules.items_max() > 0 && count > rules.items_max())
      add(absl::StrCat("has ", count, " entries, and may have ", rules.items_max()));
  }

  // For a list, the element with this index.
  void WalkField(const Message& message, const FieldPlan& plan, int index,
                 const std::string& path) {
    const auto here = [&] {
      const std::string& name = plan.field->name();
      return Join(path, index < 0 ? name : absl::StrCat(name, "[", index, "]"));
    };
    std::string wrong;
    switch (plan.check) {
      case Check::kText: {
        std::string scratch;
        wrong = WhatIsWrong(TextOf(message, plan, index, &scratch), plan.rules.text(),
                            plan.rules.bytes_max());
        break;
      }
      case Check::kEnum: {
        const Reflection& reflection = *message.GetReflection();
        const auto& type = *plan.field->enum_type();
        const int number = index < 0 ? reflection.GetEnumValue(message, plan.field)
                                     : reflection.GetRepeatedEnumValue(message, plan.field, index);
        if (type.FindValueByNumber(number) == nullptr)
          wrong = absl::StrCat(number, " is not a value of ", type.full_name());
        break;
      }
      case Check::kNumber:
        if (message.GetReflection()->GetInt32(message, plan.field) < 0) wrong = "must be 0 or more";
        break;
      case Check::kDuration:
        wrong = DurationProblem(Of<Duration>(message, plan, index), plan.rules);
        break;
      case Check::kTime:
        wrong = TimeProblem(Of<Timestamp>(message, plan, index));
        break;
      case Check::kStruct:
        return WalkStruct(Of<Struct>(message, plan, index), here());
      case Check::kMessage:
        return Walk(Of<Message>(message, plan, index), *plan.message, here());
      case Check::kMap:
      case Check::kNothing:
        break;
    }
    if (!wrong.empty()) Add(here(), std::move(wrong), plan.rules.known_as());
  }

  static const std::string& TextOf(const Message& message, const FieldPlan& plan, int index,
                                   std::string* scratch) {
    const Reflection& reflection = *message.GetReflection();
    return index < 0 ? reflection.GetStringReference(message, plan.field, scratch)
                     : reflection.GetRepeatedStringReference(message, plan.field, index, scratch);
  }
  // REQUIRES: the field is of this type.
  template <class Type>
  static const Type& Of(const Message& message, const FieldPlan& plan, int index) {
    const Reflection& reflection = *message.GetReflection();
    return static_cast<const Type&>(
        index < 0 ? reflection.GetMessage(message, plan.field)
                  : reflection.GetRepeatedMessage(message, plan.field, index));
  }

  void WalkMap(const Message& message, const FieldPlan& plan, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    const int count = reflection.FieldSize(message, plan.field);
    if (count == 0) return;
    const std::string here = Join(path, plan.field->name());
    if (count > kMapEntriesMax)
      Add(here, absl::StrCat("has ", count, " entries, and may have ", kMapEntriesMax));
    const v1::FieldRules& rules = plan.rules;
    const Descriptor& type = *plan.field->message_type();
    for (int i = 0; i < std::min(count, kMapEntriesMax); ++i) {
      const Message& entry = reflection.GetRepeatedMessage(message, plan.field, i);
      std::string scratch;
      const std::string key = entry.GetReflection()->GetString(entry, type.map_key());
      const auto shown = [&] {
        return Join(here, absl::CHexEscape(absl::string_view(key).substr(0, 64)));
      };
      std::string wrong =
          key.empty() ? "must have a key" : WhatIsWrong(key, rules.key(), BytesMaxOf(rules.key()));
      if (!wrong.empty()) Add(shown(), absl::StrCat("is not a key: it ", wrong));
      if (type.map_value()->cpp_type() != FieldDescriptor::CPPTYPE_STRING) continue;
      wrong =
          WhatIsWrong(entry.GetReflection()->GetStringReference(entry, type.map_value(), &scratch),
                      rules.text(), rules.bytes_max());
      if (!wrong.empty()) Add(shown(), std::move(wrong));
    }
  }

  void WalkStruct(const Struct& fields, const std::string& path) {
    const std::size_t before = violations.size();
    WalkFields(fields, path, 1);
    // Only a valid Struct can be measured as JSON.
    if (violations.size() == before && JsonBytesExceed(fields, kStructBytesMax)) {
      Add(path, absl::StrCat("must be at most ", kStructBytesMax, " bytes as JSON"));
    }
  }

  void WalkFields(const Struct& fields, const std::string& path, int depth) {
    for (const auto& [key, value] : fields.fields()) {
      if (full()) return;
      if (key.find('\0') != std::string::npos)
        Add(Join(path, absl::CHexEscape(key)), "is not a key: it must be without NUL characters");
      WalkValue(value, path, key, depth);
    }
  }

  void WalkValue(const Value& value, const std::string& path, absl::string_view name, int depth) {
    const auto here = [&] { return Join(path, absl::CHexEscape(name.substr(0, 64))); };
    switch (value.kind_case()) {
      case Value::KIND_NOT_SET:
        return Add(here(), "has no value; write null to mean none");
      case Value::kNumberValue:
        if (!std::isfinite(value.number_value())) Add(here(), "must be a finite number");
        return;
      case Value::kStringValue:
        if (value.string_value().find('\0') != std::string::npos)
          Add(here(), "must be without NUL characters");
        return;
      case Value::kStructValue:
      case Value::kListValue: {
        if (depth >= kStructDepthMax) {
          return Add(here(), absl::StrCat("is nested deeper than ", kStructDepthMax, " levels"));
        }
        if (value.has_struct_value()) return WalkFields(value.struct_value(), here(), depth + 1);
        int index = 0;
        for (const Value& element : value.list_value().values()) {
          if (full()) return;
          WalkValue(element, here(), absl::StrCat(index++), depth + 1);
        }
        return;
      }
      default:
        return;
    }
  }
};

// -------------------------------------------------------------------------------------------------
// the request

// Checks the id of the session that the request is about.
absl::Status CheckId(const Message& request, const MessagePlan& plan) {
  std::string scratch;
  if (plan.session != nullptr) {
    const Message& session = request.GetReflection()->GetMessage(request, plan.session->field);
    const FieldDescriptor* field = plan.session->message->session_id->field;
    const std::string& id = session.GetReflection()->GetStringReference(session, field, &scratch);
    if (IsSessionId(id)) return absl::OkStatus();
    return CheckSessionId(id, absl::StrCat(plan.session->field->name(), ".", field->name()));
  }
  if (plan.session_id == nullptr) return absl::OkStatus();
  const FieldDescriptor* field = plan.session_id->field;
  const std::string& id = request.GetReflection()->GetStringReference(request, field, &scratch);
  // Without an id the daemon draws one, or the request is about all sessions of a namespace.
  if (id.empty() && !plan.session_id->rules.required()) return absl::OkStatus();
  return CheckSessionId(id);
}

// A new session must name a workflow.
void CheckNewSession(const Message& request, Walker& walker) {
  const v1::Session* session = nullptr;
  if (const auto* create = dynamic_cast<const v1::CreateSessionRequest*>(&request))
    session = &create->session();
  if (const auto* import = dynamic_cast<const v1::ImportSessionsRequest*>(&request))
    session = &import->session();
  if (session != nullptr && session->workflow().empty())
    walker.Add("session.workflow", "must be given");
}

// What becomes one event must fit into a reply that contains it.
void CheckEventSize(const Message& request, Walker& walker) {
  std::size_t bytes = 0;
  std::string field = "artifacts";
  if (const auto* added = dynamic_cast<const v1::AddArtifactsRequest*>(&request)) {
    bytes = added->ByteSizeLong();
  } else if (const auto* import = dynamic_cast<const v1::ImportSessionsRequest*>(&request)) {
    field = "session";
    bytes = import->ByteSizeLong();
    for (const auto& message : import->messages()) bytes -= message.ByteSizeLong();
  }
  if (bytes <= kPageBytesMax) return;
  walker.Add(field, absl::StrCat("and what comes with it has ", bytes,
                                 " bytes beside messages, and may have ", kPageBytesMax));
}

absl::Status CheckUpdate(const v1::UpdateSessionRequest& request, Walker& walker) {
  if (!request.etag().empty() && !request.session().etag().empty() &&
      request.etag() != request.session().etag()) {
    walker.Add("etag", "is not the same as session.etag; send one of them");
  }
  std::vector<PlainKey> keys;
  const auto too_many = TooManyPlainKeys(request);
  if (!too_many.has_value()) keys = PlainKeysOf(request);
  if (request.update_mask().paths().empty() && request.counter_increments().empty() &&
      keys.empty() && !too_many.has_value()) {
    return Refusal(v1::INVALID_FIELD_MASK,
                   "update_mask is empty, no key is set or removed and no counter is incremented: "
                   "nothing would change. Name the fields to change, for example labels.team, or "
                   "give keys, for example in set_labels.")
        .With("path", "")
        .Violation("update_mask", "must name the fields to change");
  }
  auto problems = ProblemsOf(keys);
  if (too_many.has_value()) problems.push_back(*too_many);
  for (const auto& [place, wrong] : problems) walker.Add(place, wrong);
  const absl::StatusOr<std::vector<UpdatePath>> mask = ParseUpdateMask(request.update_mask());
  if (!mask.ok()) return mask.status();
  return problems.empty() ? CheckMaskOverlap(*mask, keys) : absl::OkStatus();
}

void CheckDefinition(const v1::ValidateWorkflowRequest& request, Walker& walker) {
  if (request.definition_case() == v1::ValidateWorkflowRequest::DEFINITION_NOT_SET)
    walker.Add("workflow", "must be given, or textproto");
}

absl::Status InvalidFields(std::vector<Violation>& violations) {
  // A bug in the calling program is reported first.
  std::stable_partition(violations.begin(), violations.end(),
                        [](const Violation& violation) { return !violation.known_as.empty(); });
  const Violation& first = violations.front();
  Refusal refusal(v1::INVALID_FIELD,
                  absl::StrCat(first.known_as, first.path, " ", first.wrong, "."));
  if (!first.known_as.empty()) refusal.FixableBy(Category::kAdminRequired);
  for (const Violation& violation : violations) refusal.Violation(violation.path, violation.wrong);
  return refusal.With("field", first.path);
}

}  // namespace

absl::Status Validate(const Message& request) {
  const MessagePlan& plan = PlanOf(*request.GetDescriptor());
  if (auto id = CheckId(request, plan); !id.ok()) return id;
  Walker walker;
  CheckNewSession(request, walker);
  walker.Walk(request, plan, "");
  absl::Status mask;
  CheckEventSize(request, walker);
  if (const auto* update = dynamic_cast<const v1::UpdateSessionRequest*>(&request))
    mask = CheckUpdate(*update, walker);
  if (const auto* definition = dynamic_cast<const v1::ValidateWorkflowRequest*>(&request))
    CheckDefinition(*definition, walker);
  return walker.violations.empty() ? mask : InvalidFields(walker.violations);
}

}  // namespace sessiond::rpc
