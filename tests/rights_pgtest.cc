// The daemon's role: it is given what the daemon needs and no more, whatever its name and whatever
// it had before; and who could do more is told so. And the connections that it may have.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "db/connection/sql_error.h"
#include "db/postgres/capacity.h"
#include "db/postgres/integrity.h"
#include "db/postgres/migrate.h"
#include "db/postgres/rights.h"
#include "db/sql/statements.h"
#include "tests/no_threads.h"
#include "tests/store_fixture.h"

namespace sessiond::db {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

void Do(const TestDatabase& database, const std::string& sql) {
  const absl::Status done = database.Connect()->Execute(sql, TestDeadline());
  EXPECT_TRUE(done.ok()) << sql << ": " << done << TroubleOf(done);
}

// A role for one test. `sql`: its name as SQL writes it.
class Role {
 public:
  Role(const TestDatabase& database, const std::string& name, const std::string& options = "LOGIN")
      : database_(database),
        name_(name),
        sql_(absl::StrCat("\"", absl::StrReplaceAll(name, {{"\"", "\"\""}}), "\"")) {
    Do(database_, absl::StrCat("CREATE ROLE ", sql_, " ", options));
  }
  ~Role() {
    Do(database_, absl::StrCat("REASSIGN OWNED BY ", sql_, " TO sessiond; DROP OWNED BY ", sql_,
                               " CASCADE; DROP ROLE ", sql_));
  }
  Role(const Role&) = delete;

  const std::string& name() const { return name_; }
  const std::string& sql() const { return sql_; }
  std::string dsn() const {
    return absl::StrCat(database_.dsn(), " user='",
                        absl::StrReplaceAll(name_, {{"\\", "\\\\"}, {"'", "\\'"}}), "'");
  }
  std::unique_ptr<Connection> Connect() const {
    auto connection = Connection::Open({.dsn = dsn()}, TestDeadline());
    EXPECT_TRUE(connection.ok()) << connection.status();
    return *std::move(connection);
  }
  // The SQLSTATE of what it is refused; empty if it is not.
  std::string Refused(const std::string& sql) const {
    return SqlStateOf(Connect()->Execute(sql, TestDeadline()));
  }

