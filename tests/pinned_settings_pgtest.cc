// What a role or a database has set, or the connection string asks for, changes nothing that our
// statements mean.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "db/connection/pinned_settings.h"
#include "db/postgres/migrate.h"
#include "tests/store_fixture.h"

namespace sessiond::db {
namespace {

using testing::HasSubstr;

// The worst that each may be set to.
const std::map<std::string, std::string>& Nasty() {
  static const auto& nasty = *new std::map<std::string, std::string>{
      {"client_encoding", "LATIN1"},
      {"standard_conforming_strings", "off"},
      {"bytea_output", "escape"},
      {"datestyle", "SQL, DMY"},
      {"intervalstyle", "sql_standard"},
      {"timezone", "Asia/Kathmandu"},
      {"extra_float_digits", "-15"},
      {"array_nulls", "off"},
      {"transform_null_equals", "on"},
      {"client_min_messages", "error"},
      {"row_security", "on"},
      {"gin_fuzzy_search_limit", "1"},
      {"default_transaction_isolation", "serializable"},
      {"default_transaction_deferrable", "on"},
      // Short, but for the one statement that pins them they must do.
      {"statement_timeout", "300"},
      {"lock_timeout", "1"},
      {"idle_in_transaction_session_timeout", "1"},
      {"idle_session_timeout", "300"},
      {"exit_on_error", "on"},
      {"plan_cache_mode", "force_custom_plan"},
      {"from_collapse_limit", "1"},
      {"join_collapse_limit", "1"},
      {"geqo", "on"},
      {"jit", "on"},
  };
  return nasty;
}

// A role for which everything is set to its worst, and `more` by name.
class NastyRole {
 public:
  explicit NastyRole(const TestDatabase& database,
                     const std::map<std::string, std::string>& more = {})
      : database_(database) {
    static std::atomic<int> count = 0;
    name_ = absl::StrCat("nasty_", ++count);
    std::string sql = absl::StrCat("CREATE ROLE ", name_, " LOGIN SUPERUSER;");
    const auto set = [&](const std::string& name, const std::string& value) {
      absl::StrAppend(&sql, "ALTER ROLE ", name_, " SET ", name, " = ", value, ";");
    };
    for (const PinnedSetting& pinned : PinnedSettings()) {
      const std::string name(pinned.name);
      const auto nasty = Nasty().find(name);
      set(name, absl::StrCat("'", nasty == Nasty().end() ? "off" : nasty->second, "'"));
    }
    set("synchronous_commit", "off");
    for (const auto& [name, value] : more) set(name, value);
    const absl::Status made = database.Connect()->Execute(sql, TestDeadline());
    EXPECT_TRUE(made.ok()) << made;
  }
  ~NastyRole() {
    const absl::Status dropped = database_.Connect()->Execute(
        absl::StrCat("REASSIGN OWNED BY ", name_, " TO sessiond; DROP ROLE ", name_),
        TestDeadline());
    EXPECT_TRUE(dropped.ok()) << dropped;
  }

  // The last of two users counts.
  std::string dsn() const { return absl::StrCat(database_.dsn(), " user=", name_); }

  // What one query, whose first row's first column is text, answers this role.
  std::string Ask(const std::string& sql, const std::string& more = "") const {
    auto connection = Connection::Open({.dsn = dsn() + more}, TestDeadline());
    EXPECT_TRUE(connection.ok()) << connection.status();
    if (!connection.ok()) return "";
    (*connection)->QueueSql(sql);
    const auto results = (*connection)->RoundTrip(TestDeadline());
    EXPECT_TRUE(results.ok()) << results.status();
    return results.ok() ? std::string(results->front().Text(0, 0)) : "";
  }

