#include "db/postgres/migrate.h"

#include <gtest/gtest.h>

namespace sessiond::db {
namespace {

TEST(Migrations, AreNumberedFromOneWithoutAGap) {
  int version = 0;
  for (const Migration& migration : BuiltInMigrations())
    EXPECT_EQ(migration.version, ++version) << migration.name;
  EXPECT_GT(version, 0);
}

TEST(MigrationChecksum, DependsOnEverythingButLineEndings) {
  EXPECT_EQ(MigrationChecksum("a\nb\n"), MigrationChecksum("a\r\nb\r\n"));
  EXPECT_NE(MigrationChecksum("a\nb\n"), MigrationChecksum("a\nb"));
  // Taken by sha256sum.
  EXPECT_EQ(MigrationChecksum("a\n"),
            "87428fc522803d31065e7bce3cf03fe475096631e5e07bbd7a0fde60c4cf25c7");
}

}  // namespace
}  // namespace sessiond::db
