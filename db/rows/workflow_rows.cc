#include "db/rows/workflow_rows.h"

#include <spdlog/spdlog.h>

#include <cassert>
#include <string>
#include <utility>

#include "db/sql/statements.h"
#include "google/protobuf/util/json_util.h"

namespace sessiond::db {

void AddWorkflows(const Result& result, WorkflowCatalog& catalog) {
  for (int row = 0; row < result.rows(); ++row) {
    v1::Workflow definition;
    google::protobuf::util::JsonParseOptions options;
    options.ignore_unknown_fields = true;
    const auto parsed = google::protobuf::util::JsonStringToMessage(
        std::string(result.Jsonb(row, 2)), &definition, options);
    definition.set_revision(result.Int4(row, 1));
    auto workflow = Workflow::Restore(std::move(definition));
    if (!parsed.ok() || !workflow.ok()) {
      spdlog::error("workflow {} revision {} cannot be understood and is left out: {}",
                    std::string(result.Text(row, 0)), result.Int4(row, 1),
                    parsed.ok() ? workflow.status().ToString() : parsed.ToString());
      continue;
    }
    catalog.Add(*std::move(workflow));
  }
}

Sql InsertWorkflowSql(const v1::Workflow& definition, Unless unless) {
  v1::Workflow stored = definition;
  stored.clear_revision();
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  [[maybe_unused]] const auto written =
      google::protobuf::util::MessageToJsonString(stored, &json, options);
  assert(written.ok());  // A valid definition's durations and texts fit into JSON.
  return {kInsertWorkflow.sql,
          {stored.name(), std::move(json), unless == Unless::kAnyIsSame ? "true" : "false"}};
}

std::optional<StoredWorkflow> ReadStoredWorkflow(const Result& result) {
  if (result.rows() == 0) return std::nullopt;
  return StoredWorkflow{.revision = result.Int4(0, 0), .newest_before = result.Int4(0, 1)};
}

absl::Status StoreWorkflow(Connection& connection, const v1::Workflow& definition,
                           SteadyTime deadline) {
  const Sql insert = InsertWorkflowSql(definition, Unless::kAnyIsSame);
  std::optional<StoredWorkflow> stored;
  while (!stored.has_value()) {
    connection.QueueSql(insert.text, insert.params);
    const auto results = connection.RoundTrip(deadline);
    if (!results.ok()) return results.status();
    stored = ReadStoredWorkflow(results->front());
  }
  if (stored->revision < stored->newest_before) {
    spdlog::info(
        "workflow {} was changed since: the definition that the daemon brings along is revision "
        "{}, and revision {} is the newest",
        definition.name(), stored->revision, stored->newest_before);
  }
  return absl::OkStatus();
}

}  // namespace sessiond::db
