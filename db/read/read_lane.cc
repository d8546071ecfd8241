#include "db/read/read_lane.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/time/clock.h"
#include "db/connection/connection.h"
#include "db/connection/link.h"
#include "db/connection/sql_error.h"
#include "db/rows/resource_rows.h"
#include "db/rows/set_params.h"
#include "db/sql/statements.h"
#include "state_machine/preconditions.h"
#include "state_machine/present.h"
#include "state_machine/refusal.h"

namespace sessiond::db {
namespace {

constexpr const Statement* kReadStatements[] = {&kFindChangedSessions, &kFindMovedSessions,
                                                &kFindSessionScopes,   &kFindTombstones,
                                                &kLimitStatements,     &kReadPositions};

// Looking up fewer sessions than this costs less than asking for their partitions' positions.
constexpr std::size_t kManyMin = 16;

// How many overflow readers there are, and how many lookups each takes at once: large groups save
// CPU, small ones let the disk serve more reads in parallel.
constexpr int kOverflowReaders = 4;
constexpr std::size_t kOverflowGroupMax = 64;

LinkOptions LinkOf(const LaneSettings& settings) {
  LinkOptions options{.connection = LaneConnection(settings, "sessiond reads"),
                      .primary = settings.primary,
                      .writes = false};
  options.connection.statements = kReadStatements;
  return options;
}

LaneInboxOptions ReadsInbox(LaneInboxOptions inbox) {
  inbox.items = "reads";
  inbox.elsewhere = "Retry at another one.";
  inbox.sheds = true;
  return inbox;
}

LaneInboxOptions OverflowInbox(LaneInboxOptions inbox) {
  inbox.group_items_max = kOverflowGroupMax;
  inbox.sheds = false;  // Several threads take from it.
  return inbox;
}

// A result takes about a kilobyte of memory while it waits to be sent.
std::size_t BytesOf(const Lookup& lookup) { return lookup.ids.size() << 10; }

// Moves the lookup into `inbox`, or answers it with the refusal.
void PushOrAnswer(Lookup* lookup, LaneInbox<Lookup*>& inbox) {
  // It was let in already.
  absl::Status pushed =
      inbox.Push(lookup, BytesOf(*lookup), SteadyTime::InfiniteFuture(), Importance::kHigh);
  if (pushed.ok()) return;
  lookup->found = std::move(pushed);
  lookup->Done();
}

void Refuse(Lookup* lookup, absl::Status why) { lookup->found = std::move(why); }

// Distinct.
std::vector<int16_t> PartitionsOf(const std::vector<SessionKey>& keys) {
  std::set<int16_t> partitions;
  for (const SessionKey& key : keys) partitions.insert(key.partition);
  return {partitions.begin(), partitions.end()};
}

// By partition. Nothing if they were not asked for, as in small groups.
absl::flat_hash_map<int16_t, int64_t> PositionsOf(absl::Span<const Result> results) {
  absl::flat_hash_map<int16_t, int64_t> positions;
  if (results.size() < 2) return positions;
  const Result& rows = results.front();
  for (int row = 0; row < rows.rows(); ++row) positions[rows.Int2(row, 0)] = rows.Int8(row, 1);
  return positions;
}

// Gives each lookup what was found for its ids, one lookup's after the other's.
void HandOut(std::vector<FoundSession> found, const std::vector<Lookup*>& group) {
  auto next = std::make_move_iterator(found.begin());
  for (Lookup* lookup : group) {
    const auto begin = next;
    next += static_cast<std::ptrdiff_t>(lookup->ids.size());
    lookup->found.emplace(begin, next);
  }
}

}  // namespace

Aggregate FoundSession::ToAggregate() const {
  Aggregate aggregate{.tombstone = tombstone};
  if (session != nullptr) aggregate.session.emplace().ParseFromString(session->bytes);
  return aggregate;
}

void FoundSession::Hide(const Scope& scope) {
  if (scope.everything()) return;
  if (session != nullptr && !scope.Has(session->namespace_name, session->owner_id))
    session = nullptr;
  if (tombstone.has_value() && !scope.Has(tombstone->namespace_name, tombstone->owner_id))
    tombstone.reset();
}

absl::Status FoundSession::Check(absl::string_view session_id, bool include_deleted) const {
  if (session != nullptr && (include_deleted || !session->deleted)) return absl::OkStatus();
  return CheckExists(session_id, ToAggregate(), /*scope=*/{}, include_deleted);
}

// One thread's connection, opened on demand, and its queries.
class ReadLane::Reader {
 public:
  explicit Reader(ReadLane& lane)
      : settings_(lane.settings_),
        catalog_(lane.catalog_),
        clock_(lane.clock_),
        cache_(lane.cache_),
        link_(LinkOf(lane.settings_)) {}

