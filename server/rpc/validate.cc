#include "server/rpc/validate.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "server/rpc/utf8.h"
#include "sessiond/v1/admin_service.pb.h"
#include "sessiond/v1/artifact_service.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "sessiond/v1/workflow_service.pb.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"
#include "state_machine/session_id.h"
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

// -------------------------------------------------------------------------------------------------
// rules

enum class Text {
  kName,        // UTF-8 without control characters: names, ids of others.
  kProse,       // UTF-8 without NUL.
  kPrintable,   // Printable ASCII.
  kNamespace,   // [a-z][a-z0-9-]{0,62}, or empty.
  kNamespaces,  // The same, or `-`.
  kIdentifier,  // [a-z][a-z0-9_]{0,62}, or empty.
  kSessionId,   // Checked by its own reason.
  kReference,   // As kName, and not empty.
  kAny,         // Answered for by the method itself.
  kLabelKey,    // [a-z][a-z0-9_.-]{0,62}.
  kUuid,        // A lower-case UUID, or empty.
  kNotBlank,    // As kProse, with something to read in it.
};

struct StringRule {
  // The field's name, or `message.field` where one name has two meanings; a map's keys and values
  // are `field.key` and `field.value`.
  absl::string_view field;
  Text text;
  std::size_t bytes_max;
};

// A string field without a rule is held to the last row's. clang-format off
constexpr StringRule kStringRules[] = {
    {"session_id", Text::kSessionId, 64},
    {"session_ids", Text::kAny, kMessageBytesMax},
    {"Session.namespace", Text::kNamespace, 63},
    {"namespace", Text::kNamespaces, 63},
    {"workflow", Text::kIdentifier, 63},
    {"target_stage", Text::kIdentifier, 63},
    {"owner_id", Text::kName, kShortStringBytesMax},
    {"owner_display_name", Text::kName, kShortStringBytesMax},
    {"actor", Text::kName, kShortStringBytesMax},
    {"reason", Text::kProse, kLongStringBytesMax},
    {"fail_reason", Text::kProse, kLongStringBytesMax},
    {"request_id", Text::kPrintable, kRequestIdBytesMax},
    {"etag", Text::kPrintable, kEtagBytesMax},
    {"filter", Text::kProse, kLongStringBytesMax},
    {"order_by", Text::kProse, kShortStringBytesMax},
    {"error_id", Text::kUuid, 36},
    {"task_id", Text::kUuid, 36},
    {"message_id", Text::kUuid, 36},
    {"artifact_id", Text::kName, kShortStringBytesMax},
    {"related_file_id", Text::kName, kShortStringBytesMax},
    {"related_ticket_id", Text::kName, kShortStringBytesMax},
    {"task_type", Text::kIdentifier, 63},
    {"advance_to_stage", Text::kIdentifier, 63},
    {"operation_stage", Text::kIdentifier, 63},
    {"SessionMessage.type", Text::kIdentifier, 63},
    {"question_type", Text::kIdentifier, 63},
    {"content", Text::kProse, kContentBytesMax},
    {"author", Text::kName, kShortStringBytesMax},
    {"resolver", Text::kName, kShortStringBytesMax},
    {"display_name", Text::kName, kShortStringBytesMax},
    {"error_code", Text::kName, kShortStringBytesMax},
    {"user_message", Text::kNotBlank, kLongStringBytesMax},
    {"recovery_actions", Text::kNotBlank, 1024},
    {"DetachReferenceRequest.name", Text::kIdentifier, 63},
    {"DetachReferenceRequest.value", Text::kName, kShortStringBytesMax},
    {"page_token", Text::kPrintable, 1024},
    {"resume_token", Text::kPrintable, 16384},  // Of 1,024 partitions.
    {"labels.key", Text::kLabelKey, kMapKeyBytesMax},
    {"labels.value", Text::kProse, kShortStringBytesMax},
    {"references.key", Text::kIdentifier, kMapKeyBytesMax},
    {"references.value", Text::kReference, kShortStringBytesMax},
    {"counters.key", Text::kIdentifier, kMapKeyBytesMax},
    {"counter_increments.key", Text::kIdentifier, kMapKeyBytesMax},
    {"paths", Text::kProse, kShortStringBytesMax},
    {"GetWorkflowRequest.name", Text::kIdentifier, 63},
    {"textproto", Text::kAny, kTextprotoBytesMax},
    {"", Text::kProse, kLongStringBytesMax},
};
// clang-format on

