#include "state_machine/filter.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/types/span.h"
#include "google/protobuf/descriptor.h"
#include "state_machine/readable.h"
#include "state_machine/refusal.h"
#include "state_machine/utf8.h"

namespace sessiond {
namespace {

// ---- The language's facts

enum class Type {
  kText,
  kInteger,
  kBool,
  kState,
  kTaskStatus,
  kCategory,
  kSeverity,
  kTime,
  kOptionalTime,
  kTextMap,
  kIntegerMap,
  kJsonMap
};

struct Field {
  absl::string_view name;
  FilterField field;
  Type type;
};

// clang-format off
constexpr Field kSessionFields[] = {
    {"session_id",          FilterField::kSessionId,         Type::kText},
    {"workflow",            FilterField::kWorkflow,          Type::kText},
    {"workflow_revision",   FilterField::kWorkflowRevision,  Type::kInteger},
    {"owner_id",            FilterField::kOwnerId,           Type::kText},
    {"owner_display_name",  FilterField::kOwnerDisplayName,  Type::kText},
    {"state",               FilterField::kState,             Type::kState},
    {"stage",               FilterField::kStage,             Type::kText},
    {"status",              FilterField::kStatus,            Type::kText},
    {"failed",              FilterField::kFailed,            Type::kBool},
    {"completed",           FilterField::kCompleted,         Type::kBool},
    {"recoverable",         FilterField::kRecoverable,       Type::kBool},
    {"hold",                FilterField::kHold,              Type::kBool},
    {"has_blocking_errors", FilterField::kHasBlockingErrors, Type::kBool},
    {"create_time",         FilterField::kCreateTime,        Type::kTime},
    {"update_time",         FilterField::kUpdateTime,        Type::kTime},
    {"complete_time",       FilterField::kCompleteTime,      Type::kOptionalTime},
    {"delete_time",         FilterField::kDeleteTime,        Type::kOptionalTime},
    {"fail_time",           FilterField::kFailTime,          Type::kOptionalTime},
    {"context",             FilterField::kContext,           Type::kJsonMap},
    {"counters",            FilterField::kCounters,          Type::kIntegerMap},
    {"references",          FilterField::kReferences,        Type::kTextMap},
    {"labels",              FilterField::kLabels,            Type::kTextMap},
};

constexpr Field kTaskFields[] = {
    {"session_id",  FilterField::kSessionId,  Type::kText},
    {"task_id",     FilterField::kTaskId,     Type::kText},
    {"task_type",   FilterField::kTaskType,   Type::kText},
    {"status",      FilterField::kTaskStatus, Type::kTaskStatus},
    {"retryable",   FilterField::kRetryable,  Type::kBool},
    {"retry_count", FilterField::kRetryCount, Type::kInteger},
    {"start_time",  FilterField::kStartTime,  Type::kTime},
};

constexpr Field kErrorFields[] = {
    {"error_id",          FilterField::kErrorId,         Type::kText},
    {"category",          FilterField::kCategory,        Type::kCategory},
    {"severity",          FilterField::kSeverity,        Type::kSeverity},
    {"operation_stage",   FilterField::kOperationStage,  Type::kText},
    {"related_file_id",   FilterField::kRelatedFileId,   Type::kText},
    {"related_ticket_id", FilterField::kRelatedTicketId, Type::kText},
    {"error_code",        FilterField::kErrorCode,       Type::kText},
    {"resolved",          FilterField::kResolved,        Type::kBool},
    {"create_time",       FilterField::kCreateTime,      Type::kTime},
    {"resolve_time",      FilterField::kResolveTime,     Type::kOptionalTime},
};

struct Operator {
  absl::string_view text;
  Comparator comparator;
};

// Operators of two characters first: the first match wins.
constexpr Operator kOperators[] = {
    {"!=", Comparator::kNotEqual},
    {"<=", Comparator::kLessOrEqual},
    {">=", Comparator::kGreaterOrEqual},
    {"=",  Comparator::kEqual},
    {"<",  Comparator::kLess},
    {">",  Comparator::kGreater},
    {":",  Comparator::kPresent},
};

// What a type allows, and the words for it.
struct TypeRules {
  Type type;
  bool ordered;   // < <= > >=
  bool optional;  // : asks whether the field is set
  absl::string_view comparators;
  absl::string_view values;
};

constexpr absl::string_view kEqualities = "=, !=";
constexpr absl::string_view kOrders = "=, !=, <, <=, >, >=";
constexpr absl::string_view kState = "CREATING, ACTIVE, PAUSED, STOPPED or DELETED";
constexpr absl::string_view kTaskStatus = "RUNNING, COMPLETED, FAILED or CANCELLED";
constexpr absl::string_view kCategory = "USER_FIXABLE, ADMIN_REQUIRED or TEMPORARY";
constexpr absl::string_view kSeverity = "BLOCKING, WARNING or INFO";
constexpr absl::string_view kTime = "a time like \"2026-01-31T00:00:00Z\"";

constexpr TypeRules kTypeRules[] = {
    {Type::kText,         false, false, kEqualities,              "a text"},
    {Type::kInteger,      true,  false, kOrders,                  "a whole number"},
    {Type::kBool,         false, false, kEqualities,              "true or false"},
    {Type::kState,        false, false, kEqualities,              kState},
    {Type::kTaskStatus,   false, false, kEqualities,              kTaskStatus},
    {Type::kCategory,     false, false, kEqualities,              kCategory},
    {Type::kSeverity,     false, false, kEqualities,              kSeverity},
    {Type::kTime,         true,  false, kOrders,                  kTime},
    {Type::kOptionalTime, true,  true,  "=, !=, <, <=, >, >=, :", kTime},
    {Type::kTextMap,      false, true,  "=, !=, :",               "a text"},
    {Type::kIntegerMap,   true,  true,  "=, !=, <, <=, >, >=, :", "a whole number"},
    {Type::kJsonMap,      true,  true,  "=, !=, <, <=, >, >=, :", "a text, a number, true or false"},
};
// clang-format on

constexpr bool RulesAreInOrder() {
  for (std::size_t i = 0; i < std::size(kTypeRules); ++i) {
    if (static_cast<std::size_t>(kTypeRules[i].type) != i) return false;
  }
  return std::size(kTypeRules) == static_cast<std::size_t>(Type::kJsonMap) + 1;
}
static_assert(RulesAreInOrder(), "kTypeRules is looked up by its index");

const TypeRules& RulesOf(Type type) { return kTypeRules[static_cast<std::size_t>(type)]; }

using Fields = absl::Span<const Field>;

// By FilterResource.
constexpr Fields kFields[] = {kSessionFields, kTaskFields, kErrorFields};
static_assert(std::size(kFields) == static_cast<std::size_t>(FilterResource::kErrors) + 1);

const Field* FindField(Fields fields, absl::string_view name) {
  const auto found = std::find_if(fields.begin(), fields.end(),
                                  [&](const Field& field) { return field.name == name; });
  return found == fields.end() ? nullptr : &*found;
}

// For types that are enums; null for others.
const google::protobuf::EnumDescriptor* EnumOf(Type type) {
  switch (type) {
    case Type::kState:
      return v1::Session::State_descriptor();
    case Type::kTaskStatus:
      return v1::SessionTask::Status_descriptor();
    case Type::kCategory:
      return v1::SessionError::Category_descriptor();
    case Type::kSeverity:
      return v1::SessionError::Severity_descriptor();
    default:
      return nullptr;
  }
}

bool IsMap(Type type) { return type >= Type::kTextMap; }

std::string FieldList(Fields fields) {
  return absl::StrJoin(fields, ", ", [](std::string* out, const Field& field) {
    absl::StrAppend(out, field.name, IsMap(field.type) ? ".KEY" : "");
  });
}

// ---- Text

// For use in error messages.
std::string Shown(absl::string_view text) { return absl::StrCat("`", Readable(text, 40), "`"); }

bool IsKeyword(absl::string_view word) { return word == "AND" || word == "OR" || word == "NOT"; }
bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

// Characters that word processors, web pages and other keyboards write instead of a quote.
constexpr absl::string_view kQuoteLookalikes[] = {"‘",  "’",  "‚",  "‛",  "“", "”", "„",  "‟",
                                                  "′",  "″",  "«",  "»",  "‹", "›", "「", "」",
                                                  "『", "』", "＂", "＇", "´", "`"};

// The lookalike that `text` begins, or ends, with; empty if none.
absl::string_view LeadingLookalike(absl::string_view text) {
  for (const absl::string_view quote : kQuoteLookalikes) {
    if (absl::StartsWith(text, quote)) return quote;
  }
  return "";
}
absl::string_view TrailingLookalike(absl::string_view text) {
  for (const absl::string_view quote : kQuoteLookalikes) {
    if (absl::EndsWith(text, quote)) return quote;
  }
  return "";
}

// Characters that look like a space, or like nothing: spaces of other widths, zero width, direction
// marks, and the byte order mark.
bool IsUnseen(absl::string_view character) {
  constexpr absl::string_view kOthers[] = {"\u00a0", "\u00ad", "\u061c", "\u202f",
                                           "\u205f", "\u3000", "\ufeff"};
  if (std::find(std::begin(kOthers), std::end(kOthers), character) != std::end(kOthers))
    return true;
  // U+2000 to U+200F, U+2028 to U+202E, and U+2060 to U+206F.
  if (character.size() != 3 || character[0] != '\xE2') return false;
  const unsigned last = static_cast<unsigned char>(character[2]);
  return (character[1] == '\x80' && (last <= 0x8F || (last >= 0xA8 && last <= 0xAE))) ||
         (character[1] == '\x81' && last >= 0xA0 && last <= 0xAF);
}

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }

// Whether `text` has the shape: each `0` is a digit, every other character is itself.
bool HasShape(absl::string_view text, absl::string_view shape) {
  return text.size() == shape.size() &&
         std::equal(text.begin(), text.end(), shape.begin(),
                    [](char c, char s) { return s == '0' ? IsDigit(c) : c == s; });
}

std::size_t CountDigits(absl::string_view text) {
  return std::find_if_not(text.begin(), text.end(), IsDigit) - text.begin();
}

// RFC 3339, strictly: absl accepts more (no zone, infinite-future, blanks around).
std::optional<absl::Time> ParseTimestamp(absl::string_view text) {
  constexpr absl::string_view kDateTime = "0000-00-00T00:00:00";
  if (!HasShape(text.substr(0, kDateTime.size()), kDateTime)) return std::nullopt;
  absl::string_view rest = text.substr(kDateTime.size());
  if (!rest.empty() && rest[0] == '.') {
    const std::size_t digits = CountDigits(rest.substr(1));
    if (digits < 1 || digits > 9) return std::nullopt;
    rest.remove_prefix(1 + digits);
  }
  if (rest != "Z" && !HasShape(rest, "+00:00") && !HasShape(rest, "-00:00")) return std::nullopt;
  absl::Time time;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, nullptr)) return std::nullopt;
  // 0001-01-01 and the end of 9999, google.protobuf.Timestamp's range.
  static constexpr int64_t kSecondsMin = -62135596800, kSecondsMax = 253402300799;
  const int64_t seconds = absl::ToUnixSeconds(time);
  if (seconds < kSecondsMin || seconds > kSecondsMax) return std::nullopt;
  return absl::FromUnixMicros(absl::ToUnixMicros(time));
}