 private:
  const TestDatabase& database_;
  const std::string name_, sql_;
};

std::string Refusal(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  return std::string(status.message());
}
std::string Refusal(const absl::StatusOr<GrantReport>& report) { return Refusal(report.status()); }

void ExpectLeast(const Role& role) {
  const absl::Status rights = CheckRights(*role.Connect(), TestDeadline());
  EXPECT_TRUE(rights.ok()) << rights;
  const absl::Status least = CheckLeastPrivilege(*role.Connect(), TestDeadline());
  EXPECT_TRUE(least.ok()) << least;
}

// ------------------------------------------------------------------------------------- what is
// given

TEST(GrantRights, GivesWhatTheTableSaysWhateverTheRolesName) {
  const TestDatabase database;
  for (const char* name : {"app", "App", "my app", "o'neil", "say \"app\"", "select", "-app",
                           "Žofie; DROP TABLE sessions; --", "$1", "\\"}) {
    const Role role(database, name);
    EXPECT_THAT(Refusal(CheckRights(*role.Connect(), TestDeadline())), HasSubstr("lacks rights"));
    const auto report = GrantRights(database.dsn(), name);
    ASSERT_TRUE(report.ok()) << name << ": " << report.status();
    EXPECT_THAT(report->granted, Contains("SELECT, INSERT, DELETE on session_artifacts, "
                                          "session_events, session_messages, session_requests"));
    EXPECT_THAT(report->granted, Contains("USAGE on the schema public"));
    EXPECT_THAT(report->revoked, IsEmpty());
    EXPECT_THAT(report->notes, IsEmpty());
    ExpectLeast(role);
  }
}

TEST(GrantRights, LetsNobodyChangeTheAudit) {
  const TestDatabase database;
  NewSessionIn(*OpenStore(database), "interview");
  const Role role(database, "app");
  ASSERT_TRUE(GrantRights(database.dsn(), "app").ok());
  EXPECT_EQ(role.Refused("SELECT count(*) FROM session_events"), "");
  for (const char* sql :
       {"UPDATE session_events SET actor = 'nobody'", "TRUNCATE session_events",
        "ALTER TABLE session_events DISABLE TRIGGER ALL", "DROP TABLE session_events",
        "CREATE TRIGGER t BEFORE INSERT ON session_events EXECUTE FUNCTION refuse_event_changes()",
        "CREATE TABLE another (a int)", "UPDATE workflows SET definition = '{}'",
        "DELETE FROM tombstones", "UPDATE schema_migrations SET checksum = ''",
        "SET session_replication_role = replica"}) {
    EXPECT_EQ(role.Refused(sql), "42501") << sql;
  }
  // It has the right, for archiving; the trigger refuses who does not say so.
  EXPECT_EQ(role.Refused("DELETE FROM session_events"), "P0001");
  EXPECT_EQ(database.Ask("SELECT count(*)::text FROM session_events"), "1");
}

// Whether the role may run it: EXPLAIN checks all rights, and does nothing.
bool MayRun(Connection& connection, const std::string& sql) {
  int params = 0;
  while (absl::StrContains(sql, absl::StrCat("$", params + 1))) ++params;
  const std::string nulls = absl::StrJoin(std::vector<std::string>(params, "NULL"), ", ");
  const absl::Status done = connection.Execute(
      absl::StrCat("PREPARE s AS ", sql, "\n; EXPLAIN EXECUTE s",
                   params == 0 ? "" : absl::StrCat("(", nulls, ")"), "; DEALLOCATE s"),
      TestDeadline());
  if (SqlStateOf(done) == "42501") {
    EXPECT_TRUE(connection.Execute("DEALLOCATE ALL", TestDeadline()).ok());
    return false;
  }
  EXPECT_TRUE(done.ok()) << sql << ": " << done << TroubleOf(done);
  return true;
}

// All of the daemon's statements, with those that are no files of their own.
std::vector<std::string> AllSql() {
  std::vector<std::string> all = {"SELECT FROM database_identity FOR UPDATE",
                                  "UPDATE tombstones s SET owner_id = '' WHERE s.owner_id = ''",
                                  "SELECT max(version) FROM schema_migrations"};
  const std::set<std::string> unprepared = {"begin", "commit", "rollback"};
  for (const Statement* each : kAllStatements) {
    if (!unprepared.contains(each->name)) all.push_back(each->sql);
  }
  for (const Statement* each : kAllQueries) all.push_back(each->sql);
  return all;
}

TEST(GrantRights, GivesWhatTheStatementsNeedAndNothingElse) {
  const TestDatabase database;
  const Role role(database, "app");
  ASSERT_TRUE(GrantRights(database.dsn(), "app").ok());
  const auto connection = role.Connect();
  for (const std::string& sql : AllSql()) EXPECT_TRUE(MayRun(*connection, sql)) << sql;

  const std::string grants = database.Ask(
      "SELECT string_agg(x.privilege_type || ' ON ' || c.relname, ',' ORDER BY c.relname, 1) "
      "FROM pg_class c, aclexplode(c.relacl) x WHERE x.grantee = 'app'::regrole");
  std::size_t count = 0;
  for (const absl::string_view grant : absl::StrSplit(grants, ',')) {
    ++count;
    Do(database, absl::StrCat("REVOKE ", grant, " FROM app"));
    const std::vector<std::string> all = AllSql();
    EXPECT_TRUE(std::any_of(all.begin(), all.end(),
                            [&](const std::string& sql) { return !MayRun(*connection, sql); }))
        << "nobody needs " << grant;
    Do(database, absl::StrCat("GRANT ", grant, " TO app"));
  }
  EXPECT_GT(count, 30u);
}

TEST(GrantRights, TakesAwayWhatIsMoreAndChangesNothingTheSecondTime) {
  const TestDatabase database;
  const Role role(database, "app");
  Do(database,
     "GRANT ALL ON ALL TABLES IN SCHEMA public TO app WITH GRANT OPTION;"
     "GRANT UPDATE (reason) ON session_events TO app;"
     "GRANT CREATE ON SCHEMA public TO app;"
     "CREATE TABLE others (a int); GRANT ALL ON others TO app");
  EXPECT_THAT(Refusal(CheckLeastPrivilege(*role.Connect(), TestDeadline())),
              AllOf(HasSubstr("REFERENCES, TRIGGER, TRUNCATE, UPDATE on session_"),
                    HasSubstr("`sessiond migrate up --grant-to app`"), Not(HasSubstr("REVOKE"))));
  const auto first = GrantRights(database.dsn(), "app");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(absl::StrJoin(first->revoked, "; "),
              AllOf(HasSubstr("TRUNCATE, UPDATE on session_"), HasSubstr("session_events"),
                    HasSubstr("CREATE on the schema public")));
  ExpectLeast(role);
  EXPECT_EQ(role.Refused("UPDATE session_events SET reason = ''"), "42501");
  EXPECT_EQ(role.Refused("GRANT SELECT ON sessions TO PUBLIC"), "");  // A warning, and no grant.
  EXPECT_EQ(database.Ask("SELECT count(*)::text FROM pg_class c, aclexplode(c.relacl) x WHERE "
                         "c.relname = 'sessions' AND x.grantee = 0"),
            "0");
  EXPECT_EQ(role.Refused("TRUNCATE others"), "") << "it is none of ours";

  const std::string acl =
      "SELECT string_agg(relname || relacl::text, ' ' ORDER BY relname) FROM pg_class";
  const std::string before = database.Ask(acl);
  const auto second = GrantRights(database.dsn(), "app");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_THAT(second->revoked, IsEmpty());
  EXPECT_EQ(second->granted, first->granted);
  EXPECT_EQ(database.Ask(acl), before);
}

TEST(GrantRights, WorksInASchemaOfItsOwnAndForAnOwnerWhoIsNoSuperuser) {
  const TestDatabase database(TestDatabase::Schema::kEmpty);
  const Role owner(database, "the owner"), role(database, "app");
  Do(database, absl::StrCat("CREATE SCHEMA \"My Schema\" AUTHORIZATION ", owner.sql(),
                            "; ALTER ROLE ", owner.sql(), " SET search_path = \"My Schema\";",
                            "ALTER ROLE app SET search_path = \"My Schema\""));
  ASSERT_TRUE(Migrate(owner.dsn()).ok());
  const auto report = GrantRights(owner.dsn(), "app");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->granted, Contains("USAGE on the schema \"My Schema\""));
  ExpectLeast(role);
  EXPECT_THAT(Refusal(CheckLeastPrivilege(*owner.Connect(), TestDeadline())),
              HasSubstr("the role \"the owner\" owns the schema \"My Schema\""));
}