// What a message cannot do without, beside the session's id.
struct RequiredRule {
  absl::string_view message;
  absl::string_view path;
};
constexpr RequiredRule kRequiredRules[] = {
    {"CreateSessionRequest", "session.workflow"},
    {"AdvanceSessionRequest", "target_stage"},
    {"GetWorkflowRequest", "name"},
    {"ListRecoverableSessionsRequest", "owner_id"},
    {"GetErrorRequest", "error_id"},
    {"ResolveErrorRequest", "error_id"},
    {"RecordErrorRequest", "error"},
    {"SessionError", "category"},
    {"SessionError", "severity"},
    {"SessionError", "user_message"},
    {"StartTaskRequest", "task_type"},
    {"ReportTaskProgressRequest", "task_id"},
    {"CompleteTaskRequest", "task_id"},
    {"FailTaskRequest", "task_id"},
    {"CancelTaskRequest", "task_id"},
    {"SessionTask", "task_type"},
    {"SessionTask", "status"},
    {"SessionMessage", "type"},
    {"SessionMessage", "content"},
    {"SessionArtifact", "kind"},
    {"DeleteArtifactRequest", "artifact_id"},
    {"EraseOwnerRequest", "owner_id"},
    {"DetachReferenceRequest", "name"},
    {"DetachReferenceRequest", "value"},
    {"ImportSessionsRequest", "session.workflow"},
};

// How many a list may have.
struct CountRule {
  absl::string_view message;
  absl::string_view field;
  int min, max;
};
constexpr CountRule kCountRules[] = {
    {"LookupSessionsRequest", "session_ids", 1, kLookupIdsMax},
    {"AppendMessagesRequest", "messages", 1, 500},
    {"AddArtifactsRequest", "artifacts", 1, 500},
    {"SessionError", "recovery_actions", 0, 50},
};

// How long a duration may be.
struct DurationRule {
  absl::string_view field;
  absl::Duration min, max;
  absl::string_view text;
};
const DurationRule kDurationRules[] = {
    {"heartbeat_timeout", absl::Seconds(1), absl::Hours(24 * 30), "1 second to 30 days"},
    {"heartbeat_interval", absl::Seconds(1), absl::Minutes(10), "1 second to 10 minutes"},
};

// What is no input, though it is a message, and not looked at: OUTPUT ONLY.
bool IsOutputOnly(const FieldDescriptor& field) {
  return field.containing_type() == v1::Session::descriptor() &&
         (field.name() == "current_task" || field.name() == "files" ||
          field.name() == "open_errors");
}

const StringRule& FindRule(absl::string_view qualified, absl::string_view name) {
  for (const StringRule& rule : kStringRules) {
    if (rule.field == qualified || rule.field == name || rule.field.empty()) return rule;
  }
  return kStringRules[std::size(kStringRules) - 1];
}

// Found once for each field and thread: every request asks for a handful.
const StringRule& RuleOf(const FieldDescriptor& field) {
  thread_local absl::flat_hash_map<const FieldDescriptor*, const StringRule*> found;
  const StringRule*& rule = found[&field];
  if (rule == nullptr) {
    rule =
        &FindRule(absl::StrCat(field.containing_type()->name(), ".", field.name()), field.name());
  }
  return *rule;
}

// -------------------------------------------------------------------------------------------------
// text

bool IsIdentifier(absl::string_view text, absl::string_view also) {
  if (text.empty() || text.size() > 63 || !absl::ascii_islower(static_cast<unsigned char>(text[0])))
    return false;
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return absl::ascii_islower(static_cast<unsigned char>(c)) ||
           absl::ascii_isdigit(static_cast<unsigned char>(c)) ||
           also.find(c) != absl::string_view::npos;
  });
}

// Nothing to read in it: spaces of any script, and what is invisible.
bool IsBlank(absl::string_view text) {
  constexpr absl::string_view kInvisible[] = {
      "\u00A0", "\u00AD", "\u1680", "\u180E", "\u2000", "\u2001", "\u2002", "\u2003", "\u2004",
      "\u2005", "\u2006", "\u2007", "\u2008", "\u2009", "\u200A", "\u200B", "\u200C", "\u200D",
      "\u200E", "\u200F", "\u2028", "\u2029", "\u202F", "\u205F", "\u2060", "\u3000", "\uFEFF"};
  while (!text.empty()) {
    if (absl::ascii_isspace(static_cast<unsigned char>(text[0]))) {
      text.remove_prefix(1);
      continue;
    }
    const auto* found =
        std::find_if(std::begin(kInvisible), std::end(kInvisible),
                     [&](absl::string_view c) { return absl::StartsWith(text, c); });
    if (found == std::end(kInvisible)) return false;
    text.remove_prefix(found->size());
  }
  return true;
}

