// What --db-url may be, and that a fault in it is named without what stands in it.
#include "db/connection/conninfo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sessiond::db {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::Pair;
using testing::UnorderedElementsAre;

TEST(ConnInfo, TakesUrlsAndKeywords) {
  const auto url = ParseConnInfo(
      "postgresql://us%40er:p%3A%2F%25w@db1:5433,[::1]:5434/sessions?sslmode=require");
  ASSERT_TRUE(url.ok()) << url.status();
  EXPECT_THAT(*url, UnorderedElementsAre(Pair("user", "us@er"), Pair("password", "p:/%w"),
                                         Pair("host", "db1,::1"), Pair("port", "5433,5434"),
                                         Pair("dbname", "sessions"), Pair("sslmode", "require")));
  const auto keywords = ParseConnInfo("host='/run/a b' password='it\\'s' dbname=x port=''");
  ASSERT_TRUE(keywords.ok()) << keywords.status();
  EXPECT_THAT(*keywords, UnorderedElementsAre(Pair("host", "/run/a b"), Pair("password", "it's"),
                                              Pair("dbname", "x"), Pair("port", "")));
}

TEST(ConnInfo, TakesWhatLibpqUnderstandsAlthoughItLooksOdd) {
  for (const char* dsn :
       {"postgresql://", "postgres://db", "postgresql:///x?host=/tmp&port=1", "host=@abstract",
        "postgresql://u:a:b?c=d@db/x", "postgresql://u:p#w@db", "postgresql://%2Frun%2Fpg/x",
        "postgresql://a,b,c:5432/x?target_session_attrs=read-write", "service=mine", "",
        "postgresql://m%C3%BCnchen/x", "postgresql://db/x?password=p@ss&ssl=true",
        "hostaddr=127.0.0.1,::1 host=a,b port=1,2 connect_timeout=3"}) {
    EXPECT_TRUE(ParseConnInfo(dsn).ok()) << dsn << ": " << ParseConnInfo(dsn).status();
  }
}

struct Fault {
  // Every piece of what is secret in it, or may be, begins with `Sec`.
  std::string dsn;
  std::string named;
};

// What a password that was not percent-encoded, or not quoted, makes of the rest; and other slips.
const std::vector<Fault>& Faults() {
  static const auto& faults = *new std::vector<Fault>{
      {"postgresql://u:Sec1@Sec2@db/x", "an @ or a /"},
      {"postgresql://u:Sec1@Sec2@db:5432,db2/x", "an @ or a /"},
      {"postgresql://u:Sec1@@db", "an @ or a /"},
      {"postgresql://Sec1/Sec2@db/x", "an @ or a /"},
      {"postgresql://u:Sec1/Sec2@db/x", "an @ or a /"},
      {"postgresql://u:12/Sec2@db/x", "an @ or a /"},
      {"postgresql://u:Sec1/Sec2?Sec3@db/x", "parameter 1"},
      {"postgresql://u:12/Sec2?Sec3@db/x", "parameter 1"},
      {"postgresql://u:12/Sec2?Sec3=Sec4@db/x", "a parameter behind the ?"},
      {"postgresql://u:12/Sec2?sslmode=Sec4@db/x", "sslmode"},
      {"postgresql://u:Sec1", "the port"},
      {"postgresql://db:Sec1:Sec2/x", "the port"},
      {"postgresql://db:70000", "the port"},
      {"postgresql://u:Sec1%@db/x", "a % in it"},
      {"postgresql://u:Sec1%Sec2@db/x", "a % in it"},
      {"postgresql://u:Sec1%4@db/x", "a % in it"},
      {"postgresql://u:Sec1%00@db/x", "a % in it"},
      {"postgresql://u:p@[Sec1/x", "an IPv6 address"},
      {"postgresql://u:p@[::1]Sec1/x", "an IPv6 address"},
      {"postgresql://Sec1 Sec2/x", "the host"},
      {"postgresql://db/x?Sec1", "parameter 1"},
      {"postgresql://db/x?sslmode=require&Sec1", "parameter 2"},
      {"postgresql://db/x?Sec1=Sec2", "a parameter behind the ?"},
      {"postgresql://db/x?sslmode=Sec1", "sslmode"},
      {"postgresql://db/x?connect_timeout=Sec1", "connect_timeout"},
      {"postgresql://a,b/x?port=1,2,3", "ports"},
      {"postgre://u:Sec1@db/x", "neither a URL"},
      {"http://u:Sec1@db/x", "neither a URL"},
      {"u:Sec1@db/x", "neither a URL"},
      {"Sec1", "neither a URL"},
      {"host=db password=Sec1 Sec2", "neither a URL"},
      {"host=db password='Sec1", "neither a URL"},
      {"host=db password=Sec1 Sec2=Sec3", "neither a URL"},
      {"password=Sec1 host=Sec2@db", "the host"},
      {"password=Sec1 port=Sec2", "the port"},
      {"host=a,b hostaddr=127.0.0.1", "addresses"},
  };
  return faults;
}

TEST(ConnInfo, NamesTheMalformedPartAndShowsNothingOfIt) {
  for (const Fault& fault : Faults()) {
    const absl::Status status = ParseConnInfo(fault.dsn).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << fault.dsn;
    const std::string said(status.message());
    EXPECT_THAT(said, HasSubstr(fault.named)) << fault.dsn;
    EXPECT_THAT(said, Not(HasSubstr("Sec"))) << fault.dsn;
    EXPECT_THAT(said, HasSubstr("; ")) << "the way out";
  }
}

}  // namespace
}  // namespace sessiond::db
