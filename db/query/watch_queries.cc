#include "db/query/watch_queries.h"

#include <cassert>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "db/query/page_sql.h"
#include "db/query/text_params.h"
#include "db/rows/resource_rows.h"
#include "state_machine/session_id.h"
#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {
namespace {

// Numbers that occur in statements.
static_assert(v1::SessionEvent::UPDATED == 3 && v1::SessionEvent::COMPLETED == 5 &&
              v1::SessionEvent::FAILED == 9 && v1::SessionEvent::RECOVERED == 10 &&
              v1::SessionEvent::DELETED == 11 && v1::SessionEvent::UNDELETED == 12 &&
              v1::SessionEvent::MESSAGES_APPENDED == 21 &&
              v1::SessionEvent::REFERENCE_DETACHED == 24);

static_assert(v1::Session::CREATING == 1);
static_assert(kStoredEventsMax == 1000);  // find_stored_events.sql

std::string ArrayText(const std::vector<std::string>& elements) {
  return absl::StrCat("{", absl::StrJoin(elements, ","), "}");
}

std::vector<std::optional<std::string>> RangeParams(absl::Span<const PositionRange> ranges) {
  std::vector<std::string> partitions, after, upto;
  int64_t positions = 0;
  for (const PositionRange& range : ranges) {
    partitions.push_back(absl::StrCat(range.partition));
    after.push_back(absl::StrCat(range.after));
    upto.push_back(absl::StrCat(range.upto));
    positions += range.upto - range.after;
  }
  assert(positions <= kStoredEventsMax);
  static_cast<void>(positions);
  return {ArrayText(partitions), ArrayText(after), ArrayText(upto)};
}

// Arrays for the second round trip, one for each column.
class ArrayParams {
 public:
  explicit ArrayParams(std::size_t columns) : columns_(columns) {}

  template <class... Values>
  void Add(const Values&... values) {
    std::size_t column = 0;
    (columns_[column++].push_back(absl::StrCat(values)), ...);
  }
  bool empty() const { return columns_.front().empty(); }
  std::vector<std::optional<std::string>> Built() const {
    std::vector<std::optional<std::string>> params;
    for (const auto& column : columns_) params.push_back(ArrayText(column));
    return params;
  }

 private:
  std::vector<std::vector<std::string>> columns_;
};

StoredStep ReadStep(const Result& result, int row, int first_column) {
  StoredStep step;
  ReadEvent(result, row, first_column, &step.event);
  int column = first_column + kEventColumnCount;
  if (!result.IsNull(row, column)) step.before = StructFromJson(result.Jsonb(row, column));
  const auto time = [&] {
    ++column;
    return result.IsNull(row, column) ? std::nullopt : std::optional(result.Timestamp(row, column));
  };
  step.previous_time = time();
  step.marked_time = time();
  return step;
}

int64_t NumberOf(const v1::SessionEvent& event, const char* change) {
  const auto& changes = event.changes().fields();
  const auto found = changes.find(change);
  return found == changes.end() ? 0 : static_cast<int64_t>(found->second.number_value());
}

PartitionStates ReadStates(const Result& result, std::size_t partition_count) {
  PartitionStates states{.positions = std::vector<int64_t>(partition_count),
                         .purged = std::vector<int64_t>(partition_count)};
  for (int row = 0; row < result.rows(); ++row) {
    states.positions[result.Int2(row, 0)] = result.Int8(row, 1);
    states.purged[result.Int2(row, 0)] = result.Int8(row, 2);
  }
  return states;
}

// Both ascend by partition and position.
void ReadAppended(const Result& result, std::vector<StoredEvent>* events) {
  auto event = events->begin();
  for (int row = 0; row < result.rows(); ++row) {
    const std::pair<int16_t, int64_t> place(result.Int2(row, 0), result.Int8(row, 1));
    while (std::pair(event->partition, event->position) != place) ++event;
    ReadMessage(result, row, 2, &event->messages.emplace_back());
  }
}

// Of these ranges, those up to this event.
std::vector<PositionRange> UpTo(const StoredEvent& last, std::vector<PositionRange> ranges) {
  std::erase_if(ranges, [&](const PositionRange& range) {
    return std::pair(range.partition, range.after) >= std::pair(last.partition, last.position);
  });
  ranges.back().upto = last.position;
  return ranges;
}

// The results of FindStoredEvents.
StoredEvents ReadEvents(absl::Span<const Result> results, int partition_count,
                        std::vector<PositionRange> ranges) {
  constexpr int kFirstSessionColumn = 3 + kEventColumnCount + 3;
  StoredEvents stored;
  stored.partitions = ReadStates(results[0], partition_count);
  const Result& events = results[1];
  for (int row = 0; row < events.rows(); ++row) {
    stored.events.push_back({.partition = events.Int2(row, 1),
                             .position = events.Int8(row, 2),
                             .step = ReadStep(events, row, 3)});
    if (events.IsNull(row, kFirstSessionColumn)) continue;
    auto& session = stored.sessions[stored.events.back().step.event.session_id()];
    if (session != nullptr) continue;
    session = std::make_shared<v1::Session>();
    ReadSession(events, row, kFirstSessionColumn, session.get());
  }
  const bool has_next = events.rows() > 0 && events.Bool(events.rows() - 1, 0);
  stored.ranges = has_next ? UpTo(stored.events.back(), std::move(ranges)) : std::move(ranges);
  return stored;
}

// The results of FindRestOf.
bool ReadRest(absl::Span<const Result> results, StoredEvents* stored) {
  const std::vector<int64_t>& before = stored->partitions.purged;
  const std::vector<int64_t> purged = ReadStates(results[0], before.size()).purged;
  // Later changes of a session have later positions.
  for (const StoredEvent& event : stored->events) {
    const int16_t p = event.partition;
    if (purged[p] > before[p] && purged[p] > event.position) return false;
  }
  for (int row = 0; row < results[1].rows(); ++row) {
    StoredStep step = ReadStep(results[1], row, 0);
    stored->later[step.event.session_id()].push_back(std::move(step));
  }
  for (int row = 0; row < results[2].rows(); ++row) {
    v1::Session& tombstone = stored->tombstones[std::string(results[2].Text(row, 0))];
    tombstone.set_namespace_(std::string(results[2].Text(row, 1)));
    tombstone.set_workflow(std::string(results[2].Text(row, 2)));
    tombstone.set_owner_id(std::string(results[2].Text(row, 3)));
    *tombstone.mutable_create_time() = ToProto(results[2].Timestamp(row, 4));
  }
  ReadAppended(results[3], &stored->events);
  return true;
}

}  // namespace

