// `sessionctl admin …`: changes of many sessions at once, and information about the daemon.
// Commands that remove or change something only say what they would do, unless --execute is given;
// then they run batch after batch, until all is done.
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/sessionctl/flags.h"
#include "client/sessionctl/progress.h"
#include "client/sessionctl/run.h"

namespace sessiond::ctl {
namespace {

// How many batches may do nothing, though more is left, before we give up: other callers hold the
// locks.
constexpr int kIdleBatchesMax = 20;
constexpr absl::Duration kIdlePause = absl::Milliseconds(250);

Text Sessions(int count) {
  return absl::StrCat(WithCommas(count), count == 1 ? " session" : " sessions");
}

template <class Response>
struct Batches {
  Response last;
  int changed = 0;  // Sessions, in all batches.
};

// Repeats the change until the response says that it is done, with a new request_id for each batch
// unless one was given; `count` is how many sessions a batch changed, `total` how many there may
// be.
template <class Request, class Response>
absl::StatusOr<Batches<Response>> AllBatches(
    Run& run, absl::string_view what, int total, const Request& request,
    absl::StatusOr<Response> (AdminClient::*method)(Request) const,
    int32_t (Response::*count)() const) {
  Progress progress(run.format, what, total);
  Batches<Response> batches;
  for (int idle = 0; !batches.last.done();) {
    Request batch = request;
    absl::StatusOr<Response> response = Change(run, batch, method);
    if (!response.ok()) {
      progress.Clear();
      if (batches.changed > 0) {
        std::cerr << "Done before that: " << Sessions(batches.changed) << ".\n";
      }
      return response.status();
    }
    batches.last = *std::move(response);
    const int changed = (batches.last.*count)();
    batches.changed += changed;
    progress.Reach(batches.changed);
    if (changed > 0 || batches.last.done()) {
      idle = 0;
    } else if (++idle == kIdleBatchesMax) {
      return absl::AbortedError(absl::StrCat("Nothing moves any more after ",
                                             Sessions(batches.changed),
                                             ", and there are some left. Run it again later"));
    } else {
      absl::SleepFor(kIdlePause);
    }
  }
  return batches;
}

// How many sessions a filter matches, including deleted ones: for a preview.
absl::StatusOr<int> Count(Run& run, const Text& name_space, const Text& filter) {
  v1::CountSessionsRequest request;
  request.set_namespace_(name_space);
  request.set_filter(filter);
  request.set_include_deleted(true);
  const auto response = Ask(run, request, &SessionClient::CountSessions);
  if (!response.ok()) return response.status();
  return response->total();
}

// A string literal in a filter.
Text Quoted(const Text& text) {
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

void SayPreview(const Run& run) {
  if (run.format == Format::kTable) std::cerr << "Nothing was changed: --execute does it.\n";
}

void AddExecute(CLI::App& app, bool& execute) {
  app.add_flag("--execute", execute, "Do it; without it, only say what would be done");
}

// ---- info

absl::Status Info(Run& run) {
  const auto info = Ask(run, v1::GetServerInfoRequest(), &AdminClient::GetServerInfo);
  if (!info.ok()) return info.status();
  Card card;
  card.Add("Server", absl::StrCat("sessiond ", info->version(), " at ", run.server), color::kBold);
  card.Add("Started", Past(info->start_time()));
  card.Add("Database", info->database_id());
  card.Add("Schema", absl::StrCat("version ", info->schema_version(), ", ", info->partition_count(),
                                  " partitions"));
  card.Add("PostgreSQL", info->postgres_version());
  card.Add("Workflows", absl::StrJoin(info->workflows(), ", "));
  PrintOne(run.format, *info, card, info->database_id());
  return absl::OkStatus();
}

// ---- whoami

// By service: `SessionService: GetSession, …`.
std::vector<Text> Grouped(const google::protobuf::RepeatedPtrField<Text>& methods) {
  std::map<Text, std::vector<Text>> by_service;
  for (const Text& method : methods) {
    const std::pair<Text, Text> parts = absl::StrSplit(method, absl::MaxSplits('/', 1));
    by_service[parts.first.substr(parts.first.rfind('.') + 1)].push_back(parts.second);
  }
  std::vector<Text> lines;
  for (const auto& [service, names] : by_service)
    lines.push_back(absl::StrCat(service, ": ", absl::StrJoin(names, ", ")));
  return lines;
}

absl::Status Whoami(Run& run) {
  const auto info = Ask(run, v1::GetServerInfoRequest(), &AdminClient::GetServerInfo);
  if (!info.ok()) return info.status();
  Card card;
  card.Add("Caller", info->caller(), color::kBold);
  card.Add("Roles", absl::StrJoin(info->roles(), ", "));
  card.Add("Namespaces", absl::StrJoin(info->namespaces(), ", "));
  card.Add("Owner", info->owner_id());
  Text label = "Methods";
  for (const Text& line : Grouped(info->methods())) card.Add(std::exchange(label, ""), line);
  card.Add("Server", absl::StrCat("sessiond ", info->version(), " at ", run.server));
  PrintOne(run.format, *info, card, info->caller());
  return absl::OkStatus();
}

// ---- erase-owner

struct Erase {
  v1::EraseOwnerRequest request;
  bool execute = false;
};

void PrintErased(const Run& run, const v1::EraseOwnerResponse& response, bool executed) {
  Card card;
  card.Add(executed ? "Erased" : "To erase", Sessions(response.affected_count()));
  if (response.held_count() > 0) {
    card.Add("Held", absl::StrCat(Sessions(response.held_count()), executed ? " passed over" : ""),
             color::kYellow);
  }
  PrintOne(run.format, response, card, absl::StrCat(response.affected_count()));
}

absl::Status EraseOwner(Run& run, Erase& erase) {
  v1::EraseOwnerRequest& request = erase.request;
  const Text filter = absl::StrCat("owner_id = ", Quoted(request.owner_id()));
  const auto held = Count(run, request.namespace_(), filter + " AND hold = true");
  if (!held.ok()) return held.status();
  const auto all = Count(run, request.namespace_(), filter);
  if (!all.ok()) return all.status();
  if (!erase.execute) {
    v1::EraseOwnerResponse preview;
    preview.set_affected_count(*all - *held);
    preview.set_held_count(*held);
    PrintErased(run, preview, /*executed=*/false);
    SayPreview(run);
    return absl::OkStatus();
  }
  auto done = AllBatches(run, "erasing", *all - *held, request, &AdminClient::EraseOwner,
                         &v1::EraseOwnerResponse::affected_count);
  if (!done.ok()) return done.status();
  done->last.set_affected_count(done->changed);
  PrintErased(run, done->last, /*executed=*/true);
  return absl::OkStatus();
}

void AddEraseOwner(CLI::App& group, Run& run) {
  auto erase = std::make_shared<Erase>();
  CLI::App& app =
      *AddCommand(group, run, "erase-owner",
                  "Erase an owner's sessions, and all below; tombstones without owner stay",
                  [erase](Run& run) { return EraseOwner(run, *erase); });
  AddText(app, "OWNER", "", "Whose sessions", [erase](const Text& owner) {
    erase->request.set_owner_id(owner);
  })->required();
  AddNamespace(app, "The namespace; - for all (default: default)", erase->request);
  AddExecute(app, erase->execute);
  AddChangeOptions(app, erase->request);
}

// ---- detach-reference

struct Detach {
  v1::DetachReferenceRequest request;
  bool execute = false;
};

void PrintDetached(const Run& run, const v1::DetachReferenceResponse& response, bool executed) {
  Card card;
  card.Add(executed ? "Detached from" : "To detach from", Sessions(response.affected_count()));
  PrintOne(run.format, response, card, absl::StrCat(response.affected_count()));
}

absl::Status DetachReference(Run& run, Detach& detach) {
  v1::DetachReferenceRequest& request = detach.request;
  const auto all =
      Count(run, request.namespace_(),
            absl::StrCat("references.", request.name(), " = ", Quoted(request.value())));
  if (!all.ok()) return all.status();
  if (!detach.execute) {
    v1::DetachReferenceResponse preview;
    preview.set_affected_count(*all);
    PrintDetached(run, preview, /*executed=*/false);
    SayPreview(run);
    return absl::OkStatus();
  }
  auto done = AllBatches(run, "detaching", *all, request, &AdminClient::DetachReference,
                         &v1::DetachReferenceResponse::affected_count);
  if (!done.ok()) return done.status();
  done->last.set_affected_count(done->changed);
  PrintDetached(run, done->last, /*executed=*/true);
  return absl::OkStatus();
}

void AddDetachReference(CLI::App& group, Run& run) {
  auto detach = std::make_shared<Detach>();
  CLI::App& app =
      *AddCommand(group, run, "detach-reference",
                  "Take a reference to what is gone off every session; the sessions stay",
                  [detach](Run& run) { return DetachReference(run, *detach); });
  AddText(app, "NAME", "", "The reference's name, for example job_posting",
          [detach](const Text& name) { detach->request.set_name(name); })
      ->required();
  AddText(app, "VALUE", "", "What it refers to", [detach](const Text& value) {
    detach->request.set_value(value);
  })->required();
  AddNamespace(app, "The namespace; - for all (default: default)", detach->request);
  AddExecute(app, detach->execute);
  AddChangeOptions(app, detach->request);
}

// ---- purge

void PrintPurged(const Run& run, const v1::PurgeSessionsResponse& response, bool executed) {
  if (run.format == Format::kName) {
    for (const Text& id : response.session_ids()) Print(NameLine(id));
    return;
  }
  Card card;
  card.Add(executed ? "Purged" : "To purge",
           Sessions(executed ? response.purged_count() : response.due_count()));
  if (response.held_count() > 0) {
    card.Add("Held", absl::StrCat(Sessions(response.held_count()), " passed over"), color::kYellow);
  }
  Text label = "First";
  for (const Text& id : response.session_ids()) card.Add(std::exchange(label, ""), id);
  PrintOne(run.format, response, card, "");
}

absl::Status Purge(Run& run, v1::PurgeSessionsRequest& request) {
  v1::PurgeSessionsRequest preview = request;
  preview.clear_execute();
  const auto due = Ask(run, preview, &AdminClient::PurgeSessions);
  if (!due.ok()) return due.status();
  if (!request.execute()) {
    PrintPurged(run, *due, /*executed=*/false);
    SayPreview(run);
    return absl::OkStatus();
  }
  auto done = AllBatches(run, "purging", due->due_count(), request, &AdminClient::PurgeSessions,
                         &v1::PurgeSessionsResponse::purged_count);
  if (!done.ok()) return done.status();
  done->last.set_due_count(due->due_count());
  done->last.set_purged_count(done->changed);
  done->last.clear_session_ids();  // Only the last batch's.
  PrintPurged(run, done->last, /*executed=*/true);
  return absl::OkStatus();
}

void AddPurge(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::PurgeSessionsRequest>();
  CLI::App& app = *AddCommand(group, run, "purge",
                              "Remove the payload of sessions that are due; tombstones stay",
                              [request](Run& run) { return Purge(run, *request); });
  AddText(app, "-w,--workflow", "NAME", "Only sessions of this workflow",
          [request](const Text& name) { request->set_workflow(name); });
  AddNamespace(app, "The namespace; - for all (default: default)", *request);
  app.add_flag_callback(
      "--execute", [request] { request->set_execute(true); },
      "Do it; without it, only say what would be done");
  AddChangeOptions(app, *request);
}

}  // namespace

void AddWhoamiCommand(CLI::App& app, Run& run) {
  AddCommand(app, run, "whoami", "Say who the daemon takes you for, and what you may do", Whoami);
}

void AddAdminCommands(CLI::App& app, Run& run) {
  CLI::App& group = *app.add_subcommand("admin", "Look after the data of many sessions at once");
  group.require_subcommand(1);
  AddCommand(group, run, "info", "Say what the daemon is, and what it runs on", Info);
  AddEraseOwner(group, run);
  AddDetachReference(group, run);
  AddPurge(group, run);
  AddImportCommand(group, run);
}

}  // namespace sessiond::ctl
