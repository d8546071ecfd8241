#include "tests/fuzz/fuzz.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "sessiond/v1/admin_service.pb.h"
#include "sessiond/v1/artifact_service.pb.h"
#include "sessiond/v1/error_service.pb.h"
#include "sessiond/v1/message_service.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "sessiond/v1/task_service.pb.h"
#include "sessiond/v1/workflow_service.pb.h"
#include "state_machine/refusal.h"
#include "state_machine/utf8.h"

namespace sessiond::fuzz {

void Fail(absl::string_view promise, absl::string_view shown) {
  const std::string said =
      absl::StrCat("\nBroken promise: ", promise, "\n  ", absl::CHexEscape(shown), "\n");
  std::fputs(said.c_str(), stderr);
  std::abort();
}

void ExpectReadable(absl::string_view sentence) {
  Expect(IsValidUtf8(sentence), "What people read is UTF-8.", sentence);
  for (std::size_t i = 0; i < sentence.size(); ++i) {
    const auto byte = static_cast<unsigned char>(sentence[i]);
    const bool c1 = byte == 0xC2 && static_cast<unsigned char>(sentence[i + 1]) < 0xA0;
    Expect(byte >= 0x20 && byte != 0x7F && !c1, "What people read has no control characters.",
           sentence);
  }
}

void ExpectSentence(const absl::Status& status) {
  Expect(!status.ok() && !status.message().empty(), "Who is refused is told why.");
  ExpectReadable(status.message());
}

void ExpectRefusal(const absl::Status& status) {
  ExpectSentence(status);
  const v1::ErrorReason reason = ReasonOf(status);
  Expect(reason != v1::ERROR_REASON_UNSPECIFIED, "A refusal has a reason.", status.message());
  Expect(status.code() == CodeOf(reason), "The reason has one code.", status.ToString());
  const google::rpc::ErrorInfo info = ErrorInfoOf(status);
  const auto category = info.metadata().find("category");
  Expect(category != info.metadata().end() && !category->second.empty(),
         "A refusal has a category.", status.ToString());
  for (const auto& [key, value] : info.metadata()) ExpectReadable(value);
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc.BadRequest");
  if (!payload.has_value()) return;
  google::rpc::BadRequest bad;
  Expect(bad.ParseFromString(std::string(*payload)), "Violations can be read.");
  for (const auto& violation : bad.field_violations()) {
    Expect(!violation.description().empty(), "A violation says what is wrong.", violation.field());
    ExpectReadable(violation.field());
    ExpectReadable(violation.description());
  }
}

uint8_t Input::Byte() {
  if (rest_.empty()) return 0;
  const auto byte = static_cast<uint8_t>(rest_.front());
  rest_.remove_prefix(1);
  return byte;
}

absl::string_view Input::Line() {
  const std::size_t end = rest_.find('\n');
  const absl::string_view line = rest_.substr(0, end);
  rest_.remove_prefix(end == absl::string_view::npos ? rest_.size() : end + 1);
  return line;
}

const google::protobuf::MethodDescriptor& MethodOf(uint8_t byte) {
  static const google::protobuf::ServiceDescriptor* const services[] = {
      v1::GetSessionRequest::descriptor()->file()->service(0),
      v1::StartTaskRequest::descriptor()->file()->service(0),
      v1::RecordErrorRequest::descriptor()->file()->service(0),
      v1::AppendMessagesRequest::descriptor()->file()->service(0),
      v1::AddArtifactsRequest::descriptor()->file()->service(0),
      v1::ValidateWorkflowRequest::descriptor()->file()->service(0),
      v1::ImportSessionsRequest::descriptor()->file()->service(0)};
  const auto* service = services[(byte >> 5) % std::size(services)];
  return *service->method((byte & 0x1F) % service->method_count());
}

std::string BytesOf(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream sink(&bytes);
  google::protobuf::io::CodedOutputStream out(&sink);
  out.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&out);
  out.Trim();
  return bytes;
}

}  // namespace sessiond::fuzz
