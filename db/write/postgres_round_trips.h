// Round trips to PostgreSQL: queues the statements of what is asked, and reads their results.
#pragma once

#include <string>
#include <vector>

#include "db/connection/lane_settings.h"
#include "db/connection/link.h"
#include "db/write/round_trips.h"
#include "state_machine/workflow_catalog.h"

namespace sessiond::db {

class PostgresRoundTrips : public RoundTrips {
 public:
  // New workflow revisions go into `catalog`, which outlives it.
  PostgresRoundTrips(const LaneSettings& settings, const std::string& application_name,
                     WorkflowCatalog& catalog);

  absl::Status Connect() override { return link_.Connect(); }
  void Close() override { link_.Close(); }
  int openings() const override { return link_.openings(); }
  SteadyTime lost_since() const override { return link_.lost_since(); }
  void Pause(absl::Duration duration) override;

  absl::StatusOr<GroupFinds> LookUp(const GroupLookups& lookups, SteadyTime until) override;
  absl::StatusOr<Written> Write(const GroupRows& rows, SteadyTime until) override;
  absl::Status End(bool commit) override;
  absl::Status RollBack() override;
  absl::StatusOr<FoundLocked> FindLocked(const std::vector<int16_t>& partitions,
                                         const std::vector<SessionKey>& sessions) override;

 private:
  absl::StatusOr<std::vector<Result>> Send();

  const LaneSettings settings_;
  WorkflowCatalog& catalog_;
  Link link_;
};

}  // namespace sessiond::db