  // Does nothing if already connected.
  absl::Status Connect();
  // Afterwards all of the group are done.
  void Serve(const std::vector<Lookup*>& group);

 private:
  absl::Status ReadGroup(const std::vector<Lookup*>& group);
  absl::Status ReadOnce(const std::vector<Lookup*>& group);
  // Of the keys those whose sessions may be loaded: they are in the scope of who asked for them.
  absl::StatusOr<std::vector<SessionKey>> FindInScope(std::vector<SessionKey> keys,
                                                      absl::Span<const Scope* const> scopes);
  // Of the keys of askers with a scope those whose sessions are not cached, or out of it: what is
  // hidden goes the same way as what is not there.
  std::vector<SessionKey> NotCachedInScope(const std::vector<SessionKey>& keys,
                                           absl::Span<const Scope* const> scopes);
  // For each key, by its `ix`, the session that is there.
  absl::Status FindSessions(std::vector<SessionKey> keys, std::vector<FoundSession>* found);
  // The sessions that are not as they are cached; of many keys their partitions' positions first.
  // `cached`: for each key.
  absl::StatusOr<std::vector<Result>> AskForChanges(const std::vector<SessionKey>& keys,
                                                    absl::Span<const CachedSession> cached);
  // Replaces those that have changed.
  void TakeChanges(const Result& rows, std::vector<CachedSession>* sessions) const;
  PresentedSession Presented(v1::Session session) const;
  // For each key, by its `ix`, whose session was not found.
  absl::Status FindTombstones(const std::vector<SessionKey>& keys,
                              std::vector<FoundSession>* found);
  // The connection, for the statements of a round trip: they end when nobody waits for the group
  // any more.
  Connection& BeginRoundTrip();
  absl::StatusOr<std::vector<Result>> RoundTrip();

  const LaneSettings& settings_;
  const WorkflowCatalog& catalog_;
  const DatabaseClock& clock_;
  ReadCache& cache_;
  Link link_;
  // The cache's count of openings when it was opened.
  int openings_ = 0;
  // The last deadline of the group that is read.
  SteadyTime last_deadline_;
};

ReadLane::ReadLane(LaneSettings settings, LaneInboxOptions inbox, std::size_t cache_bytes_max,
                   const WorkflowCatalog& catalog, const DatabaseClock& clock)
    : settings_(std::move(settings)),
      catalog_(catalog),
      clock_(clock),
      inbox_(ReadsInbox(inbox)),
      overflow_(OverflowInbox(ReadsInbox(inbox))),
      cache_(cache_bytes_max),
      thread_([this] { Read(); }) {
  for (int i = 0; i < kOverflowReaders; ++i)
    overflow_threads_.emplace_back([this] { ReadOverflow(); });
}

ReadLane::~ReadLane() { Drain(); }

absl::Status ReadLane::Submit(Lookup* lookup) {
  return inbox_.Push(lookup, BytesOf(*lookup), lookup->deadline.time);
}

void ReadLane::Drain() {
  inbox_.Close();
  if (thread_.joinable()) thread_.join();
  overflow_.Close();  // From now on nothing is passed on.
  for (std::thread& thread : overflow_threads_) {
    if (thread.joinable()) thread.join();
  }
}

void ReadLane::Read() {
  Reader reader(*this);
  std::vector<Lookup*> group, late;
  while (inbox_.Take(&group, &late)) {
    RefuseLate(late, inbox_, Refuse);
    AnswerExpired(&group, Refuse);
    // One session alone is not worth waking a thread; later lookups wait for it.
    const bool alone = group.size() == 1 && group[0]->ids.size() == 1;
    if (!alone) PassOn(&group);
    reader.Serve(group);
  }
}

void ReadLane::ReadOverflow() {
  Reader reader(*this);
  std::vector<Lookup*> group;
  while (overflow_.Take(&group)) {
    AnswerExpired(&group, Refuse);
    if (reader.Connect().ok()) {
      reader.Serve(group);
      continue;
    }
    // The database may limit connections: back to the lane's one connection.
    for (Lookup* lookup : group) {
      lookup->stays = true;
      PushOrAnswer(lookup, inbox_);
    }
  }
}

void ReadLane::PassOn(std::vector<Lookup*>* group) {
  std::erase_if(*group, [this](Lookup* lookup) {
    if (lookup->stays || cache_.Knows(lookup->ids, lookup->scope)) return false;
    PushOrAnswer(lookup, overflow_);
    return true;
  });
}

void ReadLane::Reader::Serve(const std::vector<Lookup*>& group) {
  if (group.empty()) return;
  if (const absl::Status status = ReadGroup(group); !status.ok()) {
    const SteadyTime now = SteadyTime::Now();
    for (Lookup* lookup : group) {
      const absl::Status late = lookup->deadline.Check(now);
      lookup->found = late.ok() ? status : late;
    }
  }
  for (Lookup* lookup : group) lookup->Done();
}

// A connection that turns out to be dead is replaced once; a read may always be repeated.
absl::Status ReadLane::Reader::ReadGroup(const std::vector<Lookup*>& group) {
  absl::Status status;
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (status = Connect(); !status.ok()) return status;
    status = ReadOnce(group);
    if (status.ok() || link_.connected()) return status;
  }
  return status;
}