// A number as in JSON: no inf, no nan, no hexadecimal.
std::optional<double> ParseNumber(absl::string_view text) {
  absl::string_view rest = text;
  const auto take_digits = [&rest] {
    const std::size_t digits = CountDigits(rest);
    rest.remove_prefix(digits);
    return digits > 0;
  };
  if (!rest.empty() && rest[0] == '-') rest.remove_prefix(1);
  if (!take_digits()) return std::nullopt;
  if (!rest.empty() && rest[0] == '.') {
    rest.remove_prefix(1);
    if (!take_digits()) return std::nullopt;
  }
  if (!rest.empty() && (rest[0] == 'e' || rest[0] == 'E')) {
    rest.remove_prefix(1);
    if (!rest.empty() && (rest[0] == '-' || rest[0] == '+')) rest.remove_prefix(1);
    if (!take_digits()) return std::nullopt;
  }
  double number = 0;
  if (!rest.empty() || !absl::SimpleAtod(text, &number) || !std::isfinite(number))
    return std::nullopt;
  return number;
}

std::optional<bool> ParseBool(absl::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return std::nullopt;
}

// ---- The parser

// Recursive descent. Each method parses what it is named after from the front of the remaining
// text; false means that error_ is set and parsing has ended.
class Parser {
 public:
  Parser(absl::string_view text, Fields fields) : text_(text), fields_(fields) {}