TEST(GrantRights, SaysWhatElseKeepsTheRoleFromServing) {
  const TestDatabase database;
  const Role role(database, "app", "NOLOGIN");
  const std::string name = database.Ask("SELECT current_database()::text");
  Do(database, absl::StrCat("REVOKE CONNECT ON DATABASE ", name, " FROM PUBLIC"));
  const auto report = GrantRights(database.dsn(), "app");
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_THAT(report->notes, Contains(HasSubstr("ALTER ROLE app LOGIN")));
  EXPECT_THAT(report->notes,
              Contains(HasSubstr(absl::StrCat("GRANT CONNECT ON DATABASE ", name, " TO app"))));
}

// -------------------------------------------------------------------------------------- who is
// refused

TEST(GrantRights, RefusesWhoIsNoRole) {
  const TestDatabase database;
  const Role role(database, "app");
  const auto refusal = [&](const std::string& name) {
    const std::string why = Refusal(GrantRights(database.dsn(), name));
    EXPECT_EQ(Refusal(CheckGrantee(database.dsn(), name)), why);
    return why;
  };
  EXPECT_THAT(refusal("nobody"), HasSubstr("no such role: CREATE ROLE nobody LOGIN"));
  EXPECT_THAT(refusal("My \"Role\""), HasSubstr("CREATE ROLE \"My \"\"Role\"\"\" LOGIN"));
  EXPECT_THAT(refusal("APP"), HasSubstr("did you mean --grant-to app?"));
  EXPECT_THAT(refusal("public"), HasSubstr("everybody"));
  EXPECT_THAT(refusal(""), HasSubstr("is no name"));
  EXPECT_THAT(refusal(std::string(64, 'a')), HasSubstr("at most 63 bytes, and this has 64"));
}

