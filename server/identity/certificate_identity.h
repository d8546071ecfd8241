// Who a client certificate says its holder is: `spiffe://trust-domain/path` or `dns:host`.
//
// - A certificate with a SPIFFE URI is a SPIFFE certificate: it has exactly one URI, a valid SPIFFE
//   ID with a path. Its DNS names do not count.
// - Else it has exactly one DNS name, and that one is a host's, without wildcards. It is compared
//   in lower case. Other URIs do not count.
// - Anything else is nobody: two names that would count are not a choice between them. The common
//   name is never looked at.
//
// Whether the certificate is to be trusted is decided before, in the handshake.
#pragma once

#include <grpcpp/security/auth_context.h>
#include <openssl/x509.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace sessiond::identity {

// UNAUTHENTICATED: nobody; the sentence says why, for the log only.
absl::StatusOr<std::string> CertificateIdentity(const X509& certificate);
// Of the first certificate in PEM form. UNAUTHENTICATED: nobody, or no certificate.
absl::StatusOr<std::string> CertificateIdentity(absl::string_view pem);
// Of a gRPC connection, by the names that the handshake left in its context: no certificate is
// parsed. NOT_FOUND: the client has shown none.
absl::StatusOr<std::string> CertificateIdentity(const grpc::AuthContext& context);

// The rule itself: subject alternative names of the two kinds, as bytes.
absl::StatusOr<std::string> CertificateIdentity(absl::Span<const std::string> uris,
                                                absl::Span<const std::string> dns_names);

}  // namespace sessiond::identity