  absl::StatusOr<Filter> Parse() {
    Filter filter;
    if (!CheckCharacters() || !WholeFilter(&filter)) return error_;
    return filter;
  }

 private:
  struct Literal {
    std::string text;
    bool quoted = false;
    std::size_t position = 0;
  };

  bool CheckCharacters();
  bool WholeFilter(Filter* filter);
  bool Expression(int depth, Filter* node);
  bool Factor(int depth, Filter* node);
  bool Term(int depth, Filter* node);
  bool ParseRestriction(Filter* node);
  bool Member(const Field** field, Restriction* restriction);
  bool MapKey(const Field& field, Restriction* restriction);
  bool ParseComparator(const Field& field, Restriction* restriction);
  bool Presence(const Field& field, Restriction* restriction);
  bool ParseLiteral(absl::string_view expected, Literal* literal);
  bool Quoted(std::string* text);
  bool CheckBare(absl::string_view text);
  bool Value(const Field& field, const Literal& literal, FilterValue* value);

  bool AtEnd() const { return position_ == text_.size(); }
  char Peek() const { return AtEnd() ? '\0' : text_[position_]; }
  void SkipSpace() {
    while (!AtEnd() && IsSpace(Peek())) ++position_;
  }
  // The characters from here up to a space or one of `stops`.
  absl::string_view Run(absl::string_view stops) const {
    std::size_t end = position_;
    while (end < text_.size() && !IsSpace(text_[end]) && !absl::StrContains(stops, text_[end]))
      ++end;
    return text_.substr(position_, end - position_);
  }
  absl::string_view Word() const { return Run("()=!<>:.,\"'"); }
  bool TakeKeyword(absl::string_view keyword) {
    if (Word() != keyword) return false;
    position_ += keyword.size();
    return true;
  }
  // What is at this position, for error messages.
  std::string Found() const {
    if (AtEnd()) return "the end";
    const absl::string_view word = Run("()=!<>:,\"'");
    return Shown(word.empty() ? text_.substr(position_, 1) : word);
  }

