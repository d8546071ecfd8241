#include "server/http/json_codec.h"

#include <google/protobuf/message.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "state_machine/exact_double.h"
#include "state_machine/readable.h"
#include "state_machine/refusal.h"

namespace sessiond::http {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

// A Struct may be 16 levels deep (state_machine/limits.h), what surrounds it is shallow; deeper
// ones are refused as in Protobuf's own form, with their path, or here.
constexpr std::size_t kDepthMax = 28;
// Each costs much more memory, and time, than it has bytes: `{},` is 3 bytes, and then 200. More
// than the largest import needs.
constexpr std::size_t kValuesMax = 200'000;
// Of what the caller sent, in a sentence to the caller.
constexpr std::size_t kQuotedBytesMax = 160;

std::string Printable(absl::string_view text) { return Readable(text, kQuotedBytesMax); }

// Looks at every name of every object, and at what Protobuf's reader takes for something else or
// refuses without a place: objects and lists where one value belongs, numbers of 64 bits, and those
// that are no double where they are to be one. A field has two names, sessionId and session_id;
// what is a caller's own (a Struct, a map) has those that it has.
class Checks : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, Checks> {
 public:
  explicit Checks(const Descriptor& type) : type_(type) {}

  bool StartObject() {
    if (!Deeper()) return false;
    Object opened;
    if (objects_.empty()) {
      opened.type = &type_;
    } else if (IsOwn()) {
      opened.is_own = true;
    } else if (const FieldDescriptor* field = objects_.back().field; field != nullptr) {
      if (field->is_map()) {
        opened.values = field->message_type()->map_value();
        opened.field = opened.values;
      } else if (field->message_type() == nullptr) {
        return DoesNotFit("is an object and should be one value");
      } else if (!HasOwnForm(*field)) {
        opened.type = field->message_type();
      }
    }
    objects_.push_back(std::move(opened));
    return true;
  }
  bool Key(const char* text, rapidjson::SizeType length, bool) {
    Object& object = objects_.back();
    std::string name(text, length);
    if (object.type != nullptr) {
      object.field = object.type->FindFieldByName(name);
      if (object.field == nullptr) object.field = object.type->FindFieldByCamelcaseName(name);
      if (object.field != nullptr) name = object.field->name();
    } else {
      object.key = Printable(name);
    }
    if (object.names.insert(std::move(name)).second) return true;
    problem_ = absl::StrCat("has the name \"", Printable({text, length}), "\" twice in one object");
    return false;
  }
  bool EndObject(rapidjson::SizeType) {
    objects_.pop_back();
    --depth_;
    return true;
  }
  bool StartArray() {
    if (!Deeper()) return false;
    if (objects_.empty()) return true;
    Object& object = objects_.back();
    if (const FieldDescriptor* field = object.field; field != nullptr && !HasOwnForm(*field)) {
      if (!object.elements.empty()) return DoesNotFit("is a list in a list");
      if (field->is_map()) return DoesNotFit("is a list and should be an object");
      if (!field->is_repeated()) return DoesNotFit("is a list and should be one value");
    }
    object.elements.push_back(-1);
    return true;
  }
  bool EndArray(rapidjson::SizeType) {
    if (!objects_.empty()) objects_.back().elements.pop_back();
    --depth_;
    return true;
  }
  bool RawNumber(const char* text, rapidjson::SizeType length, bool) {
    if (!Another()) return false;
    const absl::string_view number(text, length);
    if (IsOwn()) {
      // -0 is a double, too.
      return ExactDouble(absl::StripPrefix(number, "-")).has_value() ||
             DoesNotFit("is a number that no double equals: send it as a text");
    }
    const FieldDescriptor* field = objects_.empty() ? nullptr : objects_.back().field;
    if (field == nullptr || IsExact(*field, number)) return true;
    return DoesNotFit("is no number of 64 bits, or not exactly");
  }
  // Of every other value.
  bool Default() { return Another(); }

  const std::string& problem() const { return problem_; }
  // Of the problem; empty: it is none of a field.
  const std::string& path() const { return path_; }
  bool too_many() const { return values_ > kValuesMax; }

