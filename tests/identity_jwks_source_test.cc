// An issuer's keys, from files and from a real https server that does all that servers do.
#include <dlfcn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <netdb.h>
#include <openssl/pem.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/access/authenticator.h"
#include "server/access/limits.h"
#include "server/access/roles.h"
#include "server/identity/jwks_source.h"
#include "server/identity/openssl.h"
#include "server/rpc/services.h"
#include "test_ca.h"
#include "tests/no_threads.h"

namespace sessiond::identity {
namespace {

constexpr absl::string_view kSlowName = "slow.example";

// While it lives, kSlowName is being resolved until Answer; then there is no such name.
class SlowName {
 public:
  SlowName() { now = this; }
  ~SlowName() { now = nullptr; }
  void AwaitAsked() { asked_.WaitForNotification(); }
  void Answer() { answered_.Notify(); }
  void Resolve() {
    asked_.Notify();
    answered_.WaitForNotification();
  }

  static std::atomic<SlowName*> now;

 private:
  absl::Notification asked_, answered_;
};
std::atomic<SlowName*> SlowName::now = nullptr;

}  // namespace
}  // namespace sessiond::identity

// In place of the C library's, for all of this program.
extern "C" int getaddrinfo(const char* name, const char* service, const addrinfo* hints,
                           addrinfo** found) {
  using sessiond::identity::SlowName;
  static const auto real =
      reinterpret_cast<decltype(&getaddrinfo)>(dlsym(RTLD_NEXT, "getaddrinfo"));
  if (name != nullptr && name == sessiond::identity::kSlowName) {
    if (SlowName* slow = SlowName::now; slow != nullptr) slow->Resolve();
    return EAI_NONAME;
  }
  return real(name, service, hints, found);
}

namespace sessiond::identity {
namespace {

using ::testing::HasSubstr;

// What may take long on a busy machine, and never does otherwise.
constexpr absl::Duration kPatience = absl::Seconds(30);

// A key set of one Ed25519 key.
std::string KeySet(const std::string& kid) {
  const OwnedKey key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  std::string raw(32, '\0');
  std::size_t size = raw.size();
  EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(raw.data()), &size);
  return absl::StrCat(R"({"keys":[{"kty":"OKP","crv":"Ed25519","kid":")", kid, R"(","x":")",
                      absl::WebSafeBase64Escape(raw), "\"}]}");
}

// The names of its keys.
std::string Kids(const JwksSource& source) {
  std::string kids;
  for (const VerificationKey& key : source.Get()->keys) absl::StrAppend(&kids, key.kid, ";");
  return kids;
}

// An https server whose only page is what the test wants.
class Issuer {
 public:
  using Page = std::function<void(httplib::Response& response)>;

  explicit Issuer(const Issued& own) {
    const OwnedBio cert_bio = ReadFrom(own.cert_pem), key_bio = ReadFrom(own.key_pem);
    const OwnedX509 cert(PEM_read_bio_X509(cert_bio.get(), nullptr, nullptr, nullptr));
    const OwnedKey key(PEM_read_bio_PrivateKey(key_bio.get(), nullptr, nullptr, nullptr));
    server_ = std::make_unique<httplib::SSLServer>(cert.get(), key.get());
    server_->Get("/.*", [this](const httplib::Request& request, httplib::Response& response) {
      ++requests_;
      Page page;
      {
        const std::lock_guard<std::mutex> lock(mutex_);
        path_ = request.path;
        page = page_;
      }
      page(response);
    });
    port_ = server_->bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_->listen_after_bind(); });
    while (!server_->is_running()) std::this_thread::yield();
  }
  ~Issuer() {
    server_->stop();
    thread_.join();
  }

  void Serve(Page page) {
    const std::lock_guard<std::mutex> lock(mutex_);
    page_ = std::move(page);
  }
  void Serve(const std::string& text, int status = 200) {
    Serve([=](httplib::Response& response) {
      response.status = status;
      response.set_content(text, "application/json");
    });
  }
  std::string Url(const std::string& host = "127.0.0.1") const {
    return absl::StrCat("https://", host, ":", port_, "/jwks.json?a=b");
  }
  std::string path() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return path_;
  }
  int requests() const { return requests_; }

 private:
  std::unique_ptr<httplib::SSLServer> server_;
  std::thread thread_;
  int port_ = 0;
  std::atomic<int> requests_ = 0;
  mutable std::mutex mutex_;
  Page page_;
  std::string path_;
};