// Whether a field has a value; by its path.
bool IsGiven(const Message& message, absl::string_view path) {
  const std::size_t dot = path.find('.');
  const FieldDescriptor* field =
      message.GetDescriptor()->FindFieldByName(std::string(path.substr(0, dot)));
  const Reflection& reflection = *message.GetReflection();
  if (!reflection.HasField(message, field)) return false;
  if (dot == absl::string_view::npos) return true;
  return IsGiven(reflection.GetMessage(message, field), path.substr(dot + 1));
}

// Nothing where the text fits.
std::string WhatIsWrong(absl::string_view text, const StringRule& rule) {
  if (text.size() > rule.bytes_max) {
    return absl::StrCat("has ", text.size(), " bytes, and may have ", rule.bytes_max);
  }
  if (text.empty()) {
    return rule.text == Text::kLabelKey    ? "must be [a-z][a-z0-9_.-]{0,62}"
           : rule.text == Text::kReference ? "must have a value"
           : rule.text == Text::kNotBlank  ? "must not be blank"
                                           : "";
  }
  switch (rule.text) {
    case Text::kName:
    case Text::kReference:
      return HasControls(text) ? "must be without control characters" : "";
    case Text::kPrintable:
      return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7F; })
                 ? ""
                 : "must be printable ASCII without spaces";
    case Text::kNamespace:
      return IsIdentifier(text, "-") ? "" : "must be [a-z][a-z0-9-]{0,62}, or empty for default";
    case Text::kNamespaces:
      return text == "-" || IsIdentifier(text, "-")
                 ? ""
                 : "must be [a-z][a-z0-9-]{0,62}, empty for default, or - for all";
    case Text::kIdentifier:
      return IsIdentifier(text, "_") ? "" : "must be [a-z][a-z0-9_]{0,62}";
    case Text::kLabelKey:
      return IsIdentifier(text, "_.-") ? "" : "must be [a-z][a-z0-9_.-]{0,62}";
    case Text::kUuid:
      return HasFormat(text, v1::Workflow::UUID) ? "" : "must be a lower-case UUID";
    case Text::kNotBlank:
      if (IsBlank(text)) return "must not be blank";
      break;
    case Text::kAny:
      return "";
    case Text::kProse:
    case Text::kSessionId:
      break;
  }
  return text.find('\0') == absl::string_view::npos ? "" : "must be without NUL characters";
}

// -------------------------------------------------------------------------------------------------
// walk

// Collects what is wrong with a message. Paths are built only for what is.
class Walker {
 public:
  std::vector<std::pair<std::string, std::string>> violations;

  void Walk(const Message& message, const std::string& path) {
    const Descriptor* type = message.GetDescriptor();
    if (type == v1::Workflow::descriptor()) return;  // CheckWorkflow says what is wrong in there.
    if (type == Struct::descriptor()) return WalkStruct(static_cast<const Struct&>(message), path);
    if (type == Timestamp::descriptor())
      return WalkTimestamp(static_cast<const Timestamp&>(message), path);
    CheckRequired(message, path);
    std::vector<const FieldDescriptor*> fields;
    message.GetReflection()->ListFields(message, &fields);
    for (const FieldDescriptor* field : fields) WalkField(message, *field, path);
  }

 private:
  static std::string Join(const std::string& path, absl::string_view name) {
    return path.empty() ? std::string(name) : absl::StrCat(path, ".", name);
  }

  void Add(std::string path, std::string wrong) {
    if (!wrong.empty()) violations.emplace_back(std::move(path), std::move(wrong));
  }

  void CheckText(absl::string_view text, const StringRule& rule, const std::string& path,
                 absl::string_view name) {
    std::string wrong = WhatIsWrong(text, rule);
    if (!wrong.empty()) Add(Join(path, name), std::move(wrong));
  }

