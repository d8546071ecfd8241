// Matches filters against sessions in memory.
#include <algorithm>
#include <optional>
#include <string>

#include "state_machine/filter.h"
#include "state_machine/timestamps.h"

namespace sessiond {
namespace {

template <class T>
bool Compare(const T& left, Comparator comparator, const T& right) {
  switch (comparator) {
    case Comparator::kEqual:
      return left == right;
    case Comparator::kNotEqual:
      return left != right;
    case Comparator::kLess:
      return left < right;
    case Comparator::kLessOrEqual:
      return left <= right;
    case Comparator::kGreater:
      return left > right;
    case Comparator::kGreaterOrEqual:
      return left >= right;
    case Comparator::kPresent:
      return true;
  }
  return false;
}

FilterValue LiteralOf(const google::protobuf::Value& value) {
  FilterValue literal;
  if (value.has_bool_value()) literal = value.bool_value();
  if (value.has_number_value()) literal = value.number_value();
  if (value.has_string_value()) literal = value.string_value();
  return literal;
}

// The session's value for the restriction's field and key: nullopt when there is none, monostate
// for what no literal can be: null, a list, an object.
std::optional<FilterValue> FoundValue(const Restriction& restriction, const v1::Session& session,
                                      absl::Time now) {
  using Found = std::optional<FilterValue>;
  const auto entry = [&](const auto& map, auto to_value) {
    const auto found = map.find(restriction.key);
    return found == map.end() ? std::nullopt : Found(to_value(found->second));
  };
  const auto text = [](const std::string& value) { return value; };
  const auto integer = [](int32_t value) { return int64_t{value}; };
  switch (restriction.field) {
    case FilterField::kSessionId:
      return session.session_id();
    case FilterField::kWorkflow:
      return session.workflow();
    case FilterField::kWorkflowRevision:
      return int64_t{session.workflow_revision()};
    case FilterField::kOwnerId:
      return session.owner_id();
    case FilterField::kOwnerDisplayName:
      return session.owner_display_name();
    case FilterField::kState:
      return int64_t{session.state()};
    case FilterField::kStage:
      return session.stage();
    case FilterField::kStatus:
      return session.status();
    case FilterField::kFailed:
      return session.has_fail_time();
    case FilterField::kCompleted:
      return session.has_complete_time();
    case FilterField::kRecoverable:
      return IsRecoverable(session, now);
    case FilterField::kHold:
      return session.hold();
    case FilterField::kHasBlockingErrors:
      return session.has_blocking_errors();
    case FilterField::kCreateTime:
      return FromProto(session.create_time());
    case FilterField::kUpdateTime:
      return FromProto(session.update_time());
    case FilterField::kCompleteTime:
      return When(session.has_complete_time(), session.complete_time());
    case FilterField::kDeleteTime:
      return When(session.has_delete_time(), session.delete_time());
    case FilterField::kFailTime:
      return When(session.has_fail_time(), session.fail_time());
    case FilterField::kCounters:
      return entry(session.counters(), integer);
    case FilterField::kReferences:
      return entry(session.references(), text);
    case FilterField::kLabels:
      return entry(session.labels(), text);
    case FilterField::kContext:
      return entry(session.context().fields(), LiteralOf);
    case FilterField::kTaskId:
    case FilterField::kTaskType:
    case FilterField::kTaskStatus:
    case FilterField::kRetryable:
    case FilterField::kRetryCount:
    case FilterField::kStartTime:
    case FilterField::kErrorId:
    case FilterField::kCategory:
    case FilterField::kSeverity:
    case FilterField::kOperationStage:
    case FilterField::kRelatedFileId:
    case FilterField::kRelatedTicketId:
    case FilterField::kErrorCode:
    case FilterField::kResolved:
    case FilterField::kResolveTime:
      break;  // These are not fields of a session.
  }
  return std::nullopt;
}

bool MatchesRestriction(const Restriction& restriction, const v1::Session& session,
                        absl::Time now) {
  const std::optional<FilterValue> found = FoundValue(restriction, session, now);
  if (!found.has_value() || restriction.comparator == Comparator::kPresent) {
    return found.has_value();
  }
  // Values of different types differ, and have no order.
  if (found->index() != restriction.value.index()) {
    return restriction.comparator == Comparator::kNotEqual;
  }
  return Compare(*found, restriction.comparator, restriction.value);
}

}  // namespace

bool Matches(const Filter& filter, const v1::Session& session, absl::Time now) {
  const auto matches = [&](const Filter& child) { return Matches(child, session, now); };
  switch (filter.kind) {
    case Filter::Kind::kAnd:
      return std::all_of(filter.children.begin(), filter.children.end(), matches);
    case Filter::Kind::kOr:
      return std::any_of(filter.children.begin(), filter.children.end(), matches);
    case Filter::Kind::kNot:
      return !matches(filter.children.front());
    case Filter::Kind::kRestriction:
      return MatchesRestriction(filter.restriction, session, now);
  }
  return false;
}

bool IsRecoverable(const v1::Session& session, absl::Time now) {
  return (session.state() == v1::Session::ACTIVE || session.state() == v1::Session::PAUSED) &&
         !session.has_complete_time() && session.has_recover_before_time() &&
         FromProto(session.recover_before_time()) > now;
}

}  // namespace sessiond
