// The keys of one issuer, kept up to date: from a file, or from an https address.
//
// They are read on a thread of its own: a file every 5 s, an address every 5 minutes and, when a
// token names a key that is not among them, at once, but at most every 30 s. Whatever goes wrong,
// the last good keys stay, and Trouble says what it is.
//
// Nobody waits for that thread: a source may go away on a thread that serves calls, and neither a
// name that is being resolved nor a connection that is being made can be broken off. It then ends
// by itself, and touches nothing but what it has in common with the source.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "db/base/steady_time.h"
#include "server/identity/jwks.h"

namespace sessiond::identity {

class JwksSource {
 public:
  struct Options {
    // A path, or `https://host[:port]/path`.
    std::string location;
    // Who may have issued the address's certificate; empty: those that this machine trusts.
    std::string ca_file;
    absl::Duration file_interval = absl::Seconds(5);
    absl::Duration https_interval = absl::Minutes(5);
    // Between two attempts at an address, when the first failed or a key is looked for.
    absl::Duration https_interval_min = absl::Seconds(30);
    // To connect, and for each read.
    absl::Duration timeout = absl::Seconds(5);
    // For a whole answer.
    absl::Duration answer_timeout = absl::Seconds(15);
    std::size_t bytes_max = 1 << 20;
  };

  // Begins to read. INVALID_ARGUMENT: the location is neither; the sentence says what it has to be.
  // RESOURCE_EXHAUSTED: there is no thread for it.
  static absl::StatusOr<std::unique_ptr<JwksSource>> Start(Options options);
  // Breaks off what is under way, and does not wait.
  ~JwksSource();
  // Waits, for `patience` at most, until nothing is read for any source; returns whether that is
  // so. For the end of the process. REQUIRES: there are no more sources.
  static bool AwaitEnded(absl::Duration patience);
  JwksSource(const JwksSource&) = delete;

  // The last good keys; without keys as long as there were none. Any thread, never waits.
  std::shared_ptr<const Jwks> Get() const;
  // VerifyJwt did not find the key that a token names: looks at the issuer's keys again. Any
  // thread, never waits; the caller is refused this time.
  void LookForNewKeys();
  // Reads now, whatever was read when: the operator has asked for it.
  void Refresh();

  // Why the last attempt failed, in one sentence; empty: it did not, or there was none yet.
  std::string Trouble() const;
  // How often they have been read, well or not.
  int64_t attempts() const;
  // Waits, for `patience` at most, until that is `times`; returns whether it is.
  bool AwaitAttempts(int64_t times, absl::Duration patience) const;

 private:
  // Reads, and keeps what was read.
  class Reader;

  explicit JwksSource(std::shared_ptr<Reader> reader);

  const std::shared_ptr<Reader> reader_;
};

}  // namespace sessiond::identity