  void WalkField(const Message& message, const FieldDescriptor& field, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    if (IsOutputOnly(field)) return;
    if (field.is_map()) return WalkMap(message, field, path);
    if (field.message_type() == Duration::descriptor())
      return WalkDuration(message, field, Join(path, field.name()));
    const int count = field.is_repeated() ? reflection.FieldSize(message, &field) : 1;
    for (int i = 0; i < count; ++i) {
      const auto name = [&] {
        return field.is_repeated() ? absl::StrCat(field.name(), "[", i, "]") : field.name();
      };
      switch (field.cpp_type()) {
        case FieldDescriptor::CPPTYPE_STRING: {
          std::string scratch;
          const std::string& text =
              field.is_repeated()
                  ? reflection.GetRepeatedStringReference(message, &field, i, &scratch)
                  : reflection.GetStringReference(message, &field, &scratch);
          const StringRule& rule = RuleOf(field);
          std::string wrong = WhatIsWrong(text, rule);
          if (!wrong.empty()) Add(Join(path, name()), std::move(wrong));
          break;
        }
        case FieldDescriptor::CPPTYPE_ENUM: {
          const int number = field.is_repeated()
                                 ? reflection.GetRepeatedEnumValue(message, &field, i)
                                 : reflection.GetEnumValue(message, &field);
          if (field.enum_type()->FindValueByNumber(number) == nullptr) {
            Add(Join(path, name()),
                absl::StrCat(number, " is not a value of ", field.enum_type()->full_name()));
          }
          break;
        }
        case FieldDescriptor::CPPTYPE_MESSAGE:
          Walk(field.is_repeated() ? reflection.GetRepeatedMessage(message, &field, i)
                                   : reflection.GetMessage(message, &field),
               Join(path, name()));
          break;
        case FieldDescriptor::CPPTYPE_INT32:
          if ((field.name() == "page_size" || field.name() == "after_sequence") &&
              reflection.GetInt32(message, &field) < 0) {
            Add(Join(path, name()), "must be 0 or more");
          }
          break;
        default:
          break;
      }
    }
  }

  void WalkMap(const Message& message, const FieldDescriptor& field, const std::string& path) {
    const Reflection& reflection = *message.GetReflection();
    const int count = reflection.FieldSize(message, &field);
    const std::string here = Join(path, field.name());
    if (count > kMapEntriesMax)
      Add(here, absl::StrCat("has ", count, " entries, and may have ", kMapEntriesMax));
    const StringRule& key_rule = FindRule(absl::StrCat(field.name(), ".key"), "");
    const StringRule& value_rule = FindRule(absl::StrCat(field.name(), ".value"), "");
    for (int i = 0; i < std::min(count, kMapEntriesMax); ++i) {
      const Message& entry = reflection.GetRepeatedMessage(message, &field, i);
      const Descriptor& type = *entry.GetDescriptor();
      std::string scratch;
      const std::string key = entry.GetReflection()->GetString(entry, type.map_key());
      const std::string shown = absl::CHexEscape(absl::string_view(key).substr(0, 64));
      std::string wrong = key.empty() ? "must have a key" : WhatIsWrong(key, key_rule);
      if (!wrong.empty()) Add(Join(here, shown), absl::StrCat("is not a key: it ", wrong));
      if (type.map_value()->cpp_type() != FieldDescriptor::CPPTYPE_STRING) continue;
      CheckText(entry.GetReflection()->GetStringReference(entry, type.map_value(), &scratch),
                value_rule, here, shown);
    }
  }

  void WalkDuration(const Message& message, const FieldDescriptor& field, std::string path) {
    const auto& duration =
        static_cast<const Duration&>(message.GetReflection()->GetMessage(message, &field));
    for (const DurationRule& rule : kDurationRules) {
      if (rule.field != field.name()) continue;
      const bool sound = duration.nanos() >= 0 && duration.nanos() <= 999'999'999;
      if (!sound || FromProto(duration) < rule.min || FromProto(duration) > rule.max)
        Add(std::move(path), absl::StrCat("must be ", rule.text));
      return;
    }
  }

  // What has to be there, and how often.
  void CheckRequired(const Message& message, const std::string& path) {
    const absl::string_view type = message.GetDescriptor()->name();
    for (const RequiredRule& rule : kRequiredRules) {
      if (rule.message == type && !IsGiven(message, rule.path))
        Add(Join(path, rule.path),
            rule.path == "user_message" ? "must not be blank" : "must be given");
    }
    for (const CountRule& rule : kCountRules) {
      if (rule.message != type) continue;
      const FieldDescriptor* field =
          message.GetDescriptor()->FindFieldByName(std::string(rule.field));
      const int count = message.GetReflection()->FieldSize(message, field);
      if (count < rule.min) Add(Join(path, rule.field), "must be at least one");
      if (count > rule.max) {
        Add(Join(path, rule.field),
            absl::StrCat("has ", count, " entries, and may have ", rule.max));
      }
    }
  }

  void WalkTimestamp(const Timestamp& time, const std::string& path) {
    // 0001-01-01 to 9999-12-31, as RFC 3339 can write it.
    constexpr int64_t kFirst = -62135596800, kLast = 253402300799;
    if (time.seconds() < kFirst || time.seconds() > kLast || time.nanos() < 0 ||
        time.nanos() > 999'999'999) {
      Add(path, "must be a time between the years 1 and 9999");
    }
  }

