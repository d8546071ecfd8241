// The access file, roles and limits: who may call, and what.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/access/access_file.h"
#include "server/access/authenticator.h"
#include "server/access/limits.h"
#include "server/access/policy.h"
#include "server/access/roles.h"
#include "server/rpc/services.h"
#include "sessiond/v1/session_service.pb.h"
#include "state_machine/refusal.h"
#include "state_machine/scope.h"

namespace sessiond::access {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const MethodTable& Methods() {
  static const MethodTable& table = *new MethodTable(MethodTable::Of(rpc::ServiceNames()).value());
  return table;
}

const MethodDescriptor* Method(const std::string& name) {
  const MethodDescriptor* method = Methods().Find(name);
  EXPECT_NE(method, nullptr) << name;
  return method;
}

UsageBook& Usages() {
  static UsageBook& usages = *new UsageBook;
  return usages;
}

absl::StatusOr<std::shared_ptr<const Policy>> Parse(const std::string& text) {
  return ParseAccessFile(text, "access.toml", Methods(), Usages());
}

constexpr char kShop[] = R"(
[[principals]]
name = "shop"
certificates = ["spiffe://example.org/shop"]
roles = ["reader"]
namespaces = ["shop"]
)";

// -------------------------------------------------------------------------------------------------
// roles

TEST(Roles, EveryMethodHasOne) { EXPECT_TRUE(MethodTable::Of(rpc::ServiceNames()).ok()); }

TEST(Roles, EachMayDoWhatThoseBeforeItMay) {
  std::size_t before = 0;
  for (const std::string& role : MethodTable::BuiltInRoles()) {
    const std::size_t methods = Methods().Of(role).methods.size();
    EXPECT_GT(methods, before) << role;
    before = methods;
  }
  EXPECT_EQ(before, Methods().methods().size());
}

TEST(Roles, AWorkerCountsAndSetsNothingElse) {
  const MethodDescriptor* update = Method("SessionService/UpdateSession");
  const Permissions worker = Methods().Of("worker"), writer = Methods().Of("writer");
  EXPECT_TRUE(worker.methods.contains(update));
  EXPECT_FALSE(worker.whole.contains(update));
  EXPECT_TRUE(writer.whole.contains(update));

  v1::UpdateSessionRequest request;
  request.mutable_session()->set_session_id("s");
  (*request.mutable_counter_increments())["questions"] = 1;
  EXPECT_EQ(GuardedField(request), nullptr);
  request.mutable_update_mask()->add_paths("context.a");
  ASSERT_NE(GuardedField(request), nullptr);
  EXPECT_EQ(GuardedField(request)->name(), "update_mask");
  request.clear_update_mask();
  request.add_remove_label_keys("a");
  ASSERT_NE(GuardedField(request), nullptr);
  EXPECT_EQ(GuardedField(request)->name(), "remove_label_keys");
}

// -------------------------------------------------------------------------------------------------
// the file

