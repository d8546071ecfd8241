#include "db/connection/link.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "db/connection/dial.h"
#include "db/connection/sql_error.h"
#include "db/sql/statements.h"

namespace sessiond::db {
namespace {

// Between attempts to connect: the first is shorter than a restart of PostgreSQL (0.1 s at least),
// the last short enough to serve again well within 2 s of it.
constexpr absl::Duration kPauseMin = absl::Milliseconds(50);
constexpr absl::Duration kPauseMax = absl::Milliseconds(400);

// By how much an attempt may take longer, where servers are slow.
constexpr int kSlowerMax = 8;

// How often a connection in use is asked what it leads to.
constexpr absl::Duration kAskPeriod = absl::Seconds(1);

// A round trip takes milliseconds. If nothing has arrived for a second, it is slow, or nothing will
// ever arrive; the latter is likely if another connection has just turned out to be silent.
constexpr absl::Duration kSilence = absl::Seconds(1);
constexpr absl::Duration kSilenceInDoubt = absl::Milliseconds(200);

}  // namespace

Link::Link(LinkOptions options)
    : options_(std::move(options)),
      primary_(*options_.primary),
      pause_(kPauseMin),
      attempt_max_(options_.connect_timeout) {}

absl::Status Link::Connect(SteadyTime deadline) {
  // Another link has seen a newer primary than the one that this leads to.
  if (connected() && held_.timeline != 0 && held_.timeline < primary_.timeline()) {
    Lost(ConnectionLost(absl::StrCat("it leads to an old primary, of timeline ", held_.timeline)));
    primary_.Doubt();
  }
  if (connected()) return absl::OkStatus();
  if (held_.connection != nullptr) Lost(ConnectionLost("it is closed"));

  const SteadyTime now = SteadyTime::Now();
  absl::StatusOr<Held> opened = std::move(successor_);
  successor_ = {};
  if (opened->connection == nullptr || !opened->connection->alive()) {
    if (now < next_attempt_ && openings_of_all_ == primary_.openings()) return why_;
    opened = Open(std::min(deadline, now + attempt_max_));
  }
  if (!opened.ok()) {
    Lost(opened.status());
    why_ = opened.status();
    openings_of_all_ = primary_.openings();
    next_attempt_ = SteadyTime::Now() + pause_;
    pause_ = std::min(2 * pause_, kPauseMax);
    // Its time has run out, and not because nobody was there.
    const bool slow = SteadyTime::Now() >= now + attempt_max_ &&
                      (WasAccepted(opened.status()) || SqlStateOf(opened.status()) != "08001");
    attempt_max_ = slow ? std::min(2 * attempt_max_, kSlowerMax * options_.connect_timeout)
                        : options_.connect_timeout;
    return opened.status();
  }
  held_ = *std::move(opened);
  held_.connection->OnSilence([this] { return StillHears(); });
  why_ = absl::OkStatus();
  pause_ = kPauseMin;
  attempt_max_ = options_.connect_timeout;
  next_attempt_ = SteadyTime::InfinitePast();
  primary_.Opened();
  ++openings_;
  if (lost_since_ != SteadyTime::InfiniteFuture()) {
    if (!options_.quiet)
      spdlog::info("{}: connected to the database again", options_.connection.application_name);
    lost_since_ = SteadyTime::InfiniteFuture();
  }
  return absl::OkStatus();
}

void Link::Lost(const absl::Status& why) {
  Close();
  const bool is_news = lost_since_ == SteadyTime::InfiniteFuture();
  if (is_news) lost_since_ = SteadyTime::Now();
  if (options_.quiet || (!is_news && SqlStateOf(why) == SqlStateOf(why_))) return;  // Was logged.
  spdlog::warn("{}: {} (sqlstate {}): {}", options_.connection.application_name,
               is_news ? "the connection to the database is lost" : "no connection to the database",
               SqlStateOf(why), TroubleOf(why));
}

absl::StatusOr<Link::Held> Link::Open(SteadyTime deadline) {
  ConnectionOptions options = options_.connection;
  options.seen = primary_.seen();
  for (;;) {
    auto connection = Connection::Open(options, deadline);
    if (!connection.ok()) return connection.status();
    Held held{.connection = *std::move(connection)};
    const Seen before = primary_.seen();
    doubts_ = primary_.doubts();
    QueueQuestion(*held.connection, /*with_positions=*/true);
    const auto answer = held.connection->RoundTrip(deadline);
    if (!answer.ok() && SqlStateOf(answer.status()) == "42501" && !asks_less_) {
      spdlog::warn(
          "{}: old primaries are told by what is missing from them only: GRANT EXECUTE ON "
          "FUNCTION pg_control_system, pg_walfile_name, pg_current_wal_insert_lsn to the role",
          options_.connection.application_name);
      asks_less_ = true;
      continue;
    }
    if (!answer.ok()) return answer.status();
    if (absl::Status fit = TakeAnswer(answer->front(), &answer->back(), before, &held); !fit.ok())
      return fit;
    asked_ = SteadyTime::Now();
    return held;
  }
}

void Link::QueueQuestion(Connection& connection, bool with_positions) const {
  connection.QueueSql(asks_less_ ? kAskServerLess.sql : kAskServer.sql);
  if (with_positions) connection.QueueSql(kReadAllPositions.sql);
}

absl::Status Link::TakeAnswer(const Result& answer, const Result* positions, const Seen& before,
                              Held* held) {
  ServerState state = ReadServerState(answer);
  if (positions != nullptr && !positions->IsNull(0, 0))
    state.positions = positions->Int8Array(0, 0);
  held->timeline = state.timeline;
  held->backend_pid = answer.Int4(0, 4);
  held->server_started = answer.Int8(0, 5);
  return primary_.Weigh(state, before, options_.writes);
}

void Link::LimitStatements(SteadyTime until, absl::Duration usual) {
  const absl::Duration left = until - SteadyTime::Now();
  if (left >= usual) return;
  BinaryParams timeout;
  timeout.AddText(absl::StrCat(std::max<int64_t>(0, absl::ToInt64Milliseconds(left)) + 1));
  held_.connection->Queue(kLimitStatements, std::move(timeout));
  limited_ = true;
}

absl::StatusOr<std::vector<Result>> Link::RoundTrip(SteadyTime deadline) {
  const SteadyTime now = SteadyTime::Now();
  const int64_t doubts = primary_.doubts();
  const bool ask = now - asked_ >= kAskPeriod || doubts != doubts_;
  std::optional<Seen> before;
  if (ask) {
    before = primary_.seen();
    // Last, when no transaction is in a failed state: else it would be skipped.
    QueueQuestion(**this, options_.watches_positions);
  }
  const bool limited = std::exchange(limited_, false);
  held_.connection->SetSilence(silences_ == primary_.silences() ? kSilence : kSilenceInDoubt);
  auto results = held_.connection->RoundTrip(deadline);
  if (!results.ok()) {
    if (ConnectionIsGone(results.status())) {
      Lost(results.status());
    } else {
      successor_ = {};
    }
    return results;
  }
  successor_ = {};
  silences_ = primary_.silences();
  if (limited) results->erase(results->begin());
  if (!ask) return results;
  const bool watched = options_.watches_positions;
  const auto answer = results->end() - (watched ? 2 : 1);
  const absl::Status fit =
      TakeAnswer(*answer, watched ? &results->back() : nullptr, *before, &held_);
  if (!fit.ok()) {
    Lost(fit);
    primary_.Doubt();
    return fit;
  }
  results->erase(answer, results->end());
  asked_ = now;
  doubts_ = doubts;
  return results;
}

// Called during a round trip in which nothing has arrived for a while.
bool Link::StillHears() {
  const SteadyTime deadline = SteadyTime::Now() + options_.find_out_time;
  if (successor_.connection == nullptr) {
    auto opened = Open(deadline);
    // A server that answers, even if only to refuse connections, may be busy; one that does not
    // answer is gone, with what was sent to it.
    if (!opened.ok()) return SqlStateOf(opened.status()) != "08001";
    successor_ = *std::move(opened);
  }
  successor_.connection->QueueSql(kEndSilentBackend.sql, {{absl::StrCat(held_.backend_pid),
                                                           absl::StrCat(held_.server_started)}});
  const auto answer = successor_.connection->RoundTrip(deadline);
  const bool hears = answer.ok() && answer->front().rows() == 1 && !answer->front().Bool(0, 0);
  if (!hears) primary_.FellSilent();
  return hears;
}

}  // namespace sessiond::db