class JwksSourceTest : public ::testing::Test {
 protected:
  std::unique_ptr<JwksSource> Start(JwksSource::Options options) {
    if (options.ca_file.empty()) options.ca_file = ca_file_;
    absl::StatusOr<std::unique_ptr<JwksSource>> source = JwksSource::Start(std::move(options));
    EXPECT_TRUE(source.ok()) << source.status();
    return *std::move(source);
  }
  // Reads once more, and waits for it.
  static void ReadAgain(JwksSource& source) {
    const int64_t before = source.attempts();
    source.Refresh();
    ASSERT_TRUE(source.AwaitAttempts(before + 1, kPatience));
  }

  // Reads until the keys, and what is wrong, are these.
  static void AwaitKeys(JwksSource& source, const std::string& kids, const std::string& trouble) {
    const SteadyTime end = SteadyTime::Now() + kPatience;
    while (Kids(source) != kids || !absl::StrContains(source.Trouble(), trouble)) {
      ASSERT_LT(SteadyTime::Now(), end) << Kids(source) << source.Trouble();
      ReadAgain(source);
    }
  }

  const TestCa ca_{"authority"};
  const TestDirectory directory_;
  const std::string ca_file_ = directory_.Write("ca.pem", ca_.cert_pem());
};

TEST_F(JwksSourceTest, AnAddressIsReadAndReadAgain) {
  Issuer issuer(ca_.IssueServer());
  issuer.Serve(KeySet("one"));
  const auto source = Start({.location = issuer.Url(), .https_interval = absl::Milliseconds(20)});
  ASSERT_TRUE(source->AwaitAttempts(1, kPatience));
  EXPECT_EQ(Kids(*source), "one;");
  EXPECT_EQ(source->Trouble(), "");
  EXPECT_EQ(issuer.path(), "/jwks.json");
  issuer.Serve(KeySet("two"));
  // The next but one has begun after that.
  ASSERT_TRUE(source->AwaitAttempts(source->attempts() + 2, kPatience));
  EXPECT_EQ(Kids(*source), "two;");
}

TEST_F(JwksSourceTest, AKeyThatIsLookedForIsFoundSoonButNotAtAnyPrice) {
  Issuer issuer(ca_.IssueServer());
  issuer.Serve(KeySet("one"));
  constexpr absl::Duration kPause = absl::Milliseconds(300);
  const SteadyTime begin = SteadyTime::Now();
  const auto source = Start({.location = issuer.Url(), .https_interval_min = kPause});
  ASSERT_TRUE(source->AwaitAttempts(1, kPatience));
  issuer.Serve(KeySet("two"));
  for (int64_t attempts = 1; attempts < 4; ++attempts) {
    for (int i = 0; i < 1000; ++i) source->LookForNewKeys();
    ASSERT_TRUE(source->AwaitAttempts(attempts + 1, kPatience));
  }
  EXPECT_EQ(Kids(*source), "two;");
  EXPECT_GE(SteadyTime::Now() - begin, 3 * kPause);
  EXPECT_EQ(source->attempts(), issuer.requests());
}

