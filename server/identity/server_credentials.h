// A gRPC server's TLS, whose certificate can be replaced while it serves.
//
//     LoadTls ──▶ CurrentTls::Set         any thread, when the files have changed
//                     │
//     handshake ──▶ what is current ──▶ gRPC
//
// gRPC asks at every handshake. So a new certificate, key or client CA counts from the next
// connection on; connections that exist stay as they are, and no thread waits for anything. What
// is current has passed LoadTls. (gRPC's own reloader, FileWatcherCertificateProvider, has a
// thread, looks at the files itself, and ends the process over one that is empty.)
#pragma once

#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/time/time.h"
#include "server/identity/current_tls.h"

namespace sessiond::identity {

// For AddListeningPort and AddExternalConnectionAcceptor, any number of them, which all serve what
// is current.
//
// With kOptional and kRequired what is current has client CAs; if it has none, the port is
// not opened, or goes on with what it had.
//
// gRPC lets clients take up a session again by a ticket, for two hours, without looking whether
// their certificate has expired meanwhile. Tickets are worth nothing after `ticket_lifetime`, nor
// after a change.
//
// No AuthMetadataProcessor can be set: who calls is found out where calls are handled.
std::shared_ptr<grpc::ServerCredentials> TlsServerCredentials(
    std::shared_ptr<const CurrentTls> tls, ClientAuth client_auth,
    absl::Duration ticket_lifetime = absl::Minutes(5));

}  // namespace sessiond::identity