Question<PartitionStates> ReadPartitionStates(int partition_count) {
  return {.statements = {{kReadPartitionStates.sql, {}}},
          .read = [partition_count](absl::Span<const Result> results) {
            return ReadStates(results.front(), partition_count);
          }};
}

Question<std::optional<absl::Time>> FindOldestResumable() {
  return {.statements = {{kFindOldestResumable.sql, {}}},
          .read = [](absl::Span<const Result> results) {
            const Result& result = results.front();
            return result.IsNull(0, 0) ? std::nullopt : std::optional(result.Timestamp(0, 0));
          }};
}

Question<StoredEvents> FindStoredEvents(std::vector<PositionRange> ranges, int partition_count,
                                        std::size_t bytes_max) {
  std::vector<std::optional<std::string>> params = RangeParams(ranges);
  params.push_back(absl::StrCat(bytes_max));
  return {
      .statements = {{kReadPartitionStates.sql, {}}, {kFindStoredEvents.sql, std::move(params)}},
      .read = [partition_count, ranges = std::move(ranges)](absl::Span<const Result> results) {
        return ReadEvents(results, partition_count, ranges);
      }};
}

Question<bool> FindRestOf(StoredEvents* stored, Rewinding rewinding,
                          std::size_t message_bytes_max) {
  ArrayParams moved(4), gone(2), appended(5);
  absl::flat_hash_set<absl::string_view> seen;
  // From the last event of each session on.
  for (auto each = stored->events.rbegin(); each != stored->events.rend(); ++each) {
    const v1::SessionEvent& event = each->step.event;
    const std::string& id = event.session_id();
    if (event.type() == v1::SessionEvent::MESSAGES_APPENDED) {
      appended.Add(each->partition, each->position, id, NumberOf(event, "first_sequence"),
                   NumberOf(event, "last_sequence"));
    }
    if (!seen.insert(id).second) continue;
    const auto session = stored->sessions.find(id);
    if (session == stored->sessions.end()) {
      gone.Add(each->partition, id);
    } else if (session->second->sequence() > event.sequence()) {
      moved.Add(each->partition, id, event.sequence(), session->second->sequence());
    }
  }
  Question<bool> question{
      .read = [stored](absl::Span<const Result> results) { return ReadRest(results, stored); }};
  if (moved.empty() && gone.empty() && appended.empty()) return question;
  std::vector<std::optional<std::string>> moved_params = moved.Built();
  moved_params.emplace_back(rewinding == Rewinding::kAll ? "true" : "false");
  std::vector<std::optional<std::string>> message_params = appended.Built();
  message_params.push_back(absl::StrCat(message_bytes_max));
  question.statements = {{kReadPartitionStates.sql, {}},
                         {kFindLaterEvents.sql, std::move(moved_params)},
                         {kFindEndedSessions.sql, gone.Built()},
                         {kFindAppendedMessages.sql, std::move(message_params)}};
  return question;
}

Question<std::vector<v1::Session>> FindNamedSessions(absl::Span<const std::string> session_ids,
                                                     const Scope& scope, int partition_count) {
  std::vector<std::string> partitions;
  for (const std::string& id : session_ids)
    partitions.push_back(absl::StrCat(PartitionOf(id, partition_count)));
  TextParams parameters;  // The statement's own come first.
  parameters.Add(ArrayText(partitions), "smallint[]");
  parameters.Add(ArrayText({session_ids.begin(), session_ids.end()}), "text[]");
  std::string text =
      absl::StrCat(kFindNamedSessions.sql, "WHERE ",
                   InScopeSql(/*namespace_name=*/"-", scope, &parameters), "\nORDER BY s.id");
  return {.statements = {{std::move(text), parameters.Take()}},
          .read = [](absl::Span<const Result> results) {
            const Result& result = results.front();
            std::vector<v1::Session> sessions(result.rows());
            for (int row = 0; row < result.rows(); ++row)
              ReadSession(result, row, 0, &sessions[row]);
            return sessions;
          }};
}

}  // namespace sessiond::db