absl::Status ReadLane::Reader::Connect() {
  const int openings = link_.openings();
  if (absl::Status connected = link_.Connect(); !connected.ok()) return connected;
  if (link_.openings() != openings) openings_ = cache_.Opened();
  return absl::OkStatus();
}

Connection& ReadLane::Reader::BeginRoundTrip() {
  link_.LimitStatements(last_deadline_, settings_.statement_timeout);
  return *link_;
}

absl::StatusOr<std::vector<Result>> ReadLane::Reader::RoundTrip() {
  return link_.RoundTrip(SteadyTime::Now() + 2 * settings_.statement_timeout);
}

absl::Status ReadLane::Reader::ReadOnce(const std::vector<Lookup*>& group) {
  std::vector<SessionKey> keys;
  std::vector<const Scope*> scopes;
  last_deadline_ = SteadyTime::InfinitePast();
  for (const Lookup* lookup : group) {
    last_deadline_ = std::max(last_deadline_, lookup->deadline.time);
    for (std::size_t i = 0; i < lookup->ids.size(); ++i) {
      keys.push_back({lookup->partitions[i], lookup->ids[i], static_cast<int32_t>(keys.size())});
      scopes.push_back(&lookup->scope);
    }
  }
  std::vector<FoundSession> found(keys.size());
  auto in_scope = FindInScope(keys, scopes);
  if (!in_scope.ok()) return in_scope.status();
  absl::Status status = FindSessions(*std::move(in_scope), &found);
  if (status.ok()) status = FindTombstones(keys, &found);
  if (status.ok()) HandOut(std::move(found), group);
  return status;
}

absl::StatusOr<std::vector<SessionKey>> ReadLane::Reader::FindInScope(
    std::vector<SessionKey> keys, absl::Span<const Scope* const> scopes) {
  const std::vector<SessionKey> unknown = NotCachedInScope(keys, scopes);
  if (unknown.empty()) return keys;
  BeginRoundTrip().Queue(kFindSessionScopes,
                         SetParams(PartitionsOf(unknown), unknown, WriteSessionKey));
  const auto results = RoundTrip();
  if (!results.ok()) return results.status();
  std::vector<bool> visible(scopes.size(), true);
  for (const SessionKey& key : unknown) visible[key.ix] = false;
  const Result& rows = results->front();
  for (int row = 0; row < rows.rows(); ++row) {
    const int32_t ix = rows.Int4(row, 0);
    visible[ix] = scopes[ix]->Has(rows.Text(row, 1), rows.Text(row, 2));
  }
  std::erase_if(keys, [&visible](const SessionKey& key) { return !visible[key.ix]; });
  return keys;
}

std::vector<SessionKey> ReadLane::Reader::NotCachedInScope(const std::vector<SessionKey>& keys,
                                                           absl::Span<const Scope* const> scopes) {
  std::vector<SessionKey> restricted;
  std::vector<absl::string_view> ids;
  for (const SessionKey& key : keys) {
    if (scopes[key.ix]->everything()) continue;
    restricted.push_back(key);
    ids.push_back(key.id);
  }
  if (restricted.empty()) return restricted;
  const std::vector<CachedSession> cached = cache_.Find(ids, clock_.Estimate(), openings_);
  auto next = cached.begin();
  std::erase_if(restricted, [&](const SessionKey& key) {
    const auto& session = next++->session;
    return session != nullptr && scopes[key.ix]->Has(session->namespace_name, session->owner_id);
  });
  return restricted;
}