TEST(AccessFile, GrantsWhatItSays) {
  const auto policy = Parse(absl::StrCat(R"(
open_metrics = true
[roles.recoverer]
extends = ["counter"]
methods = ["SessionService/RecoverSession", "TaskService/*"]
[roles.counter]
methods = ["sessiond.v1.SessionService/CountSessions"]
[[principals]]
name = "ops"
certificates = ["dns:ops.internal"]
token_hashes = ["sha256:)",
                                         std::string(64, 'a'), R"("]
roles = ["recoverer"]
namespaces = ["shop", "team-*"]
owner = "ada"
limits = { calls_per_second = 5, watches = 2 }
)"));
  ASSERT_TRUE(policy.ok()) << policy.status();
  EXPECT_TRUE((*policy)->open_metrics());
  const PrincipalPtr ops = (*policy)->OfCertificate("dns:ops.internal");
  ASSERT_NE(ops, nullptr);
  EXPECT_EQ((*policy)->OfTokenHash(std::string(64, 'a')), ops);
  EXPECT_EQ((*policy)->OfTokenHash(std::string(64, 'b')), nullptr);
  EXPECT_EQ((*policy)->OfCertificate("dns:OPS.internal"), nullptr);
  EXPECT_EQ((*policy)->anonymous(), nullptr);
  EXPECT_TRUE(ops->May(Method("RecoverSession")));
  EXPECT_TRUE(ops->May(Method("StartTask")));
  EXPECT_TRUE(ops->May(Method("CountSessions")));
  EXPECT_FALSE(ops->May(Method("GetSession")));
  EXPECT_TRUE(ops->May(Method("GetServerInfo"))) << "it comes with every role";
  EXPECT_TRUE(ops->scope.Has("team-a", "ada"));
  EXPECT_FALSE(ops->scope.Has("team-a", "bob"));
  EXPECT_FALSE(ops->scope.Has("shopping", "ada"));
  // Whoever may open the unix socket is admin, unless the file says otherwise.
  EXPECT_TRUE((*policy)->local()->May(Method("EraseOwner")));
}

TEST(AccessFile, WithoutOneWhoeverComesIsAdmin) {
  const auto policy = Policy::WithoutFile(/*certificates=*/false, Methods(), Usages());
  ASSERT_NE(policy->anonymous(), nullptr);
  EXPECT_EQ(policy->anonymous()->name, "anonymous");
  EXPECT_TRUE(policy->anonymous()->May(Method("EraseOwner")));
  EXPECT_TRUE(policy->anonymous()->scope.everything());
  EXPECT_EQ(policy->OfCertificate("dns:any.example")->name, "dns:any.example");
  EXPECT_FALSE(policy->from_file());
}

TEST(AccessFile, WithoutOneACertificateIsEnoughWhereThereIsAnAuthority) {
  const auto policy = Policy::WithoutFile(/*certificates=*/true, Methods(), Usages());
  EXPECT_EQ(policy->anonymous(), nullptr);
  EXPECT_FALSE(policy->open_metrics());
  EXPECT_TRUE(policy->OfCertificate("dns:any.example")->May(Method("EraseOwner")));
  EXPECT_TRUE(policy->local()->May(Method("EraseOwner")));
}

// One that is wrong, and what is said about it.
struct BadFile {
  std::string text, said;
};

// `shop` with one line more, or another in its place.
std::string Shop(const std::string& line, const std::string& instead_of = "") {
  if (instead_of.empty()) return absl::StrCat(kShop, line, "\n");
  const std::string changed = absl::StrReplaceAll(kShop, {{instead_of, line}});
  EXPECT_NE(changed, kShop) << instead_of;
  return changed;
}

TEST(AccessFile, RefusesWhatIsWrongAndSaysWhere) {
  const std::string issuer = R"(
[[issuers]]
issuer = "https://login.example"
audiences = ["sessiond"]
jwks_file = "keys.json"
[[issuers.subjects]]
subject = "*"
roles = ["reader"]
namespaces = ["shop"]
)";
  const auto in_issuer = [&](const std::string& what, const std::string& by) {
    const std::string changed = absl::StrReplaceAll(issuer, {{what, by}});
    EXPECT_NE(changed, issuer) << what;
    return changed;
  };
  const BadFile files[] = {
      {"", "access.toml: nobody could call"},
      {"[[principals]", "access.toml:1: "},
      {"principles = 1",
       "access.toml:1: `principles` is no key of the access file; did you mean "
       "`principals`?"},
      {"\"\\u001b[2J\" = 1", "access.toml:1: `\\x1b[2J` is no key of the access file"},
      {"open_metrics = 1", "access.toml:1: open_metrics must be true or false"},
      {Shop("namespace = [\"a\"]"),
       "access.toml:7: `namespace` is no key of [[principals]]; did you "
       "mean `namespaces`?"},
      {absl::StrCat(kShop, kShop), "access.toml:8: there are two principals with the name `shop`"},
      {absl::StrCat(kShop, absl::StrReplaceAll(kShop, {{"\"shop\"\ncert", "\"b\"\ncert"}})),
       "access.toml:10: two principals have the certificate spiffe://example.org/shop"},
      {Shop("roles = [\"redaer\"]", "roles = [\"reader\"]"),
       "access.toml:5: there is no role `redaer`; did you mean `reader`?"},
      {Shop("roles = []", "roles = [\"reader\"]"),
       "access.toml:2: the principal `shop` has no roles"},
      {Shop("roles = [\"reader\", \"reader\"]", "roles = [\"reader\"]"),
       "access.toml:5: roles has `reader` twice"},
      {Shop("roles = \"reader\"", "roles = [\"reader\"]"), "access.toml:5: roles must be a list"},
      {Shop("", "namespaces = [\"shop\"]"),
       "access.toml:2: the principal `shop` has no namespaces"},
      {Shop("namespaces = [\"Shop\"]", "namespaces = [\"shop\"]"),
       "access.toml:6: `Shop` is neither a namespace"},
      {Shop("namespaces = [\"sh*op\"]", "namespaces = [\"shop\"]"),
       "`sh*op` is neither a namespace"},
      {Shop("", "certificates = [\"spiffe://example.org/shop\"]"),
       "access.toml:2: nobody can be `shop`"},
      {Shop("certificates = [\"shop\"]", "certificates = [\"spiffe://example.org/shop\"]"),
       "access.toml:4: `shop` is no certificate's identity"},
      {Shop("certificates = [\"dns:Shop.Internal\"]",
            "certificates = [\"spiffe://example.org/shop\"]"),
       "access.toml:4: `dns:Shop.Internal` is no certificate's identity"},
      {Shop("certificates = [\"spiffe://example.org/a b\"]",
            "certificates = [\"spiffe://example.org/shop\"]"),
       "access.toml:4: `spiffe://example.org/a b` is no certificate's identity"},
      {Shop("certificates = []", "certificates = [\"spiffe://example.org/shop\"]"),
       "access.toml:2: nobody can be `shop`"},
      {Shop("token_hashes = [\"sha256:12\"]"), "access.toml:7: a token's hash is sha256: and 64"},
      {Shop("token_hashes = [\"\"]"), "access.toml:7: token_hashes has something in it"},
      {Shop("token_hashes = "
            "[\"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"]"),
       "access.toml:7: this is the hash of an empty token"},
      {absl::StrCat("a", std::string(100'000, '.'), "a = 1\n"),
       "access.toml:1: the line has 100006 bytes"},
      {Shop("limits = { calls = 1 }"), "access.toml:7: `calls` is no key of limits"},
      {Shop("limits = { watches = 0 }"),
       "access.toml:7: watches must be a whole number, 1 or more"},
      {Shop("name = \"system\"", "name = \"shop\""),
       "access.toml:2: `system` is a name of the daemon"},
      {absl::StrCat("[roles.reader]\nmethods = [\"SessionService\"]\n", kShop),
       "access.toml:1: `reader` is a built-in role"},
      {absl::StrCat("[roles.a]\nextends = [\"b\"]\n[roles.b]\nextends = [\"a\"]\n", kShop),
       "access.toml:4: roles extend each other in a circle: a → b → a"},
      {absl::StrCat("[roles.a]\nextends = [\"a\"]\n", kShop), "in a circle: a → a"},
      {absl::StrCat("[roles.a]\nmethods = [\"SessionService/GetSesion\"]\n", kShop),
       "access.toml:2: `SessionService/GetSesion` matches no method; did you mean "
       "`SessionService/GetSession`?"},
      {absl::StrCat("[roles.a]\nextends = []\n", kShop),
       "access.toml:1: the role `a` may do nothing"},
      {in_issuer("audiences = [\"sessiond\"]", ""), "access.toml:2: an issuer without audiences"},
      {in_issuer("jwks_file = \"keys.json\"", ""),
       "access.toml:2: an issuer's keys come from one of"},
      {in_issuer("jwks_file = \"keys.json\"", "jwks_url = \"http://login.example/\""),
       "access.toml:2: jwks_url must begin with https://"},
      {in_issuer("subject = \"*\"", "subject = \"a*b\""), "a `*` stands for the rest of a subject"},
      {absl::StrCat(issuer, issuer), "there are two issuers with the name https://login.example"},
      {in_issuer("subject = \"*\"", "subjects = \"*\""),
       "`subjects` is no key of [[issuers.subjects]]"},
  };
  for (const BadFile& file : files) {
    EXPECT_THAT(std::string(Parse(file.text).status().message()), HasSubstr(file.said))
        << file.text;
  }
  EXPECT_TRUE(Parse(kShop).ok()) << Parse(kShop).status();
  EXPECT_TRUE(Parse(issuer).ok()) << Parse(issuer).status();
  EXPECT_TRUE(Parse(absl::StrCat("\xEF\xBB\xBF", kShop)).ok())
      << "A byte-order mark is no mistake.";
}

TEST(AccessFile, ANameIsALine) {
  for (const char* name :
       {"a\\u0085b", "\\u009b31m", "a\\tb", "a\\u007fb", "\\u2028", "a\\u2029b"}) {
    const auto policy = Parse(Shop(absl::StrCat("name = \"", name, "\""), "name = \"shop\""));
    EXPECT_THAT(
        std::string(policy.status().message()),
        HasSubstr("access.toml:2: a principal has no name, or one that is more than a line"))
        << name;
  }
  for (const char* name : {"caf\\u00e9", "\\u00a0", "\\u0142\\u2026"})
    EXPECT_TRUE(Parse(Shop(absl::StrCat("name = \"", name, "\""), "name = \"shop\"")).ok()) << name;
}

TEST(AccessFile, TheMostSpecificSubjectCounts) {
  const auto policy = Parse(R"(
[[issuers]]
issuer = "https://k8s"
audiences = ["sessiond"]
jwks_file = "keys.json"
[[issuers.subjects]]
subject = "system:serviceaccount:*"
roles = ["reader"]
namespaces = ["shop"]
[[issuers.subjects]]
subject = "system:serviceaccount:ops:*"
roles = ["worker"]
namespaces = ["*"]
[[issuers.subjects]]
subject = "system:serviceaccount:ops:admin"
roles = ["admin"]
namespaces = ["*"]
owner = "team"
)");
  ASSERT_TRUE(policy.ok()) << policy.status();
  const Issuer& issuer = (*policy)->issuers().front();
  const auto roles = [&](const std::string& subject,
                         const std::map<std::string, std::string, std::less<>>& claims) {
    const auto who = (*policy)->OfToken(issuer, subject, claims);
    return who == nullptr ? "nobody" : who->roles.front();
  };
  EXPECT_EQ(roles("system:serviceaccount:a:b", {}), "reader");
  EXPECT_EQ(roles("system:serviceaccount:ops:b", {}), "worker");
  EXPECT_EQ(roles("system:serviceaccount:ops:admin", {{"team", "t1"}}), "admin");
  EXPECT_EQ(roles("system:serviceaccount:ops:admin", {}), "nobody") << "its owner is not said";
  EXPECT_EQ(roles("system:serviceaccount:ops:admin", {{"team", ""}}), "nobody");
  EXPECT_EQ(roles("somebody", {}), "nobody");
}

// -------------------------------------------------------------------------------------------------
// limits

TEST(Limits, LetThroughWhatASecondBringsAndThenSayHowLongToWait) {
  const auto usage = std::make_shared<Usage>();
  const Limits limits{.calls_per_second = 10};
  SteadyTime now = SteadyTime::Now();
  int admitted = 0;
  absl::Status refused;
  for (; refused.ok() && admitted < 100; ++admitted)
    refused = usage->Admit(limits, {.bytes = 1}, now).status();
  EXPECT_EQ(admitted, 12) << "a second's, the one on its way, and the refused one";
  EXPECT_EQ(ReasonOf(refused), v1::RATE_LIMITED);
  ASSERT_TRUE(RetryDelayOf(refused).has_value());
  EXPECT_FALSE(usage->Admit(limits, {.bytes = 1}, now).ok());
  EXPECT_TRUE(usage->Admit(limits, {.bytes = 1}, now + *RetryDelayOf(refused)).ok());
}

TEST(Limits, OutliveTheTokensThatNamedTheirCaller) {
  UsageBook book;
  const Limits limits{.calls_per_second = 1};
  int admitted = 0;
  // Each call's token makes a principal of its own.
  while (admitted < 10 &&
         book.Of("issuer#user")->Admit(limits, {.bytes = 1}, SteadyTime::Now()).ok())
    ++admitted;
  EXPECT_EQ(admitted, 2);
}

TEST(Limits, CountWhatIsInFlight) {
  const auto usage = std::make_shared<Usage>();
  const Limits limits{.calls_in_flight = 2, .watches = 1, .bytes_in_flight = 100};
  const SteadyTime now = SteadyTime::Now();
  const auto limit_of = [](const absl::Status& status) {
    return ErrorInfoOf(status).metadata().at("limit");
  };
  auto first = usage->Admit(limits, {.bytes = 60}, now);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(limit_of(usage->Admit(limits, {.bytes = 41}, now).status()), "bytes_in_flight");
  auto second = usage->Admit(limits, {.bytes = 40}, now);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(limit_of(usage->Admit(limits, {}, now).status()), "calls_in_flight");
  auto watch = usage->Admit(limits, {.watch = true}, now);
  ASSERT_TRUE(watch.ok());
  EXPECT_EQ(limit_of(usage->Admit(limits, {.watch = true}, now).status()), "watches");
  first = absl::UnknownError("over");
  EXPECT_TRUE(usage->Admit(limits, {.bytes = 60}, now).ok()) << "what has ended no longer counts";
}

TEST(Limits, CountTheConnectionsThatCallsAreOn) {
  const auto usage = std::make_shared<Usage>();
  const Limits limits{.connections = 2};
  const SteadyTime now = SteadyTime::Now();
  const auto admit = [&](absl::string_view connection, bool watch = false) {
    return usage->Admit(limits, {.watch = watch, .connection = std::string(connection)}, now);
  };
  auto first = admit("ipv4:10.0.0.1:1");
  auto second = admit("ipv4:10.0.0.1:2", /*watch=*/true);
  auto again = admit("ipv4:10.0.0.1:2");
  ASSERT_TRUE(first.ok() && second.ok() && again.ok());
  const absl::Status refused = admit("ipv4:10.0.0.1:3").status();
  EXPECT_EQ(ReasonOf(refused), v1::RATE_LIMITED);
  EXPECT_EQ(ErrorInfoOf(refused).metadata().at("limit"), "connections");
  second = absl::UnknownError("over");
  EXPECT_FALSE(admit("ipv4:10.0.0.1:3").ok()) << "it has another call";
  again = absl::UnknownError("over");
  EXPECT_TRUE(admit("ipv4:10.0.0.1:3").ok());
}

TEST(Limits, CountMessagesOfCallsByTheirBytesAlone) {
  const auto usage = std::make_shared<Usage>();
  const Limits limits{.calls_in_flight = 1, .bytes_in_flight = 100};
  const SteadyTime now = SteadyTime::Now();
  auto call = usage->Admit(limits, {}, now);
  ASSERT_TRUE(call.ok());
  auto message = usage->AdmitMessage(limits, 60);
  ASSERT_TRUE(message.ok());
  const absl::Status refused = usage->AdmitMessage(limits, 41).status();
  EXPECT_EQ(ReasonOf(refused), v1::RATE_LIMITED);
  EXPECT_EQ(ErrorInfoOf(refused).metadata().at("limit"), "bytes_in_flight");
  EXPECT_TRUE(usage->AdmitMessage(limits, 40).ok());
  *message = {};
  EXPECT_TRUE(usage->AdmitMessage(limits, 100).ok()) << "what was answered no longer counts";
  *call = {};
  EXPECT_TRUE(usage->idle(now + absl::Seconds(2)));
}

// -------------------------------------------------------------------------------------------------
// scope

TEST(Scope, HasWhatItsPatternsSay) {
  const Scope everything, all({"*"}, std::nullopt), some({"a", "team-*"}, std::nullopt),
      ada({"*"}, "ada"), nothing({}, std::nullopt);
  EXPECT_TRUE(everything.everything());
  EXPECT_TRUE(all.everything());
  EXPECT_TRUE(some.Has("a", "x"));
  EXPECT_TRUE(some.Has("team-", "x"));
  EXPECT_TRUE(some.Has("team-b", "x"));
  EXPECT_FALSE(some.Has("tea", "x"));
  EXPECT_FALSE(some.Has("aa", "x"));
  EXPECT_TRUE(ada.Has("b", "ada"));
  EXPECT_FALSE(ada.Has("b", "bob"));
  EXPECT_FALSE(nothing.Has("default", ""));
  EXPECT_THAT(some.Namespaces(), ElementsAre("a", "team-*"));
  EXPECT_EQ(everything.Canonical(), "");
  EXPECT_EQ(Scope({"team-*", "a"}, std::nullopt).Canonical(), some.Canonical());
  EXPECT_NE(Scope({"a"}, "ada").Canonical(), Scope({"a"}, std::nullopt).Canonical());
  EXPECT_NE(Scope({"a"}, "").Canonical(), Scope({"a"}, std::nullopt).Canonical());
}

}  // namespace
}  // namespace sessiond::access
