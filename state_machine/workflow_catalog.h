// The workflow revisions that this daemon knows: a cache of what it read from the database.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "state_machine/workflow.h"

namespace sessiond {

// Thread-safe. Revisions are immutable, so a found entry stays valid.
class WorkflowCatalog {
 public:
  using Entry = std::shared_ptr<const Workflow>;

  void Add(Entry workflow);
  // Null when it is not known here (yet).
  Entry Find(absl::string_view name, int32_t revision) const;
  // The newest revision; null when no workflow of this name is known.
  Entry Newest(absl::string_view name) const;
  // The names, in order.
  std::vector<std::string> Names() const;
  // By name, the newest revision of each first; only the newest, or all.
  std::vector<Entry> List(bool all_revisions) const;

 private:
  mutable absl::Mutex mutex_;
  std::map<std::string, std::map<int32_t, Entry>, std::less<>> workflows_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sessiond