  void WalkStruct(const Struct& fields, const std::string& path) {
    const std::size_t before = violations.size();
    WalkFields(fields, path, 1);
    // Only what is sound can be measured as JSON.
    if (violations.size() == before && JsonBytesExceed(fields, kStructBytesMax)) {
      Add(path, absl::StrCat("must be at most ", kStructBytesMax, " bytes as JSON"));
    }
  }

  void WalkFields(const Struct& fields, const std::string& path, int depth) {
    for (const auto& [key, value] : fields.fields()) {
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

absl::Status CheckIds(const Message& request) {
  constexpr absl::string_view kNested = "session.session_id";
  if (const auto* update = dynamic_cast<const v1::UpdateSessionRequest*>(&request))
    return CheckSessionId(update->session().session_id(), kNested);
  if (const auto* import = dynamic_cast<const v1::ImportSessionsRequest*>(&request))
    return CheckSessionId(import->session().session_id(), kNested);
  const FieldDescriptor* field = request.GetDescriptor()->FindFieldByName("session_id");
  if (field == nullptr || field->is_repeated()) return absl::OkStatus();
  const std::string id = request.GetReflection()->GetString(request, field);
  // The daemon draws one; all sessions of a namespace.
  const absl::string_view type = request.GetDescriptor()->name();
  const bool optional = type == "CreateSessionRequest" || type == "ListErrorsRequest" ||
                        type == "SummarizeErrorsRequest";
  if (optional && id.empty()) return absl::OkStatus();
  return CheckSessionId(id);
}

// What becomes one event has to fit into a reply with it.
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
  walker.violations.emplace_back(
      field, absl::StrCat("and what comes with it has ", bytes,
                          " bytes beside messages, and may have ", kPageBytesMax));
}

absl::Status CheckUpdate(const v1::UpdateSessionRequest& request, Walker& walker) {
  if (!request.etag().empty() && !request.session().etag().empty() &&
      request.etag() != request.session().etag()) {
    walker.violations.emplace_back("etag", "is not the same as session.etag; send one of them");
  }
  if (request.update_mask().paths().empty() && request.counter_increments().empty()) {
    return Refusal(v1::INVALID_FIELD_MASK,
                   "update_mask is empty and no counter is incremented: nothing would change. "
                   "Name the fields to change, for example labels.team.")
        .With("path", "")
        .Violation("update_mask", "must name the fields to change");
  }
  return ParseUpdateMask(request.update_mask()).status();
}

void CheckDefinition(const v1::ValidateWorkflowRequest& request, Walker& walker) {
  if (request.definition_case() == v1::ValidateWorkflowRequest::DEFINITION_NOT_SET)
    walker.violations.emplace_back("workflow", "must be given, or textproto");
}

// Texts for users that a program left blank: no user can fix that. Empty for all other violations.
absl::string_view KnownWords(absl::string_view path) {
  const std::size_t dot = path.find('.');
  if (!absl::StartsWith(path, "error") || dot == absl::string_view::npos) return "";
  const absl::string_view field = path.substr(dot + 1);
  if (field == "user_message") return "Error must have user-friendly message: ";
  if (absl::StartsWith(field, "recovery_actions")) return "Invalid recovery actions format: ";
  return "";
}

absl::Status InvalidFields(Walker& walker) {
  auto& violations = walker.violations;
  // Who calls has to hear of the program's mistake first.
  std::stable_partition(violations.begin(), violations.end(),
                        [](const auto& violation) { return !KnownWords(violation.first).empty(); });
  const auto& [path, wrong] = violations.front();
  Refusal refusal(v1::INVALID_FIELD, absl::StrCat(KnownWords(path), path, " ", wrong, "."));
  if (!KnownWords(path).empty()) refusal.FixableBy(Category::kAdminRequired);
  for (const auto& [field, description] : violations) {
    refusal.Violation(field, description);
  }
  return refusal.With("field", path);
}

}  // namespace

absl::Status Validate(const Message& request) {
  if (auto ids = CheckIds(request); !ids.ok()) return ids;
  Walker walker;
  walker.Walk(request, "");
  absl::Status mask;
  CheckEventSize(request, walker);
  if (const auto* update = dynamic_cast<const v1::UpdateSessionRequest*>(&request))
    mask = CheckUpdate(*update, walker);
  if (const auto* definition = dynamic_cast<const v1::ValidateWorkflowRequest*>(&request))
    CheckDefinition(*definition, walker);
  return walker.violations.empty() ? mask : InvalidFields(walker);
}

}  // namespace sessiond::rpc
