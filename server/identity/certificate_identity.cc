#include "server/identity/certificate_identity.h"

#include <grpc/grpc_security_constants.h>
#include <openssl/pem.h>

#include <algorithm>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/identity/openssl.h"

namespace sessiond::identity {
namespace {

constexpr absl::string_view kSpiffe = "spiffe://";
// As the SPIFFE standard has them.
constexpr std::size_t kSpiffeIdBytesMax = 2048;
constexpr std::size_t kTrustDomainBytesMax = 255;
// As DNS has them.
constexpr std::size_t kHostBytesMax = 253;
constexpr std::size_t kLabelBytesMax = 63;

absl::Status Nobody(absl::string_view why) {
  return absl::UnauthenticatedError(absl::StrCat("The client's certificate ", why, "."));
}

bool IsTrustDomain(absl::string_view text) {
  return !text.empty() && text.size() <= kTrustDomainBytesMax &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '.' || c == '-' ||
                  c == '_';
         });
}

bool IsSegment(absl::string_view text) {
  return !text.empty() && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_';
         });
}

bool IsSpiffeId(absl::string_view uri) {
  if (uri.size() > kSpiffeIdBytesMax || !absl::StartsWith(uri, kSpiffe)) return false;
  const std::vector<absl::string_view> parts = absl::StrSplit(uri.substr(kSpiffe.size()), '/');
  return parts.size() > 1 && IsTrustDomain(parts[0]) &&
         std::all_of(parts.begin() + 1, parts.end(), IsSegment);
}

bool IsLabel(absl::string_view text) {
  return !text.empty() && text.size() <= kLabelBytesMax && text.front() != '-' &&
         text.back() != '-' && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(c) || c == '-' || c == '_';
         });
}

bool IsHost(absl::string_view name) {
  const std::vector<absl::string_view> labels = absl::StrSplit(name, '.');
  return name.size() <= kHostBytesMax && std::all_of(labels.begin(), labels.end(), IsLabel);
}

std::vector<std::string> Values(const grpc::AuthContext& context, const char* property) {
  std::vector<std::string> values;
  for (const grpc::string_ref& value : context.FindPropertyValues(property))
    values.emplace_back(value.data(), value.size());
  return values;
}

}  // namespace

absl::StatusOr<std::string> CertificateIdentity(absl::Span<const std::string> uris,
                                                absl::Span<const std::string> dns_names) {
  const bool is_spiffe = std::any_of(uris.begin(), uris.end(), [](const std::string& uri) {
    return absl::StartsWithIgnoreCase(uri, "spiffe:");
  });
  if (is_spiffe) {
    if (uris.size() > 1) return Nobody("has a SPIFFE ID and another URI");
    if (!IsSpiffeId(uris[0])) return Nobody("has a SPIFFE ID that the standard does not allow");
    return uris[0];
  }
  if (dns_names.empty()) return Nobody("has neither a SPIFFE ID nor a DNS name");
  if (dns_names.size() > 1) return Nobody("has several DNS names and no SPIFFE ID");
  if (!IsHost(dns_names[0])) return Nobody("has a DNS name that is not a host's");
  return absl::StrCat("dns:", absl::AsciiStrToLower(dns_names[0]));
}

absl::StatusOr<std::string> CertificateIdentity(const X509& certificate) {
  int trouble = 0;
  const OwnedGeneralNames names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(&certificate, NID_subject_alt_name, &trouble, nullptr)));
  // -1: there is no such extension.
  if (names == nullptr && trouble != -1) {
    TakeReason();
    return Nobody("has alternative names that cannot be read, or has them twice");
  }
  std::vector<std::string> uris, dns_names;
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_URI && name->type != GEN_DNS) continue;
    const ASN1_IA5STRING* const text = name->d.ia5;
    (name->type == GEN_URI ? uris : dns_names)
        .emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                      static_cast<std::size_t>(ASN1_STRING_length(text)));
  }
  return CertificateIdentity(uris, dns_names);
}

absl::StatusOr<std::string> CertificateIdentity(absl::string_view pem) {
  const OwnedBio bio = ReadFrom(pem);
  const OwnedX509 certificate(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (certificate == nullptr) {
    TakeReason();
    return Nobody("cannot be read");
  }
  return CertificateIdentity(*certificate);
}

absl::StatusOr<std::string> CertificateIdentity(const grpc::AuthContext& context) {
  if (context.FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME).empty())
    return absl::NotFoundError("The client has shown no certificate.");
  return CertificateIdentity(Values(context, GRPC_PEER_URI_PROPERTY_NAME),
                             Values(context, GRPC_PEER_DNS_PROPERTY_NAME));
}

}  // namespace sessiond::identity
