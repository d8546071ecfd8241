// The queries that callers shape, against a plain evaluation in memory: the same sessions, in the
// same order, on pages that neither skip nor repeat, and never by reading a whole table in search
// of a few.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "db/query/query_pool.h"
#include "db/query/session_queries.h"
#include "db/rows/resource_rows.h"
#include "state_machine/limits.h"
#include "state_machine/timestamps.h"
#include "tests/postgres_fixture.h"

namespace sessiond::db {
namespace {

// Sessions $1 to $2 of a world in which every field takes several values, ties are many, and much
// is missing. All lie in partition 0, which is every id's partition where there is only one.
constexpr char kInsertSessions[] = R"sql(
INSERT INTO sessions
SELECT 0, 'exec_20260101_000000_' || lpad(to_hex((i * 7919) % 4294967291), 8, '0'),
       CASE WHEN i % 5 = 0 THEN 'other' ELSE 'default' END,
       'flow_' || i % 3, 1, 'u' || i % 17,
       'Name ' || i % 7 || CASE WHEN i % 2 = 0 THEN ' "q"' ELSE '' END,
       1 + i % 5, 'stage_' || i % 4, 'status_' || i % 6,
       CASE WHEN i % 4 = 0
            THEN timestamptz '2026-02-01 00:00:00.000001Z' + i * interval '1 minute' END,
       '', 
       CASE i % 8
         WHEN 0 THEN '{}'
         WHEN 1 THEN jsonb_build_object('k', 'text ' || i % 3)
         WHEN 2 THEN jsonb_build_object('k', i % 10)
         WHEN 3 THEN jsonb_build_object('k', (i % 10) / 8.0)
         WHEN 4 THEN jsonb_build_object('k', i % 3 = 0)
         WHEN 5 THEN '{"k": null}'
         WHEN 6 THEN '{"k": ["text 1", 5]}'
         ELSE '{"k": {"k": "text 1"}}'
       END::jsonb,
       jsonb_build_object('n', i % 11),
       CASE WHEN i % 3 = 0 THEN jsonb_build_object('job', 'j' || i % 40) ELSE '{}' END,
       CASE i % 6 WHEN 0 THEN '{}' WHEN 1 THEN '{"it''s \"k\"": "\\"}'
            ELSE jsonb_build_object('team', 'team ' || i % 9, 'a.b', 'x*') END::jsonb,
       i % 9 = 0,
       timestamptz '2026-01-01 00:00:00Z' + (i / 3) * interval '1 second',
       timestamptz '2026-01-02 00:00:00Z' + i * interval '1 microsecond',
       CASE WHEN i % 7 = 0 THEN timestamptz '2026-03-01 00:00:00Z' + i * interval '1 second' END,
       CASE WHEN i % 5 = 4 THEN timestamptz '2026-04-01 00:00:00Z' + i * interval '1 second' END,
       NULL,
       CASE i % 4 WHEN 0 THEN NULL
                  WHEN 1 THEN timestamptz '2020-01-01Z'
                  ELSE timestamptz '2220-01-01Z' END,
       1, 1, CASE WHEN i % 6 = 0 THEN 2 ELSE 0 END, i % 4
FROM generate_series($1::bigint, $2::bigint) AS i
)sql";

SteadyTime Soon() { return SteadyTime::Now() + absl::Seconds(60); }

class World {
 public:
  explicit World(int sessions) : connection_(database_.Connect()) {
    // As the query pool's.
    Ask(
        {"SELECT set_config('enable_seqscan', 'off', false), "
         "set_config('max_parallel_workers_per_gather', '0', false)",
         {}});
    Ask(
        {"INSERT INTO workflows (name, revision, definition) "
         "SELECT 'flow_' || i, 1, '{}' FROM generate_series(0, 2) AS i",
         {}});
    Insert(1, sessions);
  }

  const std::string& dsn() const { return database_.dsn(); }

  Result Ask(const Sql& sql) {
    connection_->QueueSql(sql.text, sql.params);
    auto results = connection_->RoundTrip(Soon());
    EXPECT_TRUE(results.ok()) << results.status() << "\n" << sql.text;
    if (!results.ok()) std::abort();
    return std::move(results->front());
  }

  void Insert(int first, int last) {
    Ask({kInsertSessions, {absl::StrCat(first), absl::StrCat(last)}});
  }

