#include "db/workflow_rows.h"

#include <spdlog/spdlog.h>

#include "db/statements.h"
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
    auto workflow = Workflow::Make(std::move(definition));
    if (!parsed.ok() || !workflow.ok()) {
      spdlog::error("workflow {} revision {} cannot be understood and is left out: {}",
                    std::string(result.Text(row, 0)), result.Int4(row, 1),
                    workflow.status().ToString());
      continue;
    }
    catalog.Add(*std::move(workflow));
  }
}

absl::Status StoreWorkflow(Connection& connection, const v1::Workflow& definition,
                           absl::Time deadline) {
  v1::Workflow stored = definition;
  stored.clear_revision();
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  if (!google::protobuf::util::MessageToJsonString(stored, &json, options).ok()) {
    return absl::InternalError("a workflow definition could not be written as JSON");
  }
  connection.Queue(kBegin);
  connection.Queue(kLockWorkflows);
  Params params;
  params.AddText(definition.name());
  params.AddText(std::string(1, '\x01') + json);  // jsonb's wire format begins with its version, 1.
  connection.Queue(kInsertWorkflow, std::move(params));
  connection.Queue(kCommit);
  return connection.Trip(deadline).status();
}

}  // namespace sessiond::db
