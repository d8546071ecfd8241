#include "server/rpc/validate.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "server/rpc/utf8.h"
#include "server/state_machine/limits.h"
#include "server/state_machine/refusal.h"
#include "server/state_machine/session_id.h"
#include "server/state_machine/update_mask.h"
#include "sessiond/v1/session_service.pb.h"

namespace sessiond::rpc {
namespace {

using google::protobuf::Descriptor;
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
    {"page_token", Text::kPrintable, 1024},
    {"labels.key", Text::kLabelKey, kMapKeyBytesMax},
    {"labels.value", Text::kProse, kShortStringBytesMax},
    {"references.key", Text::kIdentifier, kMapKeyBytesMax},
    {"references.value", Text::kReference, kShortStringBytesMax},
    {"counters.key", Text::kIdentifier, kMapKeyBytesMax},
    {"counter_increments.key", Text::kIdentifier, kMapKeyBytesMax},
    {"paths", Text::kProse, kShortStringBytesMax},
    {"", Text::kProse, kLongStringBytesMax},
};
// clang-format on

// What a request cannot do without, beside the session's id.
struct RequiredRule {
  absl::string_view message;
  absl::string_view path;
};
constexpr RequiredRule kRequiredRules[] = {
    {"CreateSessionRequest", "session.workflow"},
    {"AdvanceSessionRequest", "target_stage"},
};

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

// Nothing where the text fits.
std::string WhatIsWrong(absl::string_view text, const StringRule& rule) {
  if (text.size() > rule.bytes_max) {
    return absl::StrCat("has ", text.size(), " bytes, and may have ", rule.bytes_max);
  }
  if (text.empty()) {
    return rule.text == Text::kLabelKey    ? "must be [a-z][a-z0-9_.-]{0,62}"
           : rule.text == Text::kReference ? "must have a value"
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
    if (type == Struct::descriptor()) return WalkStruct(static_cast<const Struct&>(message), path);
    if (type == Timestamp::descriptor())
      return WalkTimestamp(static_cast<const Timestamp&>(message), path);
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
    if (field.is_map()) return WalkMap(message, field, path);
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
          if (field.name() == "page_size" && reflection.GetInt32(message, &field) < 0) {
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

// The value of a string field by its path; empty when a message on the way is not there.
std::string StringAt(const Message& message, absl::string_view path) {
  const std::size_t dot = path.find('.');
  const FieldDescriptor* field =
      message.GetDescriptor()->FindFieldByName(std::string(path.substr(0, dot)));
  const Reflection& reflection = *message.GetReflection();
  if (dot == absl::string_view::npos) return reflection.GetString(message, field);
  if (!reflection.HasField(message, field)) return "";
  return StringAt(reflection.GetMessage(message, field), path.substr(dot + 1));
}

absl::Status CheckIds(const Message& request) {
  const absl::string_view type = request.GetDescriptor()->name();
  if (type == "UpdateSessionRequest") {
    constexpr absl::string_view kField = "session.session_id";
    return CheckSessionId(StringAt(request, kField), kField);
  }
  const FieldDescriptor* field = request.GetDescriptor()->FindFieldByName("session_id");
  if (field == nullptr || field->is_repeated()) return absl::OkStatus();
  const std::string id = request.GetReflection()->GetString(request, field);
  if (type == "CreateSessionRequest" && id.empty())
    return absl::OkStatus();  // The daemon draws one.
  return CheckSessionId(id);
}

void CheckLookup(const v1::LookupSessionsRequest& request, Walker& walker) {
  if (request.session_ids().empty())
    walker.violations.emplace_back("session_ids", "must be at least one");
  if (request.session_ids_size() > kLookupIdsMax) {
    walker.violations.emplace_back(
        "session_ids",
        absl::StrCat("has ", request.session_ids_size(), " entries, and may have ", kLookupIdsMax));
  }
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

absl::Status InvalidFields(const Walker& walker) {
  const auto& [path, wrong] = walker.violations.front();
  Refusal refusal(v1::INVALID_FIELD, absl::StrCat(path, " ", wrong, "."));
  for (const auto& [field, description] : walker.violations) {
    refusal.Violation(field, description);
  }
  return refusal.With("field", path);
}

}  // namespace

absl::Status Validate(const Message& request) {
  if (auto ids = CheckIds(request); !ids.ok()) return ids;
  Walker walker;
  walker.Walk(request, "");
  for (const RequiredRule& rule : kRequiredRules) {
    if (request.GetDescriptor()->name() == rule.message && StringAt(request, rule.path).empty()) {
      walker.violations.emplace_back(std::string(rule.path), "must be given");
    }
  }
  absl::Status mask;
  if (const auto* lookup = dynamic_cast<const v1::LookupSessionsRequest*>(&request))
    CheckLookup(*lookup, walker);
  if (const auto* update = dynamic_cast<const v1::UpdateSessionRequest*>(&request))
    mask = CheckUpdate(*update, walker);
  return walker.violations.empty() ? mask : InvalidFields(walker);
}

}  // namespace sessiond::rpc
