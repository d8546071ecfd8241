// A line of an import, as sessionctl reads it and the daemon checks it; and numbers as an old
// database has them, in lists of texts. The first byte says which.
#include <google/protobuf/util/json_util.h>

#include <string>
#include <vector>

#include "client/legacy/exact_json.h"
#include "client/sessionctl/printable.h"
#include "server/rpc/validate.h"
#include "sessiond/v1/admin_service.pb.h"
#include "state_machine/utf8.h"
#include "tests/fuzz/fuzz.h"

namespace sessiond {
namespace {

using fuzz::Expect;
using google::protobuf::util::MessageToJsonString;

// sessionctl makes these printable before it shows them.
void ExpectPrintable(absl::string_view sentence) {
  Expect(!sentence.empty(), "Who is refused is told why.");
  fuzz::ExpectReadable(ctl::Printable(sentence));
}

void CheckLine(absl::string_view line) {
  v1::ImportSessionsRequest request, again;
  if (const absl::Status read = ReadExactJson(line, request); !read.ok())
    return ExpectPrintable(read.message());
  if (const absl::Status valid = rpc::Validate(request); !valid.ok())
    return fuzz::ExpectRefusal(valid);
  std::string json;
  Expect(MessageToJsonString(request, &json).ok(), "A valid session can be written.", line);
  Expect(ReadExactJson(json, again).ok(), "It is exact.", json);
  Expect(fuzz::BytesOf(again) == fuzz::BytesOf(request), "It is the same session.", json);
}

void CheckDigits(absl::string_view json) {
  auto exact = ParseExactJson(json);
  if (!exact.ok()) return ExpectPrintable(exact.status().message());
  std::vector<std::string> changes = exact->changes;
  ReadDigits(exact->value, changes);
  for (const std::string& change : changes) {
    ExpectPrintable(change);
    Expect(IsValidUtf8(change), "A remark is UTF-8.", change);
  }
  const std::string once = fuzz::BytesOf(exact->value);
  std::vector<std::string> more;
  ReadDigits(exact->value, more);
  Expect(fuzz::BytesOf(exact->value) == once, "Numbers are read once.", json);
}

}  // namespace

FUZZ_INPUT(input) {
  if (input.Byte() % 2 == 0) {
    CheckLine(input.Rest());
  } else {
    CheckDigits(input.Rest());
  }
}

}  // namespace sessiond
