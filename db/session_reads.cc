// The reads of the store: by id through the read lane, all others through the query pools.
#include <algorithm>
#include <coroutine>
#include <type_traits>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "db/query/admin_queries.h"
#include "db/query/error_queries.h"
#include "db/query/list_queries.h"
#include "db/query/session_queries.h"
#include "db/session_store.h"
#include "db/sql/statements.h"
#include "state_machine/limits.h"
#include "state_machine/preconditions.h"
#include "state_machine/present.h"
#include "state_machine/refusal.h"
#include "state_machine/session_id.h"

namespace sessiond::db {
namespace {

// In every round one daemon's revision is created; a loser of this many rounds met as many others.
constexpr int kRoundsMax = 5;

// co_await Looking(lane, ids, …) → what was found for each id. It is itself the node that waits in
// the inbox: it lives in the awaiting coroutine's frame, and nothing is allocated for it.
class Looking : public Lookup {
 public:
  Looking(ReadLane& lane, std::vector<std::string> session_ids, int partition_count,
          const Asker& asker)
      : lane_(lane) {
    ids = std::move(session_ids);
    for (const std::string& id : ids) partitions.push_back(PartitionOf(id, partition_count));
    deadline = asker.deadline;
    scope = asker.scope;
  }
  Looking(const Looking&) = delete;

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> waiter) {
    waiter_ = waiter;
    const absl::Status taken = lane_.Submit(this);
    // Once it is accepted the coroutine may run, and end, on the lane's thread: no member may be
    // touched any more.
    if (taken.ok()) return true;
    found = taken;
    return false;
  }
  absl::StatusOr<std::vector<FoundSession>> await_resume() { return std::move(found); }
  void Done() noexcept override { waiter_.resume(); }

 private:
  ReadLane& lane_;
  std::coroutine_handle<> waiter_;
};

bool AllKnown(const std::vector<FoundSession>& found) {
  return std::all_of(found.begin(), found.end(), [](const FoundSession& each) {
    return each.session == nullptr || each.session->workflow_known;
  });
}

// What a token is bound to: the query, and what the caller may see.
std::vector<std::string> Bound(const PageRequest& request, const Scope& scope) {
  std::vector<std::string> bound = request.query;
  if (!scope.everything()) bound.push_back(scope.Canonical());
  return bound;
}

std::vector<absl::string_view> Views(const std::vector<std::string>& texts) {
  return {texts.begin(), texts.end()};
}

// The key values that the page begins after; empty for the first page. INVALID_PAGE_TOKEN.
absl::StatusOr<KeyValues> BeginOf(const PageRequest& request, const Scope& scope,
                                  const PageTokens& tokens) {
  if (request.token.empty()) return KeyValues();
  return tokens.Open(Views(Bound(request, scope)), request.token);
}

// Makes the token of the next page, if there is one.
template <class Message>
void Seal(const PageRequest& request, const Scope& scope, const PageTokens& tokens,
          Page<Message>* page) {
  if (page->end.empty()) return;
  page->next_token = tokens.Make(Views(Bound(request, scope)), page->end);
}

std::vector<v1::Session*> Pointers(Page<v1::Session>* page) {
  return {page->rows.pointer_begin(), page->rows.pointer_end()};
}

// Reads every workflow into the catalogue, if there are others than the `known` ones read before.
// Returns how many there are then.
Question<int> FindNewWorkflows(int known, WorkflowCatalog* catalog) {
  return {.statements = {{kRefreshWorkflows.sql, {absl::StrCat(known)}}},
          .read = [known, catalog](absl::Span<const Result> results) {
            const Result& workflows = results.front();
            AddWorkflows(workflows, *catalog);
            return workflows.rows() > 0 ? workflows.rows() : known;
          }};
}

Question<std::optional<StoredWorkflow>> InsertWorkflow(const v1::Workflow& definition) {
  return {
      .statements = {InsertWorkflowSql(definition, Unless::kNewestIsSame)},
      .read = [](absl::Span<const Result> results) { return ReadStoredWorkflow(results.front()); }};
}

// Whether the definition comes after the one with these values, its name and revision, in the order
// of lists. A list of newest revisions so omits a revision that became the newest since.
bool IsBehind(const Workflow& workflow, const KeyValues& key) {
  int32_t revision = 0;
  if (key.size() != 2 || !absl::SimpleAtoi(key[1], &revision)) return key.empty();
  return workflow.name() > key[0] || (workflow.name() == key[0] && workflow.revision() < revision);
}

// One page of the definitions after these values, in the order of lists.
Page<v1::Workflow> PageOf(const std::vector<WorkflowCatalog::Entry>& entries,
                          const KeyValues& after, int page_size) {
  Page<v1::Workflow> page;
  std::size_t bytes = 0;
  for (const WorkflowCatalog::Entry& entry : entries) {
    if (!IsBehind(*entry, after)) continue;
    bytes += entry->definition().ByteSizeLong();
    if (page.rows.size() == page_size || (!page.rows.empty() && bytes > kPageBytesMax)) {
      const v1::Workflow& last = *page.rows.rbegin();
      page.end = {last.name(), absl::StrCat(last.revision())};
      break;
    }
    *page.rows.Add() = entry->definition();
  }
  return page;
}

}  // namespace

