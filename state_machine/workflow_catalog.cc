#include "state_machine/workflow_catalog.h"

#include <utility>

namespace sessiond {

void WorkflowCatalog::Add(Entry workflow) {
  absl::MutexLock lock(&mutex_);
  const int32_t revision = workflow->revision();
  workflows_[workflow->name()].insert_or_assign(revision, std::move(workflow));
}

WorkflowCatalog::Entry WorkflowCatalog::Find(absl::string_view name, int32_t revision) const {
  absl::ReaderMutexLock lock(&mutex_);
  const auto revisions = workflows_.find(std::string(name));
  if (revisions == workflows_.end()) return nullptr;
  const auto found = revisions->second.find(revision);
  return found == revisions->second.end() ? nullptr : found->second;
}

WorkflowCatalog::Entry WorkflowCatalog::Newest(absl::string_view name) const {
  absl::ReaderMutexLock lock(&mutex_);
  const auto revisions = workflows_.find(std::string(name));
  return revisions == workflows_.end() ? nullptr : revisions->second.rbegin()->second;
}

std::vector<std::string> WorkflowCatalog::Names() const {
  absl::ReaderMutexLock lock(&mutex_);
  std::vector<std::string> names;
  for (const auto& [name, revisions] : workflows_) names.push_back(name);
  return names;
}

std::vector<WorkflowCatalog::Entry> WorkflowCatalog::List(bool all_revisions) const {
  absl::ReaderMutexLock lock(&mutex_);
  std::vector<Entry> entries;
  for (const auto& [name, revisions] : workflows_) {
    for (auto entry = revisions.rbegin(); entry != revisions.rend(); ++entry) {
      entries.push_back(entry->second);
      if (!all_revisions) break;
    }
  }
  return entries;
}

}  // namespace sessiond