  bool Fail(std::size_t position, absl::string_view what) {
    error_ =
        Refusal(v1::INVALID_FILTER,
                absl::StrCat("The filter cannot be understood at position ", position, ": ", what))
            .With("position", absl::StrCat(position));
    return false;
  }
  bool FailExpected(absl::string_view expected) {
    return Fail(position_, absl::StrCat("expected ", expected, ", found ", Found()));
  }

  const absl::string_view text_;
  const Fields fields_;
  std::size_t position_ = 0;
  int restrictions_ = 0;
  absl::Status error_;
};

bool Parser::CheckCharacters() {
  if (text_.size() > kFilterBytesMax) {
    return Fail(kFilterBytesMax, absl::StrCat("it is ", text_.size(), " bytes long, and may be ",
                                              kFilterBytesMax, "; split the query"));
  }
  for (std::size_t i = 0; i < text_.size();) {
    const auto [character, bytes] = FirstCharacter(text_.substr(i));
    if (bytes == 0) return Fail(i, "it is not UTF-8");
    if (IsControl(character) && !IsSpace(text_[i]))
      return Fail(i, "control characters are not allowed");
    i += bytes;
  }
  return true;
}

bool Parser::WholeFilter(Filter* filter) {
  SkipSpace();
  if (AtEnd()) return true;
  if (!Expression(0, filter)) return false;
  return AtEnd() || FailExpected("AND, OR or the end");
}