TEST_F(JwksSourceTest, WhateverGoesWrongTheLastGoodKeysStay) {
  Issuer issuer(ca_.IssueServer());
  issuer.Serve(KeySet("good"));
  const auto source = Start({.location = issuer.Url()});
  ASSERT_TRUE(source->AwaitAttempts(1, kPatience));
  ASSERT_EQ(Kids(*source), "good;") << source->Trouble();
  const struct {
    const char* trouble;
    Issuer::Page page;
  } rows[] = {
      {"it answers 500", [](httplib::Response& r) { r.status = 500; }},
      {"it answers 404", [](httplib::Response& r) { r.status = 404; }},
      {"it answers 204", [](httplib::Response& r) { r.status = 204; }},
      {"it answers 302, and leads elsewhere",
       [](httplib::Response& r) { r.set_redirect("/elsewhere"); }},
      {"it answers 302, and leads elsewhere",
       [](httplib::Response& r) { r.set_redirect("http://127.0.0.1:1/"); }},
      {"This is not a key set", [](httplib::Response& r) { r.set_content("", "text/plain"); }},
      {"This is not a key set",
       [](httplib::Response& r) { r.set_content("<html>Sign in</html>", "text/html"); }},
      {"There is no key to verify",
       [](httplib::Response& r) { r.set_content(R"({"keys":[]})", "application/json"); }},
      {"it answers more than 1048576 bytes",
       [](httplib::Response& r) {
         r.set_content(std::string((1 << 20) + 1, ' '), "application/json");
       }},
      {"its answer ends early",
       [](httplib::Response& r) {
         r.set_content_provider(1000, "application/json",
                                [](std::size_t, std::size_t, httplib::DataSink& sink) {
                                  sink.write("{", 1);
                                  return false;
                                });
       }},
  };
  for (const auto& row : rows) {
    issuer.Serve(row.page);
    ReadAgain(*source);
    EXPECT_THAT(source->Trouble(), HasSubstr(row.trouble));
    EXPECT_THAT(source->Trouble(), ::testing::StartsWith("The key set https://127.0.0.1:"));
    EXPECT_EQ(Kids(*source), "good;");
  }
  EXPECT_EQ(issuer.path(), "/jwks.json");
  issuer.Serve(KeySet("new"));
  ReadAgain(*source);
  EXPECT_EQ(source->Trouble(), "");
  EXPECT_EQ(Kids(*source), "new;");
}

TEST_F(JwksSourceTest, ASlowIssuerIsNotWaitedFor) {
  Issuer issuer(ca_.IssueServer());
  std::atomic<bool> over = false;
  const auto source = Start({.location = issuer.Url(),
                             .timeout = absl::Milliseconds(300),
                             .answer_timeout = absl::Milliseconds(500)});
  issuer.Serve(KeySet("good"));
  AwaitKeys(*source, "good;", "");
  issuer.Serve([&](httplib::Response&) {
    while (!over) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  });
  AwaitKeys(*source, "good;", "does not come in time");
  // A byte now and then: each is in time, and the whole never is.
  issuer.Serve([&](httplib::Response& response) {
    response.set_chunked_content_provider(
        "application/json", [&](std::size_t, httplib::DataSink& sink) {
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
          return !over && sink.write(" ", 1);
        });
  });
  AwaitKeys(*source, "good;", "its answer takes too long");
  over = true;
}

TEST_F(JwksSourceTest, AFailureIsFollowedByAnotherAttemptSoon) {
  Issuer issuer(ca_.IssueServer());
  issuer.Serve("", 503);
  const auto source =
      Start({.location = issuer.Url(), .https_interval_min = absl::Milliseconds(20)});
  ASSERT_TRUE(source->AwaitAttempts(2, kPatience));
  EXPECT_EQ(Kids(*source), "");
  issuer.Serve(KeySet("late"));
  for (;;) {
    const int64_t before = source->attempts();
    if (!Kids(*source).empty()) break;
    ASSERT_TRUE(source->AwaitAttempts(before + 1, kPatience));
  }
  EXPECT_EQ(Kids(*source), "late;");
}

