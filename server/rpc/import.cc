#include "server/rpc/import.h"

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/async_signal.h"
#include "state_machine/import_completion.h"
#include "state_machine/limits.h"
#include "state_machine/refusal.h"
#include "state_machine/session_id.h"
#include "state_machine/utf8.h"

namespace sessiond::rpc {
namespace {

// Limits of what is in progress: enough to fill groups, and little enough for memory.
constexpr std::size_t kItemsAhead = 128;
constexpr std::size_t kBytesAhead = 8 << 20;
// Command.completes of a session whose parts were already compared: no session has this sequence.
constexpr int32_t kLookedAt = -1;

class Import;

// One session in progress:
//
//   lane ─▶ exists already? ─▶ what did earlier imports leave out of it? ─▶ lane ─▶ writer
//        └────────────────────────────────────────────────────────────────────────▶
struct Item : db::Submission {
  std::shared_ptr<Import> import;
  v1::ImportSessionsResponse response;
  std::size_t bytes = 0;
  access::Usage::Held held;  // The same, of its caller's limit.
  std::string added;         // What an earlier import had left out.
  bool hindered = false;     // Something was left out, and cannot be added.
  bool done = false;         // Guarded by the import's lock.

  void Done() noexcept override;
  // For a session that exists: asks the database what it has, and submits to the lane again if
  // something is missing. Otherwise done.
  Detached Complete();
};

// The state that the reader, the lanes and the writer share.
class Import {
 public:
  explicit Import(db::SessionStore& store_given) : store(store_given) {}

  db::SessionStore& store;
  AsyncSignal answered;  // For the writer: the first item may be done, or there are no more.
  AsyncSignal room;      // For the reader.

  bool HasRoom() {
    absl::MutexLock lock(&mutex_);
    return items_.size() < kItemsAhead && bytes_ < kBytesAhead;
  }
  bool idle() {
    absl::MutexLock lock(&mutex_);
    return items_.empty();
  }
  void Add(std::unique_ptr<Item> item) {
    absl::MutexLock lock(&mutex_);
    bytes_ += item->bytes;
    items_.push_back(std::move(item));
  }
  void MarkDone(Item* item) {
    absl::MutexLock lock(&mutex_);
    item->done = true;
  }
  void End() {
    absl::MutexLock lock(&mutex_);
    ended_ = true;
  }
  // The first item, once it is done. Null: not yet, or never; `over` says which.
  std::unique_ptr<Item> TakeFirst(bool* over) {
    absl::MutexLock lock(&mutex_);
    *over = ended_ && items_.empty();
    if (items_.empty() || !items_.front()->done) return nullptr;
    std::unique_ptr<Item> first = std::move(items_.front());
    first->held = {};
    items_.pop_front();
    bytes_ -= first->bytes;
    return first;
  }

