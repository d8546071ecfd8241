// A line of an import, as sessionctl reads it and the daemon checks it; and numbers as an old
// database has them, in lists of texts. The first byte says which.
#include <google/protobuf/util/json_util.h>

#include <string>
#include <vector>

#include "client/legacy/exact_json.h"
#include "client/sessionctl/printable.h"
#include "server/rpc/utf8.h"
#include "server/rpc/validate.h"
#include "sessiond/v1/admin_service.pb.h"
#include "tests/fuzz/fuzz.h"

namespace sessiond {
namespace {

using fuzz::Expect;
using google::protobuf::StringPiece;
using google::protobuf::util::JsonStringToMessage;
using google::protobuf::util::MessageToJsonString;

// sessionctl makes these printable before it shows them.
void ExpectPrintable(absl::string_view sentence) {
  Expect(!sentence.empty(), "Who is refused is told why.");
  fuzz::ExpectReadable(ctl::Printable(sentence));
}

void CheckLine(absl::string_view line) {
  const absl::Status exact = CheckExactJson(line, *v1::ImportSessionsRequest::descriptor());
  v1::ImportSessionsRequest request, again;
  const auto parsed = JsonStringToMessage(StringPiece(line.data(), line.size()), &request);
  if (!exact.ok()) return ExpectPrintable(exact.message());
  if (!parsed.ok()) return ExpectPrintable(parsed.ToString());
  if (const absl::Status valid = rpc::Validate(request); !valid.ok())
    return fuzz::ExpectRefusal(valid);
  std::string json;
  Expect(MessageToJsonString(request, &json).ok(), "A valid session can be written.", line);
  Expect(CheckExactJson(json, *request.GetDescriptor()).ok(), "It is exact.", json);
  Expect(JsonStringToMessage(json, &again).ok() && fuzz::BytesOf(again) == fuzz::BytesOf(request),
         "It is the same session.", json);
}

void CheckDigits(absl::string_view json) {
  auto exact = ParseExactJson(json);
  if (!exact.ok()) return ExpectPrintable(exact.status().message());
  std::vector<std::string> changes = exact->changes;
  ReadDigits(exact->value, changes);
  for (const std::string& change : changes) {
    ExpectPrintable(change);
    Expect(rpc::IsValidUtf8(change), "A remark is UTF-8.", change);
  }
  const std::string once = fuzz::BytesOf(exact->value);
  std::vector<std::string> more;
  ReadDigits(exact->value, more);
  Expect(fuzz::BytesOf(exact->value) == once, "Numbers are read once.", json);
}

}  // namespace
}  // namespace sessiond

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace sessiond;  // NOLINT(google-build-using-namespace)
  fuzz::Input input(data, size);
  if (input.Byte() % 2 == 0) {
    CheckLine(input.Rest());
  } else {
    CheckDigits(input.Rest());
  }
  return 0;
}
