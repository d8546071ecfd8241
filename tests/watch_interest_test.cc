// What a watch is interested in, its tokens, and what its initial state has told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>

#include "absl/strings/escaping.h"
#include "google/rpc/error_details.pb.h"
#include "server/watch/initial_state.h"
#include "server/watch/interest.h"
#include "server/watch/resume_token.h"
#include "state_machine/refusal.h"
#include "state_machine/session_id.h"
#include "state_machine/timestamps.h"

namespace sessiond::watch {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Optional;
using testing::SizeIs;
using v1::Session;
using v1::SessionEvent;

constexpr int kPartitions = 64;
constexpr char kId[] = "0192f3c4-9f2e-7abc-8def-0123456789ab";
constexpr char kOtherId[] = "0192f3c4-9f2e-7abc-8def-0123456789ac";

v1::WatchSessionsRequest Request(const std::string& filter) {
  v1::WatchSessionsRequest request;
  request.set_filter(filter);
  return request;
}

std::shared_ptr<const Interest> In(const v1::WatchSessionsRequest& request) {
  return Interest::Of(request, {}, kPartitions).value();
}
std::shared_ptr<const Interest> In(const std::string& filter) { return In(Request(filter)); }

std::shared_ptr<Session> MakeSession() {
  auto session = std::make_shared<Session>();
  session->set_session_id(kId);
  session->set_namespace_("default");
  session->set_workflow("interview");
  session->set_owner_id("ada");
  session->set_state(Session::ACTIVE);
  session->set_stage("interviewing");
  session->set_status("active");
  (*session->mutable_labels())["team"] = "a";
  (*session->mutable_references())["job_posting"] = "j1";
  return session;
}

std::shared_ptr<Change> MakeChange(std::shared_ptr<Session> before,
                                   std::shared_ptr<Session> after) {
  auto change = std::make_shared<Change>();
  change->event.set_session_id(kId);
  change->event.set_type(SessionEvent::UPDATED);
  change->before = std::move(before);
  change->after = std::move(after);
  return change;
}

ChangePtr Relabelled(const std::string& from, const std::string& to) {
  auto before = MakeSession(), after = MakeSession();
  (*before->mutable_labels())["team"] = from;
  (*after->mutable_labels())["team"] = to;
  return MakeChange(before, after);
}

TEST(Interest, IsInWhatMatchedBeforeOrAfter) {
  const auto interest = In("labels.team = \"a\"");
  EXPECT_THAT(interest->Judge(*Relabelled("a", "a")), Optional(true));
  EXPECT_THAT(interest->Judge(*Relabelled("b", "a")), Optional(true));
  EXPECT_THAT(interest->Judge(*Relabelled("a", "b")), Optional(false));
  EXPECT_EQ(interest->Judge(*Relabelled("b", "c")), std::nullopt);
}

TEST(Interest, IsInItsNamespaceItsSessionsAndItsTypesOfEvents) {
  const ChangePtr change = Relabelled("a", "b");
  v1::WatchSessionsRequest request;
  EXPECT_TRUE(In(request)->Judge(*change).has_value());
  request.set_namespace_("elsewhere");
  EXPECT_FALSE(In(request)->Judge(*change).has_value());
  request.set_namespace_("-");
  EXPECT_TRUE(In(request)->Judge(*change).has_value());
  request.add_session_ids(kOtherId);
  EXPECT_FALSE(In(request)->Judge(*change).has_value());
  request.add_session_ids(kId);
  EXPECT_TRUE(In(request)->Judge(*change).has_value());
  request.add_event_types(SessionEvent::PAUSED);
  EXPECT_FALSE(In(request)->Judge(*change).has_value());
  request.add_event_types(SessionEvent::UPDATED);
  EXPECT_TRUE(In(request)->Judge(*change).has_value());
}

TEST(Interest, ShowsWhatIsDeletedOnlyWhereItIsAskedFor) {
  auto deleted = MakeSession();
  deleted->set_state(Session::DELETED);
  const ChangePtr change = MakeChange(MakeSession(), deleted);
  EXPECT_THAT(In("")->Judge(*change), Optional(false));
  EXPECT_FALSE(In("")->Shows(*deleted));
  EXPECT_THAT(In("state = DELETED")->Judge(*change), Optional(true));
  EXPECT_TRUE(In("state = DELETED")->Shows(*deleted));
  EXPECT_THAT(In("delete_time:* OR owner_id = \"ada\"")->Judge(*change), Optional(true));
  v1::WatchSessionsRequest named;
  named.add_session_ids(kId);
  EXPECT_THAT(In(named)->Judge(*change), Optional(true));
}

TEST(Interest, IsToldOfAnEndThatNobodyCanJudgeAnyMore) {
  auto tombstone = std::make_shared<Session>();
  tombstone->set_session_id(kId);
  tombstone->set_namespace_("default");
  tombstone->set_workflow("interview");
  tombstone->set_status("active");
  const auto change = MakeChange(tombstone, nullptr);
  change->before_is_partial = true;
  EXPECT_THAT(In("workflow = \"interview\"")->Judge(*change), Optional(false));
  EXPECT_EQ(In("workflow = \"execution\"")->Judge(*change), std::nullopt);
  EXPECT_THAT(In("labels.team = \"a\"")->Judge(*change), Optional(false));
  EXPECT_THAT(In("owner_id = \"ada\"")->Judge(*change), Optional(false)) << "erased, it has none";
  tombstone->set_owner_id("bob");
  EXPECT_EQ(In("owner_id = \"ada\"")->Judge(*change), std::nullopt);
}

TEST(Interest, SharesAKeyWithEveryChangeThatConcernsIt) {
  KeyKinds all;
  all.fill(true);
  const ChangePtr change = Relabelled("a", "b");
  const std::vector<std::string> keys = KeysOf(*change, all);
  for (const char* filter :
       {"", "owner_id = \"ada\"", "labels.team = \"a\"", "labels.team = \"b\" AND hold = false",
        "references.job_posting = \"j1\"", "state = ACTIVE", "status = \"active\"",
        "stage = \"interviewing\"", "workflow = \"interview\"",
        "session_id = \"0192f3c4-9f2e-7abc-8def-0123456789ab\"",
        "owner_id = \"eve\" OR labels.team = \"a\"", "NOT owner_id = \"eve\""}) {
    const auto interest = In(filter);
    ASSERT_THAT(interest->keys(), SizeIs(1)) << filter;
    EXPECT_THAT(keys, testing::Contains(interest->keys()[0])) << filter;
  }
  for (const char* filter : {"owner_id = \"eve\"", "labels.team = \"c\"", "labels.a = \"team\""})
    EXPECT_THAT(keys, testing::Not(testing::Contains(In(filter)->keys()[0]))) << filter;
}

TEST(Interest, IsFoundByTheMostTellingKey) {
  EXPECT_EQ(In("workflow = \"w\" AND (owner_id = \"ada\" AND hold = true)")->key_kind(),
            KeyKind::kOwner);
  EXPECT_EQ(In("owner_id = \"ada\" OR hold = true")->key_kind(), KeyKind::kNamespace);
  v1::WatchSessionsRequest request;
  request.set_namespace_("-");
  EXPECT_EQ(In(request)->key_kind(), KeyKind::kAll);
  KeyKinds none = {};
  EXPECT_THAT(KeysOf(*Relabelled("a", "b"), none), IsEmpty());
}

TEST(Interest, WatchesThePartitionsOfItsSessions) {
  v1::WatchSessionsRequest request;
  EXPECT_THAT(In(request)->partitions(), SizeIs(kPartitions));
  request.add_session_ids(kId);
  EXPECT_THAT(In(request)->partitions(), ElementsAre(PartitionOf(kId, kPartitions)));
}

TEST(Interest, RecoverableIsRefusedWhereItStands) {
  const auto position = [](const std::string& filter) {
    const absl::Status status = Interest::Of(Request(filter), {}, kPartitions).status();
    EXPECT_EQ(ReasonOf(status), v1::INVALID_FILTER) << filter;
    google::rpc::ErrorInfo info;
    info.ParseFromString(
        std::string(status.GetPayload("type.googleapis.com/google.rpc.ErrorInfo").value()));
    return info.metadata().at("position");
  };
  EXPECT_EQ(position("recoverable = true"), "0");
  EXPECT_EQ(position("NOT (recoverable=true)"), "5");
  EXPECT_EQ(position("labels.recoverable = recoverable AND recoverable = false"), "37");
  EXPECT_EQ(position("labels.a = 'recoverable = \\'' recoverable != true"), "30");
  EXPECT_TRUE(Interest::Of(Request("labels.recoverable = \"recoverable\""), {}, 1).ok());
}

// -------------------------------------------------------------------------------------------------
// tokens

TEST(ResumeTokens, ComeBackAsTheyWere) {
  const PageTokens tokens("key");
  const auto interest = In("owner_id = \"ada\"");
  const ResumeTokens mine(tokens, *interest, kPartitions);
  ResumePoint point{.positions = Positions(kPartitions), .in_initial_state = false};
  for (int p = 0; p < kPartitions; ++p) point.positions[p] = (int64_t{1} << p % 62) + p;
  for (const bool initial : {false, true}) {
    point.in_initial_state = initial;
    const auto opened = mine.Open(mine.Make(point));
    ASSERT_TRUE(opened.ok()) << opened.status();
    EXPECT_EQ(opened->positions, point.positions);
    EXPECT_EQ(opened->in_initial_state, initial);
  }
}

TEST(ResumeTokens, OfOneSessionAreShort) {
  const PageTokens tokens("key");
  v1::WatchSessionsRequest request;
  request.add_session_ids(kId);
  const auto interest = In(request);
  const ResumeTokens mine(tokens, *interest, kPartitions);
  ResumePoint point{.positions = Positions(kPartitions, 1'000'000)};
  EXPECT_LE(mine.Make(point).size(), 40u);
  const auto opened = mine.Open(mine.Make(point));
  ASSERT_TRUE(opened.ok());
  EXPECT_EQ(opened->positions[interest->partitions()[0]], 1'000'000);
}

TEST(ResumeTokens, OfAScopeHaveOneLengthWhateverHappensOutsideIt) {
  const PageTokens tokens("key");
  const auto interest =
      Interest::Of(v1::WatchSessionsRequest(), Scope({"a"}, std::nullopt), kPartitions).value();
  const ResumeTokens mine(tokens, *interest, kPartitions);
  const ResumePoint early{.positions = Positions(kPartitions, 1)};
  const ResumePoint late{.positions = Positions(kPartitions, int64_t{1} << 40)};
  EXPECT_EQ(mine.Make(early).size(), mine.Make(late).size());
  EXPECT_NE(mine.Make(early), mine.Make(early)) << "nor do they tell whether nothing happened";
  ASSERT_TRUE(mine.Open(mine.Make(late)).ok());
  EXPECT_EQ(mine.Open(mine.Make(late))->positions, late.positions);
}

TEST(ResumeTokens, BelongToOneWatchOfOneDatabase) {
  const PageTokens tokens("key"), foreign("other key");
  const auto interest = In("owner_id = \"ada\""), other = In("owner_id = \"bob\"");
  const std::string token =
      ResumeTokens(tokens, *interest, kPartitions).Make({.positions = Positions(kPartitions)});
  const auto open = [&](const PageTokens& with, const Interest& of, const std::string& text) {
    return ReasonOf(ResumeTokens(with, of, kPartitions).Open(text).status());
  };
  EXPECT_EQ(open(tokens, *interest, token), v1::ERROR_REASON_UNSPECIFIED);
  EXPECT_EQ(open(foreign, *interest, token), v1::INVALID_RESUME_TOKEN);
  EXPECT_EQ(open(tokens, *other, token), v1::INVALID_RESUME_TOKEN);
  EXPECT_EQ(open(tokens, *interest, ""), v1::INVALID_RESUME_TOKEN);
  EXPECT_EQ(open(tokens, *interest, token + "="), v1::INVALID_RESUME_TOKEN);
  std::string bytes;
  ASSERT_TRUE(absl::WebSafeBase64Unescape(token, &bytes));
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string forged = bytes;
    forged[i] ^= 1;
    EXPECT_EQ(open(tokens, *interest, absl::WebSafeBase64Escape(forged)), v1::INVALID_RESUME_TOKEN)
        << i;
  }
}

// -------------------------------------------------------------------------------------------------
// initial state

ChangePtr ChangeOf(int created, int64_t position) {
  auto session = MakeSession();
  *session->mutable_create_time() = ToProto(absl::FromUnixSeconds(created));
  auto change = MakeChange(session, session);
  change->position = position;
  return change;
}

TEST(InitialState, CoversWhatWasCommittedBeforeThePageOfItsSession) {
  InitialState initial(/*named=*/false);
  initial.AddPage(initial.KeyOf(*ChangeOf(10, 0)->after), {5});
  initial.AddPage(initial.KeyOf(*ChangeOf(20, 0)->after), {7});
  initial.AddLastPage({9});
  const auto newest_covered = [&](int created) {
    int64_t position = 0;
    while (initial.Covers(*ChangeOf(created, position + 1))) ++position;
    return position;
  };
  EXPECT_EQ(newest_covered(1), 5);
  EXPECT_EQ(newest_covered(10), 5);
  EXPECT_EQ(newest_covered(11), 7);
  EXPECT_EQ(newest_covered(20), 7);
  EXPECT_EQ(newest_covered(21), 9);
  EXPECT_EQ(initial.last_as_of(), Positions{9});
}

}  // namespace
}  // namespace sessiond::watch
