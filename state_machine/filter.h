// Filters and orders of lists: what callers write in `filter` and `order_by`, parsed into a tree.
// db/ compiles the tree to SQL; a filter of sessions can also be matched in memory. There is one
// language; the listed resource decides which fields it has.
//
// The language is AIP-160 (https://google.aip.dev/160):
//
//   expression  = factor { [ "AND" ] factor }            words side by side mean AND
//   factor      = term { "OR" term }                     OR binds tighter than AND
//   term        = [ "NOT" | "-" ] ( "(" expression ")" | restriction )
//   restriction = field comparator value
//   comparator  = "=" | "!=" | "<" | "<=" | ">" | ">=" | ":"
//
// - Values may be quoted, with " or '; inside, a backslash escapes a quote or a backslash.
//   Quotes matter only for context.KEY, where the value decides the type: context.n = 5 is a
//   number, context.n = "5" a string.
// - Characters that only look like a quote (“ ” ‘ ’ « ») are refused around a text, and invisible
//   ones (a no-break space, a byte order mark) in a text without quotes: both would match nothing.
// - The fields are listed in filter.cc. Keys of maps follow a dot: labels.team = "a", or quoted:
//   labels."a b" = "c".
// - `:` asks whether a field is set: labels:team, labels.team:*, complete_time:*.
// - A comparison with an unset field never matches, not even != (AIP-160). NOT labels.team = "a"
//   does match a session without the label; labels.team != "a" does not.
// - `*` in a value is an asterisk, never a wildcard: "a*" equals "a*" alone.
// - Texts compare byte for byte. Times are RFC 3339, and are cut to microseconds.
// - Space, tab and line breaks may separate words; other control characters, and any within
//   quotes, are refused.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "sessiond/v1/session.pb.h"
#include "state_machine/limits.h"

namespace sessiond {

inline constexpr std::size_t kFilterBytesMax = kLongStringBytesMax;
// For each restriction the database makes a comparison per row, on every one of the up to 1,000
// rows that a page is made from.
inline constexpr int kFilterRestrictionsMax = 64;
// The depth of nested parentheses; the parser and everything after it recurse this deep.
inline constexpr int kFilterDepthMax = 16;

// The resource that is filtered.
enum class FilterResource { kSessions, kTasks, kErrors };

enum class FilterField {
  // Of sessions; kSessionId also of tasks, kCreateTime also of errors.
  kSessionId,
  kWorkflow,
  kWorkflowRevision,
  kOwnerId,
  kOwnerDisplayName,
  kState,
  kStage,
  kStatus,
  kFailed,
  kCompleted,
  kRecoverable,
  kHold,
  kHasBlockingErrors,
  kCreateTime,
  kUpdateTime,
  kCompleteTime,
  kDeleteTime,
  kFailTime,
  kContext,
  kCounters,
  kReferences,
  kLabels,
  // Of tasks.
  kTaskId,
  kTaskType,
  kTaskStatus,
  kRetryable,
  kRetryCount,
  kStartTime,
  // Of errors.
  kErrorId,
  kCategory,
  kSeverity,
  kOperationStage,
  kRelatedFileId,
  kRelatedTicketId,
  kErrorCode,
  kResolved,
  kResolveTime,
};

enum class Comparator {
  kEqual,
  kNotEqual,
  kLess,
  kLessOrEqual,
  kGreater,
  kGreaterOrEqual,
  kPresent
};

// What a field is compared with: nothing (kPresent), a bool, a whole number (also an enum's), a
// number (only for context), a text, or a time.
using FilterValue = std::variant<std::monostate, bool, int64_t, double, std::string, absl::Time>;

struct Restriction {
  FilterField field = FilterField::kSessionId;
  // The key of a map: context, counters, references, labels. Empty for other fields.
  std::string key;
  Comparator comparator = Comparator::kEqual;
  // Always of the field's own type.
  FilterValue value;
};

// One node of the tree; the tree itself. An AND of nothing, the default, matches everything.
struct Filter {
  enum class Kind { kAnd, kOr, kNot, kRestriction };
  Kind kind = Kind::kAnd;
  // A NOT has exactly one.
  std::vector<Filter> children;
  // Only of a kRestriction.
  Restriction restriction;
};

// INVALID_FILTER, with the `position` in bytes from 0 and a sentence that says what was expected
// there.
absl::StatusOr<Filter> ParseFilter(absl::string_view text,
                                   FilterResource resource = FilterResource::kSessions);

// Whether `session` matches at `now`, which decides `recoverable`. The SQL made from the filter
// gives the same answer. REQUIRES: `filter` is of sessions.
bool Matches(const Filter& filter, const v1::Session& session, absl::Time now);

// The meaning of `recoverable`: ACTIVE or PAUSED, failed or not, not completed, and within the
// workflow's recovery window.
bool IsRecoverable(const v1::Session& session, absl::Time now);

enum class OrderField { kCreateTime, kOwnerId, kStatus, kState };

// Ties are ordered by create_time, then session_id, in the same direction.
struct Order {
  OrderField field = OrderField::kCreateTime;
  bool descending = true;
};

// `create_time`, `owner_id`, `status` or `state`, then ` asc` (the default) or ` desc`; empty:
// `create_time desc`. INVALID_FILTER, with the `position`, for anything else.
absl::StatusOr<Order> ParseOrder(absl::string_view text);

// Of messages: `sequence`, then ` asc` (the default) or ` desc`; empty: `sequence asc`. True:
// descending. INVALID_FILTER as above.
absl::StatusOr<bool> ParseMessageOrder(absl::string_view text);

}  // namespace sessiond
