// The migration runner: whole or not at all, once however many run it, and only on a schema it
// knows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "db/postgres/durability.h"
#include "db/postgres/migrate.h"
#include "tests/postgres_fixture.h"

namespace sessiond::db {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr Migration kFirst = {1, "first",
                              "CREATE TABLE one (a int);\nINSERT INTO one VALUES (1);\n"};
constexpr Migration kSecond = {2, "second", "INSERT INTO one VALUES (2);"};
constexpr Migration kBoth[] = {kFirst, kSecond};

std::string Refusal(const TestDatabase& database, absl::Span<const Migration> migrations) {
  const absl::Status status = Migrate(database.dsn(), {.migrations = migrations});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_EQ(GetMigrationStatus(database.dsn(), {.migrations = migrations}).status(), status);
  return std::string(status.message());
}

TEST(Migrate, MakesTheSchemaWithAsManyPartitionsAsAreAskedFor) {
  const TestDatabase database(TestDatabase::Schema::kEmpty);
  const absl::Status migrated = Migrate(database.dsn(), {.partition_count = 7});
  ASSERT_TRUE(migrated.ok()) << migrated;
  EXPECT_EQ(database.Ask("SELECT partition_count::text FROM database_identity"), "7");
  EXPECT_EQ(database.Ask("SELECT count(*)::text FROM partitions"), "7");
}

TEST(Migrate, DoesNothingTheSecondTimeAndKeepsThePartitions) {
  const TestDatabase database;
  const std::string history =
      "SELECT string_agg(schema_migrations::text, ' ') FROM schema_migrations";
  const std::string before = database.Ask(history);
  ASSERT_TRUE(Migrate(database.dsn(), {.partition_count = 7}).ok());
  EXPECT_EQ(database.Ask(history), before);
  EXPECT_EQ(database.Ask("SELECT partition_count::text FROM database_identity"), "64");
}

TEST(Migrate, RunsEveryMigrationOnceHoweverManyDaemonsStart) {
  const TestDatabase database(TestDatabase::Schema::kEmpty);
  std::vector<absl::Status> done(4);
  std::vector<std::thread> daemons;
  for (absl::Status& status : done) {
    daemons.emplace_back([&] { status = Migrate(database.dsn(), {.migrations = kBoth}); });
  }
  for (std::thread& daemon : daemons) daemon.join();
  for (const absl::Status& status : done) EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(database.Ask("SELECT string_agg(a::text, ',' ORDER BY a) FROM one"), "1,2");
}

TEST(Migrate, TellsWhatIsAppliedAndWhatIsPending) {
  const TestDatabase database(TestDatabase::Schema::kEmpty);
  auto status = GetMigrationStatus(database.dsn(), {.migrations = kBoth});
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->current(), 0);
  EXPECT_EQ(status->needed(), 2);
  EXPECT_EQ(database.Ask(
                "SELECT count(*)::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"),
            "0")
      << "asking must not make anything";

  ASSERT_TRUE(Migrate(database.dsn(), {.migrations = {&kFirst, 1}}).ok());
  status = GetMigrationStatus(database.dsn(), {.migrations = kBoth});
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->current(), 1);
  EXPECT_EQ(status->applied.at(0).name, "first");
  EXPECT_EQ(status->pending.at(0).name, std::string("second"));
  EXPECT_EQ(CheckMigrated(*status).message(),
            "the database's schema is 1, this sessiond needs 2: run `sessiond migrate up`");

  ASSERT_TRUE(Migrate(database.dsn(), {.migrations = kBoth}).ok());
  EXPECT_TRUE(CheckMigrated(*GetMigrationStatus(database.dsn(), {.migrations = kBoth})).ok());
}

TEST(Migrate, RefusesAnAppliedMigrationThatHasChanged) {
  const TestDatabase database(TestDatabase::Schema::kEmpty);
  ASSERT_TRUE(Migrate(database.dsn(), {.migrations = {&kFirst, 1}}).ok());
  const Migration changed[] = {{1, "first", "CREATE TABLE one (a bigint);"}, kSecond};
  EXPECT_THAT(Refusal(database, changed), HasSubstr("migration 0001 first"));
  EXPECT_EQ(database.Ask("SELECT max(a)::text FROM one"), "1") << "the second one ran";
}

TEST(Migrate, TakesOtherLineEndingsForTheSame) {
  const TestDatabase database(TestDatabase::Schema::kEmpty);
  ASSERT_TRUE(Migrate(database.dsn(), {.migrations = {&kFirst, 1}}).ok());
  const Migration crlf = {1, "first",
                          "CREATE TABLE one (a int);\r\nINSERT INTO one VALUES (1);\r\n"};
  EXPECT_TRUE(Migrate(database.dsn(), {.migrations = {&crlf, 1}}).ok());
}