// Replaces a node with one child by the child: `a`, not AND(a).
void Unwrap(Filter* node) {
  if (node->children.size() == 1) *node = Filter(std::move(node->children.front()));
}

bool Parser::Expression(int depth, Filter* node) {
  node->kind = Filter::Kind::kAnd;
  do {
    if (!Factor(depth, &node->children.emplace_back())) return false;
    SkipSpace();
  } while (TakeKeyword("AND") || (!AtEnd() && Peek() != ')'));
  Unwrap(node);
  return true;
}

bool Parser::Factor(int depth, Filter* node) {
  node->kind = Filter::Kind::kOr;
  do {
    if (!Term(depth, &node->children.emplace_back())) return false;
    SkipSpace();
  } while (TakeKeyword("OR"));
  Unwrap(node);
  return true;
}

bool Parser::Term(int depth, Filter* node) {
  SkipSpace();
  const bool minus = Peek() == '-';
  if (minus) ++position_;
  if (minus || TakeKeyword("NOT")) {
    node->kind = Filter::Kind::kNot;
    node = &node->children.emplace_back();
    SkipSpace();
  }
  if (Peek() != '(') return ParseRestriction(node);
  if (depth == kFilterDepthMax) {
    return Fail(position_, absl::StrCat("parentheses may be ", kFilterDepthMax, " deep"));
  }
  ++position_;
  if (!Expression(depth + 1, node)) return false;
  if (Peek() != ')') return FailExpected("AND, OR or `)`");
  ++position_;
  return true;
}

bool Parser::ParseRestriction(Filter* node) {
  node->kind = Filter::Kind::kRestriction;
  Restriction& restriction = node->restriction;
  if (++restrictions_ > kFilterRestrictionsMax) {
    return Fail(position_, absl::StrCat("there may be ", kFilterRestrictionsMax,
                                        " comparisons in a filter; split the query"));
  }
  const Field* field = nullptr;
  if (!Member(&field, &restriction)) return false;
  const std::size_t end_of_member = position_;
  if (!ParseComparator(*field, &restriction)) return false;
  if (restriction.comparator == Comparator::kPresent) return Presence(*field, &restriction);
  if (IsMap(field->type) && restriction.key.empty()) {
    return Fail(end_of_member,
                absl::StrCat("`", field->name, "` needs a key, as in `", field->name, ".KEY = …`"));
  }
  Literal literal;
  return ParseLiteral(RulesOf(field->type).values, &literal) &&
         Value(*field, literal, &restriction.value);
}

bool Parser::Member(const Field** field, Restriction* restriction) {
  const absl::string_view name = Word();
  if (!CheckBare(name)) return false;
  if (name.empty() || IsKeyword(name)) return FailExpected("a field's name");
  *field = FindField(fields_, name);
  if (*field == nullptr) {
    const std::string upper = absl::AsciiStrToUpper(name);
    if (IsKeyword(upper))
      return Fail(position_, absl::StrCat("write ", upper, " for ", Shown(name)));
    return Fail(position_,
                absl::StrCat(Shown(name), " is not a field; the fields are ", FieldList(fields_)));
  }
  position_ += name.size();
  restriction->field = (*field)->field;
  if (Peek() != '.') return true;
  if (!IsMap((*field)->type))
    return Fail(position_, absl::StrCat("`", name, "` has no fields of its own"));
  ++position_;
  return MapKey(**field, restriction);
}

bool Parser::MapKey(const Field& field, Restriction* restriction) {
  const std::size_t position = position_;
  if (Peek() == '"' || Peek() == '\'') {
    if (!Quoted(&restriction->key)) return false;
  } else {
    restriction->key = std::string(Run("()=!<>:,\"'"));
    if (!CheckBare(restriction->key)) return false;
    position_ += restriction->key.size();
  }
  if (!restriction->key.empty()) return true;
  return Fail(position, absl::StrCat("expected a key of `", field.name, "`, found ",
                                     position_ == position ? Found() : "an empty text"));
}

