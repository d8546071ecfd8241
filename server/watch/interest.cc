#include "server/watch/interest.h"

#include <algorithm>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "state_machine/refusal.h"
#include "state_machine/session_id.h"
#include "state_machine/timestamps.h"

namespace sessiond::watch {
namespace {

using v1::Session;

// Restrictions that hold for all matching sessions: the filter itself, or the parts of an AND.
void ForEachRequired(const Filter& filter, absl::FunctionRef<void(const Restriction&)> visit) {
  if (filter.kind == Filter::Kind::kRestriction) visit(filter.restriction);
  if (filter.kind != Filter::Kind::kAnd) return;
  for (const Filter& child : filter.children) ForEachRequired(child, visit);
}

void ForEach(const Filter& filter, absl::FunctionRef<void(const Restriction&)> visit) {
  if (filter.kind == Filter::Kind::kRestriction) visit(filter.restriction);
  for (const Filter& child : filter.children) ForEach(child, visit);
}

bool InTombstone(FilterField field) {
  switch (field) {
    case FilterField::kSessionId:
    case FilterField::kWorkflow:
    case FilterField::kOwnerId:
    case FilterField::kState:
    case FilterField::kStage:
    case FilterField::kStatus:
    case FilterField::kCreateTime:
      return true;
    default:
      return false;
  }
}

std::string Key(KeyKind kind, absl::string_view value, absl::string_view name = "") {
  return absl::StrCat(static_cast<int>(kind), "\n", name, "\n", value);
}

std::optional<KeyKind> KindOf(FilterField field) {
  switch (field) {
    case FilterField::kSessionId:
      return KeyKind::kSessionId;
    case FilterField::kReferences:
      return KeyKind::kReference;
    case FilterField::kOwnerId:
      return KeyKind::kOwner;
    case FilterField::kLabels:
      return KeyKind::kLabel;
    case FilterField::kStage:
      return KeyKind::kStage;
    case FilterField::kStatus:
      return KeyKind::kStatus;
    case FilterField::kState:
      return KeyKind::kState;
    case FilterField::kWorkflow:
      return KeyKind::kWorkflow;
    default:
      return std::nullopt;
  }
}

// The position in a valid filter at which it asks for `recoverable`: the word comes before a
// comparator, and not after a dot, in quotes, or as a value.
std::size_t PositionOfRecoverable(absl::string_view filter) {
  constexpr absl::string_view kWord = "recoverable";
  char quote = 0;
  for (std::size_t i = 0; i < filter.size(); ++i) {
    const char c = filter[i];
    if (quote != 0) {
      if (c == '\\') ++i;
      if (c == quote) quote = 0;
      continue;
    }
    if (c == '"' || c == '\'') quote = c;
    const bool begins_word =
        i == 0 || (!absl::ascii_isalnum(static_cast<unsigned char>(filter[i - 1])) &&
                   filter[i - 1] != '_' && filter[i - 1] != '.' && filter[i - 1] != '-');
    if (!begins_word || filter.substr(i, kWord.size()) != kWord) continue;
    const std::size_t behind = filter.find_first_not_of(" \t\r\n", i + kWord.size());
    if (behind != absl::string_view::npos && absl::StrContains("=!<>:", filter[behind])) return i;
  }
  return 0;
}

absl::Status NoRecoverable(absl::string_view filter) {
  const std::size_t position = PositionOfRecoverable(filter);
  return Refusal(v1::INVALID_FILTER,
                 absl::StrCat("At byte ", position,
                              ": recoverable changes by itself, when its time is over, and cannot "
                              "be watched; ask for state, completed and create_time instead."))
      .With("position", absl::StrCat(position))
      .Violation("filter", "asks for recoverable");
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Interest>> Interest::Of(
    const v1::WatchSessionsRequest& request, Scope scope, int partition_count) {
  auto interest = std::shared_ptr<Interest>(new Interest());
  interest->scope_ = std::move(scope);
  if (auto taken = interest->Take(request); !taken.ok()) return taken;
  interest->Place(partition_count);
  interest->FindKeys();
  return interest;
}

absl::Status Interest::Take(const v1::WatchSessionsRequest& request) {
  for (int i = 0; i < request.session_ids_size(); ++i) {
    const auto format =
        CheckSessionId(request.session_ids(i), absl::StrCat("session_ids[", i, "]"));
    if (!format.ok()) return format;
  }
  session_ids_.assign(request.session_ids().begin(), request.session_ids().end());
  std::sort(session_ids_.begin(), session_ids_.end());
  session_ids_.erase(std::unique(session_ids_.begin(), session_ids_.end()), session_ids_.end());
  if (request.session_ids_size() > kWatchedIdsMax) {
    return InvalidField("session_ids", absl::StrCat("has ", request.session_ids_size(),
                                                    " entries, and may have ", kWatchedIdsMax));
  }
  for (int i = 0; i < request.event_types_size(); ++i) {
    if (request.event_types(i) == v1::SessionEvent::TYPE_UNSPECIFIED)
      return InvalidField(absl::StrCat("event_types[", i, "]"), "must be a type of event");
    event_types_.push_back(request.event_types(i));
  }
  std::sort(event_types_.begin(), event_types_.end());
  event_types_.erase(std::unique(event_types_.begin(), event_types_.end()), event_types_.end());
  if (session_ids_.empty())
    namespace_ = request.namespace_().empty() ? "default" : request.namespace_();

  filter_text_ = request.filter();
  absl::StatusOr<Filter> filter = ParseFilter(filter_text_);
  if (!filter.ok()) return filter.status();
  filter_ = *std::move(filter);
  shows_deleted_ = !session_ids_.empty();
  bool recoverable = false;
  ForEach(filter_, [&](const Restriction& restriction) {
    const FilterField field = restriction.field;
    recoverable |= field == FilterField::kRecoverable;
    shows_deleted_ |= field == FilterField::kState || field == FilterField::kDeleteTime;
    asks_for_payload_ |= !InTombstone(field);
    asks_for_owner_ |= field == FilterField::kOwnerId;
  });
  return recoverable ? NoRecoverable(filter_text_) : absl::OkStatus();
}

void Interest::Place(int partition_count) {
  if (session_ids_.empty()) {
    for (int partition = 0; partition < partition_count; ++partition)
      partitions_.push_back(static_cast<int16_t>(partition));
    return;
  }
  for (const std::string& id : session_ids_)
    partitions_.push_back(PartitionOf(id, partition_count));
  std::sort(partitions_.begin(), partitions_.end());
  partitions_.erase(std::unique(partitions_.begin(), partitions_.end()), partitions_.end());
}

// The most selective key that all matching sessions share.
void Interest::FindKeys() {
  if (!session_ids_.empty()) {
    key_kind_ = KeyKind::kSessionId;
    for (const std::string& id : session_ids_) keys_.push_back(Key(key_kind_, id));
    return;
  }
  keys_ = {Key(KeyKind::kAll, "")};
  if (const auto owner = scope_.owner_id(); owner.has_value()) {
    key_kind_ = KeyKind::kOwner;
    keys_ = {Key(key_kind_, *owner)};
    return;
  }
  if (namespace_ != "-") {
    key_kind_ = KeyKind::kNamespace;
    keys_ = {Key(key_kind_, namespace_)};
  }
  ForEachRequired(filter_, [this](const Restriction& restriction) {
    const std::optional<KeyKind> kind = KindOf(restriction.field);
    if (restriction.comparator != Comparator::kEqual || !kind.has_value() || *kind >= key_kind_)
      return;
    key_kind_ = *kind;
    const auto* number = std::get_if<int64_t>(&restriction.value);
    const auto* text = std::get_if<std::string>(&restriction.value);
    keys_ = {Key(*kind, number != nullptr ? absl::StrCat(*number) : *text, restriction.key)};
  });
}

std::optional<bool> Interest::Judge(const Change& change) const {
  if (!event_types_.empty() &&
      !std::binary_search(event_types_.begin(), event_types_.end(), change.event.type())) {
    return std::nullopt;
  }
  if (!session_ids_.empty() &&
      !std::binary_search(session_ids_.begin(), session_ids_.end(), change.event.session_id())) {
    return std::nullopt;
  }
  const Session* known = change.after != nullptr ? change.after.get() : change.before.get();
  if (known == nullptr || !scope_.Has(*known)) return std::nullopt;
  if (!namespace_.empty() && namespace_ != "-" && known->namespace_() != namespace_)
    return std::nullopt;
  // Filters whose result changes with time alone were refused before.
  constexpr absl::Time kNever = absl::InfinitePast();
  const bool after = change.after != nullptr && Matches(filter_, *change.after, kNever);
  if (after) return shows_deleted_ || change.after->state() != Session::DELETED;
  const bool unknown =
      change.before_is_partial &&
      (asks_for_payload_ || (asks_for_owner_ && change.before->owner_id().empty()));
  const bool before =
      change.before != nullptr && (unknown || Matches(filter_, *change.before, kNever));
  return before ? std::optional<bool>(false) : std::nullopt;
}

bool Interest::Shows(const Session& session) const {
  return scope_.Has(session) && (shows_deleted_ || session.state() != Session::DELETED) &&
         Matches(filter_, session, absl::InfinitePast());
}

std::string Interest::Canonical() const {
  std::string text;
  const auto add = [&](absl::string_view part) { absl::StrAppend(&text, part.size(), ":", part); };
  add(namespace_);
  add(filter_text_);
  add(absl::StrCat(session_ids_.size()));
  for (const std::string& id : session_ids_) add(id);
  for (const int type : event_types_) add(absl::StrCat(type));
  if (!scope_.everything()) add(scope_.Canonical());
  return text;
}

std::vector<std::string> KeysOf(const Change& change, const KeyKinds& kinds) {
  std::vector<std::string> keys;
  const auto add = [&](KeyKind kind, absl::string_view value, absl::string_view name = "") {
    if (kinds[static_cast<int>(kind)]) keys.push_back(Key(kind, value, name));
  };
  const auto add_all = [&](KeyKind kind, const auto& map) {
    if (!kinds[static_cast<int>(kind)]) return;
    for (const auto& [name, value] : map) add(kind, value, name);
  };
  add(KeyKind::kAll, "");
  add(KeyKind::kSessionId, change.event.session_id());
  for (const Session* session : {change.before.get(), change.after.get()}) {
    if (session == nullptr) continue;
    add_all(KeyKind::kReference, session->references());
    add(KeyKind::kOwner, session->owner_id());
    add_all(KeyKind::kLabel, session->labels());
    add(KeyKind::kStage, session->stage());
    add(KeyKind::kStatus, session->status());
    add(KeyKind::kState, absl::StrCat(static_cast<int>(session->state())));
    add(KeyKind::kWorkflow, session->workflow());
    add(KeyKind::kNamespace, session->namespace_());
  }
  std::sort(keys.begin(), keys.end());
  keys.erase(std::unique(keys.begin(), keys.end()), keys.end());
  return keys;
}

}  // namespace sessiond::watch
