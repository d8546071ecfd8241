// Requests in JSON, by HTTP. The first byte is the method. What is taken is written as JSON again,
// and has to be taken as the same, but for paths of a mask: not every one has a form in Protobuf's
// JSON (proto/README.md, "Changing single keys").
#include <memory>
#include <string>

#include "server/http/json_codec.h"
#include "tests/fuzz/fuzz.h"

namespace {

std::unique_ptr<google::protobuf::Message> Message(const std::string& bytes,
                                                   const google::protobuf::Descriptor& type) {
  auto* const factory = google::protobuf::MessageFactory::generated_factory();
  std::unique_ptr<google::protobuf::Message> message(factory->GetPrototype(&type)->New());
  sessiond::fuzz::Expect(message->ParseFromString(bytes), "JSON becomes a message.");
  if (const auto* const mask = type.FindFieldByName("update_mask"); mask != nullptr)
    message->GetReflection()->ClearField(message.get(), mask);
  return message;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace sessiond;  // NOLINT(google-build-using-namespace)
  fuzz::Input input(data, size);
  const google::protobuf::Descriptor& type = *fuzz::MethodOf(input.Byte()).input_type();
  const auto bytes = http::FromJson(input.Rest(), type);
  if (!bytes.ok()) {
    fuzz::ExpectRefusal(bytes.status());
    return 0;
  }
  const auto json = http::ToJson(*bytes, type);
  fuzz::Expect(json.ok(), "What came as JSON has a form in JSON.", input.Rest());
  const auto again = http::FromJson(*json, type);
  fuzz::Expect(again.ok(), "What is written as JSON can be read.", *json);
  fuzz::Expect(fuzz::BytesOf(*Message(*again, type)) == fuzz::BytesOf(*Message(*bytes, type)),
               "It is the same message.", *json);
  return 0;
}
