#include "db/query/watch_queries.h"

#include <cassert>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "db/rows/event_rows.h"
#include "db/rows/message_rows.h"
#include "db/rows/session_rows.h"
#include "state_machine/session_id.h"
#include "state_machine/struct_json.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {
namespace {

static_assert(v1::SessionEvent::UPDATED == 3 && v1::SessionEvent::COMPLETED == 5 &&
              v1::SessionEvent::FAILED == 9 && v1::SessionEvent::RECOVERED == 10 &&
              v1::SessionEvent::DELETED == 11 && v1::SessionEvent::UNDELETED == 12 &&
              v1::SessionEvent::MESSAGES_APPENDED == 21 &&
              v1::SessionEvent::REFERENCE_DETACHED == 24);

// The events of the ranges, one step into session_events_pkey for each. LIMIT keeps the planner
// from turning it into a join with all events.
constexpr absl::string_view kRanges =
    "FROM unnest($1::smallint[], $2::bigint[], $3::bigint[]) AS w (partition, after, upto)\n"
    "CROSS JOIN LATERAL (SELECT *\n"
    "                    FROM session_events e\n"
    "                    WHERE e.partition = w.partition\n"
    "                      AND e.position > w.after\n"
    "                      AND e.position <= w.upto\n"
    "                    ORDER BY e.position\n"
    "                    LIMIT 1000) e\n";
static_assert(kStoredEventsMax == 1000);

// What a step needs beside its event. Each rides session_events_partition_session_id_sequence_key.
constexpr absl::string_view kPreviousTime =
    "(SELECT x.event_at\n"
    " FROM session_events x\n"
    " WHERE x.partition = e.partition\n"
    "   AND x.session_id = e.session_id\n"
    "   AND x.sequence = e.sequence - 1)";
// Of RECOVERED the last FAILED, of UNDELETED the last DELETED.
constexpr absl::string_view kMarkedTime =
    "CASE WHEN e.type IN (10, 12)\n"
    "     THEN (SELECT x.event_at\n"
    "           FROM session_events x\n"
    "           WHERE x.partition = e.partition\n"
    "             AND x.session_id = e.session_id\n"
    "             AND x.sequence < e.sequence\n"
    "             AND x.type = e.type - 1\n"
    "           ORDER BY x.sequence DESC\n"
    "           LIMIT 1)\n"
    "END\n";
constexpr int kEventColumnCount = 16;

// The columns of ReadEvent, without what rewinding does not need.
constexpr absl::string_view kBareEventColumns =
    "e.session_id, e.sequence, e.event_at, e.type, e.old_state, e.new_state, e.old_stage,\n"
    "e.new_stage, e.old_status, e.new_status, e.trigger, ''::text, ''::text, ''::text, ''::text,\n"
    "CASE WHEN e.type = 10 OR e.changes ? 'has_blocking_errors'\n"
    "     THEN (SELECT COALESCE(jsonb_object_agg(c.key, c.value), '{}')\n"
    "           FROM jsonb_each(e.changes) c\n"
    "           WHERE c.key IN ('fail_time', 'has_blocking_errors'))\n"
    "     ELSE '{}'\n"
    "END";

// The later events that are taken back. An owner changes only while its session is CREATING.
absl::string_view Rewound(Rewinding rewinding) {
  return rewinding == Rewinding::kStanding
             ? "e.type = 3 AND e.old_state = 1"
             : "(e.type IN (3, 5, 9, 10, 11, 12, 21, 24) OR e.changes ? 'has_blocking_errors')";
}
static_assert(v1::Session::CREATING == 1);

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

// Arrays of the second trip, one for each column.
class ArrayParams {
 public:
  explicit ArrayParams(std::size_t columns) : columns_(columns) {}

