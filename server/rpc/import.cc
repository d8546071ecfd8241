#include "server/rpc/import.h"

#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/rpc/awaiters.h"
#include "server/rpc/signal.h"
#include "server/rpc/utf8.h"
#include "server/state_machine/refusal.h"
#include "server/state_machine/session_id.h"

namespace sessiond::rpc {
namespace {

// What may be under way: enough to fill groups, and little enough to hold in memory.
constexpr std::size_t kItemsAhead = 128;
constexpr std::size_t kBytesAhead = 8 << 20;

class Import;

// One session on its way.
struct Item : db::Submission {
  std::shared_ptr<Import> import;
  v1::ImportSessionsResponse response;
  std::size_t bytes = 0;
  bool done = false;  // Under the import's lock.

  void Done() noexcept override;
};

// What the reader, the lanes and the writer share.
class Import {
 public:
  Signal answered;  // For the writer: the first item may be done, or there are no more.
  Signal room;      // For the reader.

  bool HasRoom() {
    absl::MutexLock lock(&mutex_);
    return items_.size() < kItemsAhead && bytes_ < kBytesAhead;
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
  // The first item, once it is done. Null: not yet, or never, as `over` says.
  std::unique_ptr<Item> TakeFirst(bool* over) {
    absl::MutexLock lock(&mutex_);
    *over = ended_ && items_.empty();
    if (items_.empty() || !items_.front()->done) return nullptr;
    std::unique_ptr<Item> first = std::move(items_.front());
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

// Once it is marked, the writer may take the item away.
void Item::Done() noexcept {
  const std::shared_ptr<Import> shared = import;
  shared->MarkDone(this);
  shared->answered.Set();
}

absl::Status UnknownWorkflow(const std::string& name) {
  return Refusal(v1::UNKNOWN_WORKFLOW, absl::StrCat("There is no workflow \"", name, "\"."))
      .With("workflow", name)
      .Violation("session.workflow", "is not the name of a workflow");
}

// Puts one session into its lane, or says at once why not.
Task<absl::Status> Submit(db::SessionStore& store, const CallInfo& call,
                          v1::ImportSessionsRequest request, Item& item) {
  auto workflow = store.catalog().Newest(request.session().workflow());
  if (workflow == nullptr) {
    Refresh refresh(store, SteadyTime::InfiniteFuture());
    if (const absl::Status refreshed = co_await refresh; !refreshed.ok()) co_return refreshed;
    workflow = store.catalog().Newest(request.session().workflow());
  }
  if (workflow == nullptr) co_return UnknownWorkflow(request.session().workflow());
  const std::string& id = request.session().session_id();
  if (auto format = CheckSessionId(id, workflow->definition().id_format()); !format.ok())
    co_return format;
  item.command.caller = call.caller;
  item.command.session_id = id;
  item.command.workflow = std::move(workflow);
  item.command.request = std::move(request);
  co_return store.Submit(&item);
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
    // Of a request that could not be read it may be anything.
    if (const std::string& id = request.session().session_id(); IsValidUtf8(id))
      item.response.set_session_id(id);
    import->Add(std::move(owned));
    if (status->ok()) status = co_await Submit(store, call, std::move(request), item);
    if (status->ok()) continue;
    item.outcome = *std::move(status);
    item.Done();
  }
  import->End();
  import->answered.Set();
}

void FillIn(const absl::StatusOr<db::Outcome>& outcome, v1::ImportSessionsResponse* response) {
  using Response = v1::ImportSessionsResponse;
  if (outcome.ok()) return response->set_result(Response::IMPORTED);
  const v1::ErrorReason reason = ReasonOf(outcome.status());
  if (reason == v1::SESSION_EXISTS) return response->set_result(Response::ALREADY_THERE);
  response->set_result(Response::REFUSED);
  response->set_reason(v1::ErrorReason_Name(reason));
  response->set_description(std::string(outcome.status().message()));
}

}  // namespace

Task<absl::Status> RunImport(db::SessionStore& store, Journal& journal, CallInfo call,
                             ImportStream& stream) {
  const auto import = std::make_shared<Import>();
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
    FillIn(item->outcome, &item->response);
    co_await stream.Write(item->response);
  }
  co_return absl::OkStatus();
}

}  // namespace sessiond::rpc