  std::vector<v1::Session> All() {
    const Result result =
        Ask({absl::StrCat("SELECT ", kSessionColumns, " FROM sessions s ", kCurrentTaskJoin), {}});
    std::vector<v1::Session> sessions(result.rows());
    for (int row = 0; row < result.rows(); ++row) ReadSession(result, row, 0, &sessions[row]);
    return sessions;
  }

  template <class Answered>
  Answered Ask(Question<Answered> question) {
    std::vector<Result> results;
    for (const Sql& sql : question.statements) results.push_back(Ask(sql));
    return question.read(results);
  }

  // One page; `after` moves on, and is empty at the end.
  std::vector<v1::Session> Page(SessionSelection selection, const Order& order, int page_size,
                                KeyValues* after) {
    selection.order = order;
    const auto page = Ask(*ListPage(selection, 1, *after, page_size));
    EXPECT_LE(page.rows.size(), page_size);
    EXPECT_TRUE(page.end.empty() || !page.rows.empty());
    *after = page.end;
    return {page.rows.begin(), page.rows.end()};
  }

  std::vector<std::string> Ids(const SessionSelection& selection, const Order& order,
                               int page_size) {
    std::vector<std::string> ids;
    KeyValues after;
    do {
      for (const v1::Session& session : Page(selection, order, page_size, &after)) {
        ids.push_back(session.session_id());
      }
      if (ids.size() > 5000) {
        ADD_FAILURE() << "pages without end";
        break;
      }
    } while (!after.empty());
    return ids;
  }

