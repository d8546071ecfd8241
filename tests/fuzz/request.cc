// A unary request by gRPC: bytes → message → valid or not, as server/rpc/method.h does it. The
// first byte is the method.
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <algorithm>
#include <memory>
#include <string>

#include "absl/strings/ascii.h"
#include "server/rpc/output_only.h"
#include "server/rpc/parse.h"
#include "server/rpc/plain_fields.h"
#include "server/rpc/validate.h"
#include "sessiond/v1/admin_service.pb.h"
#include "sessiond/v1/rules.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "sessiond/v1/workflow.pb.h"
#include "state_machine/update_mask.h"
#include "state_machine/utf8.h"
#include "tests/fuzz/fuzz.h"

namespace sessiond {
namespace {

using fuzz::BytesOf;
using fuzz::Expect;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::unique_ptr<Message> New(const google::protobuf::Descriptor& type) {
  return std::unique_ptr<Message>(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type)->New());
}

// In two pieces, as they arrive from a network.
absl::Status Parse(absl::string_view bytes, Message* request) {
  const std::size_t cut = bytes.size() / 2;
  const grpc::Slice slices[] = {{bytes.data(), cut}, {bytes.data() + cut, bytes.size() - cut}};
  grpc::ByteBuffer buffer(slices, cut > 0 ? 2 : 1);
  if (cut == 0) buffer = grpc::ByteBuffer(&slices[1], 1);
  return rpc::ParseRequest(buffer, request);
}

// Strings, lists and enums once more, by the contract's words (rules.proto) and without the plans
// that Validate follows.
void CheckFields(const Message& message) {
  using Rules = v1::FieldRules;
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor* const field = type.field(i);
    const Rules& rules = field->options().GetExtension(v1::rules);
    const int count = field->is_repeated() ? reflection.FieldSize(message, field)
                                           : static_cast<int>(reflection.HasField(message, field));
    Expect((!rules.required() || count > 0) && count >= rules.items_min(),
           "What has to be given is given.", field->full_name());
    Expect(rules.items_max() == 0 || count <= rules.items_max(),
           "Lists are as long as they may be.", field->full_name());
    for (int k = 0; k < count && !field->is_map(); ++k) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        const std::string text = field->is_repeated()
                                     ? reflection.GetRepeatedString(message, field, k)
                                     : reflection.GetString(message, field);
        const bool name = rules.text() == Rules::NAME || rules.text() == Rules::VALUE;
        const std::size_t bytes_max = rules.bytes_max() > 0 ? rules.bytes_max() : name ? 256 : 4096;
        Expect(rules.text() == Rules::ANY || text.size() <= bytes_max,
               "Texts are as long as they may be.", field->full_name());
        Expect(rules.text() == Rules::ANY || text.find('\0') == std::string::npos,
               "No text has a NUL.", field->full_name());
        Expect(!name || !HasControls(text), "No name has control characters.", field->full_name());
        // The ids of what it is part of are ignored, or were looked at first.
        Expect(rules.text() < Rules::PRINTABLE || rules.text() >= Rules::SESSION_ID ||
                   std::all_of(text.begin(), text.end(), absl::ascii_isgraph),
               "What programs made is printable ASCII.", field->full_name());
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        const int number = field->is_repeated() ? reflection.GetRepeatedEnumValue(message, field, k)
                                                : reflection.GetEnumValue(message, field);
        Expect(field->enum_type()->FindValueByNumber(number) != nullptr, "An enum is known.",
               field->full_name());
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && !rules.output_only() &&
                 field->message_type()->file()->package() == "sessiond.v1" &&
                 field->message_type() != v1::Workflow::descriptor()) {
        CheckFields(field->is_repeated() ? reflection.GetRepeatedMessage(message, field, k)
                                         : reflection.GetMessage(message, field));
      }
    }
  }
}

// What is done to it before it is handled.
void Settle(Message& request) {
  if (auto* update = dynamic_cast<v1::UpdateSessionRequest*>(&request)) {
    rpc::DropOutputOnly(*update);
    rpc::TakePlainFields(*update);
    if (!update->update_mask().paths().empty()) {
      Expect(ParseUpdateMask(update->update_mask()).ok(), "Plain keys make a mask.",
             update->ShortDebugString());
    }
  } else if (auto* create = dynamic_cast<v1::CreateSessionRequest*>(&request)) {
    rpc::DropOutputOnly(*create);
  } else if (dynamic_cast<v1::ImportSessionsRequest*>(&request) == nullptr) {
    rpc::DropOutputOnly(request);
  }
}

}  // namespace

FUZZ_INPUT(input) {
  const google::protobuf::Descriptor& type = *fuzz::MethodOf(input.Byte()).input_type();
  const std::unique_ptr<Message> request = New(type), again = New(type);
  if (const absl::Status parsed = Parse(input.Rest(), request.get()); !parsed.ok())
    return fuzz::ExpectRefusal(parsed);
  Expect(rpc::ExplainWire(input.Rest(), type).sentence.empty(),
         "Bytes that are a message have no fault on the wire.");
  if (const absl::Status valid = rpc::Validate(*request); !valid.ok())
    return fuzz::ExpectRefusal(valid);
  CheckFields(*request);
  const std::string bytes = BytesOf(*request);
  Expect(Parse(bytes, again.get()).ok() && BytesOf(*again) == bytes,
         "A request is the same after it was sent again.", bytes);
  Settle(*request);
  const std::string settled = BytesOf(*request);
  Settle(*request);
  Expect(BytesOf(*request) == settled, "Nothing is left to drop or to move.", settled);
}

}  // namespace sessiond
