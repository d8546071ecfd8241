// How sessionctl reaches the daemon: TLS, tokens and contexts, and what it says when it cannot.
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state_machine/refusal.h"
#include "tests/fake_session_service.h"
#include "tests/issued_certificates.h"
#include "tests/sessionctl_runner.h"

namespace sessiond {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

constexpr char kToken[] = "canary-4711";

class ConnectionTest : public testing::Test {
 protected:
  // In a configuration of its own. What it says never has the token in it.
  Outcome Run(const std::string& arguments, const std::string& environment = "") {
    Outcome outcome = Sessionctl(
        arguments, absl::StrCat("XDG_CONFIG_HOME=", folder_ / "config", " ", environment));
    EXPECT_THAT(outcome.out, Not(HasSubstr(kToken)));
    EXPECT_THAT(outcome.err, Not(HasSubstr(kToken)));
    return outcome;
  }
  std::string Contexts() const { return folder_ / "config/sessiond/contexts.toml"; }
  void WriteContexts(const std::string& text, mode_t mode = 0600) const {
    std::filesystem::create_directories(folder_ / "config/sessiond");
    folder_.Write("config/sessiond/contexts.toml", text);
    chmod(Contexts().c_str(), mode);
  }
  // Exits with a refusal that says all of this.
  void ExpectRefused(const Outcome& outcome, int exit_code, const std::vector<std::string>& said) {
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    EXPECT_THAT(outcome.err, testing::StartsWith("error: "));
    for (const std::string& each : said) EXPECT_THAT(outcome.err, HasSubstr(each));
  }

