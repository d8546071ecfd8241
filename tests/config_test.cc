// The table of options, and the order in which flags, variables, the file and defaults win.
#include "server/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "server/config/address.h"
#include "server/ops/metrics.h"
#include "tests/golden.h"

namespace sessiond {
namespace {

using testing::HasSubstr;

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() {
    sources_.environment = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = environment_.find(name);
      if (found == environment_.end()) return std::nullopt;
      return found->second;
    };
    environment_["HOME"] = "/home/ada";
    EXPECT_NE(mkdtemp(directory_.data()), nullptr);
  }
  ~ConfigTest() override { std::filesystem::remove_all(directory_); }

  std::string Write(const std::string& name, const std::string& content) {
    std::string path = absl::StrCat(directory_, "/", name);
    std::ofstream(path) << content;
    return path;
  }

  Config Resolved() {
    auto effective = ResolveConfig(sources_);
    EXPECT_TRUE(effective.ok()) << effective.status();
    return effective.ok() ? effective->config : Config();
  }

  std::string Complaint() {
    const auto effective = ResolveConfig(sources_);
    EXPECT_FALSE(effective.ok());
    return std::string(effective.status().message());
  }

  Setting SettingOf(absl::string_view name) {
    auto effective = ResolveConfig(sources_);
    EXPECT_TRUE(effective.ok()) << effective.status();
    for (const Setting& setting : effective->settings) {
      if (setting.option->name == name) return setting;
    }
    ADD_FAILURE() << "no option " << name;
    return {};
  }

  // Of this test alone.
  std::string directory_ = testing::TempDir() + "config_test.XXXXXX";
  std::map<std::string, std::string> environment_;
  ConfigSources sources_;
};

TEST_F(ConfigTest, DefaultsAreAccepted) {
  const Config config = Resolved();
  EXPECT_EQ(config.grpc_listen, "127.0.0.1:7377");
  EXPECT_EQ(config.lanes, 2);
  EXPECT_EQ(config.lock_timeout, absl::Seconds(2));
  EXPECT_FALSE(config.insecure);
}

TEST_F(ConfigTest, AFlagWinsOverAVariableOverTheFileOverTheDefault) {
  EXPECT_EQ(SettingOf("lanes").origin, "default");
  sources_.file = Write("order.toml", "\nlanes = 3\n");
  EXPECT_EQ(Resolved().lanes, 3);
  EXPECT_EQ(SettingOf("lanes").origin, sources_.file + ":2");
  environment_["SESSIOND_LANES"] = "4";
  EXPECT_EQ(Resolved().lanes, 4);
  EXPECT_EQ(SettingOf("lanes").origin, "SESSIOND_LANES");
  sources_.flags["lanes"] = "5";
  EXPECT_EQ(Resolved().lanes, 5);
  EXPECT_EQ(SettingOf("lanes").origin, "--lanes");
}

TEST_F(ConfigTest, ATablesNameIsTheFirstPartOfItsKeys) {
  environment_["SESSIOND_CONFIG"] = Write(
      "tables.toml",
      "insecure = true\n[grpc]\nlisten = '0.0.0.0:1'\n[log]\nlevel = 'debug'\nformat = 'json'\n");
  const Config config = Resolved();
  EXPECT_TRUE(config.insecure);
  EXPECT_EQ(config.grpc_listen, "0.0.0.0:1");
  EXPECT_EQ(config.log_level, "debug");
}

TEST_F(ConfigTest, AnUnknownKeyIsAnErrorWithASuggestion) {
  sources_.file = Write("unknown.toml", "grpc-lisen = '127.0.0.1:1'\n");
  EXPECT_EQ(Complaint(),
            sources_.file + ":1: there is no option `grpc-lisen`; did you mean `grpc-listen`?");
  sources_.file = Write("unknown.toml", "colour = 'red'\n");
  EXPECT_THAT(Complaint(), HasSubstr("`sessiond config` lists them all"));
}

