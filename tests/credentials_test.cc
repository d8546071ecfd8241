// The client with TLS and tokens, against a fake daemon that has them.
#include "sessiond/credentials.h"

#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "sessiond/client.h"
#include "sessiond/watcher.h"
#include "tests/fake_session_service.h"
#include "tests/issued_certificates.h"

namespace sessiond {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;

absl::Status Ask(const std::shared_ptr<grpc::Channel>& channel, const CallOptions& options = {}) {
  v1::GetSessionRequest request;
  request.set_session_id("s1");
  return SessionClient(channel, options).GetSession(request).status();
}

// Makes the channel and one call; what either says.
absl::Status Try(const std::string& server, const Credentials& credentials,
                 const CallOptions& options = {}) {
  const auto channel = MakeChannel(server, credentials);
  if (!channel.ok()) return channel.status();
  return Ask(*channel, options);
}

class CredentialsTest : public testing::Test {
 protected:
  const TestFolder folder_;
  Authority authority_{"The authority"};
};

// ---- TLS

TEST_F(CredentialsTest, ADaemonWithACertificateOfTheAuthorityIsTrusted) {
  FakeServer server("127.0.0.1:0", Serving(authority_.Issue({})));
  const absl::Status status =
      Try(server.Address(), {.tls = TlsOptions{.ca_file = authority_.file()}});
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(server.door.Authorizations(), ElementsAre(""));
}

TEST_F(CredentialsTest, AnotherAuthoritysIsNot) {
  const Authority other("Another authority");
  FakeServer server("127.0.0.1:0", Serving(authority_.Issue({})));
  for (const std::string& ca : {other.file(), std::string()}) {
    EXPECT_FALSE(Try(server.Address(), {.tls = TlsOptions{.ca_file = ca}},
                     {.timeout = absl::Milliseconds(300)})
                     .ok())
        << ca;
  }
  EXPECT_THAT(server.door.Authorizations(), SizeIs(0));
}

TEST_F(CredentialsTest, TheNameOfTheCertificateIsThatOfTheAddressUnlessAnotherIsSaid) {
  FakeServer server("127.0.0.1:0", Serving(authority_.Issue({.names = "DNS:sessiond.test"})));
  TlsOptions tls{.ca_file = authority_.file()};
  EXPECT_FALSE(Try(server.Address(), {.tls = tls}, {.timeout = absl::Milliseconds(300)}).ok());
  tls.server_name = "sessiond.test";
  const absl::Status status = Try(server.Address(), {.tls = tls});
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(CredentialsTest, ACertificateOfTheClientsIsShown) {
  const Authority other("Another authority");
  FakeServer server("127.0.0.1:0", Serving(authority_.Issue({}), &authority_));
  TlsOptions tls{.ca_file = authority_.file()};
  EXPECT_FALSE(Try(server.Address(), {.tls = tls}, {.timeout = absl::Milliseconds(300)}).ok());
  const Issued mine = authority_.Issue({.names = "DNS:client.test"});
  tls.cert_file = mine.cert_file;
  tls.key_file = mine.key_file;
  const absl::Status status = Try(server.Address(), {.tls = tls});
  EXPECT_TRUE(status.ok()) << status;
}

// ---- tokens

TEST_F(CredentialsTest, EveryKindOfCallCarriesTheToken) {
  FakeServer server("127.0.0.1:0", Serving(authority_.Issue({})));
  const auto channel = MakeChannel(
      server.Address(), {.tls = TlsOptions{.ca_file = authority_.file()}, .token = "secret-1"});
  ASSERT_TRUE(channel.ok()) << channel.status();
  EXPECT_TRUE(Ask(*channel).ok());
  EXPECT_TRUE(TaskClient(*channel).GetTask({}).ok());
  for (const auto& session : SessionClient(*channel).ListSessions({})) EXPECT_TRUE(session.ok());
  v1::WatchSessionsResponse bookmark;
  bookmark.mutable_bookmark();
  server.sessions.NextWatch({bookmark});
  Watcher watcher(*channel, {});
  for (const auto& response : watcher.Responses()) {
    EXPECT_TRUE(response.ok()) << response.status();
    watcher.Stop();
  }
  const absl::Status imported = AdminClient(*channel).ImportSessions(
      []() -> absl::StatusOr<std::optional<v1::ImportSessionsRequest>> { return std::nullopt; },
      [](const v1::ImportSessionsResponse&) {});
  EXPECT_TRUE(imported.ok()) << imported;
  EXPECT_THAT(server.door.Authorizations(), AllOf(SizeIs(5), Each("Bearer secret-1")));
}

TEST_F(CredentialsTest, InPlaintextATokenIsSentToTheLoopbackAndToSockets) {
  FakeServer server;
  for (const char* host : {"127.0.0.1", "localhost", "dns:///localhost", "ipv4:127.0.0.1"}) {
    const absl::Status status = Try(absl::StrCat(host, ":", server.port()), {.token = "secret-1"});
    EXPECT_TRUE(status.ok()) << host << ": " << status;
  }
  const std::string socket = "unix:" + folder_ / "socket";
  FakeServer there(socket);
  const absl::Status status = Try(socket, {.token = "secret-2"});
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(server.door.Authorizations(), AllOf(SizeIs(4), Each("Bearer secret-1")));
  EXPECT_THAT(there.door.Authorizations(), ElementsAre("Bearer secret-2"));
}

TEST_F(CredentialsTest, InPlaintextATokenIsSentNowhereElse) {
  for (const char* server :
       {"10.0.0.1:7377", "sessiond.example.com:7377", "127.0.0.1.example.com:7377",
        "128.0.0.1:7377", "[::2]:7377", "[::ffff:10.0.0.1]:7377", "dns:///example.com:7377",
        "dns://127.0.0.1/example.com:7377", "ipv4:127.0.0.1:7377,10.0.0.1:7377", "0.0.0.0:7377",
        "localhost.example.com:7377", "ipv6:[fe80::1]:7377", "127.0.0.1@example.com:7377", ""}) {
    const auto channel = MakeChannel(server, {.token = "secret-1"});
    EXPECT_TRUE(absl::IsFailedPrecondition(channel.status())) << server;
    EXPECT_THAT(std::string(channel.status().message()),
                AllOf(HasSubstr("use TLS"), HasSubstr("unix socket"), Not(HasSubstr("secret"))))
        << server;
  }
  EXPECT_THAT(std::string(MakeChannel("unix-abstract:x", {.token = "t"}).status().message()),
              HasSubstr("unix:PATH"));
  EXPECT_TRUE(MakeChannel("10.0.0.1:7377", Credentials()).ok());
}

// Like a projected token of Kubernetes: a link to a link to a folder, which is replaced.
TEST_F(CredentialsTest, ATokenThatIsReplacedIsUsedFromTheNextCallOn) {
  FakeServer server;
  const std::string path = folder_.Write("token", "one\n");
  const auto channel = MakeChannel(server.Address(), {.token_file = path});
  ASSERT_TRUE(channel.ok()) << channel.status();
  const auto ask = [&] {
    const absl::Status status = Ask(*channel);
    EXPECT_TRUE(status.ok()) << status;
    return server.door.Authorizations().back();
  };
  EXPECT_EQ(ask(), "Bearer one");
  // Another content of another length in the same file.
  folder_.Write("token", "\xEF\xBB\xBFthree\r\n");
  EXPECT_EQ(ask(), "Bearer three");
  // Another file of the same length, with the same times.
  folder_.Write("new", "\xEF\xBB\xBFseven\r\n");
  std::filesystem::last_write_time(folder_ / "new", std::filesystem::last_write_time(path));
  std::filesystem::rename(folder_ / "new", path);
  EXPECT_EQ(ask(), "Bearer seven");
  // A link.
  std::filesystem::create_directory(folder_ / "a");
  folder_.Write("a/token", "eleven");
  std::filesystem::create_symlink("a/token", folder_ / "link");
  std::filesystem::rename(folder_ / "link", path);
  EXPECT_EQ(ask(), "Bearer eleven");
}

TEST_F(CredentialsTest, WhileAFileHoldsNoTokenTheLastOneIsSent) {
  FakeServer server;
  const std::string path = folder_.Write("token", "one");
  const auto channel = MakeChannel(server.Address(), {.token_file = path});
  ASSERT_TRUE(channel.ok()) << channel.status();
  for (const char* nothing : {"", "two words", "\n"}) {
    folder_.Write("token", nothing);
    EXPECT_TRUE(Ask(*channel).ok());
  }
  std::filesystem::remove(path);
  EXPECT_TRUE(Ask(*channel).ok());
  EXPECT_THAT(server.door.Authorizations(), AllOf(SizeIs(4), Each("Bearer one")));
  folder_.Write("token", "two");
  EXPECT_TRUE(Ask(*channel).ok());
  EXPECT_EQ(server.door.Authorizations().back(), "Bearer two");
}

TEST_F(CredentialsTest, AFunctionIsAskedForTheTokenOfEveryCall) {
  FakeServer server;
  std::atomic<int> count = 0;
  const auto channel =
      MakeChannel(server.Address(), {.get_token = [&]() -> absl::StatusOr<std::string> {
                    if (++count == 3) return absl::PermissionDeniedError("The vault is sealed");
                    return absl::StrCat("t", count.load());
                  }});
  ASSERT_TRUE(channel.ok()) << channel.status();
  EXPECT_TRUE(Ask(*channel).ok());
  EXPECT_TRUE(Ask(*channel).ok());
  // What passes by itself is tried again.
  EXPECT_TRUE(Ask(*channel).ok());
  EXPECT_THAT(server.door.Authorizations(), ElementsAre("Bearer t1", "Bearer t2", "Bearer t4"));
}

TEST_F(CredentialsTest, AFunctionThatHasNoTokenFailsTheCallWithItsReason) {
  FakeServer server;
  for (const auto& [answer, reason] :
       std::vector<std::pair<absl::StatusOr<std::string>, std::string>>{
           {absl::PermissionDeniedError("The vault is sealed"), "The vault is sealed"},
           {"", "What get_token returned holds no token"},
           {"secret one", "What get_token returned holds more than a token"},
           {"secret\r\nx-evil: 1", "What get_token returned holds more than a token"}}) {
    // Not tried again: a pause would be longer than the deadline.
    const absl::Status status =
        Try(server.Address(), {.get_token = [answer = answer] { return answer; }},
            {.backoff_initial = absl::Minutes(1)});
    EXPECT_TRUE(absl::IsUnavailable(status)) << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(reason), Not(HasSubstr("secret"))));
  }
  EXPECT_THAT(server.door.Authorizations(), SizeIs(0));
}

