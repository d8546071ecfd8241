// Which files make a TLS server, and what is said about those that do not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/err.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "server/identity/tls_files.h"
#include "test_ca.h"

namespace sessiond::identity {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class TlsFilesTest : public ::testing::Test {
 protected:
  // Writes the three as they are at this moment, and loads them.
  absl::StatusOr<TlsMaterial> Load(absl::Time now = absl::Now()) {
    files_ = {.cert = directory_.Write("server.pem", cert_),
              .key = directory_.Write("server.key", key_, key_mode_),
              .client_ca = directory_.Write("ca.pem", client_ca_)};
    absl::StatusOr<TlsMaterial> loaded = LoadTls(files_, now);
    EXPECT_EQ(ERR_peek_error(), 0UL) << "An error is left for whoever uses OpenSSL next.";
    return loaded;
  }
  std::string Refusal(absl::Time now = absl::Now()) {
    const absl::StatusOr<TlsMaterial> loaded = Load(now);
    EXPECT_EQ(loaded.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(loaded.status().message());
  }

  const TestCa ca_{"authority"};
  const Issued server_ = ca_.IssueServer();
  const TestDirectory directory_;
  TlsFiles files_;
  std::string cert_ = server_.cert_pem;
  std::string key_ = server_.key_pem;
  std::string client_ca_ = ca_.cert_pem();
  unsigned key_mode_ = 0600;
};

TEST_F(TlsFilesTest, AreLoadedAsTheyAre) {
  const absl::StatusOr<TlsMaterial> loaded = Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->cert_chain_pem, server_.cert_pem);
  EXPECT_EQ(loaded->key_pem, server_.key_pem);
  EXPECT_EQ(loaded->client_ca_pem, ca_.cert_pem());
  EXPECT_LT(absl::AbsDuration(loaded->not_after - (absl::Now() + absl::Hours(1))),
            absl::Minutes(1));
}

TEST_F(TlsFilesTest, NeedNoClientCa) {
  ASSERT_TRUE(Load().ok());
  files_.client_ca = "";
  const absl::StatusOr<TlsMaterial> loaded = LoadTls(files_, absl::Now());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->client_ca_pem, "");
}

TEST_F(TlsFilesTest, MayHoldTextAroundTheirBlocksWhichIsNotHandedOn) {
  cert_ = absl::StrCat("subject: server\n", server_.cert_pem, "\nthe end\n", server_.key_pem);
  const absl::StatusOr<TlsMaterial> loaded = Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->cert_chain_pem, server_.cert_pem);
}

constexpr char kMark[] = "\xEF\xBB\xBF";

TEST_F(TlsFilesTest, ByteOrderMarksHideNoCertificate) {
  const TestCa other("another authority");
  // OpenSSL takes one on the first line that it looks at, and on no other.
  client_ca_ = absl::StrCat(ca_.cert_pem(), "\n", kMark, other.cert_pem());
  cert_ = kMark + server_.cert_pem;
  key_ = kMark + server_.key_pem;
  const absl::StatusOr<TlsMaterial> loaded = Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->cert_chain_pem, server_.cert_pem);
  EXPECT_EQ(loaded->client_ca_pem, ca_.cert_pem() + other.cert_pem());
}

TEST_F(TlsFilesTest, ACertificateThatOpenSslWouldPassOverIsRefused) {
  for (const char* before : {" ", "\t", "\xE2\x80\x8B", " \xEF\xBB\xBF"}) {
    client_ca_ = absl::StrCat(ca_.cert_pem(), before, TestCa("another authority").cert_pem());
    EXPECT_THAT(Refusal(), HasSubstr("ca.pem has 2 lines `-----BEGIN CERTIFICATE-----`, and 1 "
                                     "certificates that can be read: such a line has to begin"));
  }
  client_ca_ = absl::StrCat("# -----BEGIN CERTIFICATE-----\n", ca_.cert_pem(),
                            "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n"
                            "-----END CERTIFICATE REQUEST-----\n");
  EXPECT_TRUE(Load().ok()) << "neither begins a certificate";
}

