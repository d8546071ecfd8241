// Refusals: what each reason means stands in three places, in the code, in the contract's comments
// and in the table below, and is the same in all.
#include "state_machine/refusal.h"

#include <google/protobuf/descriptor.pb.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "proto/embedded.h"
#include "server/rpc/status.h"
#include "tests/refusals.h"

namespace sessiond {
namespace {

struct Meaning {
  const char* code;
  const char* category;
  const char* reasons;
};

// clang-format off
constexpr Meaning kMeanings[] = {
    {"INVALID_ARGUMENT",    "USER_FIXABLE",   "INVALID_FORMAT INVALID_FIELD CONTEXT_VIOLATION INVALID_FILTER INVALID_PAGE_TOKEN INVALID_RESUME_TOKEN INVALID_FIELD_MASK UNKNOWN_WORKFLOW INVALID_WORKFLOW REQUEST_ID_REUSED"},
    {"NOT_FOUND",           "USER_FIXABLE",   "NEVER_EXISTED DELETED ARCHIVED TASK_NOT_FOUND ERROR_NOT_FOUND ARTIFACT_NOT_FOUND WORKFLOW_NOT_FOUND"},
    {"ALREADY_EXISTS",      "USER_FIXABLE",   "SESSION_EXISTS NOT_DELETED"},
    {"FAILED_PRECONDITION", "USER_FIXABLE",   "INVALID_TRANSITION STAGE_FIELDS_MISSING SESSION_NOT_ACTIVE NOT_RECOVERABLE BLOCKING_ERRORS ALREADY_RESOLVED TASK_ALREADY_RUNNING TASK_NOT_RUNNING TASK_COMPLETED TASK_FAILED STALE_TASK HOLD_ACTIVE"},
    {"FAILED_PRECONDITION", "ADMIN_REQUIRED", "RETRY_LIMIT_EXCEEDED"},
    {"ABORTED",             "USER_FIXABLE",   "ETAG_MISMATCH"},
    {"ABORTED",             "TEMPORARY",      "CONFLICT"},
    {"OUT_OF_RANGE",        "USER_FIXABLE",   "RESUME_TOKEN_EXPIRED"},
    {"RESOURCE_EXHAUSTED",  "USER_FIXABLE",   "PAYLOAD_TOO_LARGE"},
    {"RESOURCE_EXHAUSTED",  "TEMPORARY",      "OVERLOADED RATE_LIMITED"},
    {"UNAUTHENTICATED",     "ADMIN_REQUIRED", "CREDENTIALS_INVALID"},
    {"PERMISSION_DENIED",   "ADMIN_REQUIRED", "NOT_ALLOWED"},
    {"UNAVAILABLE",         "TEMPORARY",      "DATABASE_UNAVAILABLE LOCK_TIMEOUT DRAINING"},
    {"INTERNAL",            "ADMIN_REQUIRED", "CONSTRAINT_VIOLATION SCHEMA_MISMATCH"},
};
// clang-format on

std::string Said(v1::ErrorReason reason) {
  return absl::StrCat(absl::StatusCodeToString(CodeOf(reason)), ", ",
                      std::string(CategoryName(CategoryOf(reason))));
}

// The first sentence of each value's comment in the contract.
std::map<std::string, std::string> CommentedMeanings() {
  std::map<std::string, std::string> meanings;
  google::protobuf::FileDescriptorSet files;
  EXPECT_TRUE(files.ParseFromString(std::string(DescriptorSet())));
  for (const auto& file : files.file()) {
    if (file.name() != "sessiond/v1/error_reason.proto") continue;
    for (const auto& location : file.source_code_info().location()) {
      // enum_type 0, value n: see google/protobuf/descriptor.proto.
      if (location.path_size() != 4 || location.path(0) != 5 || location.path(2) != 2) continue;
      const std::string comment(absl::StripAsciiWhitespace(location.leading_comments()));
      meanings[file.enum_type(location.path(1)).value(location.path(3)).name()] =
          comment.substr(0, comment.find('.'));
    }
  }
  return meanings;
}

TEST(Reason, MeansTheSameInCodeInTheContractAndHere) {
  const std::map<std::string, std::string> commented = CommentedMeanings();
  std::map<std::string, std::string> listed;
  for (const Meaning& meaning : kMeanings) {
    for (const absl::string_view reason : absl::StrSplit(meaning.reasons, ' '))
      listed[std::string(reason)] = absl::StrCat(meaning.code, ", ", meaning.category);
  }
  const auto* reasons = v1::ErrorReason_descriptor();
  EXPECT_EQ(static_cast<int>(listed.size()), reasons->value_count() - 1);
  for (int i = 0; i < reasons->value_count(); ++i) {
    const std::string& name = reasons->value(i)->name();
    const auto reason = static_cast<v1::ErrorReason>(reasons->value(i)->number());
    if (reason == v1::ERROR_REASON_UNSPECIFIED) continue;
    ASSERT_TRUE(listed.contains(name)) << name;
    ASSERT_TRUE(commented.contains(name)) << name;
    EXPECT_EQ(Said(reason), listed[name]) << name;
    EXPECT_EQ(commented.at(name), listed[name]) << name;
  }
}

TEST(Refusal, CarriesTheDetailsItWasGiven) {
  const absl::Status status = Refusal(v1::LOCK_TIMEOUT, "Somebody else.")
                                  .With("key", "value")
                                  .Violation("field", "is wrong")
                                  .Precondition("TYPE", "subject", "must hold")
                                  .Resource("session", "id")
                                  .RetryAfter(absl::Milliseconds(1500));
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(status.message(), "Somebody else.");
  EXPECT_EQ(ReasonOf(status), v1::LOCK_TIMEOUT);
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  EXPECT_EQ(info.reason(), "LOCK_TIMEOUT");
  EXPECT_EQ(info.domain(), "sessiond");
  EXPECT_EQ(info.metadata().at("category"), "TEMPORARY");
  EXPECT_EQ(info.metadata().at("key"), "value");
  const auto bad = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_EQ(bad.field_violations_size(), 1);
  const auto& violation = bad.field_violations(0);
  EXPECT_EQ(violation.field() + " " + violation.description(), "field is wrong");
  const auto failure = DetailOf<google::rpc::PreconditionFailure>(status);
  ASSERT_EQ(failure.violations_size(), 1);
  const auto& precondition = failure.violations(0);
  EXPECT_EQ(precondition.type() + precondition.subject() + precondition.description(),
            "TYPEsubjectmust hold");
  EXPECT_EQ(DetailOf<google::rpc::ResourceInfo>(status).resource_name(), "id");
  const auto delay = DetailOf<google::rpc::RetryInfo>(status).retry_delay();
  EXPECT_EQ(delay.seconds(), 1);
  EXPECT_EQ(delay.nanos(), 500'000'000);
}

TEST(Refusal, CarriesNothingItWasNotGiven) {
  const absl::Status status = Refusal(v1::INVALID_FIELD, "No.");
  int payloads = 0;
  status.ForEachPayload([&](absl::string_view, const absl::Cord&) { ++payloads; });
  EXPECT_EQ(payloads, 1);
}

TEST(Refusal, IsCutBetweenCharacters) {
  std::string sentence = "x";
  while (sentence.size() < 4000) sentence += "ä";
  const absl::Status status = Refusal(v1::INVALID_FIELD, sentence).With("key", sentence);
  EXPECT_LE(status.message().size(), 520u);
  // A string of Protobuf's is valid UTF-8, or serializing complains.
  google::rpc::BadRequest probe;
  probe.add_field_violations()->set_field(std::string(status.message()));
  probe.add_field_violations()->set_field(ErrorInfoOf(status).metadata().at("key"));
  google::rpc::BadRequest back;
  EXPECT_TRUE(back.ParseFromString(probe.SerializeAsString()));
}

TEST(Refusal, ReasonOfWhatNoRefusalMadeIsUnspecified) {
  EXPECT_EQ(ReasonOf(absl::OkStatus()), v1::ERROR_REASON_UNSPECIFIED);
  EXPECT_EQ(ReasonOf(absl::InternalError("x")), v1::ERROR_REASON_UNSPECIFIED);
}

// gRPC's clients give a call up whose trailers have more than 8 KiB, and with it the code. The
// message travels percent-encoded, the details in base64.
TEST(Refusal, NeverHidesItsCodeBehindItsLength) {
  std::string wild;
  while (wild.size() < 5000) wild += "ä";
  Refusal refusal(v1::CONTEXT_VIOLATION, wild);
  for (int i = 0; i < 100; ++i) refusal.Violation(wild, wild);
  for (int i = 0; i < 100; ++i) refusal.Precondition("REQUIRED_FIELD", wild, wild);
  for (const char* key : {"workflow", "field", "session_id"}) refusal.With(key, wild);
  refusal.Resource("session", wild);
  const grpc::Status status = rpc::ToGrpcStatus(refusal);
  std::size_t encoded = 0;
  for (const char c : status.error_message()) encoded += c >= 0x20 && c < 0x7F && c != '%' ? 1 : 3;
  encoded += absl::Base64Escape(status.error_details()).size();
  EXPECT_LT(encoded, 7u * 1024 + 512);
  EXPECT_FALSE(status.error_details().empty());
}

}  // namespace
}  // namespace sessiond
