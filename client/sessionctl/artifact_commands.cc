// `sessionctl artifact …`: the files and tickets of a session.
#include <memory>

#include "client/sessionctl/flags.h"
#include "client/sessionctl/json_lines.h"
#include "client/sessionctl/run.h"
#include "client/sessionctl/views.h"

namespace sessiond::ctl {
namespace {

struct Add {
  v1::AddArtifactsRequest request;
  v1::SessionArtifact artifact;  // One artifact, from the flags.
  Text json_lines;               // The file of many.
};

std::vector<v1::SessionArtifact> ArtifactsOf(const Add& add) {
  if (!add.json_lines.empty()) {
    return ReadJsonLines<v1::SessionArtifact>("--from", add.json_lines);
  }
  if (add.artifact.kind() == v1::SessionArtifact::KIND_UNSPECIFIED) {
    throw CLI::ValidationError("add", "what? Give --kind, or many with --from");
  }
  return {add.artifact};
}

absl::Status AddAll(Run& run, Add& add) {
  ListPrinter printer(run.format, ArtifactColumns());
  int added = 0;
  const absl::Status status = ChangeInBatches(
      run, add.request, ArtifactsOf(add), &v1::AddArtifactsRequest::mutable_artifacts,
      &ArtifactClient::AddArtifacts, [&](const v1::AddArtifactsResponse& response) {
        for (const auto& artifact : response.artifacts()) {
          printer.Add(artifact, {ArtifactRow(artifact)}, artifact.artifact_id());
          ++added;
        }
      });
  if (!status.ok()) {
    if (added > 0) std::cerr << "The first " << added << " were added.\n";
    return status;
  }
  printer.Finish();
  return absl::OkStatus();
}

CLI::Option* AddKind(CLI::App& app, const Text& description,
                     std::function<void(v1::SessionArtifact::Kind)> set) {
  return AddText(app, "--kind", "file|ticket", description, [set](const Text& text) {
    set(EnumValue<v1::SessionArtifact::Kind>("--kind", text));
  });
}

void AddAdd(CLI::App& group, Run& run) {
  auto add = std::make_shared<Add>();
  CLI::App& app = *AddCommand(group, run, "add", "Add a file or a ticket, or many",
                              [add](Run& run) { return AddAll(run, *add); });
  v1::SessionArtifact& artifact = add->artifact;
  AddSessionId(app, run, add->request);
  const std::vector<CLI::Option*> of_one = {
      AddKind(app, "What it is",
              [&artifact](v1::SessionArtifact::Kind kind) { artifact.set_kind(kind); }),
      AddText(app, "--id", "ID", "An id of your own, unique in the session (default: drawn)",
              [&artifact](const Text& id) { artifact.set_artifact_id(id); }),
      AddText(app, "--name", "NAME", "Its name for people to read",
              [&artifact](const Text& name) { artifact.set_display_name(name); }),
      AddText(app, "--uri", "URI", "Where it is",
              [&artifact](const Text& uri) { artifact.set_uri(uri); }),
      AddObject(app, "--metadata", "Your own data", [&artifact](google::protobuf::Struct metadata) {
        *artifact.mutable_metadata() = std::move(metadata);
      })};
  CLI::Option* from =
      app.add_option("--from", add->json_lines,
                     "Many: a JSON object a line, {\"kind\": \"FILE\", \"displayName\": …}; 500 at "
                     "a time, all or none of them; - for stdin")
          ->option_text("FILE");
  for (CLI::Option* option : of_one) from->excludes(option);
  AddChangeOptions(app, add->request);
}

absl::Status List(Run& run, const v1::ListArtifactsRequest& request, int limit) {
  const ListView<v1::SessionArtifact> view = {
      ArtifactColumns(),
      [](const v1::SessionArtifact& artifact) { return std::vector<Row>{ArtifactRow(artifact)}; },
      [](const v1::SessionArtifact& artifact) { return artifact.artifact_id(); }, "No artifacts."};
  return ShowList(run, request, limit, &ArtifactClient::ListArtifacts, view);
}

void AddList(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::ListArtifactsRequest>();
  auto limit = std::make_shared<int>(50);
  CLI::App& app = *AddCommand(group, run, "list", "List files and tickets, oldest first",
                              [request, limit](Run& run) { return List(run, *request, *limit); });
  AddSessionId(app, run, *request);
  AddKind(app, "Only these",
          [request](v1::SessionArtifact::Kind kind) { request->set_kind(kind); });
  AddLimit(app, *limit);
  AddIncludeDeleted(app, *request);
}

void AddDelete(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::DeleteArtifactRequest>();
  CLI::App& app = *AddCommand(
      group, run, "delete", "Delete a file or a ticket; errors about it stay, and lose the link",
      [request](Run& run) -> absl::Status {
        const auto response = Change(run, *request, &ArtifactClient::DeleteArtifact);
        if (!response.ok()) return response.status();
        PrintSession(run.format, response->session());
        return absl::OkStatus();
      });
  AddSessionId(app, run, *request);
  AddText(app, "ARTIFACT", "", "The artifact's id", [request](const Text& id) {
    request->set_artifact_id(id);
  })->required();
  AddChangeOptions(app, *request);
}

}  // namespace

void AddArtifactCommands(CLI::App& app, Run& run) {
  CLI::App& group = *app.add_subcommand("artifact", "Add, list and delete files and tickets");
  group.require_subcommand(1);
  AddAdd(group, run);
  AddList(group, run);
  AddDelete(group, run);
}

}  // namespace sessiond::ctl
