// The result of an import: how many sessions were imported, and each that was not, or was changed,
// with the reason.
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
  // `path` is a file that gets a line for each reported session; empty for none.
  ImportReport(Format format, const std::string& path);
  // Whether the file can be written.
  bool writable() const { return path_.empty() || file_.is_open(); }

  // What was changed in a session that is about to be sent.
  void Remark(int32_t line, std::string remark);
  // The daemon's response, or, for what could not be sent, a response like the daemon's.
  void Add(v1::ImportSessionsResponse response);

  // Whether the file has the complete report so far.
  bool written() const;
  int64_t done() const;
  // Every session was imported, unchanged.
  bool all_taken() const;
  // Prints the summary, in the requested format.
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
  int64_t remarked_ ABSL_GUARDED_BY(mutex_) = 0;  // Imported, or there, but changed.
  // For sessions that were sent and not answered yet, by line.
  std::map<int32_t, std::string> remarks_ ABSL_GUARDED_BY(mutex_);
  // The first ones that were refused or remarked on, by line.
  std::map<int32_t, v1::ImportSessionsResponse> reported_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sessiond::ctl
