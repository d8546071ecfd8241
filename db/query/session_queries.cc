#include "db/query/session_queries.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "db/query/artifact_queries.h"
#include "db/query/error_queries.h"
#include "db/query/filter_sql.h"
#include "db/query/page_sql.h"
#include "db/rows/event_rows.h"
#include "db/rows/session_rows.h"
#include "state_machine/session_id.h"
#include "state_machine/timestamps.h"

namespace sessiond::db {
namespace {

std::string Where(const SessionSelection& selection, Parameters* parameters) {
  return absl::StrCat(NamespaceSql(selection.namespace_name, parameters), " AND ",
                      FilterSql(selection.filter, FilterResource::kSessions,
                                selection.partition_count, parameters));
}

// Takes out of the filter that all sessions are one owner's, if it says so.
std::optional<std::string> TakeOwner(Filter* filter) {
  if (filter->kind == Filter::Kind::kRestriction) {
    const Restriction& restriction = filter->restriction;
    if (restriction.field != FilterField::kOwnerId || restriction.comparator != Comparator::kEqual)
      return std::nullopt;
    std::string owner = std::get<std::string>(restriction.value);
    *filter = Filter();
    return owner;
  }
  if (filter->kind != Filter::Kind::kAnd) return std::nullopt;
  for (Filter& part : filter->children) {
    if (auto owner = TakeOwner(&part); owner.has_value()) return owner;
  }
  return std::nullopt;
}

// ---- Orders

// The column that leads the order; empty for create_time, which leads by itself.
absl::string_view LeadingColumn(OrderField field) {
  switch (field) {
    case OrderField::kCreateTime:
      return "";
    case OrderField::kOwnerId:
      return "s.owner_id";
    case OrderField::kStatus:
      return "s.status";
    case OrderField::kState:
      return "s.state";
  }
  return "";
}

std::vector<absl::string_view> KeysOf(OrderField field) {
  std::vector<absl::string_view> keys;
  if (field != OrderField::kCreateTime) keys.push_back(LeadingColumn(field));
  keys.insert(keys.end(), {"s.created_at", "s.id"});
  return keys;
}

std::string Behind(const SessionPageKey& key, const Order& order, Parameters* parameters) {
  std::vector<std::string> values;
  if (order.field != OrderField::kCreateTime) {
    values.push_back(
        parameters->Add(key.value, order.field == OrderField::kState ? "smallint" : "text"));
  }
  values.push_back(parameters->Time(key.create_time));
  values.push_back(parameters->Text(key.session_id));
  return BehindSql(KeysOf(order.field), order.descending, values);
}

// An owner's sessions lie where others were made at the same time.
PageParts::FarApart OfOwner(absl::string_view owner_id, Parameters* parameters) {
  return {.column = "s.owner_id", .value = parameters->Text(owner_id)};
}

// A page of sessions with their tasks; `parts` has where, keys and direction.
Sql SessionPageSql(PageParts parts, int page_size, Parameters parameters) {
  parts.alias = "s";
  parts.from = "sessions s";
  parts.join = kCurrentTaskJoin;
  parts.columns = kSessionColumns;
  parts.bytes =
      "octet_length(s.context::text) + octet_length(s.labels::text) + octet_length(s.refs::text)"
      " + octet_length(s.fail_reason) + COALESCE(octet_length(t.progress::text), 0)"
      " + COALESCE(octet_length(t.result::text), 0)"
      " + COALESCE(octet_length(t.failure_context::text), 0)";
  return PageSql(parts, page_size, std::move(parameters));
}

absl::string_view GroupExpression(v1::CountSessionsRequest::GroupBy group_by) {
  switch (group_by) {
    case v1::CountSessionsRequest::WORKFLOW:
      return "s.workflow";
    case v1::CountSessionsRequest::STATE:
      return "(ARRAY['CREATING', 'ACTIVE', 'PAUSED', 'STOPPED', 'DELETED'])[s.state]";
    case v1::CountSessionsRequest::STAGE:
      return "s.stage";
    case v1::CountSessionsRequest::STATUS:
      return "s.status";
    case v1::CountSessionsRequest::OWNER_ID:
      return "s.owner_id";
    default:
      return "";
  }
}

}  // namespace

std::vector<std::string> PageKeyValues(const Order& order, const v1::Session& last) {
  std::vector<std::string> values;
  if (order.field == OrderField::kOwnerId) values.push_back(last.owner_id());
  if (order.field == OrderField::kStatus) values.push_back(last.status());
  if (order.field == OrderField::kState)
    values.push_back(absl::StrCat(static_cast<int>(last.state())));
  for (std::string& value :
       KeyValues({.time = FromProto(last.create_time()), .id = last.session_id()})) {
    values.push_back(std::move(value));
  }
  return values;
}

std::optional<SessionPageKey> ParsePageKey(const Order& order,
                                           const std::vector<std::string>& values) {
  const std::size_t leading = order.field == OrderField::kCreateTime ? 0 : 1;
  if (values.size() < leading) return std::nullopt;
  const auto key = ParseTimeKey(absl::MakeSpan(values).subspan(leading));
  if (!key.has_value()) return std::nullopt;
  int state = 0;
  if (order.field == OrderField::kState &&
      !(absl::SimpleAtoi(values[0], &state) && v1::Session::State_IsValid(state))) {
    return std::nullopt;
  }
  return SessionPageKey{
      .value = leading == 1 ? values[0] : "", .create_time = key->time, .session_id = key->id};
}

Sql ListSessionsSql(SessionSelection selection, const Order& order,
                    const std::optional<SessionPageKey>& after, int page_size) {
  Parameters parameters;
  PageParts parts{.keys = KeysOf(order.field), .descending = order.descending};
  if (order.field == OrderField::kCreateTime) {
    if (const auto owner = TakeOwner(&selection.filter); owner.has_value())
      parts.far_apart = OfOwner(*owner, &parameters);
  }
  parts.where = Where(selection, &parameters);
  // Not a list of states: that would tempt the planner to collect them by their index, and then to
  // sort.
  if (!selection.include_deleted) absl::StrAppend(&parts.where, " AND s.state <> 5");
  if (after.has_value()) {
    std::string behind = Behind(*after, order, &parameters);
    if (parts.far_apart.has_value()) {
      parts.far_apart->behind = std::move(behind);
    } else {
      absl::StrAppend(&parts.where, " AND ", behind);
    }
  }
  return SessionPageSql(std::move(parts), page_size, std::move(parameters));
}

Sql ListRecoverableSessionsSql(absl::string_view namespace_name, absl::string_view owner_id) {
  Parameters parameters;
  PageParts parts{.keys = KeysOf(OrderField::kCreateTime),
                  .descending = true,
                  .far_apart = OfOwner(owner_id, &parameters)};
  parts.where = absl::StrCat(NamespaceSql(namespace_name, &parameters), " AND ", kRecoverableSql);
  return SessionPageSql(std::move(parts), kPageSizeMax, std::move(parameters));
}

std::vector<Sql> GetFullSessionSql(absl::string_view session_id, int partition_count) {
  const auto by_id = [&](absl::string_view select) {
    Parameters parameters;
    const std::string partition = parameters.SmallInteger(PartitionOf(session_id, partition_count));
    std::string text = absl::StrCat("SELECT ", select, " WHERE s.partition = ", partition,
                                    " AND s.id = ", parameters.Text(session_id));
    return Sql{std::move(text), parameters.Take()};
  };
  return {by_id(absl::StrCat(kSessionColumns, " FROM sessions s ", kCurrentTaskJoin)),
          by_id("s.archived_at FROM tombstones s"), NewestFilesSql(session_id, partition_count),
          NewestOpenErrorsSql(session_id, partition_count)};
}

Sql CountSessionsSql(const SessionSelection& selection,
                     v1::CountSessionsRequest::GroupBy group_by) {
  Parameters parameters;
  // A list of states, which sessions_by_state answers: where most sessions are deleted ones, they
  // are never touched.
  const absl::string_view states = selection.include_deleted ? "1, 2, 3, 4, 5" : "1, 2, 3, 4";
  const std::string from = absl::StrCat("FROM sessions s WHERE s.state IN (", states, ") AND ",
                                        Where(selection, &parameters));
  const absl::string_view group = GroupExpression(group_by);
  std::string text =
      group.empty() ? absl::StrCat("SELECT NULL::text, count(*), count(*)\n", from)
                    : absl::StrCat("SELECT ", group,
                                   " COLLATE \"C\", count(*), (sum(count(*)) OVER ())::bigint\n",
                                   from, "\nGROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1000");
  return {std::move(text), parameters.Take()};
}

namespace {

Sql EventPageSql(std::string where, int page_size, Parameters parameters) {
  return PageSql({.alias = "e",
                  .from = "session_events e",
                  .where = std::move(where),
                  .keys = {"e.sequence"},
                  .columns = kEventColumns,
                  .bytes = "octet_length(e.changes::text) + octet_length(e.reason)"},
                 page_size, std::move(parameters));
}

}  // namespace

Sql ListSessionEventsSql(absl::string_view session_id, int partition_count, int32_t after_sequence,
                         int page_size) {
  Parameters parameters;
  std::string where =
      absl::StrCat(OfSessionSql("e", session_id, partition_count, &parameters),
                   " AND e.sequence > ", parameters.Add(absl::StrCat(after_sequence), "integer"));
  return EventPageSql(std::move(where), page_size, std::move(parameters));
}

Sql ImportsOfSessionSql(absl::string_view session_id, int partition_count) {
  Parameters parameters;
  std::string where =
      absl::StrCat(OfSessionSql("e", session_id, partition_count, &parameters),
                   " AND e.type = ", parameters.SmallInteger(v1::SessionEvent::IMPORTED));
  return EventPageSql(std::move(where), kPageSizeMax, std::move(parameters));
}

bool ReadSessionPage(const Result& result, int page_size, Sessions* sessions) {
  return ReadPage(result, page_size, sessions,
                  [&](int row, v1::Session* session) { ReadSession(result, row, 1, session); });
}

Aggregate ReadFullSession(absl::Span<const Result> results) {
  Aggregate aggregate;
  if (results[0].rows() > 0) {
    v1::Session& session = aggregate.session.emplace();
    ReadSession(results[0], 0, 0, &session);
    ReadNewestFiles(results[2], session.mutable_files());
    ReadNewestOpenErrors(results[3], session.mutable_open_errors());
  }
  if (results[1].rows() > 0)
    aggregate.tombstone = Tombstone{.archive_time = results[1].Timestamp(0, 0)};
  return aggregate;
}

void ReadCounts(const Result& result, v1::CountSessionsResponse* response) {
  for (int row = 0; row < result.rows(); ++row) {
    response->set_total(Saturated(result.Int8(row, 2)));
    if (result.IsNull(row, 0)) return;
    auto* group = response->add_groups();
    group->set_value(std::string(result.Text(row, 0)));
    group->set_count(Saturated(result.Int8(row, 1)));
  }
}

bool ReadEventPage(const Result& result, int page_size, v1::ListSessionEventsResponse* response) {
  return ReadPage(result, page_size, response->mutable_events(),
                  [&](int row, v1::SessionEvent* event) { ReadEvent(result, row, 1, event); });
}

}  // namespace sessiond::db