bool Parser::ParseComparator(const Field& field, Restriction* restriction) {
  SkipSpace();
  const TypeRules& rules = RulesOf(field.type);
  for (const auto& [text, comparator] : kOperators) {
    if (!absl::StartsWith(text_.substr(position_), text)) continue;
    const bool equality = comparator == Comparator::kEqual || comparator == Comparator::kNotEqual;
    const bool allowed =
        equality || (comparator == Comparator::kPresent ? rules.optional : rules.ordered);
    if (!allowed) {
      return Fail(position_, absl::StrCat("`", field.name, "` cannot be compared by ", text,
                                          "; it takes ", rules.comparators));
    }
    restriction->comparator = comparator;
    position_ += text.size();
    return true;
  }
  return FailExpected(
      absl::StrCat("a comparator (", rules.comparators, ") after `", field.name, "`"));
}

// labels:team · labels.team:* · complete_time:* · and labels.team:a, which in AIP-160 means
// labels.team = a.
bool Parser::Presence(const Field& field, Restriction* restriction) {
  const bool wants_key = IsMap(field.type) && restriction->key.empty();
  Literal literal;
  if (!ParseLiteral(wants_key ? absl::StrCat("a key of `", field.name, "`") : "`*`", &literal))
    return false;
  const bool star = literal.text == "*" && !literal.quoted;
  if (wants_key) {
    if (star || literal.text.empty()) {
      return Fail(literal.position, absl::StrCat("expected a key of `", field.name, "`, found ",
                                                 Shown(literal.text)));
    }
    restriction->key = literal.text;
    return true;
  }
  if (star) return true;
  restriction->comparator = Comparator::kEqual;
  return Value(field, literal, &restriction->value);
}

bool Parser::ParseLiteral(absl::string_view expected, Literal* literal) {
  SkipSpace();
  literal->position = position_;
  literal->quoted = Peek() == '"' || Peek() == '\'';
  if (literal->quoted) return Quoted(&literal->text);
  literal->text = std::string(Run("()=!<>,\"'"));
  if (literal->text.empty() || IsKeyword(literal->text)) return FailExpected(expected);
  if (!CheckBare(literal->text)) return false;
  position_ += literal->text.size();
  return true;
}

// A text without quotes, from here on, must be what it looks like. Otherwise it would match
// nothing, and nobody could see why.
bool Parser::CheckBare(absl::string_view text) {
  const absl::string_view leading = LeadingLookalike(text), trailing = TrailingLookalike(text);
  if (const absl::string_view quote = leading.empty() ? trailing : leading; !quote.empty()) {
    const std::size_t at = leading.empty() ? text.size() - trailing.size() : 0;
    return Fail(position_ + at, absl::StrCat(quote, " does not quote; write \" before and after"));
  }
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t length = FirstCharacter(text.substr(i)).bytes;
    if (const absl::string_view character = text.substr(i, length); IsUnseen(character)) {
      return Fail(position_ + i,
                  absl::StrCat("there is a character that cannot be told from a space, or from "
                               "nothing, ",
                               absl::CHexEscape(character),
                               "; take it out, or write \" before and after what it belongs to"));
    }
    i += length;
  }
  return true;
}

bool Parser::Quoted(std::string* text) {
  const std::size_t begin = position_;
  const char quote = text_[position_++];
  for (; !AtEnd(); ++position_) {
    const char c = Peek();
    if (absl::ascii_iscntrl(c))
      return Fail(position_, "control characters are not allowed within quotes");
    if (c == quote) {
      ++position_;
      return true;
    }
    if (c == '\\') {
      ++position_;
      if (Peek() != '\\' && Peek() != '"' && Peek() != '\'') {
        return Fail(position_ - 1, "a backslash stands only before a quote or another backslash");
      }
    }
    text->push_back(Peek());
  }
  const absl::string_view opened = text_.substr(begin, 1);
  for (const absl::string_view other : kQuoteLookalikes) {
    if (!absl::StrContains(text_.substr(begin), other)) continue;
    return Fail(begin, absl::StrCat("the quote ", opened, " is never closed; ", other,
                                    " does not, write ", opened));
  }
  return Fail(begin, absl::StrCat("the quote ", opened, " is never closed"));
}