absl::Status ReadLane::Reader::FindSessions(std::vector<SessionKey> keys,
                                            std::vector<FoundSession>* found) {
  if (keys.empty()) return absl::OkStatus();
  // Here an `ix` is a place in `keys`.
  std::vector<int32_t> places;
  std::vector<absl::string_view> ids;
  for (SessionKey& key : keys) {
    places.push_back(std::exchange(key.ix, static_cast<int32_t>(places.size())));
    ids.push_back(key.id);
  }
  const absl::Time now = clock_.Estimate();
  std::vector<CachedSession> sessions = cache_.Find(ids, now, openings_);
  for (SessionKey& key : keys) {
    if (const auto& session = sessions[key.ix].session; session != nullptr)
      key.sequence = session->sequence;
  }
  const auto results = AskForChanges(keys, sessions);
  if (!results.ok()) return results.status();
  TakeChanges(results->back(), &sessions);
  const auto positions = PositionsOf(*results);
  for (const SessionKey& key : keys) {
    const auto position = positions.find(key.partition);
    sessions[key.ix].position = position == positions.end() ? kNoPosition : position->second;
  }
  cache_.Put(ids, sessions, now, openings_);
  for (std::size_t i = 0; i < places.size(); ++i)
    (*found)[places[i]].session = std::move(sessions[i].session);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Result>> ReadLane::Reader::AskForChanges(
    const std::vector<SessionKey>& keys, absl::Span<const CachedSession> cached) {
  const std::vector<int16_t> partitions = PartitionsOf(keys);
  BinaryParams find = SetParams(partitions, keys, WriteSessionKey);
  Connection& connection = BeginRoundTrip();
  if (keys.size() < kManyMin) {
    connection.Queue(kFindChangedSessions, std::move(find));
    return RoundTrip();
  }
  // Before the sessions: what is found is as of these positions, or newer.
  BinaryParams ask;
  ask.AddInt2Array(partitions);
  connection.Queue(kReadPositions, std::move(ask));
  std::vector<int64_t> known_at;
  for (const CachedSession& each : cached) known_at.push_back(each.position);
  find.AddInt8Array(known_at);
  connection.Queue(kFindMovedSessions, std::move(find));
  return RoundTrip();
}

void ReadLane::Reader::TakeChanges(const Result& rows, std::vector<CachedSession>* sessions) const {
  for (int row = 0; row < rows.rows(); ++row) {
    std::shared_ptr<const PresentedSession>& session = (*sessions)[rows.Int4(row, 0)].session;
    session = nullptr;
    if (rows.IsNull(row, 1)) continue;
    v1::Session read;
    ReadSession(rows, row, 1, &read);
    session = std::make_shared<const PresentedSession>(Presented(std::move(read)));
  }
}

PresentedSession ReadLane::Reader::Presented(v1::Session session) const {
  const auto workflow = catalog_.Find(session.workflow(), session.workflow_revision());
  if (workflow != nullptr) Present(*workflow, clock_.Estimate(), &session);
  return PresentedSession{
      .bytes = session.SerializeAsString(),
      .namespace_name = session.namespace_(),
      .owner_id = session.owner_id(),
      .sequence = session.sequence(),
      .deleted = session.state() == v1::Session::DELETED,
      .workflow_known = workflow != nullptr,
      .until = workflow == nullptr ? absl::InfinitePast() : PresentedUntil(session)};
}

absl::Status ReadLane::Reader::FindTombstones(const std::vector<SessionKey>& keys,
                                              std::vector<FoundSession>* found) {
  std::vector<SessionKey> missing;
  for (const SessionKey& key : keys) {
    if ((*found)[key.ix].session == nullptr) missing.push_back(key);
  }
  if (missing.empty()) return absl::OkStatus();
  BeginRoundTrip().Queue(kFindTombstones,
                         SetParams(PartitionsOf(missing), missing, WriteSessionKey));
  const auto results = RoundTrip();
  if (!results.ok()) return results.status();
  const Result& rows = (*results)[0];
  for (int row = 0; row < rows.rows(); ++row) {
    (*found)[rows.Int4(row, 0)].tombstone = ReadTombstone(rows, row, 1);
  }
  return absl::OkStatus();
}

}  // namespace sessiond::db