TEST_F(CredentialsTest, OneSourceOfTokensIsEnough) {
  const auto get = []() -> absl::StatusOr<std::string> { return "t"; };
  const std::string file = folder_.Write("token", "t");
  for (const Credentials& several :
       {Credentials{.token = "t", .token_file = file}, Credentials{.token = "t", .get_token = get},
        Credentials{.token_file = file, .get_token = get}}) {
    EXPECT_TRUE(absl::IsInvalidArgument(MakeChannel("127.0.0.1:1", several).status()));
  }
}

// ---- files

std::string Replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos);
  return text.replace(at, from.size(), to);
}

// The key, locked with a passphrase.
std::string Locked(const std::string& pem) {
  BIO* in = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  EVP_PKEY* key = PEM_read_bio_PrivateKey(in, nullptr, nullptr, nullptr);
  BIO* out = BIO_new(BIO_s_mem());
  PEM_write_bio_PKCS8PrivateKey(out, key, EVP_aes_256_cbc(), "pass", 4, nullptr, nullptr);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out, &text);
  const std::string locked(text, static_cast<std::size_t>(size));
  BIO_free(in);
  BIO_free(out);
  EVP_PKEY_free(key);
  return locked;
}

std::string Der(const std::string& pem) {
  BIO* in = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  X509* certificate = PEM_read_bio_X509(in, nullptr, nullptr, nullptr);
  BIO* out = BIO_new(BIO_s_mem());
  i2d_X509_bio(out, certificate);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(out, &bytes);
  const std::string der(bytes, static_cast<std::size_t>(size));
  BIO_free(in);
  BIO_free(out);
  X509_free(certificate);
  return der;
}