 private:
  // A message, or a map with its values' field, or an object of the caller's own, or none of these.
  struct Object {
    const Descriptor* type = nullptr;
    const FieldDescriptor* values = nullptr;
    bool is_own = false;
    // What is read of it: a field, or an entry, and where in its list, and in lists of that.
    const FieldDescriptor* field = nullptr;
    std::string key;
    std::vector<int> elements;
    absl::flat_hash_set<std::string> names;
  };

  // Google's types.
  static bool HasOwnForm(const FieldDescriptor& field) {
    const Descriptor* type = field.message_type();
    return type != nullptr && type->file()->package() == "google.protobuf" && !field.is_map();
  }

  // Whether the next value is part of a Struct, or of what may be in one.
  bool IsOwn() const {
    if (objects_.empty()) return false;
    if (objects_.back().is_own) return true;
    const FieldDescriptor* field = objects_.back().field;
    return field != nullptr && HasOwnForm(*field) &&
           field->message_type()->file() == google::protobuf::Struct::descriptor()->file();
  }

  // Protobuf's reader makes doubles of numbers with a fraction or an exponent, and of those that
  // are too small.
  static bool IsExact(const FieldDescriptor& field, absl::string_view number) {
    const auto type = field.cpp_type();
    const bool is_signed = type == FieldDescriptor::CPPTYPE_INT64;
    if (!is_signed && type != FieldDescriptor::CPPTYPE_UINT64) return true;
    if (number.find_first_of(".eE") == absl::string_view::npos) {
      int64_t as_signed = 0;
      uint64_t as_unsigned = 0;
      return is_signed ? absl::SimpleAtoi(number, &as_signed)
                       : number == "-0" || absl::SimpleAtoi(number, &as_unsigned);
    }
    constexpr double kExactMax = 9007199254740991;
    double value = 0;
    return absl::SimpleAtod(number, &value) && std::abs(value) <= kExactMax;
  }

  bool DoesNotFit(absl::string_view problem) {
    problem_ = std::string(problem);
    for (const Object& object : objects_) {
      if (object.type != nullptr && object.field == nullptr) break;
      absl::StrAppend(&path_, path_.empty() ? "" : ".",
                      object.type != nullptr ? object.field->name() : object.key);
      for (const int element : object.elements) absl::StrAppend(&path_, "[", element, "]");
    }
    return false;
  }

  bool Deeper() {
    if (++depth_ <= kDepthMax) return Another();
    problem_ = absl::StrCat("is nested more than ", kDepthMax, " levels deep");
    return false;
  }
  bool Another() {
    if (!objects_.empty() && !objects_.back().elements.empty()) ++objects_.back().elements.back();
    return ++values_ <= kValuesMax;
  }

