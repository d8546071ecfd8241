// The files that credentials come from: read, and checked before gRPC sees them, because it says
// little about a bad one.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "steady_time.h"

namespace sessiond {

// All return INVALID_ARGUMENT, with a sentence that names the file, when it is not as it must be.

// The certificates of authorities, in PEM.
absl::StatusOr<std::string> ReadAuthorities(const std::string& path);

struct KeyPair {
  std::string chain, key;  // PEM.
};
// A certificate that is still valid, with its chain, and the key that belongs to it.
absl::StatusOr<KeyPair> ReadKeyPair(const std::string& cert_path, const std::string& key_path);

// Refuses what cannot be a token: nothing, more than 16 KiB, or characters that no header takes. No
// message has any part of it. `what` begins the sentence.
absl::Status CheckToken(absl::string_view what, absl::string_view token);

// Whether somebody wrote a token where a file was to be named: then it must not be printed.
bool LooksLikeToken(absl::string_view path);

// A token in a file, which somebody replaces from time to time. Thread-safe.
class TokenFile {
 public:
  explicit TokenFile(std::string path) : path_(std::move(path)) {}

  // The token as it is now in the file; the last good one while there is none. An error only when
  // there has been none yet.
  absl::StatusOr<std::string> Get();

 private:
  // Of the file as it was read; another file, or another content, has another.
  struct Version {
    unsigned long long device = 0, inode = 0;
    long long size = -1, modified_ns = 0, changed_ns = 0;
    bool operator==(const Version&) const = default;
  };
  static Version VersionOf(const std::string& path);
  absl::StatusOr<std::string> Read() const;

  const std::string path_;
  absl::Mutex mutex_;
  Version version_ ABSL_GUARDED_BY(mutex_);
  Stopwatch since_read_ ABSL_GUARDED_BY(mutex_);
  std::string token_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sessiond