TEST(Migrate, RefusesASchemaThatIsNewerThanTheBinary) {
  const TestDatabase database(TestDatabase::Schema::kEmpty);
  ASSERT_TRUE(Migrate(database.dsn(), {.migrations = kBoth}).ok());
  EXPECT_THAT(Refusal(database, {&kFirst, 1}),
              AllOf(HasSubstr("schema is 2, this sessiond understands 1"), HasSubstr("newer")));
}

TEST(Migrate, LeavesNothingOfAMigrationThatFails) {
  const TestDatabase database(TestDatabase::Schema::kEmpty);
  const Migration broken[] = {kFirst, {2, "broken", "CREATE TABLE two (b int); SELECT 1 / 0;"}};
  const absl::Status status = Migrate(database.dsn(), {.migrations = broken});
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("migration 0002 broken"), HasSubstr("22012")));
  EXPECT_EQ(database.Ask("SELECT coalesce(to_regclass('two')::text, 'nothing')"), "nothing");
  EXPECT_EQ(database.Ask("SELECT max(version)::text FROM schema_migrations"), "1")
      << "the first one is kept";
  EXPECT_TRUE(Migrate(database.dsn(), {.migrations = kBoth}).ok())
      << "a mended one goes on from there";
}

TEST(Migrate, RefusesADatabaseThatIsNotUtf8AndMakesNothing) {
  const TestDatabase outer(TestDatabase::Schema::kEmpty);
  auto connection = outer.Connect();
  ASSERT_TRUE(
      connection
          ->Execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0", TestDeadline())
          .ok());
  const absl::Status status = Migrate(TestCluster().dsn("latin"));
  EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("LATIN1"), HasSubstr("UTF8")));
  ASSERT_TRUE(connection->Execute("DROP DATABASE latin WITH (FORCE)", TestDeadline()).ok());
}

// By where it was set, what resets it.
TEST(Migrate, RefusesADatabaseThatIsReadOnlyAndNamesTheSetting) {
  const TestDatabase database(TestDatabase::Schema::kEmpty);
  const auto administer = [](const std::string& sql) {
    const auto connection =
        Connection::Open({.dsn = TestCluster().dsn("postgres")}, TestDeadline());
    ASSERT_TRUE(connection.ok()) << connection.status();
    const absl::Status done = (*connection)->Execute(sql, TestDeadline());
    EXPECT_TRUE(done.ok()) << sql << ": " << done;
  };
  const std::string name = database.Ask("SELECT current_database()::text");
  const std::string reset = " RESET default_transaction_read_only";
  administer("CREATE ROLE reader LOGIN SUPERUSER");
  const std::string dsn = absl::StrCat(database.dsn(), " user=reader");
  const auto refusal = [](const std::string& url) {
    const absl::Status status = Migrate(url);
    EXPECT_EQ(GetMigrationStatus(url).status(), status);
    return std::string(status.message());
  };
  for (const std::string& whose :
       {std::string("ALTER ROLE reader"), absl::StrCat("ALTER DATABASE ", name),
        absl::StrCat("ALTER ROLE reader IN DATABASE ", name)}) {
    administer(absl::StrCat(whose, " SET default_transaction_read_only = on"));
    EXPECT_EQ(refusal(dsn),
              absl::StrCat("the database is read-only, because default_transaction_read_only is "
                           "on: ",
                           whose, reset));
    administer(absl::StrCat(whose, reset));
  }
  EXPECT_THAT(refusal(absl::StrCat(dsn, " options='-c default_transaction_read_only=on'")),
              HasSubstr("take it out of the options in --db-url"));
  EXPECT_EQ(database.Ask("SELECT coalesce(to_regclass('sessions')::text, 'nothing')"), "nothing");
  EXPECT_TRUE(Migrate(dsn).ok());
  administer("REASSIGN OWNED BY reader TO sessiond");
  EXPECT_TRUE(
      database.Connect()
          ->Execute("REASSIGN OWNED BY reader TO sessiond; DROP ROLE reader", TestDeadline())
          .ok());
}

TEST(CheckDurability, NamesEverySettingThatCouldLoseAnAcknowledgedChange) {
  const TestDatabase database;
  const absl::Status status = CheckDurability(*database.Connect(), TestDeadline());
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("(fsync = off, full_page_writes = off)"),
                    HasSubstr("start PostgreSQL without fsync=off and full_page_writes=off")));
  // Our connections have synchronous_commit on, whatever the server's is.
  const auto unpinned = Connection::Open({.dsn = database.dsn(), .pinned = false}, TestDeadline());
  ASSERT_TRUE(unpinned.ok()) << unpinned.status();
  EXPECT_THAT(std::string(CheckDurability(**unpinned, TestDeadline()).message()),
              HasSubstr("(fsync = off, full_page_writes = off, synchronous_commit = off)"));
}

}  // namespace
}  // namespace sessiond::db
