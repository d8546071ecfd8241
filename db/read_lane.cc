#include "db/read_lane.h"

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/time/clock.h"
#include "db/session_rows.h"
#include "db/set_params.h"
#include "db/sql_error.h"
#include "db/statements.h"
#include "db/workflow_rows.h"
#include "server/state_machine/refusal.h"

namespace sessiond::db {
namespace {

constexpr absl::Duration kConnectTimeout = absl::Seconds(2);

// Of a session kept: no position of its partition is known.
constexpr int64_t kNowhere = -1;

// To look up fewer sessions than this costs less than to ask where their partitions stand.
constexpr std::size_t kManyMin = 16;

// Which id of which lookup a key stands for.
struct Place {
  std::size_t lookup;
  std::size_t index;
};

// Distinct.
std::vector<int16_t> PartitionsOf(const std::vector<SessionKey>& keys) {
  std::set<int16_t> partitions;
  for (const SessionKey& key : keys) partitions.insert(key.partition);
  return {partitions.begin(), partitions.end()};
}

}  // namespace

Aggregate FoundSession::ToAggregate() const {
  Aggregate aggregate{.tombstone = tombstone};
  if (session != nullptr) aggregate.session.emplace().ParseFromString(session->bytes);
  return aggregate;
}

ReadLane::ReadLane(LaneSettings settings, InboxOptions inbox, std::size_t kept_bytes_max,
                   WorkflowCatalog& catalog)
    : settings_(std::move(settings)),
      catalog_(catalog),
      inbox_(inbox),
      kept_(kept_bytes_max),
      thread_([this] { Run(); }) {}

ReadLane::~ReadLane() { Drain(); }

absl::Status ReadLane::Submit(Lookup* lookup) {
  // A result takes about a kilobyte of memory while it waits to be sent.
  switch (inbox_.Push(lookup, lookup->ids.size() << 10)) {
    case Inbox<Lookup*>::Pushed::kYes:
      return absl::OkStatus();
    case Inbox<Lookup*>::Pushed::kFull:
      return Refusal(v1::OVERLOADED,
                     "More reads are waiting than the daemon takes on. Wait, then retry.")
          .RetryAfter(absl::Milliseconds(500));
    case Inbox<Lookup*>::Pushed::kClosed:
      break;
  }
  return Refusal(v1::DRAINING, "This daemon is going down. Retry at another one.")
      .RetryAfter(absl::Milliseconds(500));
}

void ReadLane::Drain() {
  inbox_.Close();
  if (thread_.joinable()) thread_.join();
}

void ReadLane::Run() {
  std::vector<Lookup*> group;
  while (inbox_.Take(&group)) {
    if (const absl::Status status = ReadGroup(group); !status.ok()) {
      for (Lookup* lookup : group) lookup->found = status;
    }
    for (Lookup* lookup : group) lookup->Done();
  }
}

// A connection that turns out to be dead is replaced once; a read may always be run again.
absl::Status ReadLane::ReadGroup(const std::vector<Lookup*>& group) {
  absl::Status status;
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (connection_ == nullptr || !connection_->alive()) {
      auto opened = Connection::Open(LaneConnection(settings_, "sessiond reads"),
                                     absl::Now() + kConnectTimeout);
      if (!opened.ok()) return opened.status();
      connection_ = *std::move(opened);
      kept_.Clear();  // It may be another database, or an older state of the same.
    }
    status = ReadOnce(group);
    if (status.ok() || connection_->alive()) return status;
  }
  return status;
}

