// What a TLS server serves at this moment, and whom it asks for a certificate.
#pragma once

#include <memory>
#include <mutex>

#include "server/identity/tls_files.h"

namespace sessiond::identity {

enum class ClientAuth {
  kNone,      // Clients are not asked for a certificate.
  kOptional,  // They may have none; one that a client CA did not issue ends the handshake.
  kRequired,  // They have one that a client CA issued, or the handshake ends.
};

// What is served at this moment; there is always something. Thread-safe.
class CurrentTls {
 public:
  explicit CurrentTls(TlsMaterial material);

  void Set(TlsMaterial material);
  std::shared_ptr<const TlsMaterial> Get() const;

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const TlsMaterial> material_;
};

}  // namespace sessiond::identity