struct BadFile {
  std::string content;
  std::string expected;
};

TEST_F(CredentialsTest, AFileOfAuthoritiesThatIsNoneIsRefusedByItsName) {
  const Issued mine = authority_.Issue({});
  for (const BadFile& bad : {
           BadFile{"", "is empty"},
           {"hello", "holds no certificate"},
           {mine.key, "holds a key, where a certificate is wanted"},
           {Der(mine.cert), "is in DER, where PEM is wanted: openssl x509"},
           {Replaced(mine.cert, "\nMII", "\nM!I"), "is damaged"},
           {authority_.pem() + Replaced(mine.cert, "\nMII", "\nMAA"), "is damaged"},
           {mine.cert.substr(0, mine.cert.size() / 2), "is damaged"},
           {std::string(5 << 20, 'x'), "is longer than 4 MiB"},
       }) {
    const std::string path = folder_.Write("bad.pem", bad.content);
    const auto channel = MakeChannel("127.0.0.1:1", {.tls = TlsOptions{.ca_file = path}});
    EXPECT_TRUE(absl::IsInvalidArgument(channel.status())) << bad.expected;
    EXPECT_THAT(std::string(channel.status().message()),
                AllOf(HasSubstr("The CA file " + path + " "), HasSubstr(bad.expected)));
  }
  EXPECT_THAT(
      std::string(
          MakeChannel("a:1", {.tls = TlsOptions{.ca_file = "/nonexistent"}}).status().message()),
      HasSubstr("The CA file /nonexistent cannot be read: No such file or directory"));
  EXPECT_THAT(
      std::string(
          MakeChannel("a:1", {.tls = TlsOptions{.ca_file = folder_.path()}}).status().message()),
      HasSubstr("cannot be read: Is a directory"));
}

