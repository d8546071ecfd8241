// `sessionctl session …`: one command for each RPC of SessionService. Flags are written directly
// into the request.
#include <iostream>
#include <set>

#include "CLI/App.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/sessionctl/flags.h"
#include "client/sessionctl/printable.h"
#include "client/sessionctl/run.h"
#include "client/sessionctl/views.h"

namespace sessiond::ctl {
namespace {

// Makes a change and prints the session after it.
template <class Request>
absl::Status ChangeSession(Run& run, Request& request,
                           absl::StatusOr<v1::Session> (SessionClient::*method)(Request) const) {
  const auto session = Change(run, request, method);
  if (!session.ok()) return session.status();
  PrintSession(run.format, *session);
  return absl::OkStatus();
}

const ListView<v1::Session>& SessionView() {
  static const ListView<v1::Session> view = {
      SessionColumns(),
      [](const v1::Session& session) { return std::vector<Row>{SessionRow(session)}; },
      [](const v1::Session& session) { return session.session_id(); }, "No sessions."};
  return view;
}

// ---- --set and its relatives

google::protobuf::Value StringValue(const Text& text) {
  google::protobuf::Value value;
  value.set_string_value(text);
  return value;
}

struct Assignment {
  Text path;
  google::protobuf::Value value;
};

// `path=text`, or `path:=json`.
Assignment ParseAssignment(const Text& flag, const Text& text) {
  const std::size_t equals = text.find('=');
  if (equals == Text::npos || equals == 0) {
    throw CLI::ValidationError(
        flag, absl::StrCat("\"", text, "\" is not an assignment; write NAME=VALUE"));
  }
  if (text[equals - 1] == ':') {
    return {text.substr(0, equals - 1), JsonValue(flag, text.substr(equals + 1))};
  }
  return {text.substr(0, equals), StringValue(text.substr(equals + 1))};
}

bool ParseBool(const Text& path, const google::protobuf::Value& value) {
  bool parsed = value.bool_value();
  if (value.kind_case() == google::protobuf::Value::kBoolValue ||
      absl::SimpleAtob(value.string_value(), &parsed)) {
    return parsed;
  }
  throw CLI::ValidationError("--set", absl::StrCat(path, " is true or false"));
}

// Of a field that holds no JSON: nothing else is made a text in silence.
const Text& TextOf(const Assignment& assignment) {
  if (assignment.value.kind_case() == google::protobuf::Value::kStringValue)
    return assignment.value.string_value();
  throw CLI::ValidationError(
      absl::StrCat(assignment.path, " takes no JSON; write ", assignment.path, "=VALUE"));
}

// Sets one field of a session, or one key of its three maps.
void Assign(v1::Session& session, const Assignment& assignment) {
  const auto& [path, value] = assignment;
  absl::string_view key = path;
  if (absl::ConsumePrefix(&key, "context.")) {
    (*session.mutable_context()->mutable_fields())[Text(key)] = value;
  } else if (absl::ConsumePrefix(&key, "labels.")) {
    (*session.mutable_labels())[Text(key)] = TextOf(assignment);
  } else if (absl::ConsumePrefix(&key, "references.")) {
    (*session.mutable_references())[Text(key)] = TextOf(assignment);
  } else if (path == "owner_id") {
    session.set_owner_id(TextOf(assignment));
  } else if (path == "owner_display_name") {
    session.set_owner_display_name(TextOf(assignment));
  } else if (path == "hold") {
    session.set_hold(ParseBool(path, value));
  } else {
    throw CLI::ValidationError(
        "--set",
        absl::StrCat("\"", path,
                     "\" cannot be set; there are context.NAME, labels.KEY, references.NAME, "
                     "owner_id, owner_display_name and hold"));
  }
}

// The path for an update mask: keys with unusual characters in backticks.
Text MaskPath(const Text& path) {
  const std::size_t dot = path.find('.');
  if (dot == Text::npos) return path;
  const Text key = path.substr(dot + 1);
  for (const char c : key) {
    if (!absl::ascii_isalnum(c) && c != '_' && c != '-') {
      return absl::StrCat(path.substr(0, dot), ".`", key, "`");
    }
  }
  return path;
}

// The options for a session's fields, for create and update alike. `touched` is called with the
// path of each field that is given.
void AddSessionFields(CLI::App& app, v1::Session& session,
                      std::function<void(const Text& path)> touched) {
  AddText(app, "--owner-name", "NAME", "The owner's name for people to read",
          [&session, touched](const Text& name) {
            session.set_owner_display_name(name);
            touched("owner_display_name");
          });
  AddObject(app, "--context",
            "The workflow's own fields, all of them: '{\"site_name\": \"Berlin\"}'",
            [&session, touched](google::protobuf::Struct context) {
              *session.mutable_context() = std::move(context);
              touched("context");
            });
  const auto assign = [&session, touched](const Text& flag, const Text& prefix, const Text& text) {
    Assignment assignment = ParseAssignment(flag, text);
    assignment.path = prefix + assignment.path;
    Assign(session, assignment);
    touched(assignment.path);
  };
  AddTexts(app, "--set", "FIELD=VALUE",
           "One field: context.NAME=TEXT, context.NAME:=JSON, hold=true, …; repeatable",
           [assign](const Text& text) { assign("--set", "", text); });
  AddTexts(app, "--label", "KEY=VALUE", "A label of your own; repeatable",
           [assign](const Text& text) { assign("--label", "labels.", text); });
  AddTexts(app, "--ref", "NAME=VALUE", "A reference to what another service owns; repeatable",
           [assign](const Text& text) { assign("--ref", "references.", text); });
}

// ---- the commands

void AddCreate(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::CreateSessionRequest>();
  CLI::App& app = *AddCommand(
      group, run, "create", "Create a session at the first stage of its workflow",
      [request](Run& run) { return ChangeSession(run, *request, &SessionClient::CreateSession); });
  v1::Session& session = *request->mutable_session();
  AddText(app, "-w,--workflow", "NAME",
          "ticket_export, execution, interview, or one of your own (required)",
          [&session](const Text& name) { session.set_workflow(name); })
      ->required();
  AddText(app, "--owner", "ID", "Whose session it is",
          [&session](const Text& id) { session.set_owner_id(id); });
  AddSessionFields(app, session, [](const Text&) {});
  AddNamespace(app, "The namespace it lives in", session);
  AddText(app, "--id", "SESSION", "An id of your own, in the workflow's format (default: drawn)",
          [&run, request](const Text& id) {
            run.session_id = id;
            request->set_session_id(id);
          });
  app.add_flag_callback(
      "--creating", [request] { request->set_creating(true); },
      "Leave it in CREATING, to be filled and then activated");
  AddChangeOptions(app, *request);
}

void AddGet(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::GetSessionRequest>();
  CLI::App& app =
      *AddCommand(group, run, "get", "Show one session", [request](Run& run) -> absl::Status {
        const auto session = Ask(run, *request, &SessionClient::GetSession);
        if (!session.ok()) return session.status();
        PrintSession(run.format, *session);
        return absl::OkStatus();
      });
  app.alias("show");
  AddSessionId(app, run, *request);
  app.add_flag_callback(
      "--full", [request] { request->set_view(v1::GetSessionRequest::FULL); },
      "Its newest files and open errors too");
  AddIncludeDeleted(app, *request);
}

absl::Status List(Run& run, const v1::ListSessionsRequest& request, int limit) {
  // Otherwise the position may be in order_by.
  run.filter = request.order_by().empty() ? request.filter() : "";
  return ShowList(run, request, limit, &SessionClient::ListSessions, SessionView());
}

void AddList(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::ListSessionsRequest>();
  auto limit = std::make_shared<int>(50);
  CLI::App& app = *AddCommand(group, run, "list", "List sessions, newest first",
                              [request, limit](Run& run) { return List(run, *request, *limit); });
  AddFilter(app, "AIP-160: owner_id = \"u1\" AND status = \"failed\" AND labels.team = \"a\"",
            *request);
  AddText(app, "--order-by", "FIELD",
          "create_time, owner_id, status or state, with \" desc\" behind it for descending",
          [request](const Text& order_by) { request->set_order_by(order_by); });
  AddLimit(app, *limit);
  AddNamespace(app, "The namespace; - for all (default: default)", *request);
  AddIncludeDeleted(app, *request);
}

void AddRecoverable(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::ListRecoverableSessionsRequest>();
  CLI::App& app = *AddCommand(
      group, run, "recoverable", "List an owner's sessions that can be recovered, newest first",
      [request](Run& run) -> absl::Status {
        const auto response = Ask(run, *request, &SessionClient::ListRecoverableSessions);
        if (!response.ok()) return response.status();
        ListPrinter printer(run.format, SessionColumns());
        for (const auto& session : response->sessions()) {
          printer.Add(session, {SessionRow(session)}, session.session_id());
        }
        printer.Finish();
        if (response->sessions().empty() && run.format == Format::kTable) {
          std::cerr << "No session of " << Printable(request->owner_id()) << " can be recovered.\n";
        }
        return absl::OkStatus();
      });
  AddText(app, "OWNER", "", "Whose sessions", [request](const Text& owner) {
    request->set_owner_id(owner);
  })->required();
  AddNamespace(app, "The namespace; - for all (default: default)", *request);
}

void AddCount(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::CountSessionsRequest>();
  CLI::App& app =
      *AddCommand(group, run, "count", "Count sessions", [request](Run& run) -> absl::Status {
        run.filter = request->filter();
        const auto counts = Ask(run, *request, &SessionClient::CountSessions);
        if (!counts.ok()) return counts.status();
        PrintCounts(run.format, v1::CountSessionsRequest::GroupBy_Name(request->group_by()),
                    *counts);
        return absl::OkStatus();
      });
  AddText(app, "--by", "workflow|state|stage|status|owner_id", "What to group by",
          [request](const Text& field) {
            v1::CountSessionsRequest::GroupBy group_by;
            if (!v1::CountSessionsRequest::GroupBy_Parse(absl::AsciiStrToUpper(field), &group_by)) {
              throw CLI::ValidationError(
                  "--by", absl::StrCat("\"", field,
                                       "\" cannot be grouped by; there are workflow, state, stage, "
                                       "status and owner_id"));
            }
            request->set_group_by(group_by);
          });
  AddFilter(app, "As in session list", *request);
  AddNamespace(app, "The namespace; - for all (default: default)", *request);
  AddIncludeDeleted(app, *request);
}

void AddLookup(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::LookupSessionsRequest>();
  CLI::App& app = *AddCommand(
      group, run, "lookup", "Say what became of each of up to 1,000 ids",
      [request](Run& run) -> absl::Status {
        const auto response = Ask(run, *request, &SessionClient::LookupSessions);
        if (!response.ok()) return response.status();
        ListPrinter printer(run.format, LookupColumns());
        for (const auto& lookup : response->results()) {
          printer.Add(lookup, {LookupRow(lookup)}, lookup.found() ? lookup.session_id() : "");
        }
        printer.Finish();
        return absl::OkStatus();
      });
  app.add_option_function<std::vector<Text>>(
         "SESSION",
         [request](const std::vector<Text>& ids) {
           for (const Text& id : ids) {
             if (id != "-") {
               request->add_session_ids(id);
             } else {
               const Text lines = ReadText("SESSION", id);
               for (absl::string_view line : absl::StrSplit(lines, '\n')) {
                 line = absl::StripAsciiWhitespace(line);
                 if (!line.empty()) request->add_session_ids(Text(line));
               }
             }
           }
         },
         "The ids; - reads them from stdin, one a line")
      ->option_text("")
      ->required();
  AddIncludeDeleted(app, *request);
}

void AddUpdate(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::UpdateSessionRequest>();
  // In the order given; the whole context makes its keys superfluous.
  auto paths = std::make_shared<std::vector<Text>>();
  CLI::App& app = *AddCommand(
      group, run, "update", "Change fields, labels, references, the hold, or counters",
      [request, paths](Run& run) -> absl::Status {
        if (paths->empty() && request->counter_increments().empty()) {
          throw CLI::ValidationError(
              "update",
              "what? Give --set, --unset, --context, --label, --ref, --owner-name or --increment");
        }
        const bool whole_context = std::count(paths->begin(), paths->end(), "context") > 0;
        for (const Text& path : *paths) {
          if (!whole_context || !absl::StartsWith(path, "context.")) {
            request->mutable_update_mask()->add_paths(MaskPath(path));
          }
        }
        return ChangeSession(run, *request, &SessionClient::UpdateSession);
      });
  AddSessionId(app, run, *request);
  AddSessionFields(app, *request->mutable_session(),
                   [paths](const Text& path) { paths->push_back(path); });
  AddTexts(app, "--unset", "FIELD",
           "Remove context.NAME, labels.KEY or references.NAME; repeatable",
           [paths](const Text& path) { paths->push_back(path); });
  AddTexts(app, "--increment", "COUNTER=N", "Add N to a counter; repeatable",
           [request](const Text& text) {
             const Assignment assignment = ParseAssignment("--increment", text);
             (*request->mutable_counter_increments())[assignment.path] =
                 NumberValue("--increment", TextOf(assignment), -kNumberMax, kNumberMax);
           });
  AddChangeOptions(app, *request);
}

// Without --to, the next stage is read first; naming it in the call makes a repetition harmless.
absl::Status Advance(Run& run, v1::AdvanceSessionRequest& request) {
  if (request.target_stage().empty()) {
    v1::GetSessionRequest get;
    get.set_session_id(request.session_id());
    const auto session = Ask(run, get, &SessionClient::GetSession);
    if (!session.ok()) return session.status();
    if (session->next_stage().empty()) {
      return absl::FailedPreconditionError(
          session->stage().empty()
              ? absl::StrCat("Sessions of workflow ", session->workflow(), " have no stages")
              : absl::StrCat("The session is at its last stage, ", session->stage()));
    }
    request.set_target_stage(session->next_stage());
  }
  return ChangeSession(run, request, &SessionClient::AdvanceSession);
}

// A command for a verb with only the session's id and the fields that every change has.
template <class Request>
CLI::App* AddVerb(CLI::App& group, Run& run, const Text& name, const Text& description,
                  std::shared_ptr<Request> request,
                  absl::StatusOr<v1::Session> (SessionClient::*method)(Request) const) {
  CLI::App* app = AddCommand(group, run, name, description, [request, method](Run& run) {
    return ChangeSession(run, *request, method);
  });
  AddSessionId(*app, run, *request);
  AddChangeOptions(*app, *request);
  return app;
}

void AddAdvance(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::AdvanceSessionRequest>();
  CLI::App& app = *AddCommand(group, run, "advance",
                              "Move to the next stage; reaching the last one completes the session",
                              [request](Run& run) { return Advance(run, *request); });
  AddSessionId(app, run, *request);
  AddText(app, "--to", "STAGE", "The stage to go to (default: the next one)",
          [request](const Text& stage) { request->set_target_stage(stage); });
  AddChangeOptions(app, *request);
}

void AddDelete(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::DeleteSessionRequest>();
  CLI::App& app =
      *AddVerb(group, run, "delete", "Soft-delete a stopped session; undelete brings it back",
               request, &SessionClient::DeleteSession);
  app.add_flag_callback(
      "--force", [request] { request->set_force(true); }, "Stop it first, if need be");
}

void AddEvents(CLI::App& group, Run& run) {
  auto request = std::make_shared<v1::ListSessionEventsRequest>();
  CLI::App& app = *AddCommand(
      group, run, "events", "Show a session's history, oldest first", [request](Run& run) {
        const ListView<v1::SessionEvent> view = {
            EventColumns(), EventRows,
            [](const v1::SessionEvent& event) { return absl::StrCat(event.sequence()); },
            "No events."};
        return ShowList(run, *request, 0, &SessionClient::ListSessionEvents, view);
      });
  AddSessionId(app, run, *request);
  AddIncludeDeleted(app, *request);
}

}  // namespace

void AddSessionCommands(CLI::App& app, Run& run) {
  CLI::App& group = *app.add_subcommand("session", "Create, find, move and explain sessions");
  group.require_subcommand(1);
  AddCreate(group, run);
  AddVerb(group, run, "activate", "CREATING → ACTIVE, when everything required is there",
          std::make_shared<v1::ActivateSessionRequest>(), &SessionClient::ActivateSession);
  AddGet(group, run);
  AddList(group, run);
  AddCount(group, run);
  AddLookup(group, run);
  AddUpdate(group, run);
  AddAdvance(group, run);
  AddVerb(group, run, "pause", "ACTIVE → PAUSED", std::make_shared<v1::PauseSessionRequest>(),
          &SessionClient::PauseSession);
  AddVerb(group, run, "resume", "PAUSED → ACTIVE", std::make_shared<v1::ResumeSessionRequest>(),
          &SessionClient::ResumeSession);
  AddVerb(group, run, "stop", "ACTIVE or PAUSED → STOPPED",
          std::make_shared<v1::StopSessionRequest>(), &SessionClient::StopSession);
  AddVerb(group, run, "fail", "Mark a session as failed, for the --reason given",
          std::make_shared<v1::FailSessionRequest>(), &SessionClient::FailSession);
  AddRecoverable(group, run);
  AddVerb(group, run, "recover", "ACTIVE again, whatever went wrong; a failed task may be retried",
          std::make_shared<v1::RecoverSessionRequest>(), &SessionClient::RecoverSession);
  AddDelete(group, run);
  AddVerb(group, run, "undelete", "DELETED → STOPPED, everything else as it was",
          std::make_shared<v1::UndeleteSessionRequest>(), &SessionClient::UndeleteSession);
  AddEvents(group, run);
  AddWatchCommand(group, run);
}

}  // namespace sessiond::ctl