// -------------------------------------------------------------------------------------------------
// by id

Answer<std::vector<FoundSession>> SessionStore::LookupSessions(std::vector<std::string> ids,
                                                               Asker asker) {
  Looking looking(*reads_, std::move(ids), partition_count_, asker);
  auto found = co_await looking;
  if (found.ok() && !AllKnown(*found)) found = co_await LookUpAgain(std::move(looking.ids), asker);
  if (!found.ok()) co_return found.status();
  for (FoundSession& each : *found) each.Hide(asker.scope);
  co_return found;
}

// The same, after a refresh of the workflows.
Answer<std::vector<FoundSession>> SessionStore::LookUpAgain(std::vector<std::string> ids,
                                                            Asker asker) {
  const absl::Status refreshed = co_await RefreshWorkflows(asker.deadline);
  if (!refreshed.ok()) co_return refreshed;
  Looking looking(*reads_, std::move(ids), partition_count_, asker);
  co_return co_await looking;
}

Answer<std::shared_ptr<const PresentedSession>> SessionStore::GetSession(std::string id,
                                                                         bool include_deleted,
                                                                         Asker asker) {
  Looking looking(*reads_, std::vector<std::string>(1, id), partition_count_, asker);
  auto found = co_await looking;
  if (found.ok() && !AllKnown(*found)) found = co_await LookUpAgain(std::move(looking.ids), asker);
  if (!found.ok()) co_return found.status();
  found->front().Hide(asker.scope);
  const absl::Status exists = found->front().Check(id, include_deleted);
  if (!exists.ok()) co_return exists;
  co_return std::move(found->front().session);
}

Answer<v1::Session> SessionStore::GetFullSession(std::string id, bool include_deleted,
                                                 Asker asker) {
  if (!asker.scope.everything()) {
    // What is out of scope is not loaded.
    const auto seen = co_await GetSession(id, include_deleted, asker);
    if (!seen.ok()) co_return seen.status();
  }
  auto found = co_await queries_->Ask(FullSession(id, partition_count_), asker.deadline);
  if (!found.ok()) co_return found.status();
  const absl::Status exists = CheckExists(id, *found, asker.scope, include_deleted);
  if (!exists.ok()) co_return exists;
  const std::vector<v1::Session*> session(1, &*found->session);
  const absl::Status presented = co_await PresentSessions(session, asker.deadline);
  if (!presented.ok()) co_return presented;
  co_return *std::move(found->session);
}

Answer<ImportedSession> SessionStore::GetImportedSession(std::string id, Asker asker) {
  if (!asker.scope.everything()) {
    // What is out of scope is not loaded.
    const auto seen = co_await LookupSessions(std::vector<std::string>(1, id), asker);
    if (!seen.ok()) co_return seen.status();
    if (seen->front().session == nullptr) co_return ImportedSession();
  }
  auto found = co_await queries_->Ask(FindImported(id, partition_count_), asker.deadline);
  if (!found.ok()) co_return found.status();
  auto& session = found->aggregate.session;
  if (session.has_value() && !asker.scope.Has(*session)) found = ImportedSession();
  co_return found;
}

