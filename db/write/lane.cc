#include "db/write/lane.h"

#include <spdlog/spdlog.h>

#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "db/base/failpoint.h"

namespace sessiond::db {
namespace {

LaneInboxOptions InboxOf(LaneInboxOptions inbox) {
  inbox.sheds = true;
  return inbox;
}

// It caches nothing: it seldom gets the same session twice.
LaneOptions LockQueueOf(LaneOptions options) {
  options.committer.application_name = "sessiond lock queue";
  options.committer.cache_bytes_max = 0;
  return options;
}

void Refuse(Submission* submission, absl::Status why) { submission->outcome = std::move(why); }

}  // namespace

Lane::Lane(const LaneOptions& options, WorkflowCatalog& catalog, DatabaseClock& clock)
    : inbox_(InboxOf(options.inbox)),
      lock_queue_(LockQueueOf(options), catalog, clock),
      committer_(options.committer, catalog, clock) {
  lock_queue_.Start();
  thread_ = std::thread([this] { Run(); });
}

Lane::~Lane() { Drain(); }

absl::Status Lane::Submit(Submission* submission) {
  return std::visit(
      [&](const auto& request) {
        return inbox_.Push(submission, request.ByteSizeLong(), submission->deadline.time,
                           ImportanceOf(request.GetDescriptor()));
      },
      submission->command.request);
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
  std::vector<Submission*> group, late;
  while (inbox_.Take(&group, &late)) {
    RefuseLate(late, inbox_, Refuse);
    Serve(&group, lock_queue_, committer_);
  }
}

void Serve(std::vector<Submission*>* group, LockQueue& lock_queue, Committer& committer) {
  AnswerExpired(group, Refuse);
  lock_queue.TakeOver(group);
  if (const std::vector<Blocked> blocked = Settle(committer, *group); !blocked.empty()) {
    absl::flat_hash_set<const Submission*> left;
    for (const Blocked& one : blocked) left.insert(one.submission);
    std::erase_if(*group, [&](const Submission* one) { return left.contains(one); });
    lock_queue.Add(blocked);
  }
  for (Submission* submission : *group) {
    submission->Done();  // And may be gone.
    if (submission != group->back()) Reached(Failpoint::kGroupAnswered);
  }
}

}  // namespace sessiond::db
