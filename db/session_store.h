// Everything the daemon keeps: changes go through lanes, reads by id through the read lane, lists
// and counts through the query pool. The one door to the database for everybody outside of db/.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "db/connection/lane_settings.h"
#include "db/query/query_pool.h"
#include "db/read/read_lane.h"
#include "db/write/lane.h"
#include "db/write/submission.h"
#include "state_machine/page_token.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

struct SessionStoreOptions {
  LaneSettings settings;
  // 2: one group on the wire while another fills; more only make the groups smaller (four lost 15
  // %, eight 37 %).
  int lanes = 2;
  InboxOptions inbox;
  // Of sessions that lanes, that for reads too, keep: altogether, and each the same share.
  std::size_t kept_bytes_max = 48 << 20;
  int query_connections = 2;
  // Called on the lanes' threads.
  std::function<void(const GroupReport&)> on_group = [](const GroupReport&) {};
  // Whom the lanes tell of what was committed; null for nobody. Outlives the store.
  CommittedListener* listener = nullptr;
  // Sound definitions, created at start where no revision has their content.
  std::vector<v1::Workflow> workflows;
};

class SessionStore {
 public:
  // UNAVAILABLE: the database cannot be reached. SCHEMA_MISMATCH: it is not migrated.
  static absl::StatusOr<std::unique_ptr<SessionStore>> Open(SessionStoreOptions options,
                                                            SteadyTime deadline);
  ~SessionStore();

  // Gives the command its request id, its session id if it is a creation without one, its keys and
  // its partitions, and puts it into its lane. A refusal (OVERLOADED, DRAINING) means that it was
  // not taken on.
  absl::Status Submit(Submission* submission);

  // Puts a look-up into the read lane; fills in its partitions. A refusal means that it was not
  // taken on.
  absl::Status Submit(Lookup* lookup);

  // For lists.
  QueryPool& queries() { return *queries_; }
  // For counts, which may take long: they keep only each other waiting.
  QueryPool& counts() { return *counts_; }
  // For changes of what is no part of a session: workflow definitions.
  QueryPool& writes() { return *writes_; }
  // The workflows as far as this daemon has read them: of those that other daemons created, what
  // its sessions follow, and what there was at the last RefreshWorkflows.
  const WorkflowCatalog& catalog() const { return *catalog_; }
  // Reads what was created since, which costs next to nothing where there is nothing, and calls
  // `done` once, as QueryPool::Run does.
  void RefreshWorkflows(Deadline deadline, absl::AnyInvocable<void(absl::Status)> done);
  // What is seen of the database, by everybody who shares it.
  const std::shared_ptr<Primary>& primary() const { return options_.settings.primary; }
  const PageTokens& page_tokens() const { return *page_tokens_; }
  int partition_count() const { return partition_count_; }
  // What time it is by the database's clock, without asking it; near enough for what is shown.
  absl::Time Now() const { return clock_.Estimate(); }
  // The database has told it, just now.
  void SawTime(absl::Time database_time) { clock_.Read(database_time); }
  // How many changes wait in the lanes.
  std::size_t waiting() const;

  // Lets nothing in any more, and waits until what was let in is done.
  void Drain();

 private:
  explicit SessionStore(SessionStoreOptions options) : options_(std::move(options)) {}
  absl::Status Load(SteadyTime deadline);
  void Address(Submission* submission) const;

  const SessionStoreOptions options_;
  int partition_count_ = 0;
  std::unique_ptr<PageTokens> page_tokens_;
  std::unique_ptr<WorkflowCatalog> catalog_;
  // How many revisions there were when all were read. Any thread.
  std::atomic<int> workflows_read_ = 0;
  DatabaseClock clock_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  std::unique_ptr<ReadLane> reads_;
  std::unique_ptr<QueryPool> queries_;
  std::unique_ptr<QueryPool> counts_;
  std::unique_ptr<QueryPool> writes_;
};

}  // namespace sessiond::db