 private:
  TestDatabase database_;
  std::unique_ptr<Connection> connection_;
};

SessionSelection Selection(const std::string& filter, std::string namespace_name = "-",
                           bool include_deleted = true) {
  auto parsed = ParseFilter(filter);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return {.namespace_name = std::move(namespace_name),
          .filter = *std::move(parsed),
          .include_deleted = include_deleted};
}

Sql PageSqlOf(SessionSelection selection, const Order& order, const KeyValues& after,
              int page_size) {
  selection.order = order;
  return ListPage(selection, 1, after, page_size)->statements.front();
}

KeyValues KeyAt(int64_t seconds, const std::string& id) {
  return {absl::StrCat(seconds * 1'000'000), id};
}

bool IsSelected(const SessionSelection& selection, const v1::Session& session) {
  return (selection.namespace_name == "-" || session.namespace_() == selection.namespace_name) &&
         (selection.include_deleted || session.state() != v1::Session::DELETED) &&
         Matches(selection.filter, session, absl::Now());
}

bool ComesBefore(const Order& order, const v1::Session& a, const v1::Session& b) {
  const auto key = [&](const v1::Session& session) {
    std::string text;
    int state = 0;
    if (order.field == OrderField::kOwnerId) text = session.owner_id();
    if (order.field == OrderField::kStatus) text = session.status();
    if (order.field == OrderField::kState) state = session.state();
    return std::tuple(text, state, FromProto(session.create_time()), session.session_id());
  };
  return order.descending ? key(b) < key(a) : key(a) < key(b);
}

std::vector<std::string> ExpectedIds(std::vector<v1::Session> all,
                                     const SessionSelection& selection, const Order& order) {
  std::sort(all.begin(), all.end(),
            [&](const v1::Session& a, const v1::Session& b) { return ComesBefore(order, a, b); });
  std::vector<std::string> ids;
  for (const v1::Session& session : all) {
    if (IsSelected(selection, session)) ids.push_back(session.session_id());
  }
  return ids;
}

std::vector<Order> EveryOrder() {
  std::vector<Order> orders;
  for (const auto field :
       {OrderField::kCreateTime, OrderField::kOwnerId, OrderField::kStatus, OrderField::kState}) {
    for (const bool descending : {false, true}) orders.push_back({field, descending});
  }
  return orders;
}

// Every field by every comparator it takes, with up to so many values: some that are there, and
// some that are not.
std::vector<std::string> EveryRestriction(std::size_t values_max) {
  struct Row {
    std::vector<std::string> fields;
    std::vector<std::string> comparators;
    std::vector<std::string> values;
  };
  const std::vector<std::string> equalities = {"=", "!="};
  const std::vector<std::string> orders = {"=", "!=", "<", "<=", ">", ">="};
  const std::vector<Row> rows = {
      {{"session_id"}, equalities, {"exec_20260101_000000_00001eef", "none", "''"}},
      {{"workflow"}, equalities, {"flow_1", "none"}},
      {{"workflow_revision"}, orders, {"1", "0", "-9223372036854775808", "9223372036854775807"}},
      {{"owner_id"}, equalities, {"u3", "u*", "\"' OR 1=1--\""}},
      {{"owner_display_name"}, equalities, {"\"Name 2 \\\"q\\\"\"", "'%'"}},
      {{"state"}, equalities, {"CREATING", "ACTIVE", "DELETED"}},
      {{"stage"}, equalities, {"stage_1"}},
      {{"status"}, equalities, {"status_5"}},
      {{"failed", "completed", "recoverable", "hold", "has_blocking_errors"},
       equalities,
       {"true", "false"}},
      {{"create_time", "update_time", "complete_time", "delete_time", "fail_time"},
       orders,
       {"2026-01-01T00:00:40Z", "2026-01-02T00:00:00.000120Z", "2026-02-01T02:00:00.000001+00:00",
        "2026-03-01T00:01:10.000000999Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"}},
      {{"complete_time", "delete_time", "fail_time"}, {":"}, {"*"}},
      {{"context.k"},
       orders,
       {"5", "\"5\"", "0.125", "0.1", "1e300", "-1", "true", "false", "null", "'text 1'",
        "\"text\"", "''", "'Text 1'"}},
      {{"context.none"}, orders, {"5", "true", "x"}},
      {{"counters.n", "counters.none"}, orders, {"0", "5", "-1", "2147483648"}},
      {{"references.job", "references.none"}, equalities, {"j3", "none", "''"}},
      {{"labels.team", "labels.none", "labels.a.b"}, equalities, {"'team 4'", "x*", "y"}},
      {{"labels.\"it's \\\"k\\\"\""}, equalities, {"\"\\\\\"", "x"}},
      {{"labels", "references", "context", "counters"},
       {":"},
       {"team", "job", "k", "n", "\"it's \\\"k\\\"\"", "a.b", "none"}},
      {{"labels.team", "context.k"}, {":"}, {"*", "'team 4'"}},
  };
  std::vector<std::string> restrictions;
  for (const Row& row : rows) {
    for (const auto& field : row.fields) {
      for (const auto& comparator : row.comparators) {
        for (std::size_t i = 0; i < std::min(values_max, row.values.size()); ++i) {
          restrictions.push_back(absl::StrCat(field, " ", comparator, " ", row.values[i]));
        }
      }
    }
  }
  return restrictions;
}

TEST(SessionQueries, EveryRestrictionSelectsWhatMatchesInMemory) {
  World world(280);
  const std::vector<v1::Session> all = world.All();
  ASSERT_EQ(all.size(), 280u);
  int telling = 0;
  std::vector<std::string> filters = EveryRestriction(100);
  for (const std::string& restriction : EveryRestriction(2)) {
    filters.push_back(absl::StrCat("NOT ", restriction));
  }
  for (const std::string& filter : filters) {
    const SessionSelection selection = Selection(filter);
    const auto expected = ExpectedIds(all, selection, Order());
    EXPECT_EQ(world.Ids(selection, Order(), 1000), expected) << filter;
    telling += !expected.empty() && expected.size() < all.size();
  }
  EXPECT_GT(telling, 150) << "most filters should select some sessions, not all or none";
}

std::string RandomFilter(const std::vector<std::string>& restrictions, int depth,
                         std::mt19937* random) {
  const auto pick = [&](std::size_t count) { return (*random)() % count; };
  if (depth == 0 || pick(4) == 0) return restrictions[pick(restrictions.size())];
  const auto part = [&] { return RandomFilter(restrictions, depth - 1, random); };
  switch (pick(4)) {
    case 0:
      return absl::StrCat("(", part(), " AND ", part(), ")");
    case 1:
      return absl::StrCat("(", part(), " ", part(), ")");
    case 2:
      return absl::StrCat("(", part(), " OR ", part(), " OR ", part(), ")");
    default:
      return absl::StrCat("-(", part(), ")");
  }
}

TEST(SessionQueries, AnyFilterSelectsWhatMatchesInMemory) {
  World world(280);
  const std::vector<v1::Session> all = world.All();
  const std::vector<std::string> restrictions = EveryRestriction(100);
  std::mt19937 random(20260301);
  for (int round = 0; round < 300; ++round) {
    const std::string filter = RandomFilter(restrictions, 3, &random);
    if (filter.size() > kFilterBytesMax) continue;
    const SessionSelection selection = Selection(filter);
    EXPECT_EQ(world.Ids(selection, Order(), 1000), ExpectedIds(all, selection, Order())) << filter;
  }
}

TEST(SessionQueries, EveryOrderPagesThroughEverySessionOnce) {
  World world(120);
  const std::vector<v1::Session> all = world.All();
  for (const Order& order : EveryOrder()) {
    for (const char* filter :
         {"", "hold = false labels:team", "status = status_1", "state = PAUSED", "owner_id = u3",
          "owner_id = u3 AND (hold = false owner_id = u3)", "owner_id = u3 owner_id = u4"}) {
      for (const char* namespace_name : {"-", "other", "default", "none"}) {
        for (const bool include_deleted : {false, true}) {
          const auto selection = Selection(filter, namespace_name, include_deleted);
          const auto expected = ExpectedIds(all, selection, order);
          for (const int page_size : {2, 6, 7, 1000}) {
            EXPECT_EQ(world.Ids(selection, order, page_size), expected)
                << static_cast<int>(order.field) << order.descending << " " << filter << " "
                << namespace_name << " " << include_deleted << " " << page_size;
          }
        }
      }
    }
  }
}

TEST(SessionQueries, AFullLastPageIsFollowedByNone) {
  World world(10);
  KeyValues after;
  EXPECT_EQ(world.Page(Selection(""), Order(), 10, &after).size(), 10u);
  EXPECT_TRUE(after.empty());
}

// Sessions that come between two pages belong to the pages still to come or to none, wherever they
// sort.
TEST(SessionQueries, PagesAreStableWhileOthersAreCreated) {
  for (const Order& order : EveryOrder()) {
    World world(200);
    const auto expected = ExpectedIds(world.All(), Selection(""), order);
    std::vector<std::string> seen;
    KeyValues after;
    int next = 201;
    do {
      for (const v1::Session& session : world.Page(Selection(""), order, 17, &after)) {
        seen.push_back(session.session_id());
      }
      world.Insert(next, next + 20);
      next += 21;
      ASSERT_LT(next, 2000) << "the list must not grow as fast as it is read";
    } while (!after.empty() && next < 900);
    const std::set<std::string> distinct(seen.begin(), seen.end());
    EXPECT_EQ(distinct.size(), seen.size()) << "nothing twice";
    std::vector<std::string> old;
    const std::set<std::string> existed(expected.begin(), expected.end());
    std::copy_if(seen.begin(), seen.end(), std::back_inserter(old),
                 [&](const std::string& id) { return existed.contains(id); });
    if (!after.empty()) {
      // Ascending by create_time the new ones go on and on; all old ones came before them.
      EXPECT_EQ(std::vector(expected.begin(), expected.begin() + old.size()), old);
    } else {
      EXPECT_EQ(old, expected);
    }
  }
}

TEST(SessionQueries, APageEndsEarlyAtItsBytes) {
  World world(60);
  // Where JSON and Protobuf say the same in as many bytes; where JSON takes two for one; and where
  // it takes two for eleven.
  for (const char* value : {"to_jsonb(repeat('x', 65000))", "to_jsonb(repeat('\"', 32000))",
                            "(SELECT jsonb_agg(1) FROM generate_series(1, 20000))"}) {
    world.Ask(
        {absl::StrCat("UPDATE sessions SET context = jsonb_build_object('k', ", value, ")"), {}});
    const auto expected = ExpectedIds(world.All(), Selection(""), Order());
    std::vector<std::string> seen;
    KeyValues after;
    int pages = 0;
    do {
      auto question = *ListPage(Selection(""), 1, after, 1000);
      std::vector<Result> results;
      results.push_back(world.Ask(question.statements.front()));
      EXPECT_LE(results.front().rows(), 80) << "the database itself ends the page";
      const auto page = question.read(results);
      std::size_t bytes = 0;
      for (const auto& session : page.rows) {
        bytes += session.ByteSizeLong();
        seen.push_back(session.session_id());
      }
      EXPECT_LE(bytes, kPageBytesMax + 1000 * 10);
      after = page.end;
      ++pages;
    } while (!after.empty());
    EXPECT_EQ(seen, expected) << value;
    EXPECT_GE(pages, 2) << value;
    EXPECT_LE(pages, 6) << value;
  }
}

TEST(SessionQueries, CountsAreThoseOfTheList) {
  World world(500);
  const std::vector<v1::Session> all = world.All();
  using GroupBy = v1::CountSessionsRequest;
  for (const char* filter : {"", "hold = true", "owner_id = none", "labels.team = 'team 4'"}) {
    for (const char* namespace_name : {"-", "other"}) {
      for (const bool include_deleted : {false, true}) {
        for (const auto group_by :
             {GroupBy::GROUP_BY_UNSPECIFIED, GroupBy::WORKFLOW, GroupBy::STATE, GroupBy::STAGE,
              GroupBy::STATUS, GroupBy::OWNER_ID}) {
          const auto selection = Selection(filter, namespace_name, include_deleted);
          std::map<std::string, int> counts;
          int total = 0;
          for (const v1::Session& session : all) {
            if (!IsSelected(selection, session)) continue;
            ++total;
            if (group_by == GroupBy::WORKFLOW) ++counts[session.workflow()];
            if (group_by == GroupBy::STATE) ++counts[v1::Session::State_Name(session.state())];
            if (group_by == GroupBy::STAGE) ++counts[session.stage()];
            if (group_by == GroupBy::STATUS) ++counts[session.status()];
            if (group_by == GroupBy::OWNER_ID) ++counts[session.owner_id()];
          }
          std::vector<std::pair<int, std::string>> expected;
          for (const auto& [value, count] : counts) expected.emplace_back(-count, value);
          std::sort(expected.begin(), expected.end());

          const auto response = world.Ask(SessionCounts(selection, 1, group_by));
          EXPECT_EQ(response.total(), total) << filter;
          std::vector<std::pair<int, std::string>> groups;
          for (const auto& group : response.groups()) {
            groups.emplace_back(-group.count(), group.value());
          }
          EXPECT_EQ(groups, expected) << filter << " by " << group_by;
        }
      }
    }
  }
}

TEST(SessionQueries, AThousandGroupsAreListedAndAllAreCounted) {
  World world(2500);
  world.Ask({"UPDATE sessions SET owner_id = CASE WHEN hold THEN 'big' ELSE id END", {}});
  const auto response =
      world.Ask(SessionCounts(Selection(""), 1, v1::CountSessionsRequest::OWNER_ID));
  EXPECT_EQ(response.groups_size(), 1000);
  EXPECT_EQ(response.groups(0).value(), "big");
  EXPECT_EQ(response.total(), 2500);
}

constexpr char kInsertEvents[] = R"sql(
INSERT INTO session_events
SELECT 0, i, CASE WHEN i % 2 = 0 THEN 'even' ELSE 'odd' END, (i + 1) / 2,
       timestamptz '2026-01-01 00:00:00Z' + i * interval '1 microsecond', 1 + i % 8, 1, 2, '',
       'stage', 'a', 'b', 3,
       'actor', 'caller', repeat('r', $2::integer), 'request ' || i,
       jsonb_build_object('context.k', i, 'labels.team', NULL)
FROM generate_series(1, $1::bigint) AS i
)sql";