 private:
  absl::Mutex mutex_;
  std::deque<std::unique_ptr<Item>> items_ ABSL_GUARDED_BY(mutex_);
  std::size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

bool HasParts(const v1::ImportSessionsRequest& request) {
  return request.has_task() || !request.errors().empty() || !request.messages().empty() ||
         !request.artifacts().empty();
}

// Once it is marked as done, the writer may destroy the item.
void Item::Done() noexcept {
  const bool there = ReasonOf(outcome.status()) == v1::SESSION_EXISTS;
  if (there && command.completes == 0) {
    // Whatever the result, the parts are compared only once.
    command.completes = kLookedAt;
    if (HasParts(std::get<v1::ImportSessionsRequest>(command.request))) {
      Complete();
      return;
    }
  }
  const std::shared_ptr<Import> shared = import;
  shared->MarkDone(this);
  shared->answered.Set();
}

absl::Status CannotBeCompleted(const std::string& id, const ImportCompletion& completion) {
  return Refusal(v1::SESSION_EXISTS,
                 absl::StrCat("Session already exists for this context: ", id,
                              " is there already, without ", completion.Missing(),
                              " that cannot be added: ", completion.obstacle, "."))
      .With("session_id", id);
}

Detached Item::Complete() {
  db::SessionStore& store = import->store;
  const auto found =
      co_await store.GetImportedSession(command.session_id, {deadline, command.scope});
  if (!found.ok()) {
    outcome = found.status();
    co_return Done();
  }
  const std::optional<v1::Session>& session = found->aggregate.session;
  if (!session.has_value()) co_return Done();  // It has been archived since.
  const ImportCompletion completion =
      CompletionOf(*session, found->imports, std::get<v1::ImportSessionsRequest>(command.request));
  if (completion.all_there()) co_return Done();
  if (!completion.obstacle.empty()) {
    hindered = true;
    outcome = CannotBeCompleted(command.session_id, completion);
    co_return Done();
  }
  added = completion.Missing();
  command.completes = session->sequence();
  command.workflow = nullptr;  // Decided by the revision that the session pins.
  command.request_id.clear();  // It is another request: its own id is drawn.
  command.request = completion.missing;
  if (absl::Status taken = store.Submit(this); !taken.ok()) {
    outcome = std::move(taken);
    Done();
  }
}

absl::Status UnknownWorkflow(const std::string& name) {
  return Refusal(v1::UNKNOWN_WORKFLOW, absl::StrCat("There is no workflow \"", name, "\"."))
      .With("workflow", name)
      .Violation("session.workflow", "is not the name of a workflow");
}

// Submits one session to its lane, or returns at once why not.
Awaitable<absl::Status> Submit(db::SessionStore& store, const CallInfo& call,
                               v1::ImportSessionsRequest request, Item& item) {
  auto workflow = co_await store.FindNewestWorkflow(request.session().workflow(), {});
  if (!workflow.ok()) co_return workflow.status();
  if (*workflow == nullptr) co_return UnknownWorkflow(request.session().workflow());
  const std::string& id = request.session().session_id();
  if (auto format = CheckSessionId(id, (*workflow)->definition().id_format()); !format.ok())
    co_return format;
  item.command.caller = call.caller();
  item.command.scope = call.asker.scope;
  item.command.session_id = id;
  item.command.workflow = *std::move(workflow);
  item.command.request = std::move(request);
  co_return store.Submit(&item);
}

// Counts the item for its caller's limit of bytes in flight. If there is no room, this waits for
// the stream's own items, which end by themselves; a refusal means that none is left to wait for.
Awaitable<absl::Status> Hold(const CallInfo& call, Import& import, Item* item) {
  if (call.principal == nullptr) co_return absl::OkStatus();
  for (;;) {
    const bool idle = import.idle();
    auto held = call.principal->usage->AdmitMessage(call.principal->limits,
                                                    static_cast<int64_t>(item->bytes));
    if (held.ok()) item->held = *std::move(held);
    if (held.ok() || idle) co_return held.status();
    co_await import.room.Wait();
  }
}

Detached ReadAll(db::SessionStore& store, CallInfo call, ImportStream& stream,
                 std::shared_ptr<Import> import) {
  for (;;) {
    while (!import->HasRoom()) co_await import->room.Wait();
    v1::ImportSessionsRequest request;
    std::optional<absl::Status> status = co_await stream.ReadAny(&request);
    if (!status.has_value()) break;
    auto owned = std::make_unique<Item>();
    Item& item = *owned;
    item.import = import;
    item.bytes = request.ByteSizeLong();
    item.response.set_line(request.line());
    // In a request that could not be parsed the id may be anything.
    if (const std::string& id = request.session().session_id(); IsValidUtf8(id))
      item.response.set_session_id(id);
    if (status->ok()) status = co_await Hold(call, *import, &item);
    import->Add(std::move(owned));
    if (status->ok()) status = co_await Submit(store, call, std::move(request), item);
    if (status->ok()) continue;
    item.outcome = *std::move(status);
    item.Done();
  }
  import->End();
  import->answered.Set();
}

void FillIn(const Item& item, v1::ImportSessionsResponse* response) {
  using Response = v1::ImportSessionsResponse;
  const absl::StatusOr<db::Outcome>& outcome = item.outcome;
  if (outcome.ok() && item.added.empty()) return response->set_result(Response::IMPORTED);
  if (outcome.ok()) {
    response->set_description(
        absl::StrCat("An earlier import had left out ", item.added, ", which it has now."));
    return response->set_result(Response::COMPLETED);
  }
  const v1::ErrorReason reason = ReasonOf(outcome.status());
  if (reason == v1::SESSION_EXISTS && !item.hindered) {
    return response->set_result(Response::ALREADY_THERE);
  }
  response->set_result(Response::REFUSED);
  response->set_reason(v1::ErrorReason_Name(reason));
  response->set_description(std::string(outcome.status().message()));
}

}  // namespace

Awaitable<absl::Status> RunImport(db::SessionStore& store, Journal& journal, CallInfo call,
                                  ImportStream& stream) {
  const auto import = std::make_shared<Import>(store);
  ReadAll(store, std::move(call), stream, import);
  for (bool over = false; !over;) {
    // Also when the client has left: what was read is carried out, and the reader ends by itself.
    std::unique_ptr<Item> item = import->TakeFirst(&over);
    if (item == nullptr) {
      if (!over) co_await import->answered.Wait();
      continue;
    }
    import->room.Set();
    if (item->outcome.ok()) journal.Changed(*item->outcome);
    FillIn(*item, &item->response);
    co_await stream.Write(item->response);
  }
  co_return absl::OkStatus();
}

}  // namespace sessiond::rpc