TEST_F(CredentialsTest, ByteOrderMarksHideNoCertificate) {
  const std::string mark = "\xEF\xBB\xBF";
  const Authority other("Another authority");
  FakeServer server("127.0.0.1:0", Serving(authority_.Issue({})));
  for (const std::string& content :
       {mark + authority_.pem(), other.pem() + "\n" + mark + authority_.pem()}) {
    const std::string file = folder_.Write("marked.pem", content);
    const absl::Status status = Try(server.Address(), {.tls = TlsOptions{.ca_file = file}});
    EXPECT_TRUE(status.ok()) << status;
  }
  const std::string file = folder_.Write("marked.pem", other.pem() + " " + authority_.pem());
  EXPECT_THAT(
      std::string(MakeChannel("a:1", {.tls = TlsOptions{.ca_file = file}}).status().message()),
      HasSubstr("has 2 lines -----BEGIN CERTIFICATE-----, and 1 certificates that can be read"));
}

TEST_F(CredentialsTest, ACertificateAndItsKeyAreRefusedByTheirNamesWhenTheyAreNoPair) {
  const Issued mine = authority_.Issue({}), other = authority_.Issue({});
  const Issued old = authority_.Issue({.from = -absl::Hours(2), .until = -absl::Hours(1)});
  const std::string bad = folder_ / "bad.pem";
  struct Row {
    std::string content, cert_file, key_file, expected;
  };
  for (const Row& row : {
           Row{"", mine.cert_file, "", "is given without its key file"},
           {"", "", mine.key_file, "is given without its certificate file"},
           {"", mine.cert_file, bad, "The key file " + bad + " is empty"},
           {"x", mine.cert_file, bad, "holds no key"},
           {mine.cert, mine.cert_file, bad, "holds a certificate, where its key is wanted"},
           {Replaced(mine.key, "\nM", "\n!"), mine.cert_file, bad, "is damaged"},
           {Locked(mine.key), mine.cert_file, bad, "is locked with a passphrase"},
           {"", mine.cert_file, other.key_file,
            "does not belong to the certificate in " + mine.cert_file},
           {mine.key, bad, mine.key_file, "The certificate file " + bad + " holds a key"},
           {"", old.cert_file, old.key_file, "has expired, at 20"},
           {"", mine.cert_file, "/nonexistent", "The key file /nonexistent cannot be read"},
       }) {
    folder_.Write("bad.pem", row.content);
    const auto channel = MakeChannel(
        "127.0.0.1:1", {.tls = TlsOptions{.cert_file = row.cert_file, .key_file = row.key_file}});
    EXPECT_TRUE(absl::IsInvalidArgument(channel.status())) << row.expected;
    EXPECT_THAT(std::string(channel.status().message()), HasSubstr(row.expected));
  }
}