TEST_F(JwksSourceTest, KeysAreReadAtOnceWithTheAccessFile) {
  Issuer issuer(ca_.IssueServer());
  issuer.Serve(KeySet("one"));
  const std::string file = absl::StrCat("[[issuers]]\nissuer = \"https://login.example\"\n",
                                        "audiences = [\"sessiond\"]\njwks_url = \"", issuer.Url(),
                                        "\"\nca_file = \"", ca_file_, R"("
[[issuers.subjects]]
subject = "*"
roles = ["reader"]
namespaces = ["shop"]
)");
  const auto methods = access::MethodTable::Of(rpc::ServiceNames());
  ASSERT_TRUE(methods.ok());
  access::UsageBook usages;
  access::Authenticator authenticator(directory_.Write("access.toml", file),
                                      /*certificates=*/false, *methods, usages);
  ASSERT_TRUE(authenticator.Reload().ok());
  EXPECT_EQ(issuer.requests(), 1);
  EXPECT_TRUE(authenticator.Troubles().empty());
  issuer.Serve("", 503);
  ASSERT_TRUE(authenticator.Reload().ok());
  const SteadyTime end = SteadyTime::Now() + kPatience;
  while (authenticator.Troubles().empty()) {
    ASSERT_LT(SteadyTime::Now(), end);
    absl::SleepFor(absl::Milliseconds(10));
  }
}

TEST_F(JwksSourceTest, TheIssuerIsWhoItSaysItIs) {
  const TestCa foreign("authority");
  const std::vector<std::string> names = {"DNS:localhost", "IP:127.0.0.1"};
  const struct {
    const char* what;
    Issued own;
    std::string host;
    bool is_believed;
  } rows[] = {
      {"the right one", ca_.IssueServer(), "127.0.0.1", true},
      {"by name", ca_.IssueServer(), "localhost", true},
      {"another authority's", foreign.IssueServer(), "127.0.0.1", false},
      {"another host's", ca_.Issue({.names = {"DNS:issuer.example"}}), "localhost", false},
      {"another address's", ca_.Issue({.names = {"IP:127.0.0.2"}}), "127.0.0.1", false},
      {"a common name", ca_.Issue({.common_name = "localhost"}), "localhost", false},
      {"a common name", ca_.Issue({.common_name = "127.0.0.1"}), "127.0.0.1", false},
      {"expired", ca_.Issue({.names = names, .not_after = absl::Now() - absl::Minutes(1)}),
       "127.0.0.1", false},
      {"not valid yet", ca_.Issue({.names = names, .not_before = absl::Now() + absl::Minutes(30)}),
       "127.0.0.1", false},
  };
  for (const auto& row : rows) {
    Issuer issuer(row.own);
    issuer.Serve(KeySet("one"));
    const auto source = Start({.location = issuer.Url(row.host)});
    ASSERT_TRUE(source->AwaitAttempts(1, kPatience));
    EXPECT_EQ(Kids(*source), row.is_believed ? "one;" : "") << row.what << source->Trouble();
    EXPECT_EQ(issuer.requests(), row.is_believed ? 1 : 0) << row.what;
    EXPECT_THAT(source->Trouble(),
                HasSubstr(row.is_believed ? "" : "its certificate is not to be believed"));
  }
}

TEST_F(JwksSourceTest, WhatIsNotThereIsNamed) {
  Issuer issuer(ca_.IssueServer());
  issuer.Serve(KeySet("one"));
  const auto without_ca = Start({.location = issuer.Url(), .ca_file = directory_.Path("none")});
  ASSERT_TRUE(without_ca->AwaitAttempts(1, kPatience));
  EXPECT_THAT(without_ca->Trouble(), HasSubstr("authorities to believe cannot be read"));
  const auto nobody = Start({.location = "https://127.0.0.1:1/jwks"});
  ASSERT_TRUE(nobody->AwaitAttempts(1, kPatience));
  EXPECT_THAT(nobody->Trouble(),
              HasSubstr("https://127.0.0.1:1/jwks cannot be read: it cannot be connected to"));
}

// A name is resolved for as long as the test wants.
TEST_F(JwksSourceTest, ASourceThatGoesAwayDoesNotWaitForANameToBeResolved) {
  SlowName slow;
  {
    const auto source = Start({.location = "https://" + std::string(kSlowName) + "/jwks.json"});
    slow.AwaitAsked();
  }  // It would never return.
  EXPECT_FALSE(JwksSource::AwaitEnded(absl::ZeroDuration()));
  slow.Answer();
  EXPECT_TRUE(JwksSource::AwaitEnded(kPatience));
}