TEST_F(ConfigTest, ABadValueNamesOptionValueOriginAndWhatIsExpected) {
  struct Case {
    const char* name;
    const char* value;
    const char* expected;
  };
  for (const Case& each :
       {Case{"lanes", "many", "a number from 1 to 64"}, Case{"lanes", "0", "a number from 1 to 64"},
        Case{"lanes", "3000000000", "a number from 1 to 64"},
        Case{"grpc-listen", "7377", "HOST:PORT"}, Case{"grpc-listen", "::1:7377", "HOST:PORT"},
        Case{"grpc-listen", "localhost:65536", "HOST:PORT"},
        Case{"insecure", "perhaps", "true or false"},
        Case{"pg-settings", "shared_buffers", "NAME=VALUE, any number"},
        Case{"pg-settings", "jit=off =6GB", "NAME=VALUE, any number"},
        Case{"pg-settings", "jit=off Port=5433", "NAME=VALUE, any number"},
        Case{"lock-timeout", "2", "a duration from 1ms to 1h"},
        Case{"lock-timeout", "-2s", "a duration from 1ms to 1h"},
        Case{"lock-timeout", "inf", "a duration from 1ms to 1h"},
        Case{"log-level", "loud", "debug, info, warn or error"},
        Case{"log-format", "xml", "auto, text or json"}}) {
    sources_.flags = {{each.name, each.value}};
    EXPECT_THAT(Complaint(),
                HasSubstr(absl::StrCat(each.name, " cannot be `", each.value, "` (from --",
                                       each.name, "): expected ", each.expected)));
  }
}

TEST_F(ConfigTest, PgSettingsAreSplitAtSpacesAndAtTheFirstEqualsSign) {
  using Settings = std::vector<std::pair<std::string, std::string>>;
  EXPECT_EQ(ParsePgSettings(""), Settings());
  EXPECT_EQ(ParsePgSettings(" shared_buffers=6GB\tapp.name=a=b\n"),
            (Settings{{"shared_buffers", "6GB"}, {"app.name", "a=b"}}));
}

TEST_F(ConfigTest, AValueOfAnotherTypeInTheFileIsAnError) {
  sources_.file = Write("types.toml", "lanes = 2.5\n");
  EXPECT_THAT(Complaint(), HasSubstr("lanes must be text, a whole number, or true or false"));
  sources_.file = Write("types.toml", "lock-timeout = 2\n");
  EXPECT_THAT(Complaint(), HasSubstr("expected a duration"));
}

TEST_F(ConfigTest, ABrokenOrMissingFileIsNamed) {
  sources_.file = Write("broken.toml", "lanes = 2\nlanes = = 3\n");
  EXPECT_THAT(Complaint(), HasSubstr(sources_.file + ":2: "));
  sources_.file = "/nowhere/sessiond.toml";
  EXPECT_THAT(Complaint(),
              HasSubstr("cannot read the configuration file /nowhere/sessiond.toml: No such file"));
}

TEST_F(ConfigTest, OneOptionGivenTwiceInTheFileIsAnError) {
  sources_.file = Write("twice.toml", "grpc-listen = 'a:1'\n[grpc]\nlisten = 'b:1'\n");
  EXPECT_THAT(Complaint(), HasSubstr("grpc-listen is given twice"));
}

TEST_F(ConfigTest, SecretsComeFromFilesTooAndAreNeverShown) {
  const std::string secret = "postgresql://u:canary@h/d";
  const std::string path = Write("secret", secret + "\n");
  sources_.flags["db-url-file"] = path;
  EXPECT_EQ(Resolved().db_url, secret);
  EXPECT_EQ(SettingOf("db-url").shown, "(set)");
  EXPECT_EQ(SettingOf("db-url").origin, "--db-url-file " + path);

  sources_.flags.clear();
  environment_["SESSIOND_DB_URL_FILE"] = path;
  EXPECT_EQ(Resolved().db_url, secret);

  environment_.erase("SESSIOND_DB_URL_FILE");
  sources_.file = Write("secret.toml", "[db]\nurl-file = '" + path + "'\n");
  EXPECT_EQ(Resolved().db_url, secret);

  sources_.file.clear();
  Write("db-url", secret);
  environment_["CREDENTIALS_DIRECTORY"] = directory_;
  EXPECT_EQ(Resolved().db_url, secret);
}

