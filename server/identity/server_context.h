// The same TLS for a server that is not gRPC's: an OpenSSL context, as Boost.Asio takes it.
//
//     boost::asio::ssl::context context(NewServerContext(*tls.Get(), client_auth)->release());
//
// Made anew when something else is current, and used from the next connection on.
#pragma once

#include "absl/status/statusor.h"
#include "server/identity/current_tls.h"
#include "server/identity/openssl.h"

namespace sessiond::identity {

// TLS 1.2 or 1.3, and no sessions that are resumed: every client's certificate is looked at.
//
// INVALID_ARGUMENT: not what LoadTls returns; or there are no client CAs where clients are asked.
absl::StatusOr<OwnedSslContext> NewServerContext(const TlsMaterial& material,
                                                 ClientAuth client_auth);

}  // namespace sessiond::identity