absl::Status ReadLane::ReadOnce(const std::vector<Lookup*>& group) {
  const absl::Time now = absl::Now();
  std::vector<Place> places;
  std::vector<SessionKey> keys;
  std::vector<int64_t> known_at;
  for (std::size_t lookup = 0; lookup < group.size(); ++lookup) {
    auto& found = group[lookup]->found.emplace(group[lookup]->ids.size());
    for (std::size_t index = 0; index < found.size(); ++index) {
      const std::string& id = group[lookup]->ids[index];
      SessionKey key{group[lookup]->partitions[index], id, static_cast<int32_t>(keys.size())};
      known_at.push_back(kNowhere);
      if (const Kept* kept = kept_.Find(id); kept != nullptr && now < kept->session->until) {
        found[index].session = kept->session;
        key.sequence = kept->session->sequence;
        known_at.back() = kept->position;
      }
      places.push_back({lookup, index});
      keys.push_back(key);
    }
  }
  const std::vector<int16_t> partitions = PartitionsOf(keys);
  Params find = SetParams(partitions, keys, WriteSessionKey);
  const bool many = keys.size() >= kManyMin;
  if (many) {
    // Before the sessions: what is found is what there was at these positions, or newer.
    Params ask;
    ask.AddInt2Array(partitions);
    connection_->Queue(kReadPositions, std::move(ask));
    find.AddInt8Array(known_at);
    connection_->Queue(kFindMovedSessions, std::move(find));
  } else {
    connection_->Queue(kFindChangedSessions, std::move(find));
  }
  const auto results = connection_->Trip(absl::Now() + 2 * settings_.statement_timeout);
  if (!results.ok()) return results.status();

  const Result& rows = results->back();
  for (int row = 0; row < rows.rows(); ++row) {
    const Place place = places[rows.Int4(row, 0)];
    FoundSession& found = (*group[place.lookup]->found)[place.index];
    found.session = nullptr;
    if (rows.IsNull(row, 1)) continue;
    v1::Session session;
    ReadSession(rows, row, 1, &session);
    auto presented = Presented(std::move(session));
    if (!presented.ok()) return presented.status();
    found.session = std::make_shared<const PresentedSession>(*std::move(presented));
  }

  absl::flat_hash_map<int16_t, int64_t> positions;
  if (many) {
    const Result& stand = results->front();
    for (int row = 0; row < stand.rows(); ++row) positions[stand.Int2(row, 0)] = stand.Int8(row, 1);
  }
  for (const SessionKey& key : keys) {
    const Place place = places[key.ix];
    const auto position = positions.find(key.partition);
    Keep(key.id, (*group[place.lookup]->found)[place.index].session, now,
         position == positions.end() ? kNowhere : position->second);
  }
  return FindTombstones(group);
}

void ReadLane::Keep(absl::string_view id, const std::shared_ptr<const PresentedSession>& session,
                    absl::Time now, int64_t position) {
  if (session == nullptr || session->until <= now) return kept_.Drop(id);
  Kept* const kept = kept_.Find(id);
  if (kept != nullptr && kept->session == session) {
    kept->position = std::max(kept->position, position);
  } else {
    kept_.Keep(std::string(id), {session, position},
               sizeof(PresentedSession) + session->bytes.size());
  }
}

absl::StatusOr<PresentedSession> ReadLane::Presented(v1::Session session) {
  auto workflow = catalog_.Find(session.workflow(), session.workflow_revision());
  if (workflow == nullptr) {
    // Another daemon made a new revision.
    connection_->Queue(kLoadWorkflows);
    const auto loaded = connection_->Trip(absl::Now() + 2 * settings_.statement_timeout);
    if (!loaded.ok()) return loaded.status();
    AddWorkflows((*loaded)[0], catalog_);
    workflow = catalog_.Find(session.workflow(), session.workflow_revision());
  }
  if (workflow != nullptr) Present(*workflow, absl::Now(), &session);
  return PresentedSession{
      .bytes = session.SerializeAsString(),
      .sequence = session.sequence(),
      .deleted = session.state() == v1::Session::DELETED,
      .until = workflow == nullptr ? absl::InfinitePast() : PresentedUntil(session)};
}

absl::Status ReadLane::FindTombstones(const std::vector<Lookup*>& group) {
  std::vector<Place> missing;
  std::vector<SessionKey> keys;
  for (std::size_t lookup = 0; lookup < group.size(); ++lookup) {
    for (std::size_t index = 0; index < group[lookup]->ids.size(); ++index) {
      if ((*group[lookup]->found)[index].session != nullptr) continue;
      missing.push_back({lookup, index});
      keys.push_back({group[lookup]->partitions[index], group[lookup]->ids[index],
                      static_cast<int32_t>(keys.size())});
    }
  }
  if (missing.empty()) return absl::OkStatus();
  connection_->Queue(kFindTombstones, SetParams(PartitionsOf(keys), keys, WriteSessionKey));
  const auto results = connection_->Trip(absl::Now() + 2 * settings_.statement_timeout);
  if (!results.ok()) return results.status();
  const Result& rows = (*results)[0];
  for (int row = 0; row < rows.rows(); ++row) {
    const Place place = missing[rows.Int4(row, 0)];
    (*group[place.lookup]->found)[place.index].tombstone =
        Tombstone{.archive_time = rows.Timestamp(row, 1)};
  }
  return absl::OkStatus();
}

}  // namespace sessiond::db
