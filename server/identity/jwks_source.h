// The keys of one issuer, kept up to date: from a file, or from an https address.
//
// They are read on a thread of its own: a file every 5 s, an address every 5 minutes and, when a
// token names a key that is not among them, at once, but at most every 30 s. Whatever goes wrong,
// the last good keys stay, and Trouble says what it is.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
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
  static absl::StatusOr<std::unique_ptr<JwksSource>> Start(Options options);
  // Breaks off what is under way. A name that is being resolved is waited for.
  ~JwksSource();
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
  // When the keys were last read well; InfinitePast: never.
  SteadyTime last_good() const;
  // How often they have been read, well or not.
  int64_t attempts() const;
  // Waits, for `patience` at most, until that is `times`; returns whether it is.
  bool AwaitAttempts(int64_t times, absl::Duration patience) const;

 private:
  struct Address {
    std::string host;
    int port = 0;
    std::string path;
  };
  static std::optional<Address> ParseAddress(absl::string_view url);

  // An answer under way.
  class Fetch;

  JwksSource(Options options, std::optional<Address> address);
  void Run();
  // Until the next attempt is due, or the end; returns whether it is due.
  bool AwaitNext();
  // REQUIRES: in the mutex.
  SteadyTime Due() const;
  // The text of the keys; else a sentence.
  absl::StatusOr<std::string> Read();
  absl::StatusOr<std::string> ReadAddress();
  absl::Status Take(const std::string& text);

  const Options options_;
  // None: the location is a file.
  const std::optional<Address> address_;

  // Its thread only: what the keys were parsed from.
  std::string text_;

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::shared_ptr<const Jwks> jwks_ = std::make_shared<const Jwks>();
  std::string trouble_;
  SteadyTime last_good_;
  SteadyTime last_attempt_;
  int64_t attempts_ = 0;
  bool ends_ = false, has_ended_ = false;
  bool wanted_now_ = true;
  bool key_looked_for_ = false;
  std::shared_ptr<Fetch> fetch_;

  std::thread thread_;
};

}  // namespace sessiond::identity
