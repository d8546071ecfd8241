// What became of an import: how many sessions were taken, and each that was not, or not as it was,
// with why.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/sessionctl/output.h"
#include "sessiond/v1/admin_service.pb.h"

namespace sessiond::ctl {

// Any thread may add to it.
class ImportReport {
 public:
  // `path` is a file that gets a line for each session that is told of; empty for none.
  ImportReport(Format format, const std::string& path);
  // Whether the file can be written.
  bool writable() const { return path_.empty() || file_.is_open(); }

  // What of a session that is going to be sent is not as it was.
  void Remark(int32_t line, std::string remark);
  // What the daemon answered, or what we could not even send, as the daemon would have said it.
  void Add(v1::ImportSessionsResponse response);

  // Whether the file has all that there is to tell so far.
  bool written() const;
  int64_t done() const;
  // Every session, and as it was.
  bool all_taken() const;
  // What was done, in the format asked for.
  void Print() const;

 private:
  void Tell(const v1::ImportSessionsResponse& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PrintTable() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PrintJson() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Format format_;
  const std::string path_;

  mutable absl::Mutex mutex_;
  std::ofstream file_;
  int64_t imported_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t completed_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t already_there_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t refused_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t remarked_ ABSL_GUARDED_BY(mutex_) = 0;  // Taken, or there, but not as it was.
  // Of those that are on their way, by line.
  std::map<int32_t, std::string> remarks_ ABSL_GUARDED_BY(mutex_);
  // Those refused or remarked on, by line, up to a number.
  std::map<int32_t, v1::ImportSessionsResponse> told_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sessiond::ctl
