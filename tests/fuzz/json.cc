// Requests in JSON, by HTTP. The first byte is the method. What is taken is written as JSON again,
// and has to be taken as the same, but for what does not always have a form in Protobuf's JSON:
//
// - masks, of whose paths not all have one (proto/README.md, "Changing single keys");
// - times that an offset brings out of the years 1 to 9999, such as 0001-01-01T00:00:00+01:00. They
//   are refused later, as in any request (server/rpc/validate.cc), or dropped with the output they
//   are part of.
#include <memory>
#include <string>
#include <vector>

#include "google/protobuf/field_mask.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "google/protobuf/util/time_util.h"
#include "server/http/json_codec.h"
#include "tests/fuzz/fuzz.h"

namespace sessiond {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::FieldMask;
using google::protobuf::Message;
using google::protobuf::Timestamp;

bool HasForm(const Message& value) {
  using google::protobuf::util::TimeUtil;
  if (value.GetDescriptor() == FieldMask::descriptor()) return false;
  if (value.GetDescriptor() != Timestamp::descriptor()) return true;
  const int64_t seconds = static_cast<const Timestamp&>(value).seconds();
  return seconds >= TimeUtil::kTimestampMinSeconds && seconds <= TimeUtil::kTimestampMaxSeconds;
}

// The contract has neither lists nor maps of such values.
void ClearWhatHasNoForm(Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || field->is_map()) continue;
    if (field->is_repeated()) {
      for (int i = 0; i < reflection.FieldSize(message, field); ++i)
        ClearWhatHasNoForm(*reflection.MutableRepeatedMessage(&message, field, i));
    } else if (HasForm(reflection.GetMessage(message, field))) {
      ClearWhatHasNoForm(*reflection.MutableMessage(&message, field));
    } else {
      reflection.ClearField(&message, field);
    }
  }
}

// A message's bytes, without what has no form.
std::string Compared(const std::string& bytes, const google::protobuf::Descriptor& type) {
  auto* const factory = google::protobuf::MessageFactory::generated_factory();
  const std::unique_ptr<Message> message(factory->GetPrototype(&type)->New());
  fuzz::Expect(message->ParseFromString(bytes), "JSON becomes a message.");
  ClearWhatHasNoForm(*message);
  return fuzz::BytesOf(*message);
}

}  // namespace

FUZZ_INPUT(input) {
  const google::protobuf::Descriptor& type = *fuzz::MethodOf(input.Byte()).input_type();
  const auto bytes = http::FromJson(input.Rest(), type);
  if (!bytes.ok()) return fuzz::ExpectRefusal(bytes.status());
  http::ToJson(*bytes, type).IgnoreError();
  const std::string compared = Compared(*bytes, type);
  const auto json = http::ToJson(compared, type);
  fuzz::Expect(json.ok(), "What came as JSON has a form in JSON.", input.Rest());
  const auto again = http::FromJson(*json, type);
  fuzz::Expect(again.ok(), "What is written as JSON can be read.", *json);
  fuzz::Expect(Compared(*again, type) == compared, "It is the same message.", *json);
}

}  // namespace sessiond