  template <class... Values>
  void Add(const Values&... values) {
    std::size_t column = 0;
    (columns_[column++].push_back(absl::StrCat(values)), ...);
  }
  bool empty() const { return columns_.front().empty(); }
  std::vector<std::optional<std::string>> Params() const {
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

// Both ascend by partition and position.
void ReadAppended(const Result& result, std::vector<StoredEvent>* events) {
  auto event = events->begin();
  for (int row = 0; row < result.rows(); ++row) {
    const std::pair<int16_t, int64_t> place(result.Int2(row, 0), result.Int8(row, 1));
    while (std::pair(event->partition, event->position) != place) ++event;
    ReadMessage(result, row, 2, &event->messages.emplace_back());
  }
}

}  // namespace

Sql PartitionStatesSql() {
  return {"SELECT p.partition, p.position, p.purged_position FROM partitions p", {}};
}

PartitionStates ReadPartitionStates(const Result& result, int partition_count) {
  PartitionStates states{.positions = std::vector<int64_t>(partition_count),
                         .purged = std::vector<int64_t>(partition_count)};
  for (int row = 0; row < result.rows(); ++row) {
    states.positions[result.Int2(row, 0)] = result.Int8(row, 1);
    states.purged[result.Int2(row, 0)] = result.Int8(row, 2);
  }
  return states;
}

Sql OldestResumableSql() {
  return {
      "SELECT max(e.event_at)\n"
      "FROM partitions p\n"
      "CROSS JOIN LATERAL (SELECT x.event_at\n"
      "                    FROM session_events x\n"
      "                    WHERE x.partition = p.partition\n"
      "                      AND x.position > p.purged_position\n"
      "                    ORDER BY x.position\n"
      "                    LIMIT 1) e\n"
      "WHERE p.purged_position > 0",
      {}};
}

std::optional<absl::Time> ReadOldestResumable(const Result& result) {
  if (result.IsNull(0, 0)) return std::nullopt;
  return result.Timestamp(0, 0);
}

std::vector<Sql> StoredEventsTrip(absl::Span<const PositionRange> ranges) {
  std::vector<Sql> trip;
  trip.push_back(PartitionStatesSql());
  trip.push_back(
      {absl::StrCat("SELECT e.partition, e.position,\n", kEventColumns, ", e.before,\n",
                    kPreviousTime, ",\n", kMarkedTime, ", ", kSessionColumns, "\n", kRanges,
                    "LEFT JOIN LATERAL (SELECT *\n"
                    "                   FROM sessions s\n"
                    "                   WHERE s.partition = e.partition\n"
                    "                     AND s.id = e.session_id\n"
                    "                   LIMIT 1) s ON true\n",
                    kCurrentTaskJoin, "\nORDER BY e.partition, e.position"),
       RangeParams(ranges)});
  return trip;
}

StoredEvents ReadStoredEvents(const std::vector<Result>& results, int partition_count) {
  constexpr int kFirstSessionColumn = 2 + kEventColumnCount + 3;
  StoredEvents stored;
  stored.partitions = ReadPartitionStates(results[0], partition_count);
  const Result& events = results[1];
  for (int row = 0; row < events.rows(); ++row) {
    stored.events.push_back({.partition = events.Int2(row, 0),
                             .position = events.Int8(row, 1),
                             .step = ReadStep(events, row, 2)});
    if (events.IsNull(row, kFirstSessionColumn)) continue;
    auto& session = stored.sessions[stored.events.back().step.event.session_id()];
    if (session != nullptr) continue;
    session = std::make_shared<v1::Session>();
    ReadSession(events, row, kFirstSessionColumn, session.get());
  }
  return stored;
}

std::vector<Sql> StoredRestTrip(const StoredEvents& stored, Rewinding rewinding,
                                std::size_t message_bytes_max) {
  ArrayParams moved(4), gone(2), appended(5);
  absl::flat_hash_set<absl::string_view> seen;
  // From the last event of each session.
  for (auto each = stored.events.rbegin(); each != stored.events.rend(); ++each) {
    const v1::SessionEvent& event = each->step.event;
    const std::string& id = event.session_id();
    if (event.type() == v1::SessionEvent::MESSAGES_APPENDED) {
      appended.Add(each->partition, each->position, id, NumberOf(event, "first_sequence"),
                   NumberOf(event, "last_sequence"));
    }
    if (!seen.insert(id).second) continue;
    const auto session = stored.sessions.find(id);
    if (session == stored.sessions.end()) {
      gone.Add(each->partition, id);
    } else if (session->second->sequence() > event.sequence()) {
      moved.Add(each->partition, id, event.sequence(), session->second->sequence());
    }
  }
  std::vector<Sql> trip;
  if (moved.empty() && gone.empty() && appended.empty()) return trip;
  trip.push_back(PartitionStatesSql());
  trip.push_back(
      {absl::StrCat("SELECT ", kBareEventColumns, ", e.before, NULL::timestamptz,\n", kMarkedTime,
                    "FROM unnest($1::smallint[], $2::text[], $3::integer[], $4::integer[])\n"
                    "  AS d (partition, session_id, after, upto)\n"
                    "CROSS JOIN LATERAL (SELECT *\n"
                    "                    FROM session_events e\n"
                    "                    WHERE e.partition = d.partition\n"
                    "                      AND e.session_id = d.session_id\n"
                    "                      AND e.sequence > d.after\n"
                    "                      AND e.sequence <= d.upto\n"
                    "                      AND ",
                    Rewound(rewinding),
                    "\n"
                    "                    ORDER BY e.sequence\n"
                    "                    OFFSET 0) e\n"
                    "ORDER BY e.session_id, e.sequence"),
       moved.Params()});
  trip.push_back(
      {"SELECT t.id, t.namespace, t.workflow, t.owner_id, t.created_at\n"
       "FROM unnest($1::smallint[], $2::text[]) AS d (partition, session_id)\n"
       "JOIN tombstones t ON t.partition = d.partition AND t.id = d.session_id",
       gone.Params()});
  // Of each event as many as fit, off session_messages_pkey.
  std::vector<std::optional<std::string>> message_params = appended.Params();
  message_params.push_back(absl::StrCat(message_bytes_max));
  trip.push_back(
      {absl::StrCat("SELECT e.partition, e.position, ", kMessageColumns,
                    "\n"
                    "FROM unnest($1::smallint[], $2::bigint[], $3::text[], $4::integer[], "
                    "$5::integer[])\n"
                    "  AS e (partition, position, session_id, first, last)\n"
                    "CROSS JOIN LATERAL (SELECT *, sum(octet_length(m.content)\n"
                    "                                  + octet_length(m.metadata::text))\n"
                    "                              OVER (ORDER BY m.sequence) AS bytes\n"
                    "                    FROM session_messages m\n"
                    "                    WHERE m.partition = e.partition\n"
                    "                      AND m.session_id = e.session_id\n"
                    "                      AND m.sequence BETWEEN e.first AND e.last\n"
                    "                    ORDER BY m.sequence) m\n"
                    "WHERE m.bytes <= $6::bigint\n"
                    "ORDER BY e.partition, e.position, m.sequence"),
       std::move(message_params)});
  return trip;
}

bool AddStoredRest(const std::vector<Result>& results, StoredEvents* stored) {
  const std::vector<int64_t>& before = stored->partitions.purged;
  const std::vector<int64_t> purged =
      ReadPartitionStates(results[0], static_cast<int>(before.size())).purged;
  // What happens to a session behind an event lies behind it.
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

Sql SessionsByIdSql(absl::Span<const std::string> session_ids, int partition_count) {
  std::vector<std::string> partitions;
  for (const std::string& id : session_ids)
    partitions.push_back(absl::StrCat(PartitionOf(id, partition_count)));
  return {absl::StrCat("SELECT ", kSessionColumns,
                       "\nFROM unnest($1::smallint[], $2::text[]) AS i (partition, id)\n"
                       "JOIN sessions s ON s.partition = i.partition AND s.id = i.id\n",
                       kCurrentTaskJoin, "\nORDER BY s.id"),
          {ArrayText(partitions), ArrayText({session_ids.begin(), session_ids.end()})}};
}

std::vector<v1::Session> ReadSessionsById(const Result& result) {
  std::vector<v1::Session> sessions(result.rows());
  for (int row = 0; row < result.rows(); ++row) ReadSession(result, row, 0, &sessions[row]);
  return sessions;
}

}  // namespace sessiond::db
