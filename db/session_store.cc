#include "db/session_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/base/sha256.h"
#include "db/connection/link.h"
#include "db/rows/workflow_rows.h"
#include "db/sql/statements.h"
#include "db/write/submission.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "state_machine/session_id.h"

namespace sessiond::db {
namespace {

// Stored in databases, and computed there too (purge_session_requests.sql): must never be changed.
// The first 16 bytes: 2^64 requests before a collision is expected.
std::string Digest(absl::Span<const absl::string_view> parts) {
  std::string bytes;
  for (const absl::string_view part : parts) absl::StrAppend(&bytes, part.size(), ":", part);
  return Sha256(bytes).substr(0, 16);
}

// Map entries in order, unlike SerializeAsString. Unknown fields were dropped when the request was
// read.
std::string Canonical(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

// Whether the caller supplied the request id; else it was drawn.
bool BringsRequestId(const Command& command) {
  return std::visit(
      [](const auto& request) {
        // A stream's request has none.
        if constexpr (requires { request.request_id(); }) return !request.request_id().empty();
        return false;
      },
      command.request);
}

absl::BitGen& Random() {
  thread_local absl::BitGen random;
  return random;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SessionStore>> SessionStore::Open(SessionStoreOptions options,
                                                                 SteadyTime deadline) {
  auto store = std::unique_ptr<SessionStore>(new SessionStore(std::move(options)));
  if (auto loaded = store->Load(deadline); !loaded.ok()) return loaded;
  const SessionStoreOptions& opened = store->options_;
  const std::size_t cache_bytes_max = opened.cache_bytes_max / (opened.lanes + 1);
  const LaneOptions lane{.committer = {.settings = opened.settings,
                                       .cache_bytes_max = cache_bytes_max,
                                       .on_group = opened.on_group,
                                       .listener = opened.listener},
                         .inbox = opened.inbox};
  for (int i = 0; i < opened.lanes; ++i)
    store->lanes_.push_back(std::make_unique<Lane>(lane, *store->catalog_, store->clock_));
  store->reads_ = std::make_unique<ReadLane>(opened.settings, opened.inbox, cache_bytes_max,
                                             *store->catalog_, store->clock_);
  const auto pool = [&opened](int connections, bool read_only) {
    return std::make_unique<QueryPool>(QueryPoolOptions{.dsn = opened.settings.dsn,
                                                        .connections = connections,
                                                        .read_only = read_only,
                                                        .primary = opened.settings.primary});
  };
  store->queries_ = pool(opened.query_connections, /*read_only=*/true);
  store->counts_ = pool(1, /*read_only=*/true);
  store->writes_ = pool(1, /*read_only=*/false);
  return store;
}

SessionStore::~SessionStore() { Drain(); }

absl::Status SessionStore::Load(SteadyTime deadline) {
  Link link({.connection = LaneConnection(options_.settings, "sessiond start"),
             .primary = options_.settings.primary,
             .connect_timeout = absl::InfiniteDuration()});
  if (auto connected = link.Connect(deadline); !connected.ok()) return connected;
  for (const v1::Workflow& workflow : options_.workflows) {
    if (auto stored = StoreWorkflow(*link, workflow, deadline); !stored.ok()) return stored;
  }
  link->Queue(kLoadIdentity);
  link->Queue(kLoadWorkflows);
  const auto results = link.RoundTrip(deadline);
  if (!results.ok()) return results.status();
  const Result& identity = (*results)[0];
  if (identity.rows() != 1)
    return absl::FailedPreconditionError("The database has no identity. Run: sessiond migrate up");
  partition_count_ = identity.Int2(0, 0);
  SawTime(identity.Timestamp(0, 2));
  page_tokens_ = std::make_unique<PageTokens>(std::string(identity.Text(0, 1)));
  catalog_ = std::make_unique<WorkflowCatalog>();
  AddWorkflows((*results)[1], *catalog_);
  workflows_read_ = (*results)[1].rows();
  return absl::OkStatus();
}

absl::Status SessionStore::Submit(Submission* submission) {
  Address(submission);
  return lanes_[submission->partition % lanes_.size()]->Submit(submission);
}

absl::Status SessionStore::CheckCapacity(SteadyTime deadline, Importance importance) {
  absl::Status refused;
  for (const auto& lane : lanes_) {
    refused = lane->Check(deadline, importance);
    if (refused.ok()) return refused;
  }
  // Which of them it would have been for is not known: by turns.
  lanes_[++turn_ % lanes_.size()]->TurnedAway(importance);
  return refused;
}

void SessionStore::Address(Submission* submission) const {
  Command& command = submission->command;
  const bool brings_request_id = BringsRequestId(command);
  const absl::Time now = Now();
  if (command.request_id.empty())
    command.request_id = MakeSessionId(v1::Workflow::UUID, now, Random()(), Random()());
  const auto* creation = std::get_if<v1::CreateSessionRequest>(&command.request);
  const absl::string_view scope = creation != nullptr ? "" : absl::string_view(command.session_id);
  submission->request_key = Digest({command.caller, scope, command.request_id});
  command.seed = SeedOf(submission->request_key);
  submission->fingerprint = std::visit(
      [](const auto& request) {
        return Digest({request.GetTypeName(), Canonical(request)});
      },
      command.request);

  // A creation's retry must find its request row, whatever session id it supplies or draws.
  if (creation != nullptr && (brings_request_id || command.session_id.empty())) {
    submission->request_partition = PartitionOf(submission->request_key, partition_count_);
    if (command.session_id.empty()) {
      command.session_id_drawn = true;
      command.session_id = MakeSessionIdIn(submission->request_partition, partition_count_,
                                           command.workflow->definition().id_format(), now,
                                           [] { return Random()(); });
    }
    submission->partition = PartitionOf(command.session_id, partition_count_);
  } else {
    submission->partition = PartitionOf(command.session_id, partition_count_);
    submission->request_partition = submission->partition;
  }
}

std::size_t SessionStore::waiting() const {
  std::size_t waiting = 0;
  for (const auto& lane : lanes_) waiting += lane->waiting();
  return waiting;
}

void SessionStore::Drain() {
  for (auto& lane : lanes_) lane->Drain();
  if (reads_ != nullptr) reads_->Drain();
  if (queries_ != nullptr) queries_->Shutdown();
  if (counts_ != nullptr) counts_->Shutdown();
  if (writes_ != nullptr) writes_->Shutdown();
}

}  // namespace sessiond::db