std::optional<FilterValue> ContextValue(absl::string_view text, bool quoted) {
  if (quoted) return std::string(text);
  if (const auto truth = ParseBool(text)) return *truth;
  if (const auto number = ParseNumber(text)) return *number;
  return std::string(text);
}

// Any value of the enum but zero, which means unset.
std::optional<FilterValue> EnumValue(const google::protobuf::EnumDescriptor& type,
                                     absl::string_view text) {
  const auto* value = type.FindValueByName(std::string(text));
  if (value == nullptr || value->number() == 0) return std::nullopt;
  return int64_t{value->number()};
}

std::optional<FilterValue> TypedValue(Type type, absl::string_view text, bool quoted) {
  int64_t integer = 0;
  switch (type) {
    case Type::kText:
    case Type::kTextMap:
      return std::string(text);
    case Type::kJsonMap:
      return ContextValue(text, quoted);
    case Type::kBool:
      return ParseBool(text);
    case Type::kTime:
    case Type::kOptionalTime:
      return ParseTimestamp(text);
    case Type::kInteger:
    case Type::kIntegerMap:
      if (absl::SimpleAtoi(text, &integer)) return integer;
      return std::nullopt;
    case Type::kState:
    case Type::kTaskStatus:
    case Type::kCategory:
    case Type::kSeverity:
      return EnumValue(*EnumOf(type), text);
  }
  return std::nullopt;
}

bool Parser::Value(const Field& field, const Literal& literal, FilterValue* value) {
  auto typed = TypedValue(field.type, literal.text, literal.quoted);
  if (!typed.has_value()) {
    return Fail(literal.position,
                absl::StrCat("`", field.name, "` is compared with ", RulesOf(field.type).values,
                             ", not with ", Shown(literal.text)));
  }
  *value = *std::move(typed);
  return true;
}

struct OrderWords {
  // The index of the name; nothing for an empty text.
  std::optional<std::size_t> name;
  bool descending = false;
};

// A name, optionally followed by a direction.
absl::StatusOr<OrderWords> ParseOrderWords(absl::string_view text,
                                           absl::Span<const absl::string_view> names) {
  const auto refuse = [text](absl::string_view word, absl::string_view what) -> absl::Status {
    const std::size_t position = word.data() - text.data();
    return Refusal(v1::INVALID_FILTER, absl::StrCat("order_by cannot be understood at position ",
                                                    position, ": ", Shown(word), " ", what))
        .With("position", absl::StrCat(position));
  };
  const std::vector<absl::string_view> words = absl::StrSplit(text, ' ', absl::SkipEmpty());
  if (words.empty()) return OrderWords();
  const auto name = std::find(names.begin(), names.end(), words[0]);
  if (name == names.end()) {
    return refuse(words[0], absl::StrCat(names.size() == 1 ? "is not " : "is not one of ",
                                         absl::StrJoin(names, ", ")));
  }
  if (words.size() > 1 && words[1] != "asc" && words[1] != "desc")
    return refuse(words[1], "is not asc or desc");
  if (words.size() > 2) return refuse(words[2], "is too much: one field is all");
  return OrderWords{.name = name - names.begin(),
                    .descending = words.size() > 1 && words[1] == "desc"};
}

}  // namespace

absl::StatusOr<Filter> ParseFilter(absl::string_view text, FilterResource resource) {
  return Parser(text, kFields[static_cast<std::size_t>(resource)]).Parse();
}

absl::StatusOr<Order> ParseOrder(absl::string_view text) {
  // In the order of OrderField.
  static constexpr absl::string_view kNames[] = {"create_time", "owner_id", "status", "state"};
  const auto words = ParseOrderWords(text, kNames);
  if (!words.ok()) return words.status();
  if (!words->name.has_value()) return Order();
  return Order{.field = static_cast<OrderField>(*words->name), .descending = words->descending};
}

absl::StatusOr<bool> ParseMessageOrder(absl::string_view text) {
  static constexpr absl::string_view kNames[] = {"sequence"};
  const auto words = ParseOrderWords(text, kNames);
  if (!words.ok()) return words.status();
  return words->descending;
}

}  // namespace sessiond