// -------------------------------------------------------------------------------------------------
// lists

// What all lists have in common: the page's beginning by its token, the check that the session
// exists, the fields derived for readers, and the next page's token.
template <class Selection>
Answer<Page<typename Selection::Row>> SessionStore::List(Selection selection, PageRequest request,
                                                         Asker asker) {
  using Row = typename Selection::Row;
  const absl::StatusOr<KeyValues> after = BeginOf(request, asker.scope, *page_tokens_);
  if (!after.ok()) co_return after.status();
  if constexpr (requires { selection.scope; }) selection.scope = asker.scope;
  auto question = ListPage(selection, partition_count_, *after, request.size);
  if (!question.ok()) co_return question.status();
  if constexpr (requires { selection.session_id; }) {
    if (!selection.session_id.empty()) {
      const auto session =
          co_await GetSession(selection.session_id, selection.include_deleted, asker);
      if (!session.ok()) co_return session.status();
    }
  }
  auto page = co_await queries_->Ask(*std::move(question), asker.deadline);
  if (!page.ok()) co_return page.status();
  if constexpr (std::is_same_v<Row, v1::Session>) {
    const absl::Status presented = co_await PresentSessions(Pointers(&*page), asker.deadline);
    if (!presented.ok()) co_return presented;
  } else if constexpr (requires(Row row) { Present(Now(), &row); }) {
    for (Row& row : page->rows) Present(Now(), &row);
  }
  Seal(request, asker.scope, *page_tokens_, &*page);
  co_return page;
}

template Answer<Page<v1::Session>> SessionStore::List(SessionSelection, PageRequest, Asker);
template Answer<Page<v1::SessionTask>> SessionStore::List(TaskSelection, PageRequest, Asker);
template Answer<Page<v1::SessionError>> SessionStore::List(ErrorSelection, PageRequest, Asker);
template Answer<Page<v1::SessionMessage>> SessionStore::List(MessageSelection, PageRequest, Asker);
template Answer<Page<v1::SessionArtifact>> SessionStore::List(ArtifactSelection, PageRequest,
                                                              Asker);
template Answer<Page<v1::SessionEvent>> SessionStore::List(EventSelection, PageRequest, Asker);

Answer<Page<v1::Session>> SessionStore::ListRecoverableSessions(std::string namespace_name,
                                                                std::string owner_id, Asker asker) {
  auto page = co_await queries_->Ask(RecoverableSessions(namespace_name, owner_id, asker.scope),
                                     asker.deadline);
  if (!page.ok()) co_return page.status();
  const absl::Status presented = co_await PresentSessions(Pointers(&*page), asker.deadline);
  if (!presented.ok()) co_return presented;
  co_return page;
}

Answer<v1::SessionError> SessionStore::GetError(ErrorSelection of_session, std::string error_id,
                                                Asker asker) {
  const std::string& id = of_session.session_id;
  const auto session = co_await GetSession(id, of_session.include_deleted, asker);
  if (!session.ok()) co_return session.status();
  auto error = co_await queries_->Ask(ErrorById(id, partition_count_, error_id), asker.deadline);
  if (!error.ok()) co_return error.status();
  if (!error->has_value()) co_return ErrorNotFound(id, error_id);
  Present(Now(), &**error);
  co_return **std::move(error);
}

// -------------------------------------------------------------------------------------------------
// counts, and work on many sessions

Answer<v1::CountSessionsResponse> SessionStore::CountSessions(
    SessionSelection selection, v1::CountSessionsRequest::GroupBy group_by, Asker asker) {
  selection.scope = asker.scope;
  co_return co_await counts_->Ask(SessionCounts(selection, partition_count_, group_by),
                                  asker.deadline);
}

Answer<v1::SummarizeErrorsResponse> SessionStore::SummarizeErrors(ErrorSelection selection,
                                                                  Asker asker) {
  if (!selection.session_id.empty()) {
    const auto session =
        co_await GetSession(selection.session_id, selection.include_deleted, asker);
    if (!session.ok()) co_return session.status();
  }
  selection.scope = asker.scope;
  co_return co_await counts_->Ask(ErrorSummary(selection, partition_count_), asker.deadline);
}

