// The daemon's TLS and its access file: loaded at start, and again when the files change. A set
// that is not sound as a whole is left aside, and what was loaded last serves on.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/access/authenticator.h"
#include "server/access/policy.h"
#include "server/access/roles.h"
#include "server/config/config.h"
#include "server/identity/server_credentials.h"
#include "server/rpc/gate.h"

namespace sessiond {

// How TLS asks clients for certificates, by the configuration.
identity::ClientAuth ClientAuthOf(const Config& config);

class ReloadedSecurity {
 public:
  // `services`: the full names of those that are served. An error is a sentence.
  static absl::StatusOr<std::unique_ptr<ReloadedSecurity>> Load(
      const Config& config, absl::Span<const std::string> services);

  // Loads again, if a file has changed since, or if `asked`. Returns whether something else is
  // served from now on.
  bool Refresh(bool asked);

  // What is wrong at this moment: with files that were not taken, with keys of issuers. Empty:
  // nothing.
  std::string trouble() const;
  // When the certificate expires; never without one.
  absl::Time not_after() const;
  // Null without TLS.
  const std::shared_ptr<identity::CurrentTls>& tls() const { return tls_; }
  access::Authenticator& authenticator() { return authenticator_; }
  rpc::Gate& gate() { return gate_; }
  // Whether callers are known: by certificates, or by an access file.
  bool knows_callers() const;

 private:
  ReloadedSecurity(const Config& config, access::MethodTable methods);
  absl::Status LoadAll();
  absl::Status last_load() const;
  // Of all files: when each was changed, its rights included, and which it is.
  std::string Fingerprint() const;

  const identity::TlsFiles tls_files_;
  const std::string access_file_;
  const access::MethodTable methods_;
  access::UsageBook usages_;
  access::Authenticator authenticator_;
  rpc::Gate gate_;
  std::shared_ptr<identity::CurrentTls> tls_;
  // Of the last load; for the thread that refreshes.
  std::string fingerprint_;

  mutable absl::Mutex mutex_;
  // What came of the last load.
  absl::Status loaded_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sessiond