TEST_F(TlsFilesTest, AChainExpiresWithTheFirstOfItsCertificates) {
  const TestCa below = ca_.Below("below");
  const Issued server = below.Issue({.not_after = absl::Now() + absl::Hours(9)});
  cert_ = server.cert_pem + below.cert_pem();
  key_ = server.key_pem;
  const absl::StatusOr<TlsMaterial> loaded = Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->cert_chain_pem, cert_);
  EXPECT_LT(loaded->not_after, absl::Now() + absl::Hours(2));
  EXPECT_THAT(Refusal(absl::Now() + absl::Hours(3)), HasSubstr("its certificate 2 was valid"));
}

TEST_F(TlsFilesTest, AChainIsInOrder) {
  const TestCa below = ca_.Below("below");
  const Issued server = below.IssueServer();
  key_ = server.key_pem;
  cert_ = server.cert_pem + ca_.cert_pem() + below.cert_pem();
  EXPECT_THAT(Refusal(), HasSubstr("is out of order: its certificate 2 did not issue number 1"));
}

TEST_F(TlsFilesTest, OneThatIsMissingIsNamed) {
  ASSERT_TRUE(Load().ok());
  for (std::string* const path : {&files_.cert, &files_.key, &files_.client_ca}) {
    const std::string name = *path;
    *path += ".missing";
    EXPECT_THAT(std::string(LoadTls(files_, absl::Now()).status().message()),
                ::testing::AllOf(HasSubstr(*path), HasSubstr("cannot be opened (No such file")));
    *path = name;
  }
}

TEST_F(TlsFilesTest, APipeIsNotWaitedFor) {
  ASSERT_TRUE(Load().ok());
  files_.cert = directory_.Path("pipe");
  ASSERT_EQ(mkfifo(files_.cert.c_str(), 0600), 0);
  EXPECT_THAT(std::string(LoadTls(files_, absl::Now()).status().message()),
              HasSubstr("is not a regular file"));
  files_.cert = directory_.Path("");
  EXPECT_THAT(std::string(LoadTls(files_, absl::Now()).status().message()),
              HasSubstr("is not a regular file"));
}

TEST_F(TlsFilesTest, EmptyOnesAreRefused) {
  cert_ = "";
  EXPECT_THAT(Refusal(), HasSubstr("server.pem is empty: write it again"));
  cert_ = server_.cert_pem;
  key_ = "";
  EXPECT_THAT(Refusal(), HasSubstr("server.key is empty: write it again"));
  key_ = server_.key_pem;
  client_ca_ = "";
  EXPECT_THAT(Refusal(), HasSubstr("ca.pem is empty: write it again"));
}

TEST_F(TlsFilesTest, OneThatIsTooLargeIsRefused) {
  cert_ = std::string((1 << 20) + 1, 'x');
  EXPECT_THAT(Refusal(), HasSubstr("has more than 1048576 bytes"));
}

// Every length at which a writer can have been interrupted.
TEST_F(TlsFilesTest, HalfWrittenOnesAreRefused) {
  const std::size_t cert_end = server_.cert_pem.size() - 2;  // without the line's end, it is whole
  for (std::size_t size = 0; size < cert_end; size += 7) {
    cert_ = server_.cert_pem.substr(0, size);
    EXPECT_THAT(Refusal(), StartsWith("The TLS certificate ")) << size;
  }
  cert_ = server_.cert_pem;
  for (std::size_t size = 0; size < server_.key_pem.size() - 2; size += 7) {
    key_ = server_.key_pem.substr(0, size);
    EXPECT_THAT(Refusal(), StartsWith("The TLS key ")) << size;
  }
  key_ = server_.key_pem;
  for (std::size_t size = 0; size < ca_.cert_pem().size() - 2; size += 7) {
    client_ca_ = ca_.cert_pem().substr(0, size);
    EXPECT_THAT(Refusal(), StartsWith("The client CA ")) << size;
  }
}

TEST_F(TlsFilesTest, ASecondCertificateThatIsCutOffIsRefused) {
  client_ca_ = ca_.cert_pem() + TestCa("another").cert_pem();
  ASSERT_TRUE(Load().ok());
  client_ca_.resize(client_ca_.size() - 40);
  EXPECT_THAT(Refusal(), HasSubstr("has a certificate that cannot be read, its number 2"));
}

