// Everything the daemon keeps: changes go through lanes, reads by id through the read lane, lists
// and counts through the query pool. The one door to the database for everybody outside of db/.
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
#include "db/base/coroutine.h"
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

  // ---- Changes

  // Gives the command its request id, its session id if it is a creation without one, its keys and
  // its partitions, and puts it into its lane. A refusal (OVERLOADED, DRAINING) means that it was
  // not taken on.
  absl::Status Submit(Submission* submission);

  // ---- Reads. A task runs once it is awaited, on whatever thread answers; the store outlives it.
  // All answer, beside what they say, as QueryPool::Run does: OVERLOADED, DRAINING,
  // DATABASE_UNAVAILABLE, DEADLINE_EXCEEDED.

  // Sessions as they are sent. A session of one workflow's revision that another daemon made has it
  // read first.
  Answer<std::vector<FoundSession>> LookupSessions(std::vector<std::string> ids, Deadline deadline);
  // NEVER_EXISTED, ARCHIVED or, unless `include_deleted`, DELETED: here, and in all that is of one
  // session.
  Answer<std::shared_ptr<const PresentedSession>> GetSession(std::string id, bool include_deleted,
                                                             Deadline deadline);
  // With its newest files and open errors.
  Answer<v1::Session> GetFullSession(std::string id, bool include_deleted, Deadline deadline);
  // As it is, or is not any more.
  Answer<ImportedSession> GetImportedSession(std::string id, Deadline deadline);

  // One page of a list, of the sessions, tasks, errors, messages, artifacts or events that are
  // selected. INVALID_PAGE_TOKEN: the token is of another query.
  template <class Selection>
  Answer<Page<typename Selection::Row>> List(Selection selection, PageRequest request,
                                             Deadline deadline);
  // The newest kPageSizeMax.
  Answer<Page<v1::Session>> ListRecoverableSessions(std::string namespace_name,
                                                    std::string owner_id, Deadline deadline);
  // ERROR_NOT_FOUND.
  Answer<v1::SessionError> GetError(ErrorSelection of_session, std::string error_id,
                                    Deadline deadline);

  Answer<v1::CountSessionsResponse> CountSessions(SessionSelection selection,
                                                  v1::CountSessionsRequest::GroupBy group_by,
                                                  Deadline deadline);
  Answer<v1::SummarizeErrorsResponse> SummarizeErrors(ErrorSelection selection, Deadline deadline);

  // A batch of the sessions that an administrator's work is about: an owner's, those with a
  // reference, those whose purge_time has passed. `-` for all namespaces, an empty workflow for
  // any.
  Answer<Batch> FindOwnedSessions(std::string namespace_name, std::string owner_id,
                                  Deadline deadline);
  Answer<Batch> FindReferencingSessions(std::string namespace_name, std::string name,
                                        std::string value, Deadline deadline);
  Answer<Batch> FindDueSessions(std::string namespace_name, std::string workflow,
                                Deadline deadline);
  // Takes the owner's name off the tombstones of sessions that were archived. How many.
  Answer<int64_t> ForgetOwner(std::string namespace_name, std::string owner_id, Deadline deadline);
  Answer<DatabaseInfo> GetDatabaseInfo(Deadline deadline);

  // ---- Workflows. This daemon knows those of its catalogue: what there was at the last refresh,
  // and what its sessions follow. What other daemons created since is learnt here alone, and where
  // a change meets it (write/commit_group).

  const WorkflowCatalog& catalog() const { return *catalog_; }
  // Reads what was created since, which costs next to nothing where there is nothing.
  Awaitable<absl::Status> RefreshWorkflows(Deadline deadline);
  // The newest revision; null where there is no such workflow.
  Answer<WorkflowCatalog::Entry> FindNewestWorkflow(std::string name, Deadline deadline);
  // By name, the newest revision of each first; only that one, or all.
  Answer<Page<v1::Workflow>> ListWorkflows(bool all_revisions, PageRequest request,
                                           Deadline deadline);
  // Creates the next revision of a sound definition, unless the newest one is just this. CONFLICT:
  // others keep creating revisions of it.
  Answer<StoredWorkflow> CreateWorkflow(v1::Workflow definition, Deadline deadline);
  // Fills the derived fields of sessions, which outlive the task.
  Awaitable<absl::Status> PresentSessions(std::vector<v1::Session*> sessions, Deadline deadline);

  // ----

  // Where lists are asked.
  QueryPool& queries() { return *queries_; }
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
  Answer<std::vector<FoundSession>> LookUpAgain(std::vector<std::string> ids, Deadline deadline);
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