 private:
  const TestDatabase& database_;
  std::string name_;
};

// All that is pinned, as the connection has it.
std::string ShowAll() {
  std::string names = "'synchronous_commit'";
  for (const PinnedSetting& pinned : PinnedSettings())
    absl::StrAppend(&names, ", '", pinned.name, "'");
  return absl::StrCat(
      "SELECT string_agg(lower(name) || '=' || setting, ' ' ORDER BY lower(name)) FROM pg_settings "
      "WHERE lower(name) IN (",
      names, ")");
}

TEST(PinnedSettings, ARolesOwnSettingsChangeNone) {
  const TestDatabase database;
  const NastyRole role(database);
  const std::string shown = database.Ask(ShowAll());
  for (const PinnedSetting& pinned : PinnedSettings())
    EXPECT_THAT(shown, HasSubstr(absl::StrCat(pinned.name, "=", pinned.value)));
  EXPECT_THAT(shown, HasSubstr("synchronous_commit=on"));
  EXPECT_EQ(role.Ask(ShowAll()), shown);
}

TEST(PinnedSettings, TheConnectionStringChangesNone) {
  const TestDatabase database;
  const NastyRole role(database);
  const std::string more =
      " client_encoding=LATIN1 options='-c timezone=Asia/Tokyo -c work_mem=7MB'";
  EXPECT_EQ(role.Ask(ShowAll(), more), database.Ask(ShowAll()));
  EXPECT_EQ(role.Ask("SHOW work_mem", more), "7MB") << "tuning is theirs";
}

TEST(PinnedSettings, WhoWantsMoreThanACommitOnTheDiskGetsIt) {
  const TestDatabase database;
  const NastyRole role(database, {{"synchronous_commit", "remote_apply"}});
  EXPECT_EQ(role.Ask("SHOW synchronous_commit"), "remote_apply");
}

TEST(PinnedSettings, WhatIsReadOnlyStaysSo) {
  const TestDatabase database;
  const NastyRole role(database, {{"default_transaction_read_only", "on"}});
  EXPECT_EQ(role.Ask("SHOW transaction_read_only"), "on");
}

TEST(PinnedSettings, ASessionIsStoredAndFoundAsItWasSent) {
  const TestDatabase database;
  const NastyRole role(database);
  const auto store =
      OpenStore(database, [&](SessionStoreOptions& options) { options.settings.dsn = role.dsn(); });
  v1::CreateSessionRequest request = NewSession("interview");
  request.mutable_session()->set_owner_id("Žofie 🦊 \\'");
  const v1::Session session = NewSessionIn(*store, "interview", &request);
  EXPECT_EQ(session.owner_id(), request.session().owner_id());
  EXPECT_EQ(database.Ask("SELECT encode(convert_to(owner_id, 'UTF8'), 'hex') FROM sessions"),
            "c5bd6f66696520f09fa68a205c27");
  EXPECT_EQ(AllSessions(database).at(session.session_id()).owner_id(), session.owner_id());
  ExpectSound(database);
}

TEST(PinnedSettings, NobodyElsesTablesAreTakenForOurs) {
  const TestDatabase database;
  const absl::Status made = database.Connect()->Execute(
      "CREATE SCHEMA evil;"
      "CREATE TABLE evil.sessions (a int);"
      "CREATE FUNCTION evil.set_config(text, text, boolean) RETURNS text LANGUAGE sql "
      "AS $$ SELECT 'evil' $$;"
      "CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
      "AS $$ SELECT timestamptz '-infinity' $$",
      TestDeadline());
  ASSERT_TRUE(made.ok()) << made;
  const NastyRole role(database, {{"search_path", "evil, public, pg_catalog"}});
  EXPECT_EQ(role.Ask("SHOW search_path"), "public, pg_temp");
  const auto store =
      OpenStore(database, [&](SessionStoreOptions& options) { options.settings.dsn = role.dsn(); });
  NewSessionIn(*store, "execution");
  EXPECT_EQ(database.Ask("SELECT count(*)::text FROM sessions"), "1");
}

TEST(PinnedSettings, APathThatLeadsNowhereLeadsToPublic) {
  const TestDatabase database;
  const NastyRole role(database, {{"search_path", "''"}});
  EXPECT_EQ(role.Ask("SELECT count(*)::text FROM sessions"), "0");
}

TEST(PinnedSettings, ASchemaOfItsOwnIsKeptTo) {
  const TestDatabase database(TestDatabase::Schema::kEmpty);
  const NastyRole role(database, {{"search_path", "app, public"}});
  ASSERT_TRUE(database.Connect()->Execute("CREATE SCHEMA app", TestDeadline()).ok());
  const absl::Status migrated = Migrate(role.dsn());
  ASSERT_TRUE(migrated.ok()) << migrated;
  EXPECT_EQ(role.Ask("SHOW search_path"), "app, pg_temp");
  EXPECT_EQ(database.Ask("SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'"), "0");
  EXPECT_EQ(role.Ask("SELECT count(*)::text FROM sessions"), "0");
}

}  // namespace
}  // namespace sessiond::db
