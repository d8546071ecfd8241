#include "state_machine/import_completion.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "state_machine/struct_json.h"

namespace sessiond {
namespace {

using google::protobuf::Struct;
using google::protobuf::Value;
using v1::ImportSessionsRequest;
using v1::Session;
using v1::SessionArtifact;
using v1::SessionError;
using v1::SessionEvent;

// What the imports wrote, according to their events.
struct Taken {
  std::map<std::string, std::string> artifacts;  // Their kinds, by id.
  std::set<std::string> errors;
  std::multiset<std::string> history;  // As JSON.
  std::map<std::string, int32_t> counters;
  int32_t messages = 0;
  bool task = false;
};

void Take(const std::string& path, const Value& value, Taken& taken) {
  absl::string_view rest = path;
  const auto& fields = value.struct_value().fields();
  if (absl::ConsumePrefix(&rest, "artifacts.")) {
    const auto kind = fields.find("kind");
    taken.artifacts[std::string(rest)] = kind == fields.end() ? "" : kind->second.string_value();
  } else if (absl::ConsumePrefix(&rest, "errors.")) {
    taken.errors.insert(std::string(rest));
  } else if (path == "events") {
    for (const Value& event : value.list_value().values())
      taken.history.insert(ToJson(event.struct_value()));
  } else if (path == "counters") {
    for (const auto& [name, count] : fields)
      taken.counters[name] = static_cast<int32_t>(count.number_value());
  } else if (path == "message_count" || path == "messages") {
    taken.messages += static_cast<int32_t>(value.number_value());
  } else if (path == "current_task") {
    taken.task = true;
  }
}

class Completing {
 public:
  Completing(const Session& session, const std::vector<SessionEvent>& imports,
             const ImportSessionsRequest& request)
      : session_(session), request_(request) {
    for (const SessionEvent& event : imports) {
      for (const auto& [path, value] : event.changes().fields()) Take(path, value, taken_);
    }
    changed_ = session.revision() > imports.back().sequence() ||
               session.message_count() != taken_.messages;
  }

  ImportCompletion Run() {
    completion_.missing.mutable_session()->set_session_id(session_.session_id());
    AddParts(
        request_.artifacts(), taken_.artifacts, "artifact",
        [](const auto& artifact) { return artifact.artifact_id(); },
        completion_.missing.mutable_artifacts());
    AddParts(
        request_.errors(), taken_.errors, "error",
        [](const auto& error) { return error.error_id(); }, completion_.missing.mutable_errors());
    for (SessionError& error : *completion_.missing.mutable_errors()) {
      CheckLink(error.related_file_id(), SessionArtifact::FILE);
      CheckLink(error.related_ticket_id(), SessionArtifact::TICKET);
    }
    AddMessages();
    AddTask();
    if (completion_.all_there()) return std::move(completion_);
    if (const std::string& workflow = request_.session().workflow();
        workflow != session_.workflow()) {
      completion_.obstacle =
          absl::StrCat("its workflow is ", session_.workflow(), ", not ", workflow);
    }
    if (changed_ && session_.state() == Session::DELETED) Hinder("it was deleted");
    AddHistory();
    return std::move(completion_);
  }

 private:
  void Hinder(std::string why) {
    if (completion_.obstacle.empty()) completion_.obstacle = std::move(why);
  }

  // Parts with ids are identified by them; of those without, either none was imported or all were.
  template <class Parts, class Known, class IdOf>
  void AddParts(const Parts& parts, const Known& taken, const char* kind, IdOf id_of,
                Parts* missing) {
    int named = 0, unnamed = 0;
    for (const auto& part : parts) {
      const std::string id = id_of(part);
      unnamed += id.empty() ? 1 : 0;
      if (id.empty()) continue;
      if (taken.count(id) > 0) {
        ++named;
      } else {
        *missing->Add() = part;
      }
    }
    const int drawn = static_cast<int>(taken.size()) - named;
    if (unnamed <= drawn) return;
    for (const auto& part : parts) {
      if (id_of(part).empty()) *missing->Add() = part;
    }
    if (drawn > 0) {
      Hinder(absl::StrCat("nobody can tell which of the ", unnamed, " ", kind,
                          "s without an id are the ", drawn, " that are there"));
    }
  }

  // The artifact that an error links to must exist, and be of that kind.
  void CheckLink(const std::string& id, SessionArtifact::Kind kind) {
    if (id.empty()) return;
    const std::string& wanted = SessionArtifact::Kind_Name(kind);
    const auto& added = completion_.missing.artifacts();
    const auto one = std::find_if(added.begin(), added.end(), [&](const SessionArtifact& artifact) {
      return artifact.artifact_id() == id;
    });
    const auto taken = taken_.artifacts.find(id);
    if (one == added.end() && (changed_ || taken == taken_.artifacts.end()))
      return Hinder(absl::StrCat("an error is about ", id, ", which may be gone by now"));
    if (wanted != (one == added.end() ? taken->second : SessionArtifact::Kind_Name(one->kind())))
      Hinder(absl::StrCat("an error is about ", id, ", which is no ", wanted));
  }

  // Messages are in the order of their recording: none can be inserted before existing ones.
  void AddMessages() {
    if (request_.messages_size() <= taken_.messages) return;
    if (session_.message_count() > 0) {
      Hinder(absl::StrCat("it has ", session_.message_count(),
                          session_.message_count() == 1 ? " message" : " messages",
                          " by now, behind which the missing ones would come"));
    }
    *completion_.missing.mutable_messages() = request_.messages();
    for (const auto& [name, count] : request_.session().counters()) {
      const int32_t more = count - taken_.counters[name];
      if (more > 0) (*completion_.missing.mutable_session()->mutable_counters())[name] = more;
    }
  }

  void AddTask() {
    if (!request_.has_task() || taken_.task) return;
    *completion_.missing.mutable_task() = request_.task();
    if (session_.has_current_task()) Hinder("it has a task of its own by now");
    if (changed_) Hinder("it has gone on by now without its task");
  }

  // Added together with other missing parts, but never a reason to add something: its content
  // is up to the source.
  void AddHistory() {
    for (const Struct& event : request_.events()) {
      const auto known = taken_.history.find(ToJson(event));
      if (known != taken_.history.end()) {
        taken_.history.erase(known);
      } else {
        *completion_.missing.add_events() = event;
      }
    }
  }

  const Session& session_;
  const ImportSessionsRequest& request_;
  Taken taken_;
  // Since the last import.
  bool changed_ = false;
  ImportCompletion completion_;
};

}  // namespace

bool ImportCompletion::all_there() const {
  return missing.artifacts().empty() && missing.errors().empty() && missing.messages().empty() &&
         !missing.has_task();
}

std::string ImportCompletion::Missing() const {
  std::string list;
  const auto add = [&list](int count, absl::string_view what) {
    if (count == 0) return;
    absl::StrAppend(&list, list.empty() ? "" : ", ", count, " ", what, count == 1 ? "" : "s");
  };
  add(missing.messages_size(), "message");
  add(missing.errors_size(), "error");
  add(missing.artifacts_size(), "artifact");
  add(missing.has_task() ? 1 : 0, "task");
  return list;
}

ImportCompletion CompletionOf(const Session& session, const std::vector<SessionEvent>& imports,
                              const ImportSessionsRequest& request) {
  if (imports.empty()) return {};
  return Completing(session, imports, request).Run();
}

}  // namespace sessiond
