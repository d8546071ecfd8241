#include "server/ops/sweeper.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "db/blocking.h"
#include "db/statements.h"
#include "server/ops/log.h"
#include "server/state_machine/decide.h"

namespace sessiond {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(10);

// Batches of a sweep; what is left over is for the next one.
constexpr int kBatchesMax = 20;

db::Params TimeParam(absl::Time time) {
  db::Params params;
  params.AddTimestamp(time);
  return params;
}

}  // namespace

Sweeper::Sweeper(SweeperOptions options, db::SessionStore& store)
    : options_(std::move(options)), store_(store), thread_([this] { Run(); }) {}

Sweeper::~Sweeper() {
  stop_.Notify();
  thread_.join();
}

void Sweeper::Run() {
  do {
    if (const absl::Status swept = Sweep(); !swept.ok()) {
      connection_.reset();
      Log(LogLevel::kWarn, "sweeper", "a sweep was cut short; the next one goes on",
          {{"status", swept.message()}});
    }
  } while (!stop_.WaitForNotificationWithTimeout(options_.period));
}

absl::Status Sweeper::Sweep() {
  if (connection_ == nullptr || !connection_->alive()) {
    auto opened = db::Connection::Open(db::LaneConnection(options_.settings, "sessiond sweeper"),
                                       absl::Now() + kTimeout);
    if (!opened.ok()) return opened.status();
    connection_ = *std::move(opened);
  }
  connection_->Queue(db::kLoadIdentity);
  const auto identity = connection_->Trip(absl::Now() + kTimeout);
  if (!identity.ok()) return identity.status();
  const absl::Time now = (*identity)[0].Timestamp(0, 2);
  if (auto deleted = DeleteStaleCreations(now); !deleted.ok()) return deleted;
  return PurgeRequests(now);
}

absl::Status Sweeper::DeleteStaleCreations(absl::Time now) {
  connection_->Queue(db::kFindStaleCreations, TimeParam(now - options_.creating_max));
  const auto found = connection_->Trip(absl::Now() + kTimeout);
  if (!found.ok()) return found.status();
  for (int row = 0; row < (*found)[0].rows(); ++row) {
    const std::string session_id((*found)[0].Text(row, 0));
    v1::DeleteSessionRequest request;
    request.set_session_id(session_id);
    request.set_reason("left in CREATING for too long");
    // Whatever became of it meanwhile is none of ours.
    request.set_etag(absl::StrCat("r", (*found)[0].Int4(row, 1)));
    request.set_request_id(absl::StrCat("stale-creation-", session_id));
    const auto outcome = db::SubmitAndWait(store_, {.request = request,
                                                    .caller = "system",
                                                    .request_id = request.request_id(),
                                                    .session_id = session_id,
                                                    .by_timeout = true});
    if (!outcome.ok() || outcome->events.empty()) continue;  // Another daemon was first.
    Log(LogLevel::kInfo, "sweeper", "deleted a session left in CREATING",
        {{"session", session_id}});
  }
  return absl::OkStatus();
}

absl::Status Sweeper::PurgeRequests(absl::Time now) {
  for (int batch = 0; batch < kBatchesMax; ++batch) {
    connection_->Queue(db::kPurgeRequests, TimeParam(now - options_.requests_kept));
    const auto purged = connection_->Trip(absl::Now() + kTimeout);
    if (!purged.ok()) return purged.status();
    if ((*purged)[0].affected() == 0) break;
  }
  return absl::OkStatus();
}

}  // namespace sessiond