TEST_F(CredentialsTest, ATokenFileThatHoldsNoneIsRefusedByItsNameAndNotQuoted) {
  for (const BadFile& bad : {BadFile{"", "is empty"},
                             {" \r\n", "is empty"},
                             {"secret one", "without \"Bearer\" before it"},
                             {"Bearer secret", "without \"Bearer\" before it"},
                             {"secret\nsecret", "one word"},
                             {"secr\xc3\xa9t", "one word"},
                             {"secret" + std::string(1, '\0'), "one word"},
                             {"secret" + std::string(17 << 10, 'x'), "longer than 16 KiB"}}) {
    const std::string path = folder_.Write("token", bad.content);
    const auto channel = MakeChannel("127.0.0.1:1", {.token_file = path});
    EXPECT_TRUE(absl::IsInvalidArgument(channel.status())) << bad.expected;
    EXPECT_THAT(std::string(channel.status().message()),
                AllOf(HasSubstr("The token file " + path), HasSubstr(bad.expected),
                      Not(HasSubstr("secr"))));
  }
  const auto message = [](const Credentials& credentials) {
    return std::string(MakeChannel("127.0.0.1:1", credentials).status().message());
  };
  EXPECT_THAT(message({.token_file = "/nonexistent"}),
              HasSubstr("The token file /nonexistent cannot be read"));
  // Somebody gave the token itself.
  EXPECT_THAT(message({.token_file = "eyJhbGciOi.secret.x"}),
              AllOf(HasSubstr("looks like a token itself"), Not(HasSubstr("secret"))));
  EXPECT_THAT(message({.token = "secret two"}),
              AllOf(HasSubstr("The token holds more"), Not(HasSubstr("secret"))));
}

// ---- the environment

TEST_F(CredentialsTest, TheEnvironmentNamesFilesAndAnyOfTlsAsksForIt) {
  const std::vector<const char*> names = {"SESSIOND_CA_FILE", "SESSIOND_CERT_FILE",
                                          "SESSIOND_KEY_FILE", "SESSIOND_TOKEN_FILE"};
  for (const char* name : names) setenv(name, "", 1);
  EXPECT_FALSE(CredentialsFromEnvironment().tls.has_value());
  EXPECT_EQ(CredentialsFromEnvironment().token_file, "");
  for (const char* name : names) setenv(name, name, 1);
  const Credentials all = CredentialsFromEnvironment();
  ASSERT_TRUE(all.tls.has_value());
  EXPECT_EQ(all.tls->ca_file, "SESSIOND_CA_FILE");
  EXPECT_EQ(all.tls->cert_file, "SESSIOND_CERT_FILE");
  EXPECT_EQ(all.tls->key_file, "SESSIOND_KEY_FILE");
  EXPECT_EQ(all.token_file, "SESSIOND_TOKEN_FILE");
  for (const char* name : names) unsetenv(name);
  setenv("SESSIOND_CA_FILE", authority_.file().c_str(), 1);
  EXPECT_TRUE(CredentialsFromEnvironment().tls.has_value());
  unsetenv("SESSIOND_CA_FILE");
}

}  // namespace
}  // namespace sessiond