TEST(GrantRights, RefusesWhomRightsDoNotBind) {
  const TestDatabase database;
  const Role owner(database, "owner"), member(database, "member", "LOGIN NOINHERIT"),
      root(database, "root", "SUPERUSER LOGIN");
  Do(database, "GRANT owner TO member");
  const auto expect = [&](const char* name, const std::string& why) {
    EXPECT_THAT(Refusal(GrantRights(database.dsn(), name)), HasSubstr(why));
    EXPECT_THAT(Refusal(CheckGrantee(database.dsn(), name)), HasSubstr(why));
  };
  expect("root", "is a superuser");
  EXPECT_THAT(Refusal(CheckLeastPrivilege(*root.Connect(), TestDeadline())),
              HasSubstr("the role root is a superuser"));
  const std::string name = database.Ask("SELECT current_database()::text");
  const struct {
    std::string take, give, thing;
  } kThings[] = {
      {"ALTER TABLE tombstones OWNER TO owner", "ALTER TABLE tombstones OWNER TO sessiond",
       "the table tombstones"},
      {"ALTER SCHEMA public OWNER TO owner", "ALTER SCHEMA public OWNER TO pg_database_owner",
       "the schema public"},
      {absl::StrCat("ALTER DATABASE ", name, " OWNER TO owner"),
       absl::StrCat("ALTER DATABASE ", name, " OWNER TO sessiond"),
       absl::StrCat("the database ", name)},
  };
  for (const auto& [take, give, thing] : kThings) {
    EXPECT_TRUE(CheckGrantee(database.dsn(), "owner").ok());
    Do(database, take);
    expect("owner", absl::StrCat("this role owns ", thing));
    expect("member", absl::StrCat("is a member of owner, which owns ", thing));
    for (const Role* role : {&owner, &member}) {
      EXPECT_THAT(Refusal(CheckLeastPrivilege(*role->Connect(), TestDeadline())),
                  AllOf(HasSubstr(thing), HasSubstr("CREATE ROLE sessiond_daemon LOGIN"),
                        HasSubstr("sessiond migrate up --grant-to sessiond_daemon")));
    }
    Do(database, give);
  }
}

TEST(GrantRights, RefusesWhoWillOwnTheTables) {
  const TestDatabase database(TestDatabase::Schema::kEmpty);
  const Role maker(database, "maker"), member(database, "member");
  Do(database, "GRANT CREATE, USAGE ON SCHEMA public TO maker; GRANT maker TO member");
  EXPECT_THAT(Refusal(CheckGrantee(maker.dsn(), "maker")), HasSubstr("the role that migrates"));
  EXPECT_THAT(Refusal(CheckGrantee(maker.dsn(), "member")), HasSubstr("is a member of maker"));
}

TEST(GrantRights, RefusesToMigrateAsWhoMayNotGrant) {
  const TestDatabase database;
  const Role other(database, "other"), role(database, "app");
  Do(database, "GRANT ALL ON ALL TABLES IN SCHEMA public TO other WITH GRANT OPTION");
  EXPECT_THAT(Refusal(GrantRights(other.dsn(), "app")),
              HasSubstr("tables that sessiond owns: migrate as sessiond"));
}

// What the role would keep is named with a statement that takes it away.
TEST(GrantRights, RefusesWhatItCannotTakeAwayAndGrantsNothing) {
  const TestDatabase database;
  const Role role(database, "app"), group(database, "many", "NOLOGIN");
  const struct {
    std::string grant, excess, remedy;
  } kCases[] = {
      {"GRANT UPDATE ON session_events TO PUBLIC", "UPDATE on session_events, as PUBLIC may",
       "REVOKE UPDATE ON session_events FROM PUBLIC"},
      {"GRANT UPDATE (actor), INSERT ON session_events TO PUBLIC", "as PUBLIC may",
       "REVOKE UPDATE ON session_events FROM PUBLIC"},
      {"GRANT TRUNCATE ON sessions, workflows TO many; GRANT many TO app",
       "TRUNCATE on sessions, workflows, as many may", "REVOKE many FROM app"},
      {"GRANT pg_write_all_data TO app", "UPDATE on session_artifacts, session_events",
       "REVOKE pg_write_all_data FROM app"},
  };
  for (const auto& [grant, excess, remedy] : kCases) {
    Do(database, grant);
    const std::string why = Refusal(GrantRights(database.dsn(), "app"));
    EXPECT_THAT(why, AllOf(HasSubstr(excess), HasSubstr(remedy), HasSubstr("nothing was granted")));
    EXPECT_EQ(database.Ask("SELECT count(*)::text FROM pg_class c, aclexplode(c.relacl) x "
                           "WHERE x.grantee = 'app'::regrole"),
              "0");
    EXPECT_THAT(Refusal(CheckLeastPrivilege(*role.Connect(), TestDeadline())),
                AllOf(HasSubstr(excess), HasSubstr(remedy)));
    Do(database, remedy);
    const auto report = GrantRights(database.dsn(), "app");
    ASSERT_TRUE(report.ok()) << report.status();
    ExpectLeast(role);
    Do(database, "DROP OWNED BY app");
  }
}