TEST_F(ConfigTest, ASecretGivenTwiceInOneLayerIsAnErrorThatDoesNotShowIt) {
  sources_.flags["db-url"] = "postgresql://u:canary@h/d";
  sources_.flags["db-url-file"] = Write("secret", "x");
  EXPECT_THAT(Complaint(), HasSubstr("given twice, by --db-url and by --db-url-file"));
  EXPECT_THAT(Complaint(), Not(HasSubstr("canary")));
}

TEST_F(ConfigTest, AFileOfASecretThatCannotBeReadIsNamed) {
  environment_["SESSIOND_DB_URL_FILE"] = "/nowhere/url";
  EXPECT_THAT(Complaint(), HasSubstr("SESSIOND_DB_URL_FILE, /nowhere/url: No such file"));
}

TEST_F(ConfigTest, AVariableThatIsSetButEmptyCountsAsNotSet) {
  const Config defaults = Resolved();
  for (const Option& option : Options()) {
    environment_[EnvironmentName(option.name)] = "";
    if (option.secret) environment_[EnvironmentName(absl::StrCat(option.name, "-file"))] = "";
  }
  for (const char* name :
       {"SESSIOND_CONFIG", "CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "XDG_DATA_HOME"}) {
    environment_[name] = "";
  }
  for (const Option& option : Options()) EXPECT_EQ(SettingOf(option.name).origin, "default");
  EXPECT_EQ(Resolved().data_dir, defaults.data_dir);
  environment_["HOME"] = "";
  EXPECT_EQ(Resolved().data_dir, "/var/lib/sessiond");
  // Nor does an empty variable hide the file, or stand beside a secret's other way.
  sources_.file = Write("empty.toml", "lanes = 3\n");
  EXPECT_EQ(Resolved().lanes, 3);
  environment_["SESSIOND_DB_URL_FILE"] = Write("secret", "postgresql://u@h/d\n");
  EXPECT_EQ(Resolved().db_url, "postgresql://u@h/d");
}

TEST_F(ConfigTest, ACredentialThatIsThereIsNotOverlooked) {
  const std::string directory = absl::StrCat(directory_, "/credentials");
  environment_["CREDENTIALS_DIRECTORY"] = directory;
  EXPECT_EQ(SettingOf("db-url").origin, "default") << "no directory";
  std::filesystem::create_directories(directory + "/db-url");
  EXPECT_EQ(Complaint(), absl::StrCat("cannot read the credential ", directory,
                                      "/db-url: Is a directory; let the daemon's user read it, or "
                                      "give db-url another way"));
  std::filesystem::remove(directory + "/db-url");
  EXPECT_EQ(SettingOf("db-url").origin, "default") << "no file";
  for (const char* empty : {"", "\xEF\xBB\xBF \r\n"}) {
    Write("credentials/db-url", empty);
    EXPECT_EQ(Complaint(),
              absl::StrCat("the credential ", directory,
                           "/db-url is empty: put the db-url into it, or take it away"));
  }
  sources_.flags["db-url"] = "postgresql://u@h/d";
  EXPECT_EQ(Resolved().db_url, "postgresql://u@h/d") << "what is not asked for may be empty";
}

TEST_F(ConfigTest, AnEmptyFlagOrKeyIsNoChoiceToDoWithout) {
  for (const char* name : {"tls-cert", "tls-key", "tls-client-ca", "tls-client-auth", "access-file",
                           "db-url", "pg-bin-dir", "workflows-dir"}) {
    sources_.flags = {{name, ""}};
    EXPECT_THAT(Complaint(),
                testing::StartsWith(absl::StrCat(name, " is empty (from --", name, "): give ")));
    sources_.flags.clear();
    sources_.file = Write("none.toml", absl::StrCat(name, " = ''\n"));
    EXPECT_THAT(Complaint(), HasSubstr(absl::StrCat(name, " is empty (from ", sources_.file)));
    sources_.file.clear();
  }
  sources_.flags = {{"db-url", ""}};
  EXPECT_EQ(Complaint(),
            "db-url is empty (from --db-url): give a PostgreSQL URL, for example "
            "postgresql://sessiond@db/sessiond, or leave it out for a PostgreSQL of the daemon's "
            "own");
  // Lists may be empty.
  sources_.flags = {{"http-allow-origins", ""}, {"pg-settings", ""}};
  EXPECT_EQ(Resolved().pg_settings, "");
}

TEST_F(ConfigTest, ADirectoryIsNoFileOfOptionsAndAnEmptyFileIsOne) {
  sources_.file = directory_;
  EXPECT_EQ(Complaint(),
            absl::StrCat("cannot read the configuration file ", sources_.file, ": Is a directory"));
  sources_.file = Write("nothing.toml", "");
  EXPECT_EQ(Resolved().lanes, 2);
}

TEST_F(ConfigTest, AnOldNameStillCountsWhereverItIsGiven) {
  sources_.file = Write("old.toml", "[admin]\nlisten = 'off'\n");
  EXPECT_EQ(Resolved().http_listen, "off");
  environment_["SESSIOND_ADMIN_LISTEN"] = "127.0.0.1:1";
  EXPECT_EQ(Resolved().http_listen, "127.0.0.1:1");
  sources_.flags["admin-listen"] = "127.0.0.1:2";
  EXPECT_EQ(Resolved().http_listen, "127.0.0.1:2");
  sources_.flags["http-listen"] = "127.0.0.1:3";
  EXPECT_THAT(Complaint(), HasSubstr("given twice, by --http-listen and by --admin-listen"));
}

TEST_F(ConfigTest, OriginsOfPagesAreSchemeAndHost) {
  for (const char* good : {"", "*", "https://app.example", "http://127.0.0.1:8080,https://b.c"}) {
    sources_.flags["http-allow-origins"] = good;
    EXPECT_EQ(Resolved().http_allow_origins, good);
  }
  for (const char* bad : {"app.example", "https://", "https://a/b", "https://A.b", "https://*.b",
                          "https://bücher.example", "https://a\u0085b", "https://\xff"}) {
    sources_.flags["http-allow-origins"] = bad;
    EXPECT_THAT(Complaint(), HasSubstr("http-allow-origins cannot be")) << bad;
  }
}

TEST_F(ConfigTest, WhatIsWrongIsShownOnOneLine) {
  sources_.flags["log-level"] = "\x1b[2J\n\u009b";
  EXPECT_THAT(Complaint(), HasSubstr("log-level cannot be `\\x1b[2J\\x0a\\xc2\\x9b` (from"));
}

TEST_F(ConfigTest, AnEmptyDirectoryIsNoneAndAnEmptySecretIsMissing) {
  sources_.flags["data-dir"] = "";
  EXPECT_THAT(Complaint(),
              HasSubstr("data-dir cannot be `` (from --data-dir): expected a directory"));
  sources_.flags.clear();
  const std::string path = Write("secret", "\xEF\xBB\xBF \r\n");
  environment_["SESSIOND_DB_URL_FILE"] = path;
  EXPECT_EQ(Complaint(), absl::StrCat("the file of SESSIOND_DB_URL_FILE, ", path,
                                      ", is empty: put the db-url into it, or do not name it"));
}

TEST_F(ConfigTest, AByteOrderMarkAndCrLfAreTaken) {
  sources_.file = Write("mark.toml", "\xEF\xBB\xBFlanes = 3\r\n[grpc]\r\nlisten = '[::1]:9'\r\n");
  environment_["SESSIOND_DB_URL_FILE"] = Write("secret", "\xEF\xBB\xBFpostgresql://u@h/d\r\n");
  environment_["SESSIOND_LOG_LEVEL"] = "warn\r";
  const Config config = Resolved();
  EXPECT_EQ(config.lanes, 3);
  EXPECT_EQ(config.grpc_listen, "[::1]:9");
  EXPECT_EQ(config.db_url, "postgresql://u@h/d");
  EXPECT_EQ(config.log_level, "warn");
  environment_.erase("SESSIOND_DB_URL_FILE");
  Write("db-url", "\xEF\xBB\xBFpostgresql://u@h/e\r\n");
  environment_["CREDENTIALS_DIRECTORY"] = directory_;
  EXPECT_EQ(Resolved().db_url, "postgresql://u@h/e");
}

TEST_F(ConfigTest, AVariableThatIsNoneIsSaidWithTheNearestName) {
  const auto warnings = [this] {
    sources_.environment_names.clear();
    for (const auto& [name, value] : environment_) sources_.environment_names.push_back(name);
    const auto effective = ResolveConfig(sources_);
    EXPECT_TRUE(effective.ok()) << effective.status();
    return effective->warnings;
  };
  // Ours, and those of others that begin alike.
  for (const Option& option : Options()) environment_[EnvironmentName(option.name)] = "";
  for (const char* name :
       {"SESSIOND_DB_URL_FILE", "SESSIOND_CONFIG", "SESSIOND_SERVER", "SESSIOND_UPDATE_GOLDEN",
        "SESSIOND_TEST_SEED", "SESSIOND_BINARY", "SESSIONDLANS", "PATH"}) {
    environment_[name] = "";
  }
  environment_["SESSIOND_SERVICE_HOST"] = "10.0.0.1";
  environment_["SESSIOND_PORT"] = "tcp://10.0.0.1:7377";
  environment_["SESSIOND_PORT_7377_TCP_ADDR"] = "10.0.0.1";
  EXPECT_THAT(warnings(), testing::IsEmpty());
  environment_["SESSIOND_LANS"] = "4";
  environment_["SESSIOND_GRPC_LISTEN_FILE"] = "x";
  environment_["SESSIOND_COLOUR"] = "red";
  environment_["SESSIOND_PORT"] = "7377";
  EXPECT_THAT(
      warnings(),
      testing::ElementsAre(
          "the variable SESSIOND_COLOUR is none of sessiond's and is ignored; `sessiond config` "
          "lists the options",
          "the variable SESSIOND_GRPC_LISTEN_FILE is none of sessiond's and is ignored; did you "
          "mean SESSIOND_GRPC_LISTEN?",
          HasSubstr("SESSIOND_LANS is none of sessiond's and is ignored; did you mean "
                    "SESSIOND_LANES?"),
          HasSubstr("SESSIOND_PORT is none")));
}

TEST_F(ConfigTest, DataGoesWhereTheEnvironmentSays) {
  const std::string usual = Resolved().data_dir;
  environment_["XDG_DATA_HOME"] = "data";
  EXPECT_EQ(Resolved().data_dir, usual) << "that would be where it is started from";
  environment_["XDG_DATA_HOME"] = "/data";
  EXPECT_EQ(Resolved().data_dir, "/data/sessiond");
  environment_["STATE_DIRECTORY"] = "/var/lib/mine:/var/lib/other";
  EXPECT_EQ(Resolved().data_dir, "/var/lib/mine");
  environment_["SESSIOND_DATA_DIR"] = "/here";
  EXPECT_EQ(Resolved().data_dir, "/here");
}

TEST(Address, IsReadAndWrittenAsPeopleWriteIt) {
  for (const char* text : {"127.0.0.1:7377", "[::1]:7377", "localhost:0", "db.example:65535"}) {
    const auto address = ParseAddress(text);
    ASSERT_TRUE(address.ok()) << address.status();
    EXPECT_EQ(ToString(*address), text);
  }
}

TEST(Address, OnlyThisMachinesOwnAreLoopback) {
  EXPECT_TRUE(IsLoopback({"127.1.2.3", 1}));
  EXPECT_TRUE(IsLoopback({"::1", 1}));
  EXPECT_TRUE(IsLoopback({"localhost", 1}));
  EXPECT_FALSE(IsLoopback({"0.0.0.0", 1}));
  EXPECT_FALSE(IsLoopback({"::", 1}));
  EXPECT_FALSE(IsLoopback({"10.0.0.1", 1}));
  EXPECT_FALSE(IsLoopback({"127.0.0.1.example.com", 1}));
}

TEST(Reference, OfTheConfigurationIsUpToDate) {
  EXPECT_TRUE(MatchesGoldenTable("docs/configuration.md", ConfigReference()));
}

TEST(Reference, OfTheMetricsIsUpToDate) {
  EXPECT_TRUE(MatchesGoldenTable("docs/metrics.md", MetricsReference()));
}

}  // namespace
}  // namespace sessiond
