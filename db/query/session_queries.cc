#include "db/query/session_queries.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "db/query/error_queries.h"
#include "db/query/filter_sql.h"
#include "db/query/list_queries.h"
#include "db/rows/resource_rows.h"
#include "db/sql/statements.h"
#include "state_machine/session_id.h"

namespace sessiond::db {
namespace {

std::string Where(const SessionSelection& selection, const Filter& filter, int partition_count,
                  TextParams* parameters) {
  return absl::StrCat(InScopeSql(selection.namespace_name, selection.scope, parameters), " AND ",
                      FilterSql(filter, FilterResource::kSessions, partition_count, parameters));
}

// If the filter restricts sessions to one owner, removes that condition and returns the owner.
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

// create_time is the first key by itself.
std::vector<PageKey> KeysOf(OrderField field) {
  const PageKey created_at = {"s.created_at", "timestamptz"}, id = {"s.id", "text"};
  switch (field) {
    case OrderField::kCreateTime:
      return {created_at, id};
    case OrderField::kOwnerId:
      return {{"s.owner_id", "text"}, created_at, id};
    case OrderField::kStatus:
      return {{"s.status", "text"}, created_at, id};
    case OrderField::kState:
      return {{"s.state", "smallint"}, created_at, id};
  }
  return {};
}

// Pages of sessions with their tasks; `where` is left empty.
PageParts Parts(const Order& order) {
  return {.alias = "s",
          .from = "sessions s",
          .keys = KeysOf(order.field),
          .descending = order.descending,
          .join = kCurrentTaskJoin,
          .columns = kSessionColumns,
          .bytes = kSessionBytes};
}

// An owner's sessions lie far apart: each next to those created at the same time.
PageParts::FarApart OfOwner(absl::string_view owner_id, TextParams* parameters) {
  return {.column = "s.owner_id", .value = parameters->Text(owner_id)};
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

v1::CountSessionsResponse ReadCounts(absl::Span<const Result> results) {
  const Result& result = results.front();
  v1::CountSessionsResponse response;
  for (int row = 0; row < result.rows(); ++row) {
    response.set_total(Saturated(result.Int8(row, 2)));
    if (result.IsNull(row, 0)) break;
    auto* group = response.add_groups();
    group->set_value(std::string(result.Text(row, 0)));
    group->set_count(Saturated(result.Int8(row, 1)));
  }
  return response;
}

PageParts EventParts(absl::string_view session_id, int partition_count, TextParams* parameters) {
  return {.alias = "e",
          .from = "session_events e",
          .where = OfSessionSql("e", session_id, partition_count, parameters),
          .keys = {{"e.sequence", "integer"}},
          .columns = kEventColumns,
          .bytes = "octet_length(e.changes::text) + octet_length(e.reason)"};
}

// Adds this question to the same round trip.
template <class Answered>
void Append(Question<Answered>& more, std::vector<Sql>* statements) {
  for (Sql& sql : more.statements) statements->push_back(std::move(sql));
}

}  // namespace

ListQuestion<v1::Session> ListPage(const SessionSelection& selection, int partition_count,
                                   const KeyValues& after, int page_size, std::size_t bytes_max) {
  TextParams parameters;
  PageParts parts = Parts(selection.order);
  parts.bytes_max = bytes_max;
  Filter filter = selection.filter;
  if (selection.order.field == OrderField::kCreateTime) {
    std::optional<std::string> owner = selection.scope.owner_id();
    if (!owner.has_value()) owner = TakeOwner(&filter);
    if (owner.has_value()) parts.far_apart = OfOwner(*owner, &parameters);
  }
  parts.where = Where(selection, filter, partition_count, &parameters);
  // Not a list of states: that would tempt the planner to collect them by their index, and then to
  // sort.
  if (!selection.include_deleted) absl::StrAppend(&parts.where, " AND s.state <> 5");
  return PageQuestion(parts, after, page_size, std::move(parameters), ReadSession);
}

Question<Page<v1::Session>> RecoverableSessions(absl::string_view namespace_name,
                                                absl::string_view owner_id, const Scope& scope) {
  TextParams parameters;
  PageParts parts = Parts({.field = OrderField::kCreateTime, .descending = true});
  parts.far_apart = OfOwner(owner_id, &parameters);
  parts.where =
      absl::StrCat(InScopeSql(namespace_name, scope, &parameters), " AND ", kRecoverableSql);
  return *PageQuestion(parts, {}, kPageSizeMax, std::move(parameters), ReadSession);
}

Question<Aggregate> FullSession(absl::string_view session_id, int partition_count) {
  const std::vector<std::optional<std::string>> id = {
      absl::StrCat(PartitionOf(session_id, partition_count)), std::string(session_id)};
  auto files = NewestFiles(session_id, partition_count);
  auto errors = NewestOpenErrors(session_id, partition_count);
  Question<Aggregate> question{.statements = {{kFindSession.sql, id}, {kFindTombstone.sql, id}}};
  Append(files, &question.statements);
  Append(errors, &question.statements);
  question.read = [files = std::move(files.read),
                   errors = std::move(errors.read)](absl::Span<const Result> results) mutable {
    Aggregate aggregate;
    if (results[0].rows() > 0) {
      v1::Session& session = aggregate.session.emplace();
      ReadSession(results[0], 0, 0, &session);
      *session.mutable_files() = files(results.subspan(2, 1)).rows;
      *session.mutable_open_errors() = errors(results.subspan(3, 1)).rows;
    }
    if (results[1].rows() > 0) aggregate.tombstone = ReadTombstone(results[1], 0, 0);
    return aggregate;
  };
  return question;
}

Question<ImportedSession> FindImported(absl::string_view session_id, int partition_count) {
  TextParams parameters;
  PageParts parts = EventParts(session_id, partition_count, &parameters);
  absl::StrAppend(&parts.where,
                  " AND e.type = ", parameters.SmallInteger(v1::SessionEvent::IMPORTED));
  auto imports = *PageQuestion(parts, {}, kPageSizeMax, std::move(parameters), ReadEvent);
  auto full = FullSession(session_id, partition_count);
  Question<ImportedSession> question;
  Append(imports, &question.statements);
  Append(full, &question.statements);
  question.read = [imports = std::move(imports.read),
                   full = std::move(full.read)](absl::Span<const Result> results) mutable {
    const Page<v1::SessionEvent> events = imports(results.subspan(0, 1));
    return ImportedSession{.aggregate = full(results.subspan(1)),
                           .imports = {events.rows.begin(), events.rows.end()}};
  };
  return question;
}

Question<v1::CountSessionsResponse> SessionCounts(const SessionSelection& selection,
                                                  int partition_count,
                                                  v1::CountSessionsRequest::GroupBy group_by) {
  TextParams parameters;
  // A list of states, which sessions_by_state answers: if most sessions are deleted, they are never
  // read.
  const absl::string_view states = selection.include_deleted ? "1, 2, 3, 4, 5" : "1, 2, 3, 4";
  const std::string from =
      absl::StrCat("FROM sessions s WHERE s.state IN (", states, ") AND ",
                   Where(selection, selection.filter, partition_count, &parameters));
  const absl::string_view group = GroupExpression(group_by);
  std::string text =
      group.empty() ? absl::StrCat("SELECT NULL::text, count(*), count(*)\n", from)
                    : absl::StrCat("SELECT ", group,
                                   " COLLATE \"C\", count(*), (sum(count(*)) OVER ())::bigint\n",
                                   from, "\nGROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1000");
  return {.statements = {{std::move(text), parameters.Take()}}, .read = ReadCounts};
}

ListQuestion<v1::SessionEvent> ListPage(const EventSelection& selection, int partition_count,
                                        const KeyValues& after, int page_size) {
  TextParams parameters;
  const PageParts parts = EventParts(selection.session_id, partition_count, &parameters);
  return PageQuestion(parts, after, page_size, std::move(parameters), ReadEvent);
}

}  // namespace sessiond::db