TEST(GrantRights, RefusesToTakeFromOthersWhatTheRoleHasPassedOn) {
  const TestDatabase database;
  const Role other(database, "other"), role(database, "app");
  Do(database, "GRANT SELECT ON sessions TO app WITH GRANT OPTION");
  EXPECT_EQ(role.Refused("GRANT SELECT ON sessions TO other"), "");
  const std::string why = Refusal(GrantRights(database.dsn(), "app"));
  EXPECT_THAT(why, HasSubstr("passed rights on these tables on"));
  const std::string statement = why.substr(why.find("REVOKE ALL ON"));
  EXPECT_THAT(statement, testing::EndsWith("FROM app CASCADE"));
  Do(database, statement);
  EXPECT_TRUE(GrantRights(database.dsn(), "app").ok());
}

// ------------------------------------------------------------------------------------ changed by
// hand

TEST(CheckIntegrity, FindsAGoodDatabaseGood) {
  const TestDatabase database;
  NewSessionIn(*OpenStore(database), "interview");
  const absl::Status whole = CheckIntegrity(*database.Connect(), TestDeadline());
  EXPECT_TRUE(whole.ok()) << whole;
}

// What was done by hand is named with a statement that mends it.
TEST(CheckIntegrity, NamesWhatWasChangedByHand) {
  const TestDatabase database;
  NewSessionIn(*OpenStore(database), "interview");
  const std::string partition = database.Ask("SELECT partition::text FROM session_events");
  const struct {
    std::string done, why, begins_with;
  } kCases[] = {
      {absl::StrCat("UPDATE partitions SET position = 0 WHERE partition = ", partition),
       absl::StrCat("partitions (", partition, ") are behind their events"), "UPDATE partitions"},
      {absl::StrCat("DELETE FROM partitions WHERE partition IN (", partition, ", 63)"),
       "rows of the table partitions are missing", "INSERT INTO partitions"},
      {"ALTER TABLE session_events DISABLE TRIGGER session_events_append_only",
       "its trigger is off", "ALTER TABLE"},
      {"DROP TRIGGER session_events_append_only ON session_events", "its trigger is gone",
       "CREATE TRIGGER"},
  };
  const std::string positions =
      "SELECT string_agg(partition || ':' || position, ',' ORDER BY partition) FROM partitions";
  const std::string before = database.Ask(positions);
  for (const auto& [done, why, begins_with] : kCases) {
    Do(database, done);
    const std::string said = Refusal(CheckIntegrity(*database.Connect(), TestDeadline()));
    EXPECT_THAT(said, HasSubstr(why));
    Do(database, said.substr(said.rfind(begins_with)));
    const absl::Status mended = CheckIntegrity(*database.Connect(), TestDeadline());
    EXPECT_TRUE(mended.ok()) << mended;
    EXPECT_EQ(database.Ask(positions), before);
  }
}

// Those that were closed count until their backends are gone.
TEST(TryConnections, LeavesAsManyAsItFound) {
  const TestDatabase database;
  const Role role(database, "limited", "LOGIN CONNECTION LIMIT 5");
  const auto somebody = database.Connect();
  for (int i = 0; i < 20; ++i) {
    const absl::Status tried = TryConnections(role.dsn(), 5, "test", TestDeadline());
    ASSERT_TRUE(tried.ok()) << i << ": " << tried;
    const auto left = somebody->Query(
        "SELECT count(*)::int FROM pg_stat_activity WHERE usename = 'limited'", TestDeadline());
    ASSERT_TRUE(left.ok()) << left.status();
    EXPECT_EQ(left->Int4(0, 0), 0) << i;
  }
}

TEST(TryConnections, OpensThemOneByOneWhereThereIsNoThreadToSpare) {
  const TestDatabase database;
  const NoThreads none;
  const absl::Status tried = TryConnections(database.dsn(), 5, "test", TestDeadline());
  EXPECT_TRUE(tried.ok()) << tried;
}

}  // namespace
}  // namespace sessiond::db
