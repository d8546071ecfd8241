// A client's certificate, which the handshake has let through: in PEM, or as it comes (DER). The
// first byte says which, or that the rest are its names.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "server/identity/certificate_identity.h"
#include "server/identity/openssl.h"
#include "tests/fuzz/fuzz.h"

namespace sessiond::identity {
namespace {

void Check(const absl::StatusOr<std::string>& identity) {
  if (!identity.ok()) return fuzz::ExpectSentence(identity.status());
  const bool is_spiffe = absl::StartsWith(*identity, "spiffe://");
  fuzz::Expect(is_spiffe || absl::StartsWith(*identity, "dns:"), "It has one of two forms.",
               *identity);
  fuzz::Expect(std::all_of(identity->begin(), identity->end(),
                           [](unsigned char c) { return absl::ascii_isgraph(c) && c != '*'; }),
               "It is one word.", *identity);
  const auto again = is_spiffe ? CertificateIdentity({*identity}, {})
                               : CertificateIdentity({}, {identity->substr(4)});
  fuzz::Expect(again.ok() && *again == *identity, "It is what it says.", *identity);
}

}  // namespace

FUZZ_INPUT(input) {
  switch (input.Byte() % 3) {
    case 0:
      Check(CertificateIdentity(input.Rest()));
      break;
    case 1: {
      const auto* bytes = reinterpret_cast<const unsigned char*>(input.Rest().data());
      const OwnedX509 certificate(
          d2i_X509(nullptr, &bytes, static_cast<long>(input.Rest().size())));
      TakeReason();
      if (certificate != nullptr) Check(CertificateIdentity(*certificate));
      break;
    }
    default: {
      const std::vector<std::string> uris = absl::StrSplit(input.Line(), ' ', absl::SkipEmpty());
      const std::vector<std::string> dns_names =
          absl::StrSplit(input.Rest(), ' ', absl::SkipEmpty());
      Check(CertificateIdentity(uris, dns_names));
    }
  }
}

}  // namespace sessiond::identity