TEST(SessionQueries, EventsComeInOrderAndWhole) {
  World world(1);
  world.Ask({kInsertEvents, {"400", "10"}});
  for (const int page_size : {1, 199, 200, 201, 1000}) {
    std::vector<v1::SessionEvent> events;
    KeyValues after;
    do {
      const auto page =
          world.Ask(*ListPage(EventSelection{.session_id = "even"}, 1, after, page_size));
      ASSERT_GT(page.rows.size(), 0);
      ASSERT_LE(page.rows.size(), page_size);
      events.insert(events.end(), page.rows.begin(), page.rows.end());
      after = page.end;
    } while (!after.empty());
    ASSERT_EQ(events.size(), 200u) << page_size;
    for (int i = 0; i < 200; ++i) EXPECT_EQ(events[i].sequence(), i + 1);
    const v1::SessionEvent& last = events.back();
    EXPECT_EQ(last.session_id(), "even");
    EXPECT_EQ(last.event_time().nanos(), 400'000);
    EXPECT_EQ(last.type(), v1::SessionEvent::CREATED);
    EXPECT_EQ(last.old_state(), v1::Session::CREATING);
    EXPECT_EQ(last.new_state(), v1::Session::ACTIVE);
    EXPECT_EQ(last.old_stage(), "");
    EXPECT_EQ(last.new_stage(), "stage");
    EXPECT_EQ(last.old_status(), "a");
    EXPECT_EQ(last.new_status(), "b");
    EXPECT_EQ(last.trigger(), v1::SessionEvent::API_CALL);
    EXPECT_EQ(last.actor(), "actor");
    EXPECT_EQ(last.caller(), "caller");
    EXPECT_EQ(last.reason(), std::string(10, 'r'));
    EXPECT_EQ(last.request_id(), "request 400");
    EXPECT_EQ(last.changes().fields().at("context.k").number_value(), 400);
    EXPECT_TRUE(last.changes().fields().at("labels.team").has_null_value());
  }
  const auto none = world.Ask(*ListPage(EventSelection{.session_id = "none"}, 1, {}, 10));
  EXPECT_TRUE(none.rows.empty() && none.end.empty());
}

TEST(SessionQueries, APageOfEventsEndsEarlyAtItsBytes) {
  World world(1);
  world.Ask({kInsertEvents, {"4000", "4000"}});
  const auto page = world.Ask(*ListPage(EventSelection{.session_id = "odd"}, 1, {}, 1000));
  EXPECT_FALSE(page.end.empty());
  std::size_t bytes = 0;
  for (const auto& event : page.rows) bytes += event.ByteSizeLong();
  EXPECT_LE(bytes, kPageBytesMax + 1000 * 10);
  EXPECT_GT(page.rows.size(), 600);
}

// With 100,000 sessions, whatever is asked, no plan reads a table from end to end.
TEST(SessionQueries, NoPlanScansATable) {
  World world(100'000);
  world.Ask({kInsertEvents, {"20000", "10"}});
  const auto expect_no_scan = [&](const Sql& sql) {
    const Result plan = world.Ask({absl::StrCat("EXPLAIN ", sql.text), sql.params});
    std::string text;
    for (int row = 0; row < plan.rows(); ++row) absl::StrAppend(&text, plan.Text(row, 0), "\n");
    EXPECT_FALSE(absl::StrContains(text, "Seq Scan")) << sql.text << "\n" << text;
    return text;
  };
  std::vector<std::string> filters = EveryRestriction(1);
  filters.insert(filters.end(),
                 {"", "owner_id = u1 status = status_1 labels.team = 'team 1'",
                  "owner_id = u1 OR labels.team = 'team 1'", "NOT (hold = true OR failed = true)"});
  // As a young database is, before anybody has counted; and as it is later.
  for (const bool analyzed : {false, true}) {
    if (analyzed) world.Ask({"ANALYZE sessions, session_events", {}});
    for (const std::string& filter : filters) {
      for (const char* namespace_name : {"-", "default"}) {
        const bool brief = !filter.empty() && *namespace_name == 'd';
        for (const bool include_deleted : {false, true}) {
          const auto selection = Selection(filter, namespace_name, include_deleted);
          for (const Order& order : EveryOrder()) {
            if (brief && order.field != OrderField::kCreateTime) continue;
            expect_no_scan(PageSqlOf(selection, order, {}, 50));
            KeyValues key = KeyAt(1767240000, "exec");
            if (order.field == OrderField::kState) key.insert(key.begin(), "3");
            if (order.field != OrderField::kCreateTime && key.size() == 2)
              key.insert(key.begin(), "status_3");
            expect_no_scan(PageSqlOf(selection, order, key, 1000));
          }
          for (int group_by = 0; group_by < v1::CountSessionsRequest::GroupBy_ARRAYSIZE;
               ++group_by) {
            if (brief && group_by > 1) continue;
            const auto by = static_cast<v1::CountSessionsRequest::GroupBy>(group_by);
            expect_no_scan(SessionCounts(selection, 1, by).statements.front());
          }
        }
      }
    }
    const EventSelection even{.session_id = "even"};
    expect_no_scan(ListPage(even, 1, {}, 50)->statements.front());
    expect_no_scan(ListPage(even, 1, {"5000"}, 1000)->statements.front());
    const auto rides = [&](const char* filter, OrderField field, const char* index) {
      const std::string plan =
          expect_no_scan(PageSqlOf(Selection(filter, "default", false), {field, true}, {}, 50));
      EXPECT_TRUE(absl::StrContains(plan, index)) << filter << "\n" << plan;
      EXPECT_FALSE(absl::StrContains(plan, "Sort")) << filter << "\n" << plan;
    };
    rides("", OrderField::kCreateTime, "sessions_by_created");
    rides("", OrderField::kOwnerId, "sessions_by_owner");
    rides("", OrderField::kStatus, "sessions_by_status");
    rides("", OrderField::kState, "sessions_by_state");
    // An owner's sessions lie far apart: they are fetched side by side.
    for (const bool is_first : {true, false}) {
      const KeyValues key = is_first ? KeyValues() : KeyAt(1767240000, "exec");
      const std::string plan =
          expect_no_scan(PageSqlOf(Selection("owner_id = u1 hold = true"), Order(), key, 50));
      EXPECT_TRUE(absl::StrContains(plan, "Index Only Scan Backward using sessions_by_owner"))
          << plan;
      // What could be taken out of the OR, or stands beside it, would lead to other scans.
      EXPECT_TRUE(absl::StrContains(plan, "BitmapOr")) << plan;
      EXPECT_TRUE(absl::StrContains(plan, "OR ((owner_id = $")) << plan;
      EXPECT_TRUE(absl::StrContains(plan, "Subquery Scan on s ")) << plan;
      EXPECT_FALSE(absl::StrContains(plan, "sessions_by_created")) << plan;
    }
    // In the order of status no edge is told by this index.
    EXPECT_FALSE(absl::StrContains(
        expect_no_scan(PageSqlOf(Selection("owner_id = u1"), {OrderField::kStatus, true}, {}, 50)),
        "edge"));
  }
  const auto list = [&](const char* filter) {
    return expect_no_scan(PageSqlOf(Selection(filter), Order(), {}, 50));
  };
  EXPECT_TRUE(absl::StrContains(list("labels.team = 'none'"), "sessions_by_label"));
  EXPECT_TRUE(absl::StrContains(list("references.job = 'none'"), "sessions_by_ref"));
  EXPECT_TRUE(absl::StrContains(list("session_id = x"), "sessions_pkey"));
}

// An owner may have half of all sessions, or all: what is read is some pages' worth, never all of
// the owner's or all that a filter lets through.
TEST(SessionQueries, APageOfAnOwnersSessionsReadsNoMoreThanItNeeds) {
  World world(20'000);
  for (const char* where : {"id ~ '[0-7]$'", "true"}) {
    world.Ask({absl::StrCat("UPDATE sessions SET owner_id = 'u1' WHERE ", where), {}});
    world.Ask({"ANALYZE sessions", {}});
    for (const char* filter :
         {"", "state = ACTIVE", "status = status_1", "labels:team", "owner_id = u1"}) {
      for (const bool descending : {false, true}) {
        for (const bool is_first : {true, false}) {
          const KeyValues after = is_first ? KeyValues() : KeyAt(1767228860, "exec");
          const Sql sql = PageSqlOf(Selection(absl::StrCat("owner_id = u1 ", filter)),
                                    {OrderField::kCreateTime, descending}, after, 50);
          const Result plan = world.Ask(
              {absl::StrCat("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) ", sql.text), sql.params});
          std::string text;
          for (int row = 0; row < plan.rows(); ++row)
            absl::StrAppend(&text, plan.Text(row, 0), "\n");
          // What the whole took stands first.
          const std::size_t at = text.find("Buffers: shared hit=");
          ASSERT_NE(at, std::string::npos) << text;
          EXPECT_LT(std::atoi(text.c_str() + at + 20), 1000) << where << "\n" << text;
          if (*filter == '\0') {
            EXPECT_TRUE(absl::StrContains(text, "never executed"))
                << "a full page needs nothing from behind it\n"
                << text;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace sessiond::db
