// How people write where the daemon is: what works is taken, and what does not is refused with the
// form that does.
#include "client/cpp/server_address.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace sessiond {
namespace {

struct Row {
  std::string typed, expected;
};

TEST(ServerAddress, WhatWorksIsTakenWithTheDaemonsPortWhereNoneIsGiven) {
  for (const Row& row : {
           Row{"127.0.0.1:7377", "127.0.0.1:7377"},
           {" 127.0.0.1:1\r\n", "127.0.0.1:1"},
           {"localhost", "localhost:7377"},
           {"db-1.example.com", "db-1.example.com:7377"},
           {"db_1:65535", "db_1:65535"},
           {"::1", "[::1]:7377"},
           {"[::1]", "[::1]:7377"},
           {"[::1]:9", "[::1]:9"},
           {"fe80::1", "[fe80::1]:7377"},
           {"[fe80::1%eth0]:9", "[fe80::1%eth0]:9"},
           {"http://localhost:9", "localhost:9"},
           {"HTTP://localhost:9/", "localhost:9"},
           {"http://localhost", "localhost:7377"},
           {"https://localhost:9", "localhost:9"},
           {"HTTPS://localhost/", "localhost:7377"},
           {"grpcs://[::1]:9", "[::1]:9"},
           {"grpc://[::1]:9", "[::1]:9"},
           {"dns:///localhost:9", "dns:///localhost:9"},
           {"dns:///localhost", "dns:///localhost:7377"},
           {"dns:localhost", "dns:localhost:7377"},
           {"dns://10.0.0.1/db:9", "dns://10.0.0.1/db:9"},
           {"ipv4:10.0.0.1:9,10.0.0.2:9", "ipv4:10.0.0.1:9,10.0.0.2:9"},
           {"unix:/run/sessiond.sock", "unix:/run/sessiond.sock"},
           {"unix:sessiond.sock", "unix:sessiond.sock"},
           {"unix:///run/sessiond.sock", "unix:///run/sessiond.sock"},
           {"unix-abstract:sessiond", "unix-abstract:sessiond"},
       }) {
    const auto parsed = ParseServerAddress(row.typed);
    ASSERT_TRUE(parsed.ok()) << row.typed << ": " << parsed.status();
    EXPECT_EQ(parsed->target, row.expected) << row.typed;
  }
}

TEST(ServerAddress, TheSchemeMaySayWhetherThereIsTls) {
  for (const char* text : {"https://a:1", "HTTPS://a", "grpcs://a:1"}) {
    EXPECT_EQ(ParseServerAddress(text)->tls, true) << text;
  }
  EXPECT_EQ(ParseServerAddress("http://a:1")->tls, false);
  for (const char* text : {"a:1", "grpc://a:1", "unix:/a", "dns:///a:1"}) {
    EXPECT_EQ(ParseServerAddress(text)->tls, std::nullopt) << text;
  }
}

TEST(ServerAddress, WhatDoesNotIsRefusedWithTheFormThatDoes) {
  for (const Row& row : {
           Row{"", "write HOST:PORT, for example 127.0.0.1:7377, or unix:PATH"},
           {"  ", "write HOST:PORT"},
           {":7377", "write HOST:PORT"},
           {"localhost:", "write localhost:7377"},
           {"localhost:http", "write localhost:7377"},
           {"localhost:0", "write localhost:7377"},
           {"localhost:65536", "write localhost:7377"},
           {"localhost:-1", "write localhost:7377"},
           {"localhost:٣", "write localhost:7377"},
           {"localhost:1e3", "write localhost:7377"},
           {"a:1:2", "more than one colon"},
           {"2001:db8::1:7377", "write [2001:db8::1]:7377, or [2001:db8::1:7377]:7377"},
           {"::1:7377", "write [::1]:7377, or [::1:7377]:7377"},
           {"[::1", "written [::1]:7377"},
           {"[localhost]:1", "written [::1]:7377"},
           {"[::1]x", "written [::1]:7377"},
           {"[::1]:x", "write [::1]:7377"},
           {"ftp://localhost:9", "write localhost:9"},
           {"http://localhost:9/a/b", "write http://localhost:9"},
           {"https://localhost:9/a/b", "write https://localhost:9"},
           {"https://", "write HOST:PORT"},
           {"https://a:1:2", "more than one colon"},
           {"http://", "write HOST:PORT"},
           {"dns:///", "write HOST:PORT"},
           {"dns:", "write HOST:PORT"},
           {"unix:", "write unix:/run/sessiond.sock"},
           {"unix://", "write unix:/run/sessiond.sock"},
           {"local host:1", "write HOST:PORT"},
           {"user@host:1", "no user and no password"},
           {"http://user:s3cret@host:1", "no user and no password"},
           {"a:1,b:2", "more than one colon"},
           {"\xff:1", "write HOST:PORT"},
       }) {
    const auto parsed = ParseServerAddress(row.typed);
    ASSERT_FALSE(parsed.ok()) << row.typed << " is taken as " << parsed->target;
    EXPECT_THAT(std::string(parsed.status().message()), testing::HasSubstr(row.expected))
        << row.typed;
    EXPECT_THAT(std::string(parsed.status().message()), testing::Not(testing::HasSubstr("s3cret")));
  }
}

}  // namespace
}  // namespace sessiond
