#include "state_machine/refusal.h"

#include <cstddef>
#include <cstdlib>
#include <iterator>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "state_machine/timestamps.h"

namespace sessiond {
namespace {

struct Meaning {
  v1::ErrorReason reason;
  absl::StatusCode code;
  Category category;
};

// clang-format off
constexpr Meaning kMeanings[] = {
    {v1::INVALID_FORMAT,        absl::StatusCode::kInvalidArgument,    Category::kUserFixable},
    {v1::INVALID_FIELD,         absl::StatusCode::kInvalidArgument,    Category::kUserFixable},
    {v1::CONTEXT_VIOLATION,     absl::StatusCode::kInvalidArgument,    Category::kUserFixable},
    {v1::INVALID_FILTER,        absl::StatusCode::kInvalidArgument,    Category::kUserFixable},
    {v1::INVALID_PAGE_TOKEN,    absl::StatusCode::kInvalidArgument,    Category::kUserFixable},
    {v1::INVALID_RESUME_TOKEN,  absl::StatusCode::kInvalidArgument,    Category::kUserFixable},
    {v1::INVALID_FIELD_MASK,    absl::StatusCode::kInvalidArgument,    Category::kUserFixable},
    {v1::UNKNOWN_WORKFLOW,      absl::StatusCode::kInvalidArgument,    Category::kUserFixable},
    {v1::INVALID_WORKFLOW,      absl::StatusCode::kInvalidArgument,    Category::kUserFixable},
    {v1::REQUEST_ID_REUSED,     absl::StatusCode::kInvalidArgument,    Category::kUserFixable},
    {v1::NEVER_EXISTED,         absl::StatusCode::kNotFound,           Category::kUserFixable},
    {v1::DELETED,               absl::StatusCode::kNotFound,           Category::kUserFixable},
    {v1::ARCHIVED,              absl::StatusCode::kNotFound,           Category::kUserFixable},
    {v1::TASK_NOT_FOUND,        absl::StatusCode::kNotFound,           Category::kUserFixable},
    {v1::ERROR_NOT_FOUND,       absl::StatusCode::kNotFound,           Category::kUserFixable},
    {v1::ARTIFACT_NOT_FOUND,    absl::StatusCode::kNotFound,           Category::kUserFixable},
    {v1::WORKFLOW_NOT_FOUND,    absl::StatusCode::kNotFound,           Category::kUserFixable},
    {v1::SESSION_EXISTS,        absl::StatusCode::kAlreadyExists,      Category::kUserFixable},
    {v1::NOT_DELETED,           absl::StatusCode::kAlreadyExists,      Category::kUserFixable},
    {v1::INVALID_TRANSITION,    absl::StatusCode::kFailedPrecondition, Category::kUserFixable},
    {v1::STAGE_FIELDS_MISSING,  absl::StatusCode::kFailedPrecondition, Category::kUserFixable},
    {v1::SESSION_NOT_ACTIVE,    absl::StatusCode::kFailedPrecondition, Category::kUserFixable},
    {v1::NOT_RECOVERABLE,       absl::StatusCode::kFailedPrecondition, Category::kUserFixable},
    {v1::BLOCKING_ERRORS,       absl::StatusCode::kFailedPrecondition, Category::kUserFixable},
    {v1::ALREADY_RESOLVED,      absl::StatusCode::kFailedPrecondition, Category::kUserFixable},
    {v1::TASK_ALREADY_RUNNING,  absl::StatusCode::kFailedPrecondition, Category::kUserFixable},
    {v1::TASK_NOT_RUNNING,      absl::StatusCode::kFailedPrecondition, Category::kUserFixable},
    {v1::TASK_COMPLETED,        absl::StatusCode::kFailedPrecondition, Category::kUserFixable},
    {v1::TASK_FAILED,           absl::StatusCode::kFailedPrecondition, Category::kUserFixable},
    {v1::STALE_TASK,            absl::StatusCode::kFailedPrecondition, Category::kUserFixable},
    {v1::HOLD_ACTIVE,           absl::StatusCode::kFailedPrecondition, Category::kUserFixable},
    {v1::RETRY_LIMIT_EXCEEDED,  absl::StatusCode::kFailedPrecondition, Category::kAdminRequired},
    {v1::ETAG_MISMATCH,         absl::StatusCode::kAborted,            Category::kUserFixable},
    {v1::CONFLICT,              absl::StatusCode::kAborted,            Category::kTemporary},
    {v1::CREDENTIALS_INVALID,   absl::StatusCode::kUnauthenticated,    Category::kAdminRequired},
    {v1::NOT_ALLOWED,           absl::StatusCode::kPermissionDenied,   Category::kAdminRequired},
    {v1::RESUME_TOKEN_EXPIRED,  absl::StatusCode::kOutOfRange,         Category::kUserFixable},
    {v1::PAYLOAD_TOO_LARGE,     absl::StatusCode::kResourceExhausted,  Category::kUserFixable},
    {v1::RATE_LIMITED,          absl::StatusCode::kResourceExhausted,  Category::kTemporary},
    {v1::OVERLOADED,            absl::StatusCode::kResourceExhausted,  Category::kTemporary},
    {v1::DATABASE_UNAVAILABLE,  absl::StatusCode::kUnavailable,        Category::kTemporary},
    {v1::LOCK_TIMEOUT,          absl::StatusCode::kUnavailable,        Category::kTemporary},
    {v1::DRAINING,              absl::StatusCode::kUnavailable,        Category::kTemporary},
    {v1::CONSTRAINT_VIOLATION,  absl::StatusCode::kInternal,           Category::kAdminRequired},
    {v1::SCHEMA_MISMATCH,       absl::StatusCode::kInternal,           Category::kAdminRequired},
};
// clang-format on

const Meaning& MeaningOf(v1::ErrorReason reason) {
  for (const Meaning& meaning : kMeanings) {
    if (meaning.reason == reason) return meaning;
  }
  std::abort();  // A reason without a meaning is a defect; refusal_test.cc asks for every one.
}

// gRPC clients abort a call whose trailers exceed 8 KiB, and never see its code. The sentence is
// sent twice: by itself, with up to three bytes for one, and in the details, with four bytes for
// three. With these limits 7.5 KiB are never reached.
constexpr std::size_t kSentenceBytesMax = 512;
constexpr std::size_t kMetadataBytesMax = 256;  // Each value; no reason has more than four.
constexpr std::size_t kSubjectBytesMax = 128;
constexpr std::size_t kDescriptionBytesMax = 256;
constexpr std::size_t kViolationsBytesMax = 2048;  // In total; the rest is left out.

std::string Cut(absl::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return std::string(text);
  std::size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "…";
}

template <class Detail>
void Attach(absl::Status& status, const Detail& detail) {
  status.SetPayload("type.googleapis.com/" + detail.GetTypeName(),
                    absl::Cord(detail.SerializeAsString()));
}

}  // namespace

absl::string_view CategoryName(Category category) {
  constexpr absl::string_view kNames[] = {"USER_FIXABLE", "ADMIN_REQUIRED", "TEMPORARY"};
  static_assert(std::size(kNames) == static_cast<std::size_t>(Category::kTemporary) + 1);
  return kNames[static_cast<std::size_t>(category)];
}

absl::StatusCode CodeOf(v1::ErrorReason reason) { return MeaningOf(reason).code; }
Category CategoryOf(v1::ErrorReason reason) { return MeaningOf(reason).category; }

Refusal::Refusal(v1::ErrorReason reason, std::string sentence)
    : reason_(reason), sentence_(Cut(sentence, kSentenceBytesMax)) {
  info_.set_reason(v1::ErrorReason_Name(reason));
  info_.set_domain("sessiond");
  (*info_.mutable_metadata())["category"] = std::string(CategoryName(CategoryOf(reason)));
}

Refusal& Refusal::FixableBy(Category category) {
  (*info_.mutable_metadata())["category"] = std::string(CategoryName(category));
  return *this;
}

Refusal& Refusal::With(absl::string_view key, absl::string_view value) {
  (*info_.mutable_metadata())[std::string(key)] = Cut(value, kMetadataBytesMax);
  return *this;
}

// For one more violation.
bool Refusal::HasRoom() const {
  constexpr std::size_t kOneMore = kSubjectBytesMax + kDescriptionBytesMax + 32;
  return bad_request_.ByteSizeLong() + precondition_.ByteSizeLong() + kOneMore <=
         kViolationsBytesMax;
}

Refusal& Refusal::Violation(absl::string_view field, absl::string_view description) {
  if (!HasRoom()) return *this;
  auto* violation = bad_request_.add_field_violations();
  violation->set_field(Cut(field, kSubjectBytesMax));
  violation->set_description(Cut(description, kDescriptionBytesMax));
  return *this;
}

Refusal& Refusal::Precondition(absl::string_view type, absl::string_view subject,
                               absl::string_view description) {
  if (!HasRoom()) return *this;
  auto* violation = precondition_.add_violations();
  violation->set_type(std::string(type));
  violation->set_subject(Cut(subject, kSubjectBytesMax));
  violation->set_description(Cut(description, kDescriptionBytesMax));
  return *this;
}

Refusal& Refusal::Resource(absl::string_view type, absl::string_view name) {
  resource_.set_resource_type(std::string(type));
  resource_.set_resource_name(Cut(name, kSubjectBytesMax));
  return *this;
}

Refusal& Refusal::RetryAfter(absl::Duration delay) {
  const int64_t nanos = absl::ToInt64Nanoseconds(delay);
  retry_.mutable_retry_delay()->set_seconds(nanos / 1'000'000'000);
  retry_.mutable_retry_delay()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  return *this;
}

Refusal::operator absl::Status() const {
  absl::Status status(CodeOf(reason_), sentence_);
  Attach(status, info_);
  if (bad_request_.field_violations_size() > 0) Attach(status, bad_request_);
  if (precondition_.violations_size() > 0) Attach(status, precondition_);
  if (!resource_.resource_type().empty()) Attach(status, resource_);
  if (retry_.has_retry_delay()) Attach(status, retry_);
  return status;
}

google::rpc::ErrorInfo ErrorInfoOf(const absl::Status& status) {
  google::rpc::ErrorInfo info;
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc.ErrorInfo");
  if (payload.has_value() && !info.ParseFromString(std::string(*payload))) info.Clear();
  return info;
}

absl::Status InvalidField(absl::string_view path, absl::string_view wrong) {
  return Refusal(v1::INVALID_FIELD,
                 absl::StrCat(path.empty() ? "The request" : path, " ", wrong, "."))
      .With("field", path)
      .Violation(path, wrong);
}

absl::Status Overloaded(absl::string_view items, absl::Duration retry_after) {
  return Refusal(v1::OVERLOADED, absl::StrCat("More ", items,
                                              " are waiting than the daemon takes on. Wait, then "
                                              "retry."))
      .RetryAfter(retry_after);
}

absl::Status Draining(absl::string_view elsewhere) {
  return Refusal(v1::DRAINING, absl::StrCat("This daemon is going down. ", elsewhere))
      .RetryAfter(absl::Milliseconds(500));
}

std::optional<absl::Duration> RetryDelayOf(const absl::Status& status) {
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc.RetryInfo");
  google::rpc::RetryInfo info;
  if (!payload.has_value() || !info.ParseFromString(std::string(*payload))) return std::nullopt;
  return FromProto(info.retry_delay());
}

v1::ErrorReason ReasonOf(const absl::Status& status) {
  v1::ErrorReason reason = v1::ERROR_REASON_UNSPECIFIED;
  v1::ErrorReason_Parse(ErrorInfoOf(status).reason(), &reason);
  return reason;
}

}  // namespace sessiond