  const Descriptor& type_;
  std::size_t depth_ = 0;
  std::size_t values_ = 0;
  std::vector<Object> objects_;
  std::string problem_, path_;
};

absl::Status FieldDoesNotFit(const Descriptor& type, absl::string_view field,
                             absl::string_view problem) {
  return Refusal(v1::INVALID_FIELD, absl::StrCat("The body is not a ", type.name(), " in JSON: ",
                                                 field, field.empty() ? "" : ": ", problem, "."))
      .Violation(field, problem);
}

absl::Status NotThisMessage(const Descriptor& type, absl::string_view what) {
  return Refusal(v1::INVALID_FIELD,
                 absl::StrCat("The body is not a ", type.name(), " in JSON: it ", what, "."))
      .Violation("", what);
}

// Where in the text: people look at lines.
std::string Place(absl::string_view json, std::size_t offset) {
  const absl::string_view before = json.substr(0, offset);
  const auto line = 1 + std::count(before.begin(), before.end(), '\n');
  const std::size_t start = before.rfind('\n') + 1;  // npos + 1 is 0.
  return absl::StrCat("line ", line, ", column ", offset - start + 1);
}

absl::Status CheckStrictly(absl::string_view json, const Descriptor& type) {
  // RapidJSON takes it for the end.
  if (const std::size_t nul = json.find('\0'); nul != absl::string_view::npos)
    return NotThisMessage(type, absl::StrCat("has a NUL (", Place(json, nul), ")"));
  constexpr unsigned kFlags = rapidjson::kParseValidateEncodingFlag |
                              rapidjson::kParseIterativeFlag |
                              rapidjson::kParseNumbersAsStringsFlag;
  rapidjson::MemoryStream stream(json.data(), json.size());
  rapidjson::Reader reader;
  Checks checks(type);
  const rapidjson::ParseResult parsed = reader.Parse<kFlags>(stream, checks);
  if (!parsed.IsError()) return absl::OkStatus();
  if (checks.too_many()) {
    return Refusal(v1::PAYLOAD_TOO_LARGE,
                   absl::StrCat("The request has more than ", kValuesMax, " values in JSON."))
        .With("limit", absl::StrCat(kValuesMax));
  }
  const std::string where = Place(json, parsed.Offset());
  if (!checks.path().empty()) return FieldDoesNotFit(type, checks.path(), checks.problem());
  if (!checks.problem().empty())
    return NotThisMessage(type, absl::StrCat(checks.problem(), " (", where, ")"));
  std::string what = rapidjson::GetParseError_En(parsed.Code());
  while (!what.empty() && what.back() == '.') what.pop_back();
  return NotThisMessage(type, absl::StrCat("is not well-formed (", where, ": ", what, ")"));
}

std::unique_ptr<google::protobuf::Message> NewMessage(const Descriptor& type) {
  return std::unique_ptr<google::protobuf::Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type)->New());
}

// As a field path and a sentence. Protobuf says `(path): what`, or `(path) name: Cannot find
// field.`, without the first part at the top, and quotes what was sent. Of what it takes for no
// JSON, half of a surrogate pair for one, it says what, and in further lines shows it with a `^`.
absl::Status DoesNotFit(const Descriptor& type, absl::string_view said) {
  if (absl::EndsWith(said, "^") || !absl::StrContains(said, ": ")) {
    const absl::string_view what = absl::StripSuffix(said.substr(0, said.find('\n')), ".");
    return NotThisMessage(type, absl::StrCat("is not well-formed (", Printable(what), ")"));
  }
  std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(said, absl::MaxSplits(": ", 1));
  auto& [path, what] = parts;
  absl::ConsumePrefix(&path, "(");
  absl::ConsumeSuffix(&path, ")");
  absl::ConsumeSuffix(&what, ".");
  std::string field = Printable(path);
  if (const std::size_t end = field.find(") "); end != std::string::npos)
    field.replace(end, 2, ".");
  const std::string problem = absl::StartsWith(what, "Cannot find field")
                                  ? "is no field of it; names are those of the contract"
                                  : Printable(what);
  return FieldDoesNotFit(type, field, problem);
}

}  // namespace

absl::StatusOr<std::string> FromJson(absl::string_view json, const Descriptor& type) {
  absl::ConsumePrefix(&json, "\xEF\xBB\xBF");  // A byte-order mark, from an editor or a shell.
  if (json.empty()) return std::string();
  if (absl::Status strict = CheckStrictly(json, type); !strict.ok()) return strict;
  const auto message = NewMessage(type);
  const auto parsed = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), message.get());
  if (!parsed.ok()) return DoesNotFit(type, parsed.message().ToString());
  return message->SerializeAsString();
}

absl::StatusOr<std::string> ToJson(const std::string& bytes, const Descriptor& type) {
  const auto message = NewMessage(type);
  std::string json;
  if (!message->ParseFromString(bytes) ||
      !google::protobuf::util::MessageToJsonString(*message, &json).ok()) {
    return Refusal(v1::CONSTRAINT_VIOLATION,
                   absl::StrCat("This ", type.name(),
                                " has no form in JSON: ask for it as application/proto."));
  }
  return json;
}

grpc::ByteBuffer BufferOf(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

std::string BytesOf(const grpc::ByteBuffer& buffer) {
  std::string bytes;
  std::vector<grpc::Slice> slices;
  buffer.Dump(&slices);
  for (const grpc::Slice& slice : slices)
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

}  // namespace sessiond::http