TEST_F(JwksSourceTest, AnAnswerUnderWayIsBrokenOff) {
  Issuer issuer(ca_.IssueServer());
  std::atomic<bool> over = false;
  issuer.Serve([&](httplib::Response&) {
    while (!over) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  });
  const SteadyTime begin = SteadyTime::Now();
  {
    const auto source = Start({.location = issuer.Url(), .timeout = absl::Hours(1)});
    while (issuer.requests() == 0) std::this_thread::yield();
    EXPECT_EQ(Kids(*source), "");
  }
  EXPECT_TRUE(JwksSource::AwaitEnded(kPatience));
  EXPECT_LT(SteadyTime::Now() - begin, kPatience);
  over = true;
}

TEST_F(JwksSourceTest, AFileIsReadAgainWhenItHasChanged) {
  const std::string path = directory_.Write("jwks.json", KeySet("one"));
  const auto source = Start({.location = path, .file_interval = absl::Milliseconds(10)});
  const auto read_again = [&] {
    // The next but one has begun after what the test did.
    ASSERT_TRUE(source->AwaitAttempts(source->attempts() + 2, kPatience));
  };
  ASSERT_TRUE(source->AwaitAttempts(1, kPatience));
  EXPECT_EQ(Kids(*source), "one;");
  const std::shared_ptr<const Jwks> before = source->Get();
  read_again();
  EXPECT_EQ(source->Get(), before) << "Nothing has changed.";
  directory_.Write("jwks.json", KeySet("two"));
  read_again();
  EXPECT_EQ(Kids(*source), "two;");
  const std::string three = KeySet("three");
  directory_.Write("jwks.json", three.substr(0, three.size() / 2));
  read_again();
  EXPECT_THAT(source->Trouble(), HasSubstr("jwks.json cannot be used. This is not a key set"));
  EXPECT_EQ(Kids(*source), "two;");
  directory_.Write("jwks.json", "\xEF\xBB\xBF" + KeySet("marked"));
  read_again();
  EXPECT_EQ(source->Trouble(), "");
  EXPECT_EQ(Kids(*source), "marked;");
  directory_.Write("jwks.json", KeySet("two"));
  read_again();
  directory_.Write("jwks.json", "");
  read_again();
  EXPECT_THAT(source->Trouble(), HasSubstr("jwks.json is empty"));
  std::filesystem::remove(path);
  read_again();
  EXPECT_THAT(source->Trouble(), HasSubstr("jwks.json cannot be opened (No such file"));
  EXPECT_EQ(Kids(*source), "two;");
  directory_.Write("jwks.json", three);
  read_again();
  EXPECT_EQ(source->Trouble(), "");
  EXPECT_EQ(Kids(*source), "three;");
}

TEST_F(JwksSourceTest, WithoutAThreadToSpareThereIsNoSource) {
  const std::string path = directory_.Write("jwks.json", KeySet("one"));
  {
    const NoThreads none;
    const absl::Status status = JwksSource::Start({.location = path}).status();
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("There is no thread to read `" + path));
  }
  EXPECT_TRUE(JwksSource::AwaitEnded(kPatience));  // None was counted.
  const auto source = Start({.location = path});
  ASSERT_TRUE(source->AwaitAttempts(1, kPatience));
  EXPECT_EQ(Kids(*source), "one;");
}

TEST(JwksSource, OtherPlacesAreRefused) {
  for (const char* const location :
       {"", "http://issuer.example/jwks", "ftp://issuer.example/jwks", "HTTPS://issuer.example/",
        "file:///etc/jwks.json", "https://", "https:///jwks", "https://:443/jwks",
        "https://issuer.example:0/", "https://issuer.example:65536/", "https://issuer.example:x/",
        "https://issuer.example:/", "https://user:password@issuer.example/jwks",
        "https://issuer.example/jwks#keys", "https://issuer.example/a b", "https://[::1/jwks",
        "https://issuer.example?x", "https://issuer.example\\@evil.example/",
        "https://issuer.example/\r\nHost: evil.example"}) {
    const absl::Status status = JwksSource::Start({.location = location}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << location;
    EXPECT_THAT(std::string(status.message()), HasSubstr("https://HOST[:PORT]/PATH"));
  }
}

}  // namespace
}  // namespace sessiond::identity
