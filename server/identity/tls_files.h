// The files of a TLS server, read and checked as a whole: what LoadTls returns is a certificate
// that can be served, or nothing is returned. gRPC's own reader of such files ends the process over
// an empty one.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace sessiond::identity {

// Paths. `client_ca` may be empty: then nobody is asked for a certificate.
struct TlsFiles {
  std::string cert;
  std::string key;
  std::string client_ca;
};

// What the files hold, written anew: each text has what was checked and nothing else.
struct TlsMaterial {
  // The server's certificate, then that of its issuer and so on.
  std::string cert_chain_pem;
  std::string key_pem;
  // Those who may have issued a client's certificate.
  std::string client_ca_pem;
  // When the first certificate of the chain expires.
  absl::Time not_after;
};

// INVALID_ARGUMENT: a file cannot be read, is empty or half-written, holds something else, or does
// not fit the others; a certificate of the chain is expired, not valid yet, or weaker than OpenSSL
// lets pass; every client CA is expired. One sentence says which file, what is wrong, and what to
// do.
//
// The key belongs to the daemon's user, and nobody else may read it; or to root, and then its group
// may. That is PostgreSQL's rule: the group is for keys that several services share, and for
// volumes that an orchestrator mounts.
absl::StatusOr<TlsMaterial> LoadTls(const TlsFiles& files, absl::Time now);

}  // namespace sessiond::identity