Answer<Batch> SessionStore::FindOwnedSessions(std::string namespace_name, std::string owner_id,
                                              Asker asker) {
  co_return co_await counts_->Ask(OwnedSessions(namespace_name, owner_id, asker.scope),
                                  asker.deadline);
}

Answer<Batch> SessionStore::FindReferencingSessions(std::string namespace_name, std::string name,
                                                    std::string value, Asker asker) {
  co_return co_await counts_->Ask(ReferencingSessions(namespace_name, name, value, asker.scope),
                                  asker.deadline);
}

Answer<Batch> SessionStore::FindDueSessions(std::string namespace_name, std::string workflow,
                                            Asker asker) {
  co_return co_await counts_->Ask(DueSessions(namespace_name, workflow, asker.scope),
                                  asker.deadline);
}

Answer<int64_t> SessionStore::ForgetOwner(std::string namespace_name, std::string owner_id,
                                          Asker asker) {
  co_return co_await writes_->Ask(db::ForgetOwner(namespace_name, owner_id, asker.scope),
                                  asker.deadline);
}

Answer<DatabaseInfo> SessionStore::GetDatabaseInfo(Deadline deadline) {
  co_return co_await queries_->Ask(LoadDatabaseInfo(), deadline);
}

// -------------------------------------------------------------------------------------------------
// workflows

Awaitable<absl::Status> SessionStore::RefreshWorkflows(Deadline deadline) {
  const auto known =
      co_await queries_->Ask(FindNewWorkflows(workflows_read_, catalog_.get()), deadline);
  if (known.ok()) workflows_read_ = *known;
  co_return known.status();
}

Answer<WorkflowCatalog::Entry> SessionStore::FindNewestWorkflow(std::string name,
                                                                Deadline deadline) {
  if (auto known = catalog_->Newest(name); known != nullptr) co_return known;
  // Another daemon may have created it a moment ago.
  const absl::Status refreshed = co_await RefreshWorkflows(deadline);
  if (!refreshed.ok()) co_return refreshed;
  co_return catalog_->Newest(name);
}

Answer<Page<v1::Workflow>> SessionStore::ListWorkflows(bool all_revisions, PageRequest request,
                                                       Deadline deadline) {
  const absl::StatusOr<KeyValues> after = BeginOf(request, {}, *page_tokens_);
  if (!after.ok()) co_return after.status();
  const absl::Status refreshed = co_await RefreshWorkflows(deadline);
  if (!refreshed.ok()) co_return refreshed;
  Page<v1::Workflow> page = PageOf(catalog_->List(all_revisions), *after, request.size);
  Seal(request, {}, *page_tokens_, &page);
  co_return page;
}

Answer<StoredWorkflow> SessionStore::CreateWorkflow(v1::Workflow definition, Deadline deadline) {
  for (int round = 0; round < kRoundsMax; ++round) {
    const auto stored = co_await writes_->Ask(InsertWorkflow(definition), deadline);
    if (!stored.ok()) co_return stored.status();
    if (stored->has_value()) co_return **stored;
  }
  co_return Refusal(v1::CONFLICT,
                    "Others keep creating revisions of this workflow at the same moment: retry.");
}

Awaitable<absl::Status> SessionStore::PresentSessions(std::vector<v1::Session*> sessions,
                                                      Deadline deadline) {
  const auto workflow_of = [this](const v1::Session* session) {
    return catalog_->Find(session->workflow(), session->workflow_revision());
  };
  const bool known = std::all_of(sessions.begin(), sessions.end(), workflow_of);
  if (!known) {
    const absl::Status learnt = co_await RefreshWorkflows(deadline);
    if (!learnt.ok()) co_return learnt;
  }
  for (v1::Session* session : sessions) {
    if (const auto workflow = workflow_of(session); workflow != nullptr)
      Present(*workflow, Now(), session);
    for (v1::SessionError& error : *session->mutable_open_errors()) Present(Now(), &error);
  }
  co_return absl::OkStatus();
}

}  // namespace sessiond::db
