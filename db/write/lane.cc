#include "db/write/lane.h"

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"

namespace sessiond::db {
namespace {

CommitterOptions CommitterOf(const LaneOptions& options) {
  return {.settings = options.settings,
          .application_name = "sessiond lane",
          .cached_bytes_max = options.kept_bytes_max,
          .on_group = options.on_group,
          .listener = options.listener};
}

// It caches nothing: it seldom gets the same session twice.
LockQueueOptions LockQueueOf(const LaneOptions& options) {
  CommitterOptions committer = CommitterOf(options);
  committer.application_name = "sessiond lock queue";
  committer.cached_bytes_max = 0;
  return {.committer = std::move(committer),
          .items_max = options.inbox.items_max,
          .group_items_max = options.inbox.group_items_max};
}

}  // namespace

Lane::Lane(const LaneOptions& options, WorkflowCatalog& catalog, DatabaseClock& clock)
    : inbox_(options.inbox),
      lock_queue_(LockQueueOf(options), catalog, clock),
      committer_(CommitterOf(options), catalog, clock),
      thread_([this] { Run(); }) {}

Lane::~Lane() { Drain(); }

absl::Status Lane::Submit(Submission* submission) {
  const std::size_t bytes = std::visit([](const auto& request) { return request.ByteSizeLong(); },
                                       submission->command.request);
  return inbox_.Push(submission, bytes);
}

void Lane::Drain() {
  inbox_.Close();
  if (thread_.joinable()) thread_.join();
  lock_queue_.Drain();
}

void Lane::Run() {
  if (auto connected = committer_.Connect(); !connected.ok()) {
    spdlog::warn("lane: {}", std::string(connected.message()));
  }
  std::vector<Submission*> group;
  while (inbox_.Take(&group)) {
    AnswerExpired(&group, [](Submission* late, absl::Status why) { late->outcome = why; });
    lock_queue_.TakeOver(&group);
    if (const std::vector<Blocked> blocked = Settle(committer_, group); !blocked.empty()) {
      absl::flat_hash_set<const Submission*> left;
      for (const Blocked& one : blocked) left.insert(one.submission);
      std::erase_if(group, [&](const Submission* one) { return left.contains(one); });
      lock_queue_.Add(blocked);
    }
    for (Submission* submission : group) submission->Done();
  }
}

}  // namespace sessiond::db