  const TestFolder folder_;
  const std::string token_file_ = folder_.Write("token", kToken);
  Authority authority_{"The authority"};
  const std::string ca_ = " --tls-ca " + authority_.file();
};

// ---- TLS and tokens

TEST_F(ConnectionTest, FlagsVariablesAndTheSchemeAskForTlsAndForTheToken) {
  FakeServer server("127.0.0.1:0", Serving(authority_.Issue({})));
  const std::string address = server.Address();
  const std::string token = " --token-file " + token_file_;
  const std::string in_env = "SESSIOND_CA_FILE=" + authority_.file();
  const std::string system = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=" + authority_.file();
  const std::string get = "session get s1 -o name --server ";
  EXPECT_EQ(Run(get + address + ca_ + token).out, "s1\n");
  EXPECT_EQ(Run(get + "https://" + address + ca_ + token).out, "s1\n");
  EXPECT_EQ(Run(get + address + token, in_env).out, "s1\n");
  EXPECT_EQ(Run(get + address + " --tls" + token, system).out, "s1\n");
  EXPECT_EQ(Run(get + "https://" + address + token, system).out, "s1\n");
  EXPECT_EQ(Run(get + address + ca_, "SESSIOND_TOKEN_FILE=" + token_file_).out, "s1\n");
  // A flag wins.
  EXPECT_EQ(Run(get + address + ca_ + token, "SESSIOND_CA_FILE=/nonexistent").out, "s1\n");
  EXPECT_THAT(server.door.Authorizations(),
              AllOf(SizeIs(7), Each(absl::StrCat("Bearer ", kToken))));
}

TEST_F(ConnectionTest, ACallOfAnyKindCarriesTheToken) {
  FakeServer server;
  const std::string with = " --server " + server.Address() + " --token-file " + token_file_;
  EXPECT_EQ(Run("health" + with).exit_code, 0);
  EXPECT_EQ(Run("call GetSession" + with).exit_code, 0);
  EXPECT_EQ(Run("session list" + with).exit_code, 0);
  EXPECT_EQ(Run("admin info" + with).exit_code, 0);
  server.sessions.NextWatch({}, absl::InvalidArgumentError("enough"));
  EXPECT_EQ(Run("session watch" + with).exit_code, 67);
  EXPECT_THAT(server.door.Authorizations(),
              AllOf(SizeIs(5), Each(absl::StrCat("Bearer ", kToken))));
}

TEST_F(ConnectionTest, ACertificateOfTheCallersIsShown) {
  const Issued mine = authority_.Issue({.names = "DNS:ada.test"});
  FakeServer server("127.0.0.1:0", Serving(authority_.Issue({}), &authority_));
  const std::string get = "session get s1 -o name --server " + server.Address() + ca_;
  EXPECT_EQ(
      Run(absl::StrCat(get, " --tls-cert ", mine.cert_file, " --tls-key ", mine.key_file)).out,
      "s1\n");
  ExpectRefused(Run(get), 78,
                {"wants to see a certificate of yours", "next", "--tls-cert FILE --tls-key FILE"});
  const Issued foreign = Authority("Another authority").Issue({.names = "DNS:ada.test"});
  const std::string cert = folder_.Write("foreign.pem", foreign.cert);
  const std::string key = folder_.Write("foreign.key", foreign.key);
  ExpectRefused(Run(absl::StrCat(get, " --tls-cert ", cert, " --tls-key ", key)), 78,
                {"does not accept the certificate in " + cert, "openssl x509"});
}

TEST_F(ConnectionTest, WhatIsWrongWithAFileIsSaidWithWhatNamedItAndNothingIsSent) {
  FakeServer server;
  const std::string get = "session get s1 --server " + server.Address();
  const std::string bad = folder_.Write("bad.pem", "hello");
  const Issued mine = authority_.Issue({});
  ExpectRefused(Run(get + " --tls-ca /nonexistent"), 2,
                {"--tls-ca: The CA file /nonexistent cannot be read"});
  ExpectRefused(Run(get, "SESSIOND_CA_FILE=" + bad), 2,
                {"SESSIOND_CA_FILE: The CA file " + bad + " holds no certificate"});
  ExpectRefused(Run(get + " --token-file /nonexistent"), 2,
                {"--token-file: The token file /nonexistent cannot be read"});
  ExpectRefused(Run(get + " --tls-cert " + mine.cert_file), 2,
                {"--tls-cert: a certificate needs its key: --tls-key FILE"});
  ExpectRefused(Run(get + " --tls-key " + mine.key_file), 2,
                {"--tls-key: a key needs its certificate: --tls-cert FILE"});
  ExpectRefused(Run(get + " --tls-ca ''"), 2, {"--tls-ca: is empty"});
  ExpectRefused(Run("session get s1 --tls --server http://" + server.Address()), 2,
                {"--tls: asks for TLS, and http:// for none; write https://"});
  EXPECT_THAT(server.door.Authorizations(), IsEmpty());
}

TEST_F(ConnectionTest, ATokenIsNotSentInPlaintextOverANetwork) {
  const Outcome outcome = Run("session get s1 --server 192.0.2.1:7377 --token-file " + token_file_);
  ExpectRefused(outcome, 2,
                {"The token is not sent to 192.0.2.1:7377 in plaintext", "--tls-ca FILE",
                 "from --token-file"});
}

TEST_F(ConnectionTest, ATokenOnTheCommandLineIsNeitherTakenNorShown) {
  for (const std::string& token :
       {absl::StrCat("eyJ.", kToken), absl::StrCat(std::string(40, 'x'), kToken)}) {
    ExpectRefused(Run("session get s1 --token-file " + token), 2,
                  {"--token-file: looks like a token"});
    ExpectRefused(Run("context set prod --server a --token-file " + token), 2,
                  {"--token-file: looks like a token"});
  }
}

TEST_F(ConnectionTest, HttpIsPlaintextWhateverElseAsksForTls) {
  FakeServer server;
  EXPECT_EQ(Run("session get s1 -o name --server http://" + server.Address(),
                "SESSIOND_CA_FILE=" + authority_.file())
                .out,
            "s1\n");
}

// ---- what people meet

TEST_F(ConnectionTest, APlaintextClientIsToldOfTls) {
  FakeServer server("127.0.0.1:0", Serving(authority_.Issue({})));
  ExpectRefused(Run("session get s1 --server " + server.Address()), 78,
                {server.Address() + " speaks TLS, and was asked without it",
                 "next  the same command with --tls-ca FILE", "with --tls, if"});
  FakeServer strict("127.0.0.1:0", Serving(authority_.Issue({}), &authority_));
  ExpectRefused(Run("session get s1 --server " + strict.Address()), 78, {"speaks TLS"});
}

TEST_F(ConnectionTest, ATlsClientIsToldOfPlaintext) {
  FakeServer server;
  ExpectRefused(Run("session get s1 --server " + server.Address() + ca_), 78,
                {server.Address() + " speaks no TLS, and was asked for it",
                 "next  the same command with --server http://" + server.Address()});
}

TEST_F(ConnectionTest, AnUnknownAuthorityIsNamed) {
  FakeServer server("127.0.0.1:0", Serving(authority_.Issue({})));
  const Authority other("Another authority");
  ExpectRefused(Run("session get s1 --server " + server.Address() + " --tls-ca " + other.file()),
                78,
                {"was issued by The authority, and none of the authorities in " + other.file(),
                 "next  the same command with --tls-ca FILE"});
  ExpectRefused(Run("session get s1 --tls --server " + server.Address()), 78,
                {"none of the authorities that this system trusts"});
}

TEST_F(ConnectionTest, AnotherNameIsNamed) {
  FakeServer server("127.0.0.1:0",
                    Serving(authority_.Issue({.names = "DNS:sessiond.test,IP:10.1.2.3"})));
  const std::string get = "session get s1 -o name --server " + server.Address() + ca_;
  ExpectRefused(Run(get), 78,
                {"is for sessiond.test, 10.1.2.3, and not for 127.0.0.1",
                 "next  the same command with --tls-server-name sessiond.test"});
  EXPECT_EQ(Run(get + " --tls-server-name sessiond.test").out, "s1\n");
}

TEST_F(ConnectionTest, ACertificateOfAnotherTimeIsSaidWithItsTime) {
  FakeServer old("127.0.0.1:0",
                 Serving(authority_.Issue({.from = -absl::Hours(2), .until = -absl::Hours(1)})));
  ExpectRefused(
      Run("session get s1 --server " + old.Address() + ca_), 78,
      {"The certificate of " + old.Address() + " has expired, at 20", "next  ", "renews it"});
  FakeServer young("127.0.0.1:0",
                   Serving(authority_.Issue({.from = absl::Hours(1), .until = absl::Hours(2)})));
  ExpectRefused(Run("session get s1 --server " + young.Address() + ca_), 78,
                {"is not valid before 20", "clock"});
}

TEST_F(ConnectionTest, NothingOfGrpcsOwnIsSaid) {
  FakeServer server("127.0.0.1:0", Serving(authority_.Issue({})));
  for (const std::string& how : {std::string(), " --tls" + std::string()}) {
    EXPECT_THAT(Run("session get s1 --server " + server.Address() + how).err,
                AllOf(Not(HasSubstr(".cc:")), Not(HasSubstr("SSL_ERROR"))));
  }
}

TEST_F(ConnectionTest, WhoIsNotKnownAndWhoMayNotIsToldWhatToDo) {
  FakeServer server;
  const std::string get = "session get s1 --server " + server.Address();
  server.sessions.RefuseNext(absl::UnauthenticatedError("No valid credentials"));
  ExpectRefused(Run(get), 80,
                {"No valid credentials", "code  UNAUTHENTICATED",
                 "next  the same command with --token-file FILE"});
  server.sessions.RefuseNext(absl::UnauthenticatedError("No valid credentials"));
  ExpectRefused(Run(get + " --token-file " + token_file_), 80,
                {"next  put a new token into " + token_file_});
  server.sessions.RefuseNext(absl::PermissionDeniedError("reader may not"));
  ExpectRefused(Run(get), 71, {"code  PERMISSION_DENIED", "sessionctl whoami"});
}

TEST_F(ConnectionTest, WhoamiAsksTheDaemon) {
  FakeServer server;
  v1::GetServerInfoResponse info;
  info.set_version("9.8.7");
  info.set_caller("shop");
  info.add_roles("reader");
  info.add_namespaces("shop-*");
  info.add_methods("sessiond.v1.SessionService/CountSessions");
  info.add_methods("sessiond.v1.SessionService/GetSession");
  info.add_methods("sessiond.v1.TaskService/GetTask");
  server.calls.Hold(info);
  const std::string said = Run("whoami --server " + server.Address()).out;
  for (const std::string& part :
       {std::string("shop"), std::string("shop-*"),
        std::string("SessionService: CountSessions, GetSession\n"),
        std::string("TaskService: GetTask\n"), "sessiond 9.8.7 at " + server.Address()})
    EXPECT_THAT(said, HasSubstr(part));
  EXPECT_EQ(Run("whoami -o name --server " + server.Address()).out, "shop\n");
}

TEST_F(ConnectionTest, TheNextStepGoesTheSameWay) {
  FakeServer server;
  const std::string how =
      absl::StrCat(" --server ", server.Address(), " --token-file ", token_file_);
  server.sessions.RefuseNext(Refusal(v1::NOT_DELETED, "No"));
  EXPECT_THAT(Run("session pause s1" + how).err,
              HasSubstr(absl::StrCat("sessionctl session get s1", how, "\n")));
}

// ---- contexts

TEST_F(ConnectionTest, AContextIsKeptPrivatelyAndUsed) {
  FakeServer server("127.0.0.1:0", Serving(authority_.Issue({})));
  EXPECT_EQ(
      Run("context set prod --server " + server.Address() + ca_ + " --token-file " + token_file_)
          .exit_code,
      0);
  struct stat file = {}, folder = {};
  ASSERT_EQ(stat(Contexts().c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600);
  ASSERT_EQ(stat((folder_ / "config/sessiond").c_str(), &folder), 0);
  EXPECT_EQ(folder.st_mode & 0777, 0700);
  EXPECT_THAT(ReadFile(Contexts()), AllOf(HasSubstr("[contexts.prod]"), Not(HasSubstr(kToken))));
  EXPECT_EQ(Run("session get s1 -o name --context prod").out, "s1\n");
  EXPECT_EQ(Run("session get s1 -o name", "SESSIOND_CONTEXT=prod").out, "s1\n");
  EXPECT_EQ(Run("context use prod").exit_code, 0);
  EXPECT_EQ(Run("session get s1 -o name").out, "s1\n");
  EXPECT_THAT(server.door.Authorizations(),
              AllOf(SizeIs(3), Each(absl::StrCat("Bearer ", kToken))));
  EXPECT_EQ(Run("context list -o name").out, "prod\n");
  EXPECT_THAT(Run("context list").out,
              AllOf(HasSubstr("*"), HasSubstr(server.Address()), HasSubstr(token_file_)));
  EXPECT_EQ(Run("context delete prod").exit_code, 0);
  EXPECT_EQ(Run("context list -o json").out, "[]\n");
  EXPECT_THAT(Run("session get s1 --timeout 1s").err, HasSubstr("127.0.0.1:7377"));
  // No file of the writing is left over.
  int files = 0;
  for (const auto& each : std::filesystem::directory_iterator(folder_ / "config/sessiond")) {
    files += each.is_regular_file();
  }
  EXPECT_EQ(files, 1);
}

TEST_F(ConnectionTest, SetKeepsWhatIsTypedAndPathsMeanTheSameFromEverywhere) {
  const Outcome set = Run("context set a --server unix:x.sock --tls-ca ca.pem --token-file ../t");
  EXPECT_EQ(set.exit_code, 0) << set.err;
  EXPECT_THAT(set.err, AllOf(HasSubstr("There is no file /"), HasSubstr("context use a")));
  const std::string here = std::filesystem::current_path();
  EXPECT_THAT(ReadFile(Contexts()),
              AllOf(HasSubstr(absl::StrCat("'unix:", here, "/x.sock'")),
                    HasSubstr(absl::StrCat("'", here, "/ca.pem'")), Not(HasSubstr(".."))));
  // It is replaced as a whole.
  EXPECT_EQ(Run("context set a --server h --tls").exit_code, 0);
  EXPECT_EQ(ParseJson(Run("context show a -o json").out).struct_value().fields_size(), 3);
  EXPECT_THAT(Run("context list -o json").out, HasSubstr("\"tls\": true"));
}

TEST_F(ConnectionTest, AFlagWinsOverAVariableAVariableOverTheContextAndShowSaysWhichDid) {
  Run("context set prod --server h:1 --tls-ca /of-context --tls-server-name n --token-file /c");
  Run("context use prod");
  const Outcome shown =
      Run("context show --tls-ca /of-flag", "SESSIOND_CA_FILE=/of-env SESSIOND_TOKEN_FILE=/of-env");
  EXPECT_EQ(shown.exit_code, 0) << shown.err;
  EXPECT_THAT(shown.out, AllOf(HasSubstr("prod (in use)"), HasSubstr("h:1  (context prod)"),
                               HasSubstr("/of-flag  (--tls-ca)"), HasSubstr("n  (context prod)"),
                               HasSubstr("/of-env  (SESSIOND_TOKEN_FILE)")));
  Run("context use --none");
  EXPECT_THAT(Run("context show").out,
              AllOf(HasSubstr("127.0.0.1:7377  (default)"), HasSubstr("none")));
  EXPECT_THAT(Run("context show", "SESSIOND_CONTEXT=prod").out,
              HasSubstr("prod (SESSIOND_CONTEXT)"));
}

TEST_F(ConnectionTest, AContextsTokenGoesToItsOwnServerUnlessThatIsSaid) {
  FakeServer other;
  Run("context set prod --server 127.0.0.1:1 --token-file " + token_file_);
  Run("context use prod");
  EXPECT_EQ(Run("session get s1 -o name --server " + other.Address()).out, "s1\n");
  EXPECT_EQ(Run("session get s1 -o name", "SESSIOND_SERVER=" + other.Address()).out, "s1\n");
  EXPECT_THAT(other.door.Authorizations(), ElementsAre("", ""));
  EXPECT_THAT(Run("context show --server " + other.Address()).out,
              HasSubstr("counts for nothing: another server is named"));
  EXPECT_EQ(Run("session get s1 -o name --context prod --server " + other.Address()).out, "s1\n");
  EXPECT_EQ(other.door.Authorizations().back(), absl::StrCat("Bearer ", kToken));
}

TEST_F(ConnectionTest, WhatIsNoContextIsRefusedWithWhatIs) {
  Run("context set prod --server h");
  ExpectRefused(Run("session get s1 --context prd"), 2,
                {"--context: there is no context \"prd\"; did you mean prod?"});
  ExpectRefused(Run("session get s1", "SESSIOND_CONTEXT=zzzzz"), 2,
                {"SESSIOND_CONTEXT: there is no context \"zzzzz\"; there are: prod"});
  for (const char* command : {"use", "delete", "show"}) {
    ExpectRefused(Run(absl::StrCat("context ", command, " prd")), 2, {"did you mean prod?"});
  }
  ExpectRefused(Run("context set a/b --server h"), 2, {"is no name for a context"});
  ExpectRefused(Run("context set a"), 2, {"which daemon is it? --server HOST:PORT"});
  ExpectRefused(Run("context set a --server a:b:c"), 2, {"--server: \"a:b:c\" has more than one"});
  ExpectRefused(Run("context set a --server h --tls-cert c"), 2, {"needs its key"});
  ExpectRefused(Run("context set a --server h --context prod"), 2, {"--context: is not for"});
  ExpectRefused(Run("context use"), 2, {"which? NAME, or --none"});
  EXPECT_EQ(Run("context list -o name").out, "prod\n");
  Run("context delete prod");
  ExpectRefused(Run("session get s1 --context prod"), 2, {"sessionctl context set NAME --server"});
}

TEST_F(ConnectionTest, AFileThatOthersCanReadIsRefused) {
  for (const mode_t mode : {0640, 0604, 0620, 0666}) {
    WriteContexts("[contexts.a]\nserver = 'h'\n", mode);
    ExpectRefused(Run("session get s1"), 2,
                  {Contexts() + " is open to others", "chmod 600 " + Contexts()});
    ExpectRefused(Run("context set b --server h"), 2, {"is open to others"});
  }
}

TEST_F(ConnectionTest, WhatAFileSaysWronglyIsSaidWithItsLine) {
  struct Row {
    std::string text, expected;
  };
  for (const Row& row : {
           Row{"[contexts.a]\nserver = 'h'\ntls-cafile = '/x'\n",
               ":3: a context has no \"tls-cafile\"; did you mean tls-ca?"},
           {"[contexts.a]\nserver = 'h'\nca = '/x'\n",
            ":3: a context has no \"ca\"; did you mean tls-ca?"},
           {"curent = 'a'\n", ":1: there is no key \"curent\"; did you mean current?"},
           {"\n\n[context.a]\n", ":3: there is no key \"context\"; did you mean contexts?"},
           {"current = 1\n", ":1: current must be the name of a context"},
           {"[contexts.a]\nserver = 'h'\ntls = 'yes'\n", ":3: tls must be true or false"},
           {"[contexts.a]\nserver = 5\n", ":2: server must be a text"},
           {"[contexts.a]\nserver = ''\n", ":2: server must be a text"},
           {"[contexts.a]\nserver = 'a:b:c'\n", ":2: server: \"a:b:c\" has more than one colon"},
           {"[contexts.a]\nserver = 'h'\ntoken-file = 't'\n",
            ":3: token-file must be a whole path, from / on, not \"t\""},
           {"[contexts.a]\ntls = true\n", ":1: context a has no server"},
           {"[contexts.'a b']\nserver = 'h'\n", "\"a b\" is no name for a context"},
           {"[contexts]\na = 1\n", ":2: context a must be a table: [contexts.a]"},
           {"[contexts.a\n", ":1: "},
           {"current = 'b'\n[contexts.a]\nserver = 'h'\n", "there is no context \"b\""},
       }) {
    WriteContexts(row.text);
    ExpectRefused(Run("session get s1"), 2, {"error: " + Contexts(), row.expected});
  }
  // What is not asked for anything is not stopped by it.
  EXPECT_EQ(Run("version").exit_code, 0);
  // A context that is gone does not keep another from being used.
  EXPECT_EQ(Run("context use a").exit_code, 0);
}

TEST_F(ConnectionTest, NobodyLosesWhatAnotherKeepsAtTheSameTime) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([this, i] {
      const std::string line =
          absl::StrCat("XDG_CONFIG_HOME=", folder_ / "config", " " SESSIONCTL " context set c", i,
                       " --server h >/dev/null 2>&1");
      EXPECT_EQ(std::system(line.c_str()), 0);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Run("context list -o name").out, "c0\nc1\nc2\nc3\nc4\nc5\nc6\nc7\n");
}

TEST_F(ConnectionTest, AFileThatIsALinkStaysOne) {
  std::filesystem::create_directories(folder_ / "config/sessiond");
  std::filesystem::create_directories(folder_ / "kept");
  folder_.Write("kept/contexts.toml", "[contexts.a]\nserver = 'h'\n");
  chmod((folder_ / "kept/contexts.toml").c_str(), 0600);
  std::filesystem::create_symlink(folder_ / "kept/contexts.toml", Contexts());
  EXPECT_EQ(Run("context set b --server h").exit_code, 0);
  EXPECT_TRUE(std::filesystem::is_symlink(Contexts()));
  EXPECT_THAT(ReadFile(folder_ / "kept/contexts.toml"), HasSubstr("contexts.b"));
}

TEST_F(ConnectionTest, WithoutAHomeThereAreNoContexts) {
  EXPECT_EQ(Sessionctl("context list -o json", "env -u HOME -u XDG_CONFIG_HOME").out, "[]\n");
  const Outcome set = Sessionctl("context set a --server h", "env -u HOME -u XDG_CONFIG_HOME");
  EXPECT_EQ(set.exit_code, 2);
  EXPECT_THAT(set.err, HasSubstr("neither XDG_CONFIG_HOME nor HOME is set"));
}

TEST_F(ConnectionTest, CompletionKnowsContexts) {
  Run("context set prod --server h");
  Run("context set test --server h");
  for (const char* words :
       {"session list --context ''", "context use ''", "context show ''", "context delete ''"}) {
    EXPECT_EQ(Run(absl::StrCat("__complete ", words)).out, "prod\th\ntest\th\n") << words;
  }
  EXPECT_EQ(Run("__complete context use p").out, "prod\th\n");
  EXPECT_THAT(Run("__complete session list --tls").out,
              AllOf(HasSubstr("--tls-ca\t"), HasSubstr("--tls-cert\t")));
  EXPECT_EQ(Run("__complete --tls-ca ''").out, "");
}

}  // namespace
}  // namespace sessiond
