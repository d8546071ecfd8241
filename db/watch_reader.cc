#include "db/watch_reader.h"

#include <algorithm>
#include <utility>

#include "db/connection/sql_error.h"
#include "db/query/session_queries.h"
#include "db/query/watch_queries.h"

namespace sessiond::db {
namespace {

bool IsBehind(const PartitionStates& states, absl::Span<const PositionRange> ranges) {
  return std::any_of(ranges.begin(), ranges.end(), [&states](const PositionRange& range) {
    return states.positions[range.partition] < range.upto;
  });
}

}  // namespace

WatchReader::WatchReader(WatchReaderOptions options, SessionStore& store)
    : store_(store),
      timeout_(options.timeout),
      pool_({.dsn = std::move(options.dsn),
             .connections = options.connections,
             .waiting_max = options.waiting_max,
             .primary = store.primary()}) {}

Answer<PartitionStates> WatchReader::GetPartitions(CallerLeft left) {
  const int32_t timeline = store_.primary()->timeline();
  auto states = co_await pool_.Ask(ReadPartitionStates(store_.partition_count()), Until(left));
  if (!states.ok()) co_return states;
  // What the old server had, the new one may lack, and whoever waited for it would wait for ever.
  if (store_.primary()->timeline() != timeline)
    co_return ConnectionLost("another server was promoted meanwhile");
  Saw(*states, timeline);
  co_return states;
}

Answer<std::optional<absl::Time>> WatchReader::GetOldestResumable(CallerLeft left) {
  co_return co_await pool_.Ask(FindOldestResumable(), Until(left));
}

Answer<StoredEvents> WatchReader::GetEvents(std::vector<PositionRange> ranges, Rewinding rewinding,
                                            std::size_t message_bytes_max, CallerLeft left) {
  for (;;) {
    auto stored =
        co_await pool_.Ask(FindStoredEvents(ranges, store_.partition_count()), Until(left));
    if (!stored.ok()) co_return stored.status();
    // What is not there would count as removed.
    if (IsBehind(stored->partitions, ranges))
      co_return ConnectionLost("changes that were seen are missing");
    auto rest = FindRestOf(&*stored, rewinding, message_bytes_max);
    if (!rest.statements.empty()) {
      const auto whole = co_await pool_.Ask(std::move(rest), Until(left));
      if (!whole.ok()) co_return whole.status();
      if (!*whole) continue;
    }
    std::vector<v1::Session*> sessions;
    for (auto& [id, session] : stored->sessions) sessions.push_back(session.get());
    const absl::Status presented = co_await store_.PresentSessions(sessions, Until(left));
    if (!presented.ok()) co_return presented;
    co_return stored;
  }
}

Answer<AsOf<Page<v1::Session>>> WatchReader::GetSessions(SessionSelection selection,
                                                         KeyValues after, int page_size,
                                                         std::size_t bytes_max, CallerLeft left) {
  const int partition_count = store_.partition_count();
  const int32_t timeline = store_.primary()->timeline();
  auto page = ListPage(selection, partition_count, after, page_size, bytes_max);
  if (!page.ok()) co_return page.status();
  auto found = co_await pool_.Ask(AskAsOf(partition_count, *std::move(page)), Until(left));
  if (!found.ok()) co_return found.status();
  Saw(found->partitions, timeline);
  auto& rows = found->found.rows;
  const std::vector<v1::Session*> sessions(rows.pointer_begin(), rows.pointer_end());
  const absl::Status presented = co_await store_.PresentSessions(sessions, Until(left));
  if (!presented.ok()) co_return presented;
  co_return found;
}

Answer<AsOf<std::vector<v1::Session>>> WatchReader::GetNamedSessions(
    std::vector<std::string> session_ids, Scope scope, CallerLeft left) {
  const int partition_count = store_.partition_count();
  const int32_t timeline = store_.primary()->timeline();
  auto found = co_await pool_.Ask(
      AskAsOf(partition_count, FindNamedSessions(session_ids, scope, partition_count)),
      Until(left));
  if (!found.ok()) co_return found.status();
  Saw(found->partitions, timeline);
  std::vector<v1::Session*> sessions;
  for (v1::Session& session : found->found) sessions.push_back(&session);
  const absl::Status presented = co_await store_.PresentSessions(sessions, Until(left));
  if (!presented.ok()) co_return presented;
  co_return found;
}

}  // namespace sessiond::db
