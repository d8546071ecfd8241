// The access file.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/access/access_file.h"
#include "server/identity/one_line.h"
#include "sessiond/v1/session_service.pb.h"
#include "sessiond/v1/task_service.pb.h"
#include "tests/fuzz/fuzz.h"

namespace sessiond {

FUZZ_INPUT(input) {
  static const access::MethodTable& methods = *new access::MethodTable(*access::MethodTable::Of(
      {v1::GetSessionRequest::descriptor()->file()->service(0)->full_name(),
       v1::StartTaskRequest::descriptor()->file()->service(0)->full_name()}));
  access::UsageBook usages;
  const absl::string_view text = input.Rest();
  const auto policy = access::ParseAccessFile(text, "access.toml", methods, usages);
  if (!policy.ok()) return fuzz::ExpectSentence(policy.status());
  const access::Policy& read = **policy;
  fuzz::Expect(read.from_file() && read.local() != nullptr, "The socket is somebody's.");
  fuzz::Expect(read.anonymous() == nullptr, "Whoever comes without credentials is nobody.");
  for (const access::PrincipalPtr& principal : read.principals()) {
    fuzz::ExpectReadable(principal->name);
    fuzz::Expect(identity::IsOneLine(principal->name), "A name is one line.", principal->name);
    fuzz::Expect(read.Named(principal->name) == principal, "A name is one principal's.",
                 principal->name);
  }
  for (const access::Issuer& issuer : read.issuers()) {
    fuzz::Expect(!issuer.issuer.empty() && !issuer.audiences.empty() && !issuer.subjects.empty(),
                 "An issuer has a name, and speaks for somebody to somebody.", issuer.issuer);
    fuzz::Expect(issuer.jwks_file.empty() != issuer.jwks_url.empty(), "Its keys are in one place.",
                 issuer.issuer);
  }
}

}  // namespace sessiond
