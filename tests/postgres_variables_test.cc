// Which of libpq's variables are left in the environment.
#include "db/connection/postgres_variables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "server/config/config.h"

namespace sessiond::db {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class LibpqEnvironment : public testing::Test {
 protected:
  LibpqEnvironment() {
    for (const char* name :
         {"PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGOPTIONS",
          "PGCLIENTENCODING", "PGSERVICE", "PGSSLMODE", "PGTZ", "PGTARGETSESSIONATTRS", "PGDATA",
          "PGNOTYETINVENTED", "PGREQUIRESSL"}) {
      setenv(name, "x", /*overwrite=*/1);
    }
    setenv("PGSSLCERT", "", /*overwrite=*/1);
  }
  ~LibpqEnvironment() override { ForgetLibpqEnvironment(); }
};

TEST_F(LibpqEnvironment, NothingIsLeftForOneOfOurOwn) {
  ForgetLibpqEnvironment();
  EXPECT_THAT(LibpqVariables(), IsEmpty());
  EXPECT_EQ(std::getenv("PGOPTIONS"), nullptr);
}

TEST_F(LibpqEnvironment, AUrlThatSaysNothingIsCompletedByThem) {
  ForgetLibpqEnvironment(*ParseConnInfo("postgresql://"));
  EXPECT_THAT(LibpqVariables(), ElementsAre("PGDATABASE", "PGHOST", "PGHOSTADDR", "PGPASSWORD",
                                            "PGPORT", "PGREQUIRESSL", "PGSSLMODE", "PGUSER"));
}

TEST_F(LibpqEnvironment, AUrlThatNamesAHostMeansNoOthersAddressOrPort) {
  ForgetLibpqEnvironment(*ParseConnInfo("postgresql://app@db/sessions"));
  EXPECT_THAT(LibpqVariables(), ElementsAre("PGPASSWORD", "PGREQUIRESSL", "PGSSLMODE"));
}

TEST_F(LibpqEnvironment, AServiceIsAPlaceToo) {
  ForgetLibpqEnvironment(*ParseConnInfo("service=mine password=p"));
  EXPECT_THAT(LibpqVariables(), ElementsAre("PGDATABASE", "PGREQUIRESSL", "PGSSLMODE", "PGUSER"));
}

TEST_F(LibpqEnvironment, AUrlThatSaysHowItIsEncryptedIsNotToldAgain) {
  ForgetLibpqEnvironment(*ParseConnInfo("postgresql://app:p@db/sessions?sslmode=verify-full"));
  EXPECT_THAT(LibpqVariables(), ElementsAre("PGSSLMODE"));
}

TEST(LibpqVariables, TheOptionsHelpTellsOfEachThatCounts) {
  for (const Option& option : Options()) {
    if (option.name != "db-url") continue;
    for (const absl::string_view variable : HonouredVariables())
      EXPECT_THAT(std::string(option.help), HasSubstr(std::string(variable)));
  }
}

}  // namespace
}  // namespace sessiond::db
