// Everything the daemon stores: changes go through lanes, reads by id through the read lane, lists
// and counts through the query pool. The one door to the database for all code outside db/.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/random/random.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "db/base/answers.h"
#include "db/base/asker.h"
#include "db/base/coroutine.h"
#include "db/base/importance.h"
#include "db/base/page.h"
#include "db/base/selection.h"
#include "db/connection/lane_settings.h"
#include "db/query/query_pool.h"
#include "db/read/read_lane.h"
#include "db/rows/workflow_rows.h"
#include "db/write/lane.h"
#include "db/write/submission.h"
#include "sessiond/v1/error_service.pb.h"
#include "state_machine/page_token.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

struct SessionStoreOptions {
  LaneSettings settings;
  // 2: one group on the wire while another fills; more only make the groups smaller (15 % lost with
  // four, 37 % with eight).
  int lanes = 2;
  LaneInboxOptions inbox;
  // Total for the sessions cached by lanes, the read lane included; each gets an equal share.
  std::size_t cache_bytes_max = 48 << 20;
  int query_connections = 2;
  // Called on the lanes' threads.
  std::function<void(const GroupReport&)> on_group = [](const GroupReport&) {};
  // Notified by the lanes of what was committed; null for none. Outlives the store.
  CommittedListener* listener = nullptr;
  // Valid definitions, created at start if no revision has their content.
  std::vector<v1::Workflow> workflows;
};

class SessionStore {
 public:
  // UNAVAILABLE: the database cannot be reached. SCHEMA_MISMATCH: it is not migrated.
  static absl::StatusOr<std::unique_ptr<SessionStore>> Open(SessionStoreOptions options,
                                                            SteadyTime deadline);
  ~SessionStore();

  // ---- Changes

  // Gives the command its request id, its session id if it is a creation without one, its keys and
  // its partitions, and puts it into its lane. A refusal (OVERLOADED, DRAINING) means that it was
  // not accepted.
  absl::Status Submit(Submission* submission);
  // OVERLOADED: no lane would accept such a change now, whatever its session. Then it counts as
  // turned away.
  absl::Status CheckCapacity(SteadyTime deadline, Importance importance);

  // ---- Reads. A task runs once it is awaited, on whichever thread answers; the store outlives it.
  // In addition to the errors listed, all return those of QueryPool::Run: OVERLOADED, DRAINING,
  // DATABASE_UNAVAILABLE, DEADLINE_EXCEEDED. None finds what is out of the asker's scope.

  // Sessions as they are sent. Missing workflow revisions of other daemons are read first.
  Answer<std::vector<FoundSession>> LookupSessions(std::vector<std::string> ids, Asker asker);
  // NEVER_EXISTED, ARCHIVED or, unless `include_deleted`, DELETED: here, and in all reads of one
  // session.
  Answer<std::shared_ptr<const PresentedSession>> GetSession(std::string id, bool include_deleted,
                                                             Asker asker);
  // With its newest files and open errors.
  Answer<v1::Session> GetFullSession(std::string id, bool include_deleted, Asker asker);
  // The session, or its tombstone.
  Answer<ImportedSession> GetImportedSession(std::string id, Asker asker);

  // One page of the selected sessions, tasks, errors, messages, artifacts or events.
  // INVALID_PAGE_TOKEN: the token belongs to another query.
  template <class Selection>
  Answer<Page<typename Selection::Row>> List(Selection selection, PageRequest request, Asker asker);
  // The newest kPageSizeMax.
  Answer<Page<v1::Session>> ListRecoverableSessions(std::string namespace_name,
                                                    std::string owner_id, Asker asker);
  // ERROR_NOT_FOUND.
  Answer<v1::SessionError> GetError(ErrorSelection of_session, std::string error_id, Asker asker);

  Answer<v1::CountSessionsResponse> CountSessions(SessionSelection selection,
                                                  v1::CountSessionsRequest::GroupBy group_by,
                                                  Asker asker);
  Answer<v1::SummarizeErrorsResponse> SummarizeErrors(ErrorSelection selection, Asker asker);

  // A batch of sessions for an administrator's work: an owner's, those with a reference, those
  // whose purge_time has passed. `-` for all namespaces in scope, an empty workflow for any.
  Answer<Batch> FindOwnedSessions(std::string namespace_name, std::string owner_id, Asker asker);
  Answer<Batch> FindReferencingSessions(std::string namespace_name, std::string name,
                                        std::string value, Asker asker);
  Answer<Batch> FindDueSessions(std::string namespace_name, std::string workflow, Asker asker);
  // Removes the owner's name from the tombstones of archived sessions. Returns how many.
  Answer<int64_t> ForgetOwner(std::string namespace_name, std::string owner_id, Asker asker);
  Answer<DatabaseInfo> GetDatabaseInfo(Deadline deadline);

  // ---- Workflows. This daemon knows those of its catalogue: all as of the last refresh, and those
  // that its sessions follow. What other daemons created since is read only here, and when a change
  // needs it (write/commit_group).

  const WorkflowCatalog& catalog() const { return *catalog_; }
  // Reads what was created since, which costs almost nothing if there is nothing.
  Awaitable<absl::Status> RefreshWorkflows(Deadline deadline);
  // The newest revision; null if there is no such workflow.
  Answer<WorkflowCatalog::Entry> FindNewestWorkflow(std::string name, Deadline deadline);
  // By name, the newest revision of each first; only the newest, or all.
  Answer<Page<v1::Workflow>> ListWorkflows(bool all_revisions, PageRequest request,
                                           Deadline deadline);
  // Creates the next revision of a valid definition, unless the newest one is equal. CONFLICT:
  // other daemons created revisions of it again and again.
  Answer<StoredWorkflow> CreateWorkflow(v1::Workflow definition, Deadline deadline);
  // Fills the derived fields of sessions, which outlive the task.
  Awaitable<absl::Status> PresentSessions(std::vector<v1::Session*> sessions, Deadline deadline);

  // ----

  // The pool of lists.
  QueryPool& queries() { return *queries_; }
  // What is known about the database, shared by all that use it.
  const std::shared_ptr<Primary>& primary() const { return options_.settings.primary; }
  const PageTokens& page_tokens() const { return *page_tokens_; }
  int partition_count() const { return partition_count_; }
  // The time by the database's clock, without a round trip; exact enough for display.
  absl::Time Now() const { return clock_.Estimate(); }
  // The database has just returned this time.
  void SawTime(absl::Time database_time) { clock_.Read(database_time); }
  // How many changes wait in the lanes.
  std::size_t waiting() const;

  // Accepts no more, and waits until all that was accepted is done.
  void Drain();

 private:
  explicit SessionStore(SessionStoreOptions options) : options_(std::move(options)) {}
  absl::Status Load(SteadyTime deadline);
  Answer<std::vector<FoundSession>> LookUpAgain(std::vector<std::string> ids, Asker asker);
  void Address(Submission* submission) const;

  const SessionStoreOptions options_;
  int partition_count_ = 0;
  std::unique_ptr<PageTokens> page_tokens_;
  std::unique_ptr<WorkflowCatalog> catalog_;
  // How many revisions there were at the last refresh. Any thread.
  std::atomic<int> workflows_read_ = 0;
  DatabaseClock clock_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  // Of the lanes, when one is turned away whose lane is not known.
  std::atomic<uint32_t> turn_ = 0;
  std::unique_ptr<ReadLane> reads_;
  std::unique_ptr<QueryPool> queries_;
  std::unique_ptr<QueryPool> counts_;
  std::unique_ptr<QueryPool> writes_;
};

}  // namespace sessiond::db