TEST_F(TlsFilesTest, ABlockThatIsNotBase64IsRefused) {
  cert_ = absl::StrReplaceAll(server_.cert_pem, {{"M", "*"}});
  EXPECT_THAT(Refusal(), HasSubstr("cannot be read, its number 1"));
  cert_ = "some text\n";
  EXPECT_THAT(Refusal(), HasSubstr("holds no certificate in PEM form"));
  cert_ = server_.cert_pem;
  key_ = server_.cert_pem;
  EXPECT_THAT(Refusal(), HasSubstr("holds no private key in PEM form"));
}

TEST_F(TlsFilesTest, TheKeyBelongsToTheCertificate) {
  key_ = ca_.IssueServer().key_pem;
  EXPECT_THAT(Refusal(), HasSubstr("server.key does not belong to the certificate "));
  key_ = ca_.Issue({.rsa_bits = 2048}).key_pem;
  EXPECT_THAT(Refusal(), HasSubstr("server.key does not belong to the certificate "));
}

TEST_F(TlsFilesTest, AKeyWithAPassphraseIsRefused) {
  key_ =
      "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
      "MIIBvTBXBgkqhkiG9w0BBQ0wSjApBgkqhkiG9w0BBQwwHAQIiQmBSnBrkoMCAggA\n"
      "-----END ENCRYPTED PRIVATE KEY-----\n";
  EXPECT_THAT(Refusal(), HasSubstr("needs a passphrase"));
}

TEST_F(TlsFilesTest, TheCertificateIsInDate) {
  EXPECT_THAT(Refusal(absl::Now() + absl::Hours(2)), HasSubstr("has expired"));
  EXPECT_THAT(Refusal(absl::Now() - absl::Hours(2)), HasSubstr("is not valid yet"));
}

TEST_F(TlsFilesTest, WeakKeysAreRefused) {
  const Issued weak = ca_.Issue({.rsa_bits = 1024});
  cert_ = weak.cert_pem;
  key_ = weak.key_pem;
  EXPECT_THAT(Refusal(), HasSubstr("cannot be served (ee key too small)"));
}

TEST_F(TlsFilesTest, OfClientCasOneIsInDate) {
  const Certified old = {.not_before = absl::Now() - absl::Hours(9),
                         .not_after = absl::Now() - absl::Hours(8)};
  client_ca_ = TestCa("old", old).cert_pem();
  EXPECT_THAT(Refusal(), HasSubstr("ca.pem holds no authority that is in date"));
  client_ca_ += ca_.cert_pem();
  EXPECT_TRUE(Load().ok());
}

TEST_F(TlsFilesTest, AClientCaIsAnAuthority) {
  client_ca_ = server_.cert_pem;
  EXPECT_THAT(Refusal(), HasSubstr("holds a certificate that may not issue others, its number 1"));
}

TEST_F(TlsFilesTest, NobodyElseReadsTheKey) {
  const bool is_root = geteuid() == 0;
  const struct {
    unsigned mode;
    bool roots, ours;  // whether it may be root's, and the daemon's user's
  } rows[] = {{0400, true, true},   {0600, true, true},   {0700, true, true},
              {0440, true, false},  {0640, true, false},  {0660, false, false},
              {0650, false, false}, {0604, false, false}, {0644, false, false},
              {0601, false, false}, {0602, false, false}};
  for (const auto& row : rows) {
    key_mode_ = row.mode;
    const absl::StatusOr<TlsMaterial> loaded = Load();
    EXPECT_EQ(loaded.ok(), is_root ? row.roots : row.ours) << std::oct << row.mode;
    if (!loaded.ok()) {
      EXPECT_THAT(std::string(loaded.status().message()), HasSubstr("is open to others (mode 0"));
    }
  }
}

TEST_F(TlsFilesTest, TheKeyBelongsToTheDaemonsUserOrRoot) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to give a file away";
  ASSERT_TRUE(Load().ok());
  ASSERT_EQ(chown(files_.key.c_str(), 65534, 65534), 0);
  EXPECT_THAT(std::string(LoadTls(files_, absl::Now()).status().message()),
              HasSubstr("belongs to another user (65534)"));
}

}  // namespace
}  // namespace sessiond::identity
