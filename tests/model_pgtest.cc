// Commands of every kind, drawn at random, at random sessions through real stores, many in flight:
// and a model beside it, small and written from the requirements alone, that says what each must
// answer and what must be there in the end. SESSIOND_TEST_SEED replays a run.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "db/session_store.h"
#include "db/submit_and_wait.h"
#include "state_machine/session_id.h"
#include "state_machine/timestamps.h"
#include "tests/life.h"
#include "tests/store_fixture.h"

namespace sessiond::db {
namespace {

using v1::Session;
using v1::SessionArtifact;
using v1::SessionError;
using v1::SessionEvent;
using v1::SessionTask;

// -----------------------------------------------------------------------------------------------
// what the workflows are, by hand

struct Spec {
  std::vector<std::string> stages;
  // Stage → the field it needs, from it on.
  std::vector<std::pair<std::string, std::string>> required;
  // Task type → where it runs.
  std::map<std::string, std::set<std::string>> tasks;
  int max_retries = 0;
  // Message type → the counter it adds to.
  std::map<std::string, std::string> messages;
  std::string counter, reference;
  bool fails = false, blocks = false, short_lived = false;
};

const Spec kTickets = {.stages = {"site_info_collection", "upload", "processing", "review",
                                  "jira_export", "completed"},
                       .required = {{"jira_export", "jira_project_key"}},
                       .tasks = {{"processing", {"processing"}},
                                 {"export", {"jira_export"}},
                                 {"adf_validation", {"jira_export"}}},
                       .max_retries = 3,
                       .counter = "total_tickets_generated",
                       .fails = true,
                       .blocks = true};

Spec ShortLived() {
  Spec spec = kTickets;
  spec.short_lived = true;
  return spec;
}

const std::map<std::string, Spec>& Specs() {
  static const auto& specs = *new std::map<std::string, Spec>{
      {"ticket_export", kTickets},
      // Ticket exports whose retention is over as soon as they are.
      {"short_lived", ShortLived()},
      {"execution", {}},
      {"interview",
       {.stages = {"interviewing", "completed"},
        .messages = {{"question", "current_question_number"}, {"answer", ""}},
        .counter = "current_question_number",
        .reference = "job_posting"}},
      {"onboarding",
       {.stages = {"welcome", "paperwork", "provisioning", "training", "onboarded"},
        .required = {{"paperwork", "department"},
                     {"provisioning", "start_day"},
                     {"provisioning", "remote"}},
        .tasks = {{"background_check", {"paperwork", "provisioning"}},
                  {"account_setup", {"provisioning"}}},
        .max_retries = 2,
        .messages = {{"question", "open_questions"}, {"reply", ""}, {"lesson", "lessons_done"}},
        .counter = "lessons_done",
        .reference = "manager",
        .fails = true,
        .blocks = true}},
  };
  return specs;
}

// -----------------------------------------------------------------------------------------------
// the model of one session

struct Task {
  std::string type, id, status;
  int failures = 0;
};

struct Error {
  bool blocking = false, resolved = false;
  std::string stage, file, ticket;
};

// Facts as a line: `STOPPED+DELETED`, `nothing`; `!` and the reason of a refusal; `again` for a
// repeated request.
class Model {
 public:
  Model(std::string workflow, std::string id)
      : workflow_(std::move(workflow)), id_(std::move(id)) {}

  const Spec& spec() const { return Specs().at(workflow_); }

  // What the command must come to, and takes it over. What was drawn is the outcome's to say, and
  // whether a time has passed.
  std::string Take(const Command& command, const absl::StatusOr<Outcome>& outcome) {
    outcome_ = outcome.ok() ? &*outcome : nullptr;
    if (const std::string gone = Gone(outcome); !gone.empty()) return gone;
    const std::string payload =
        std::visit([](const auto& r) { return r.GetTypeName() + " " + r.ShortDebugString(); },
                   command.request);
    // Creations have a space of their own.
    const bool creates = std::holds_alternative<v1::CreateSessionRequest>(command.request);
    const std::string key =
        absl::StrCat(command.caller, creates ? " creation " : " ", command.request_id);
    if (const auto seen = requests_.find(key);
        seen != requests_.end() && !command.request_id.empty()) {
      if (seen->second.payload != payload) return "!REQUEST_ID_REUSED";
      const std::string& run = seen->second.run;
      return run.empty() || run == task->id ? "again" : "!STALE_TASK";
    }
    facts_.clear();
    by_timeout_ = command.by_timeout;
    std::string refusal =
        std::visit([&](const auto& request) { return Do(request); }, command.request);
    if (!refusal.empty()) {
      EXPECT_TRUE(facts_.empty()) << "the model is at fault";
      return refusal;
    }
    if (facts_.empty()) return "nothing";  // Nothing that a repetition could double.
    const bool of_task = absl::StrContains(payload.substr(0, 40), "Task");
    requests_[key] = {payload, of_task ? task->id : ""};
    return absl::StrJoin(facts_, "+");
  }

  std::string Status() const {
    const std::string running = runs() ? task->type : "";
    if (workflow_ != "onboarding") {
      return ExpectedStatus(workflow_ == "short_lived" ? "ticket_export" : workflow_, state, stage,
                            running, failed, completed);
    }
    if (completed) return "onboarded";
    if (failed) return "needs_help";
    if (state == "STOPPED" || state == "DELETED") return "withdrawn";
    if (state == "CREATING") return "invited";
    if (state == "PAUSED") return "on_leave";
    if (running == "background_check" && stage == "paperwork") return "being_vetted";
    if (!running.empty()) return "setting_up";
    return stage == "training" ? "learning" : "new";
  }
  bool runs() const { return task.has_value() && task->status == "RUNNING"; }
  int blocking() const {
    return static_cast<int>(std::count_if(errors.begin(), errors.end(), [](const auto& error) {
      return error.second.blocking && !error.second.resolved;
    }));
  }
  bool lives() const { return born && !ended; }
  const std::string& id() const { return id_; }
  const std::string& workflow() const { return workflow_; }

  // Where it stands. Public: the test compares it with what is there.
  bool born = false, ended = false, failed = false, completed = false, hold = false;
  std::string state, stage, before_deletion;
  std::set<std::string> context;
  std::map<std::string, std::string> labels, references;
  std::map<std::string, int> counters;
  std::vector<std::string> messages;  // id and content, by sequence
  std::map<std::string, std::string> artifacts;
  std::map<std::string, Error> errors;
  std::optional<Task> task;
  int sequence = 0, revision = 0;

 private:
  void Fact(const std::string& type) {
    facts_.push_back(type);
    ++sequence;
    if (type != "MESSAGES_APPENDED" && type != "TASK_PROGRESSED") revision = sequence;
  }

  // Request ids are forgotten with their session, but within the group that ends it.
  std::string Gone(const absl::StatusOr<Outcome>& outcome) const {
    if (!ended) return "";
    for (const char* answer : {"SESSION_EXISTS", "REQUEST_ID_REUSED"}) {
      if (v1::ErrorReason_Name(ReasonOf(outcome.status())) == answer)
        return absl::StrCat("!", answer);
    }
    return "!ARCHIVED";
  }

  // --- refusals, in their order
  std::string Existence(bool deleted_too = false) const {
    if (ended) return "!ARCHIVED";
    if (!born) return "!NEVER_EXISTED";
    return state == "DELETED" && !deleted_too ? "!DELETED" : "";
  }
  template <class Request>
  std::string Etag(const Request& request) const {
    const bool stale = !request.etag().empty() && request.etag() != absl::StrCat("r", revision);
    return stale ? "!ETAG_MISMATCH" : "";
  }
  template <class Request>
  std::string There(const Request& request, bool deleted_too = false) const {
    const std::string missing = Existence(deleted_too);
    return missing.empty() ? Etag(request) : missing;
  }
  bool active() const { return state == "ACTIVE" && !failed; }
  bool paused() const { return state == "PAUSED" && !failed; }
  bool going() const { return state == "ACTIVE" || state == "PAUSED"; }
  bool Lacks(const std::string& at) const { return CountLacking(at) > 0; }
  int CountLacking(const std::string& at) const {
    int lacking = 0;
    const auto index = [&](const std::string& name) {
      return std::find(spec().stages.begin(), spec().stages.end(), name) - spec().stages.begin();
    };
    for (const auto& [from, field] : spec().required) {
      if (index(from) <= index(at) && !context.contains(field)) ++lacking;
    }
    return lacking;
  }
  std::string Next() const {
    const auto& stages = spec().stages;
    const auto here = std::find(stages.begin(), stages.end(), stage);
    return here == stages.end() || here + 1 == stages.end() ? "" : *(here + 1);
  }
  std::string CannotAdvance(const std::string& to) const {
    if (Next().empty() || to != Next()) return "!INVALID_TRANSITION";
    if (Lacks(to)) return "!STAGE_FIELDS_MISSING";
    return spec().blocks && blocking() > 0 ? "!BLOCKING_ERRORS" : "";
  }
  std::string CannotLink(const SessionError& error) const {
    const auto lacks = [&](const std::string& id, const char* kind) {
      return !id.empty() && (!artifacts.contains(id) || artifacts.at(id) != kind);
    };
    const bool missing =
        lacks(error.related_file_id(), "FILE") || lacks(error.related_ticket_id(), "TICKET");
    return missing ? "!ARTIFACT_NOT_FOUND" : "";
  }

  // --- facts
  void Cancel() {
    if (!runs()) return;
    task->status = "CANCELLED";
    Fact("TASK_CANCELLED");
  }
  void Stop(const char* how) {
    Cancel();
    state = "STOPPED";
    Fact(how);
  }
  void Fail() {
    Cancel();
    failed = true;
    Fact("FAILED");
  }
  void AdvanceTo(const std::string& to) {
    stage = to;
    Fact("ADVANCED");
    if (to != spec().stages.back()) return;
    completed = true;
    Stop("COMPLETED");
  }
  // The drawn id is the outcome's n-th error's.
  void Note(const SessionError& error, std::size_t n = 0) {
    Fact("ERROR_RECORDED");
    if (outcome_ == nullptr || outcome_->errors.size() <= n) return;
    errors[outcome_->errors[n].error_id()] = {
        .blocking = error.severity() == SessionError::BLOCKING,
        .stage = stage,
        .file = error.related_file_id(),
        .ticket = error.related_ticket_id()};
  }
  void Run(const std::string& type, const std::string& id, int failures) {
    std::string run = id;
    if (run.empty() && outcome_ != nullptr) run = outcome_->session.current_task().task_id();
    EXPECT_TRUE(runs_.insert(run).second) << "a run's id is new";
    task = Task{.type = type, .id = run, .status = "RUNNING", .failures = failures};
  }

  // --- creation and import
  std::string Do(const v1::CreateSessionRequest& request) {
    if (born) return "!SESSION_EXISTS";
    const Session& given = request.session();
    std::set<std::string> fields;
    for (const auto& [field, value] : given.context().fields()) fields.insert(field);
    context = fields;
    stage = spec().stages.empty() ? "" : spec().stages.front();
    if (!request.creating() && Lacks(stage)) return "!STAGE_FIELDS_MISSING";
    born = true;
    state = request.creating() ? "CREATING" : "ACTIVE";
    for (const auto& [name, value] : given.references()) references[name] = value;
    if (outcome_ != nullptr) id_ = outcome_->session.session_id();
    Fact("CREATED");
    return "";
  }
  std::string Do(const v1::ImportSessionsRequest& request) {
    if (born) return "!SESSION_EXISTS";
    for (const v1::SessionMessage& message : request.messages()) {
      if (!spec().messages.contains(message.type())) return "!INVALID_FIELD";
    }
    born = true;
    const Session& given = request.session();
    stage = !given.stage().empty()  ? given.stage()
            : spec().stages.empty() ? ""
                                    : spec().stages.front();
    state = Session::State_Name(given.state());
    failed = given.has_fail_time();
    for (const auto& [field, value] : given.context().fields()) context.insert(field);
    for (const SessionArtifact& artifact : request.artifacts())
      artifacts[artifact.artifact_id()] = SessionArtifact::Kind_Name(artifact.kind());
    for (const SessionError& error : request.errors())
      errors[error.error_id()] = {.blocking = error.severity() == SessionError::BLOCKING,
                                  .resolved = error.has_resolve_time(),
                                  .stage = stage,
                                  .file = error.related_file_id(),
                                  .ticket = error.related_ticket_id()};
    for (const v1::SessionMessage& message : request.messages()) Say(message);
    if (request.has_task()) {
      Run(request.task().task_type(), request.task().task_id(), request.task().retry_count());
      task->status = SessionTask::Status_Name(request.task().status());
    }
    Fact("IMPORTED");
    return "";
  }

  // --- life
  std::string Do(const v1::ActivateSessionRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (state != "CREATING") return "!INVALID_TRANSITION";
    if (Lacks(stage)) return "!STAGE_FIELDS_MISSING";
    state = "ACTIVE";
    Fact("ACTIVATED");
    return "";
  }
  std::string Do(const v1::PauseSessionRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (!active()) return "!INVALID_TRANSITION";
    state = "PAUSED";
    Fact("PAUSED");
    return "";
  }
  std::string Do(const v1::ResumeSessionRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (!paused()) return "!INVALID_TRANSITION";
    state = "ACTIVE";
    Fact("RESUMED");
    return "";
  }
  std::string Do(const v1::StopSessionRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (!going()) return "!INVALID_TRANSITION";
    Stop("STOPPED");
    return "";
  }
  std::string Do(const v1::FailSessionRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (!(active() || paused()) || !spec().fails) return "!INVALID_TRANSITION";
    Fail();
    return "";
  }
  std::string Do(const v1::RecoverSessionRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (!going()) return "!NOT_RECOVERABLE";
    state = "ACTIVE";
    failed = false;
    if (task.has_value() && task->status == "FAILED") task->failures = 0;
    Fact("RECOVERED");
    return "";
  }
  std::string Do(const v1::DeleteSessionRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (going() && !request.force()) return "!INVALID_TRANSITION";
    if (hold) return "!HOLD_ACTIVE";
    if (going()) Stop("STOPPED");
    state = "DELETED";
    Fact("DELETED");
    return "";
  }
  std::string Do(const v1::UndeleteSessionRequest& request) {
    if (auto no = There(request, true); !no.empty()) return no;
    if (state != "DELETED") return "!NOT_DELETED";
    state = "STOPPED";
    Fact("UNDELETED");
    return "";
  }
  std::string Do(const v1::AdvanceSessionRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (!active()) return "!SESSION_NOT_ACTIVE";
    if (runs()) return "!TASK_ALREADY_RUNNING";
    if (auto no = CannotAdvance(request.target_stage()); !no.empty()) return no;
    AdvanceTo(request.target_stage());
    return "";
  }
  // One path, or one counter.
  std::string Do(const v1::UpdateSessionRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    const std::string path =
        request.update_mask().paths_size() > 0 ? request.update_mask().paths(0) : "";
    const std::string key = path.substr(path.find('.') + 1);
    const bool label = absl::StartsWith(path, "labels.");
    if (state == "STOPPED" && path != "hold" && !label) return "!SESSION_NOT_ACTIVE";
    if (path == "hold") hold = request.session().hold();
    if (label) labels[key] = request.session().labels().at(key);
    if (absl::StartsWith(path, "context.")) {
      const std::set<std::string> before = context;
      const int lacked = CountLacking(stage);
      context.erase(key);
      if (request.session().context().fields().contains(key)) context.insert(key);
      // An imported session may have lacked something all along.
      if (going() && CountLacking(stage) > lacked) {
        context = before;
        return "!STAGE_FIELDS_MISSING";
      }
    }
    for (const auto& [counter, increment] : request.counter_increments()) {
      if (counters[counter] + increment < 0) return "!CONTEXT_VIOLATION";
      counters[counter] += increment;
    }
    Fact("UPDATED");
    return "";
  }

  // --- tasks
  template <class Request>
  std::string Report(const Request& request) const {
    if (auto no = Existence(); !no.empty()) return no;
    if (!task.has_value()) return "!TASK_NOT_FOUND";
    if (task->id != request.task_id()) return "!STALE_TASK";
    if (auto no = Etag(request); !no.empty()) return no;
    if (!going() || failed) return "!SESSION_NOT_ACTIVE";
    if (task->status == "COMPLETED") return "!TASK_COMPLETED";
    return runs() ? "" : "!TASK_NOT_RUNNING";
  }
  std::string Do(const v1::StartTaskRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (!active()) return "!SESSION_NOT_ACTIVE";
    if (runs()) return "!TASK_ALREADY_RUNNING";
    const std::string& type = request.task_type();
    if (task.has_value() && task->status == "FAILED" && task->type == type) return "!TASK_FAILED";
    if (!spec().tasks.contains(type)) return "!INVALID_FIELD";
    const std::string& to = request.advance_to_stage();
    if (!spec().tasks.at(type).contains(to.empty() ? stage : to)) return "!INVALID_TRANSITION";
    if (runs_.contains(request.task_id())) return "!INVALID_FIELD";
    if (!to.empty()) {
      if (auto no = CannotAdvance(to); !no.empty()) return no;
      AdvanceTo(to);
    }
    Run(type, request.task_id(), 0);
    Fact("TASK_STARTED");
    return "";
  }
  std::string Do(const v1::ReportTaskProgressRequest& request) {
    if (auto no = Report(request); !no.empty()) return no;
    if (request.has_progress()) Fact("TASK_PROGRESSED");
    return "";
  }
  std::string Do(const v1::CompleteTaskRequest& request) {
    if (auto no = Report(request); !no.empty()) return no;
    const std::string& to = request.advance_to_stage();
    if (!to.empty()) {
      if (auto no = CannotAdvance(to); !no.empty()) return no;
    }
    task->status = "COMPLETED";
    Fact("TASK_COMPLETED");
    if (!to.empty()) AdvanceTo(to);
    return "";
  }
  std::string Do(const v1::FailTaskRequest& request) {
    if (auto no = Report(request); !no.empty()) return no;
    // Whether it was silent for long enough only the clock knows.
    if (by_timeout_ && outcome_ == nullptr) return "!STALE_TASK";
    if (auto no = CannotLink(request.error()); !no.empty()) return no;
    task->status = "FAILED";
    ++task->failures;
    Fact("TASK_FAILED");
    if (request.has_error()) Note(request.error());
    if (task->failures < spec().max_retries) return "";
    SessionError own;
    own.set_severity(SessionError::BLOCKING);
    if (!request.has_error()) Note(own);
    Fail();
    return "";
  }
  std::string Do(const v1::CancelTaskRequest& request) {
    if (auto no = Report(request); !no.empty()) return no;
    Cancel();
    return "";
  }
  std::string Do(const v1::RetryTaskRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (!task.has_value()) return "!TASK_NOT_FOUND";
    if (runs()) return "!TASK_ALREADY_RUNNING";
    if (task->status == "COMPLETED") return "!TASK_COMPLETED";
    if (task->status == "CANCELLED") return "!TASK_NOT_RUNNING";
    if (task->failures >= spec().max_retries) return "!RETRY_LIMIT_EXCEEDED";
    if (!active()) return "!SESSION_NOT_ACTIVE";
    if (!spec().tasks.at(task->type).contains(stage)) return "!INVALID_TRANSITION";
    if (runs_.contains(request.task_id())) return "!INVALID_FIELD";
    Run(task->type, request.task_id(), task->failures);
    Fact("TASK_RETRIED");
    return "";
  }

  // --- errors, messages, artifacts
  std::string Do(const v1::RecordErrorRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (auto no = CannotLink(request.error()); !no.empty()) return no;
    Note(request.error());
    return "";
  }
  std::string Do(const v1::ResolveErrorRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    const auto found = errors.find(request.error_id());
    if (found == errors.end()) return "!ERROR_NOT_FOUND";
    if (found->second.resolved) return "!ALREADY_RESOLVED";
    found->second.resolved = true;
    Fact("ERROR_RESOLVED");
    return "";
  }
  void Say(const v1::SessionMessage& message) {
    if (!message.message_id().empty()) said_.insert(message.message_id());
    messages.push_back(absl::StrCat(message.message_id(), " ", message.content()));
  }
  std::string Do(const v1::AppendMessagesRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (!active()) return "!SESSION_NOT_ACTIVE";
    for (const v1::SessionMessage& message : request.messages()) {
      if (!spec().messages.contains(message.type()) || said_.contains(message.message_id()))
        return "!INVALID_FIELD";
    }
    for (const v1::SessionMessage& message : request.messages()) {
      if (const std::string& counter = spec().messages.at(message.type()); !counter.empty())
        ++counters[counter];
      Say(message);
    }
    Fact("MESSAGES_APPENDED");
    return "";
  }
  std::string Do(const v1::AddArtifactsRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (state == "STOPPED") return "!SESSION_NOT_ACTIVE";
    for (const SessionArtifact& artifact : request.artifacts()) {
      if (artifacts.contains(artifact.artifact_id())) return "!INVALID_FIELD";
    }
    for (int i = 0; i < request.artifacts_size(); ++i) {
      std::string id = request.artifacts(i).artifact_id();
      if (id.empty() && outcome_ != nullptr) id = outcome_->artifacts[i].artifact_id();
      artifacts[id] = SessionArtifact::Kind_Name(request.artifacts(i).kind());
    }
    Fact("ARTIFACTS_ADDED");
    return "";
  }
  std::string Do(const v1::DeleteArtifactRequest& request) {
    if (auto no = There(request); !no.empty()) return no;
    if (state == "STOPPED") return "!SESSION_NOT_ACTIVE";
    if (artifacts.erase(request.artifact_id()) == 0) return "!ARTIFACT_NOT_FOUND";
    for (auto& [id, error] : errors) {
      if (error.file == request.artifact_id()) error.file.clear();
      if (error.ticket == request.artifact_id()) error.ticket.clear();
    }
    Fact("ARTIFACT_DELETED");
    return "";
  }

  // --- shares
  std::string Do(const v1::EraseOwnerRequest& request) {
    if (auto no = Existence(true); !no.empty()) return no;
    if (hold) return "!HOLD_ACTIVE";
    if (request.owner_id() != "owner-1") return "";
    ended = true;
    Fact("ERASED");
    return "";
  }
  std::string Do(const v1::PurgeSessionsRequest&) {
    if (auto no = Existence(true); !no.empty()) return no;
    if (hold) return "!HOLD_ACTIVE";
    const bool over = state == "STOPPED" || state == "DELETED";
    // Whether a microsecond has passed only the clock knows.
    if (!spec().short_lived || !over || outcome_ == nullptr || outcome_->events.empty()) return "";
    ended = true;
    Fact("ARCHIVED");
    return "";
  }
  std::string Do(const v1::DetachReferenceRequest& request) {
    if (auto no = Existence(true); !no.empty()) return no;
    const auto found = references.find(request.name());
    if (found == references.end() || found->second != request.value()) return "";
    references.erase(found);
    Fact("REFERENCE_DETACHED");
    return "";
  }

  struct Request {
    std::string payload, run;
  };

  std::string workflow_, id_;
  std::map<std::string, Request> requests_;
  std::set<std::string> runs_, said_;
  // Of the command at hand.
  const Outcome* outcome_ = nullptr;
  bool by_timeout_ = false;
  std::vector<std::string> facts_;
};

// -----------------------------------------------------------------------------------------------
// what is drawn

class Drawing {
 public:
  Drawing(uint64_t seed, const WorkflowCatalog& catalog) : random_(seed), catalog_(catalog) {}

  int Pick(int count) { return static_cast<int>(random_() % static_cast<uint64_t>(count)); }
  bool Chance(int of) { return Pick(of) == 0; }

  Model NewModel() {
    const auto workflow = std::next(Specs().begin(), Pick(static_cast<int>(Specs().size())));
    const auto format = workflow->first == "execution" ? v1::Workflow::EXEC : v1::Workflow::UUID;
    return {workflow->first, MakeSessionId(format, kBegin, random_(), random_())};
  }

  // A command for the model's session as it stands before the round: by its turn it may be late.
  Command Next(const Model& model) {
    Command command = model.born ? Change(model) : Birth(model);
    if (Chance(3)) SetEtag(model, command);
    if (MaySaveItsBreath(command)) return command;
    if (!model.born || Chance(3)) command = WithRequestId(command, absl::StrCat("q", ++requests_));
    auto& sent = sent_[model.id()];
    // The same again, or another with its id.
    if (!sent.empty() && Chance(12)) {
      const Command& before = sent[Pick(static_cast<int>(sent.size()))];
      return Chance(3) ? WithRequestId(command, before.request_id) : before;
    }
    if (!command.request_id.empty()) sent.push_back(command);
    return command;
  }

 private:
  // What may come to nothing is not kept as a request.
  static bool MaySaveItsBreath(const Command& command) {
    const auto* report = std::get_if<v1::ReportTaskProgressRequest>(&command.request);
    return (report != nullptr && !report->has_progress()) ||
           std::holds_alternative<v1::EraseOwnerRequest>(command.request) ||
           std::holds_alternative<v1::DetachReferenceRequest>(command.request) ||
           std::holds_alternative<v1::PurgeSessionsRequest>(command.request);
  }

  Command Birth(const Model& model) {
    const auto workflow = catalog_.Newest(model.workflow());
    const Spec& spec = model.spec();
    Session session = NewSession(model.workflow()).session();
    session.set_session_id(model.id());
    for (const auto& [stage, field] : spec.required) {
      if (!Chance(6)) (*session.mutable_context()->mutable_fields())[field] = ValueOf(field);
    }
    if (Chance(4)) return Import(workflow, Past(spec, session));
    v1::CreateSessionRequest request;
    *request.mutable_session() = session;
    request.set_session_id(model.id());
    request.set_creating(Chance(4));
    if (!spec.reference.empty() && Chance(2))
      (*request.mutable_session()->mutable_references())[spec.reference] = "r1";
    return Create(workflow, request);
  }

  v1::ImportSessionsRequest Past(const Spec& spec, const Session& session) {
    // So that it can still be recovered.
    const int64_t an_hour_ago = absl::ToUnixSeconds(absl::Now() - absl::Hours(1));
    v1::ImportSessionsRequest request;
    Session& past = *request.mutable_session();
    past = session;
    past.set_state(static_cast<Session::State>(1 + Pick(5)));
    if (spec.stages.size() > 1) past.set_stage(spec.stages[Pick(2) % (spec.stages.size() - 1)]);
    const bool going = past.state() == Session::ACTIVE || past.state() == Session::PAUSED;
    if (spec.fails && going && Chance(4)) past.mutable_fail_time()->set_seconds(an_hour_ago);
    if (!spec.tasks.empty() && Chance(2)) {
      SessionTask& task = *request.mutable_task();
      task.set_task_type(spec.tasks.begin()->first);
      task.set_task_id(Uuid());
      task.set_status(going && !past.has_fail_time() ? SessionTask::RUNNING : SessionTask::FAILED);
      if (task.status() == SessionTask::FAILED) task.mutable_fail_time()->set_seconds(an_hour_ago);
      task.set_retry_count(Pick(spec.max_retries));
    }
    *request.add_artifacts() = AnArtifact("f0");
    *request.add_artifacts() = AnArtifact("t0", SessionArtifact::TICKET);
    for (int i = Pick(3); i > 0; --i) {
      SessionError& error = *request.add_errors();
      error = SomeError();
      error.set_related_file_id("f0");
      error.set_related_ticket_id("t0");
      error.set_error_id(Uuid());
      if (Chance(3)) error.mutable_resolve_time()->set_seconds(an_hour_ago);
    }
    for (int i = spec.messages.empty() ? 0 : Pick(3); i > 0; --i)
      *request.add_messages() = SomeMessage(spec);
    return request;
  }

  Command Change(const Model& model) {
    const Spec& spec = model.spec();
    const std::string& id = model.id();
    const std::string run = model.task.has_value() && !Chance(10) ? model.task->id : Uuid();
    const std::string stage = StageAhead(model);
    const std::string stage_or_none = Chance(3) ? stage : "";
    // Few tasks run long enough to meet the end of their session by chance.
    if (model.runs() && Chance(10)) return About<v1::StopSessionRequest>(id);
    switch (Pick(34)) {
      case 0:
        return About<v1::ActivateSessionRequest>(id);
      case 1:
        return About<v1::PauseSessionRequest>(id);
      case 2:
      case 3:
        return About<v1::ResumeSessionRequest>(id);
      case 4:
        return Chance(4) ? About<v1::StopSessionRequest>(id) : Label(id);
      case 5:
        return Chance(3) ? About<v1::FailSessionRequest>(id) : Label(id);
      case 6:
      case 7:
        return About<v1::RecoverSessionRequest>(id);
      case 8:
        return Delete(id, Chance(6));
      case 9:
        return About<v1::UndeleteSessionRequest>(id);
      case 10:
      case 11:
        return Advance(id, stage);
      case 12:
        return Field(model);
      case 13:
      case 14:
      case 15: {
        const auto type = spec.tasks.empty()
                              ? std::string("none")
                              : std::next(spec.tasks.begin(), Pick(spec.tasks.size()))->first;
        Command start =
            StartTask(id, type, Chance(2) ? (Chance(8) ? run : Uuid()) : "", stage_or_none);
        auto& request = std::get<v1::StartTaskRequest>(start.request);
        if (Chance(2)) *request.mutable_heartbeat_timeout() = ToProto(absl::Milliseconds(1));
        return start;
      }
      case 16:
        return Progress(id, run, Pick(100) / 8.0);
      case 17:
        return Heartbeat(id, run);
      case 18:
        return CompleteTask(id, run, stage_or_none);
      case 19:
      case 20: {
        const SessionError error = Linked(model, SomeError());
        return FailTask(id, run, Chance(2) ? &error : nullptr);
      }
      case 21:
        return ByTimeout(FailTask(id, run));
      case 22:
        return CancelTask(id, run);
      case 23:
      case 24:
        return RetryTask(id, Chance(2) ? Uuid() : "");
      case 25:
        return RecordError(id, Linked(model, SomeError()));
      case 26:
      case 27:
        return ResolveError(id, AnyOf(model.errors, Uuid()));
      case 28: {
        v1::AppendMessagesRequest request;
        for (int i = 1 + Pick(4); i > 0; --i) *request.add_messages() = SomeMessage(spec);
        return About(id, request);
      }
      case 29: {
        const auto kind = Chance(3) ? SessionArtifact::TICKET : SessionArtifact::FILE;
        return Chance(4) ? AddArtifacts(id, {AnArtifact(""), AnArtifact("", kind)})
                         : AddArtifacts(id, {AnArtifact(absl::StrCat("f", Pick(4)), kind)});
      }
      case 30:
      case 31:
        return DeleteArtifact(id, AnyOf(model.artifacts, "f1"));
      case 32:
        return Chance(6)   ? Erase(id, Chance(3) ? "owner-1" : "nobody")
               : Chance(3) ? Birth(model)
                           : Detach(id, spec.reference, Chance(2) ? "r1" : "r2");
      default:
        return Chance(2) ? Share<v1::PurgeSessionsRequest>(id)
                         : ByTimeout(About<v1::StopSessionRequest>(id));
    }
  }

  Command Label(const std::string& id) {
    return SetLabel(id, absl::StrCat("l", Pick(3)), absl::StrCat(Pick(9)));
  }
  // A field, the hold, a counter.
  Command Field(const Model& model) {
    const Spec& spec = model.spec();
    if (!spec.counter.empty() && Chance(3)) return Increment(model.id(), spec.counter, Pick(9) - 3);
    v1::UpdateSessionRequest request;
    if (spec.required.empty() || Chance(2)) {
      request.mutable_update_mask()->add_paths("hold");
      request.mutable_session()->set_hold(Chance(6));
      return About(model.id(), request);
    }
    const std::string& field = spec.required[Pick(static_cast<int>(spec.required.size()))].second;
    request.mutable_update_mask()->add_paths("context." + field);
    auto& context = *request.mutable_session()->mutable_context()->mutable_fields();
    if (!Chance(4)) context[field] = ValueOf(field);
    return About(model.id(), request);
  }
  static Value ValueOf(const std::string& field) {
    if (field == "remote") return BoolValue(true);
    return StringValue(field == "department" ? "sales" : "2026-02-01");
  }
  std::string StageAhead(const Model& model) {
    const auto& stages = model.spec().stages;
    if (stages.empty()) return "nowhere";
    const auto here = std::find(stages.begin(), stages.end(), model.stage);
    const bool sound = here != stages.end() && here + 1 != stages.end() && !Chance(8);
    return sound ? *(here + 1) : stages[Pick(static_cast<int>(stages.size()))];
  }
  std::string Uuid() { return MakeSessionId(v1::Workflow::UUID, kBegin, random_(), random_()); }
  template <class Map>
  std::string AnyOf(const Map& map, const std::string& otherwise) {
    if (map.empty() || Chance(8)) return otherwise;
    return std::next(map.begin(), Pick(static_cast<int>(map.size())))->first;
  }
  SessionError SomeError() {
    return AnError(Chance(4) ? SessionError::BLOCKING : SessionError::WARNING);
  }
  SessionError Linked(const Model& model, SessionError error) {
    if (Chance(2)) return error;
    for (const auto& [id, kind] : model.artifacts) {
      if (!Chance(2)) continue;
      // Now and then of the wrong kind.
      if ((kind == "FILE") != Chance(8)) {
        error.set_related_file_id(id);
      } else {
        error.set_related_ticket_id(id);
      }
    }
    return error;
  }
  v1::SessionMessage SomeMessage(const Spec& spec) {
    v1::SessionMessage message;
    message.set_type(spec.messages.empty() || Chance(12)
                         ? "no such type"
                         : std::next(spec.messages.begin(), Pick(spec.messages.size()))->first);
    message.set_content(absl::StrCat("message ", Pick(1'000'000)));
    if (Chance(2)) message.set_message_id(Uuid());
    return message;
  }
  void SetEtag(const Model& model, Command& command) {
    // As an editor has it who read before the round.
    const std::string etag = Chance(10) ? "r9999" : absl::StrCat("r", model.revision);
    std::visit(
        [&](auto& request) {
          if constexpr (requires { request.set_etag(etag); }) request.set_etag(etag);
        },
        command.request);
  }

  std::mt19937_64 random_;
  const WorkflowCatalog& catalog_;
  int requests_ = 0;
  // By session: the commands that had a request id of their own.
  std::map<std::string, std::vector<Command>> sent_;
};

// -----------------------------------------------------------------------------------------------
// the comparison

std::string FactsOfOutcome(const absl::StatusOr<Outcome>& outcome, const std::string& expected) {
  if (!outcome.ok()) {
    const v1::ErrorReason reason = ReasonOf(outcome.status());
    EXPECT_NE(reason, v1::ERROR_REASON_UNSPECIFIED) << outcome.status();
    return absl::StrCat("!", v1::ErrorReason_Name(reason));
  }
  if (outcome->events.empty()) return expected == "again" ? "again" : "nothing";
  std::vector<std::string> types;
  for (const SessionEvent& event : outcome->events)
    types.push_back(SessionEvent::Type_Name(event.type()));
  return absl::StrJoin(types, "+");
}

// What a session is, in words; of the model and of a row or an answer.
std::string Told(const Model& model) {
  const std::string task = model.task.has_value()
                               ? absl::StrCat(model.task->type, " ", model.task->id, " ",
                                              model.task->status, " ", model.task->failures)
                               : "";
  std::map<std::string, int> counters;
  for (const auto& [name, count] : model.counters) {
    if (count != 0) counters[name] = count;
  }
  return absl::StrCat(model.state, " ", model.stage, " ", model.Status(),
                      model.failed ? " failed" : "", model.completed ? " completed" : "",
                      model.hold ? " held" : "", "; labels ",
                      absl::StrJoin(model.labels, ",", absl::PairFormatter("=")), "; references ",
                      absl::StrJoin(model.references, ",", absl::PairFormatter("=")), "; counters ",
                      absl::StrJoin(counters, ",", absl::PairFormatter("=")), "; messages ",
                      model.messages.size(), "; blocked ", model.blocking() > 0, "; task ", task,
                      "; sequence ", model.sequence, ", r", model.revision);
}

std::string Told(const Session& session) {
  const SessionTask& run = session.current_task();
  const std::string task =
      session.has_current_task()
          ? absl::StrCat(run.task_type(), " ", run.task_id(), " ",
                         SessionTask::Status_Name(run.status()), " ", run.retry_count())
          : "";
  const std::map<std::string, std::string> labels(session.labels().begin(), session.labels().end());
  const std::map<std::string, std::string> references(session.references().begin(),
                                                      session.references().end());
  std::map<std::string, int> counters;
  for (const auto& [name, count] : session.counters()) {
    if (count != 0) counters[name] = count;
  }
  return absl::StrCat(
      Session::State_Name(session.state()), " ", session.stage(), " ", session.status(),
      session.has_fail_time() ? " failed" : "", session.has_complete_time() ? " completed" : "",
      session.hold() ? " held" : "", "; labels ",
      absl::StrJoin(labels, ",", absl::PairFormatter("=")), "; references ",
      absl::StrJoin(references, ",", absl::PairFormatter("=")), "; counters ",
      absl::StrJoin(counters, ",", absl::PairFormatter("=")), "; messages ",
      session.message_count(), "; blocked ", session.has_blocking_errors(), "; task ", task,
      "; sequence ", session.sequence(), ", r", session.revision());
}

// Rows below a session as lines, sorted.
std::multiset<std::string> Lines(const TestDatabase& database, const std::string& expression,
                                 const std::string& table) {
  auto connection = database.Connect();
  connection->QueueSql(
      absl::StrCat("SELECT concat_ws(' ', session_id, ", expression, ") FROM ", table));
  auto results = connection->RoundTrip(TestDeadline());
  EXPECT_TRUE(results.ok()) << results.status();
  std::multiset<std::string> lines;
  for (int row = 0; results.ok() && row < results->front().rows(); ++row)
    lines.insert(std::string(results->front().Text(row, 0)));
  return lines;
}

std::vector<std::string> Differences(const std::multiset<std::string>& kept,
                                     const std::multiset<std::string>& expected) {
  std::vector<std::string> differences;
  std::set_symmetric_difference(kept.begin(), kept.end(), expected.begin(), expected.end(),
                                std::back_inserter(differences));
  return differences;
}

// What is there in the end is what the models say.
void ExpectKept(const TestDatabase& database, const std::vector<Model>& models) {
  const auto sessions = AllSessions(database);
  const auto events = AllEvents(database);
  std::multiset<std::string> messages, artifacts, errors;
  std::size_t live = 0, ended = 0, lost_errors = 0;
  for (const Model& model : models) {
    ended += model.ended ? 1 : 0;
    lost_errors += model.ended ? model.errors.size() : 0;
    if (!model.lives()) {
      EXPECT_FALSE(sessions.contains(model.id())) << model.id();
      continue;
    }
    ++live;
    ASSERT_TRUE(sessions.contains(model.id())) << model.id();
    EXPECT_EQ(Told(sessions.at(model.id())), Told(model)) << model.workflow() << " " << model.id();
    EXPECT_EQ(events.at(model.id()).size(), static_cast<std::size_t>(model.sequence));
    for (std::size_t i = 0; i < model.messages.size(); ++i)
      messages.insert(absl::StrCat(model.id(), " ", i + 1, " ", model.messages[i]));
    for (const auto& [id, kind] : model.artifacts)
      artifacts.insert(absl::StrCat(model.id(), " ", id, " ", kind == "FILE" ? 1 : 2));
    for (const auto& [id, error] : model.errors) {
      errors.insert(absl::StrCat(model.id(), " ", id, " ", error.blocking ? "blocking" : "not", " ",
                                 error.resolved ? "resolved" : "open", " <", error.stage, "> <",
                                 error.file, "> <", error.ticket, ">"));
    }
  }
  EXPECT_EQ(sessions.size(), live);
  EXPECT_EQ(database.Ask("SELECT count(*)::text FROM tombstones"), absl::StrCat(ended));
  EXPECT_THAT(Differences(Lines(database,
                                "sequence, CASE WHEN brought THEN message_id ELSE '' END, content",
                                "session_messages"),
                          messages),
              testing::IsEmpty());
  EXPECT_THAT(Differences(Lines(database, "artifact_id, kind", "session_artifacts"), artifacts),
              testing::IsEmpty());
  EXPECT_THAT(Differences(Lines(database,
                                "error_id, CASE WHEN severity = 1 THEN 'blocking' ELSE 'not' END, "
                                "CASE WHEN resolved_at IS NULL THEN 'open' ELSE 'resolved' END, "
                                "'<' || operation_stage || '>', '<' || related_file_id || '>', "
                                "'<' || related_ticket_id || '>'",
                                "session_errors"),
                          errors),
              testing::IsEmpty());
  EXPECT_EQ(database.Ask("SELECT coalesce(sum(errors), 0)::text FROM error_patterns"),
            absl::StrCat(lost_errors));
  ExpectSound(database);
}

// Somebody keeps rows locked for a while: what needs them waits beside its lane, and everything is
// answered as ever.
class LockedForAWhile {
 public:
  static constexpr absl::Duration kWhile = absl::Milliseconds(40);

  LockedForAWhile(const TestDatabase& database, const std::string& select)
      : connection_(database.Connect()) {
    EXPECT_TRUE(connection_->Execute("BEGIN; " + select + " FOR UPDATE", TestDeadline()).ok());
    thread_ = std::thread([this] {
      absl::SleepFor(kWhile);
      EXPECT_TRUE(connection_->Execute("ROLLBACK", TestDeadline()).ok());
    });
  }
  ~LockedForAWhile() { thread_.join(); }

 private:
  std::unique_ptr<Connection> connection_;
  std::thread thread_;
};

TEST(Model, AndStoresAgreeOnEveryAnswerAndOnWhatIsKept) {
  constexpr int kSessions = 300, kRounds = 60, kCommands = 200;
  const uint64_t seed = TestSeed();
  TestDatabase database;
  std::atomic<int> from_cache = 0, optimistic = 0, locked = 0;
  const auto open = [&](int lanes) {
    return OpenStore(database, [&](SessionStoreOptions& options) {
      options.lanes = lanes;
      options.settings.lock_timeout = absl::Seconds(30);
      options.settings.lock_moment = absl::Milliseconds(10);
      options.on_group = [&](const GroupReport& group) {
        from_cache += group.committed && !group.looked_up ? 1 : 0;
        optimistic +=
            group.committed && group.mode == CommitMode::kOptimistic && group.looked_up ? 1 : 0;
        locked += group.committed && group.mode == CommitMode::kLocked ? 1 : 0;
      };
      options.workflows.push_back(BuiltinDefinition("onboarding"));
      options.workflows.push_back(ShortLivedDefinition());
    });
  };
  const auto one = open(2), two = open(3);
  Drawing drawing(seed, one->catalog());
  std::vector<Model> models;
  for (int i = 0; i < kSessions; ++i) models.push_back(drawing.NewModel());

  std::map<std::string, int> answers;
  // Some are rare: rounds go on until each was met.
  const std::vector<std::string> wanted = {"again",
                                           "CREATED",
                                           "IMPORTED",
                                           "ARCHIVED",
                                           "ERASED",
                                           "TASK_CANCELLED+STOPPED",
                                           "ADVANCED+TASK_STARTED",
                                           "nothing",
                                           "!STALE_TASK",
                                           "!BLOCKING_ERRORS",
                                           "!REQUEST_ID_REUSED",
                                           "!ETAG_MISMATCH",
                                           "!ARCHIVED"};
  const auto met = [&](const std::string& answer) { return answers.contains(answer); };
  SessionStore* store = one.get();
  int rounds = 0;
  for (; rounds < kRounds ||
         (rounds < 5 * kRounds && !std::all_of(wanted.begin(), wanted.end(), met));
       ++rounds) {
    SCOPED_TRACE(absl::StrCat("seed ", seed, ", round ", rounds));
    // Few sessions at a time, so that commands meet.
    const int first = drawing.Pick(kSessions), some = 10 + drawing.Pick(80);
    std::vector<std::pair<Model*, Command>> drawn;
    for (int i = 0; i < kCommands; ++i) {
      Model& model = models[(first + drawing.Pick(some)) % kSessions];
      drawn.emplace_back(&model, drawing.Next(model));
    }
    // The one that keeps at it comes to decide from memory, until the other has been there.
    if (drawing.Chance(12)) store = store == one.get() ? two.get() : one.get();
    std::optional<LockedForAWhile> lock;
    if (drawing.Chance(5)) {
      const std::string id = drawn[drawing.Pick(kCommands)].first->id();
      const std::string partition = absl::StrCat(PartitionOf(id, one->partition_count()));
      lock.emplace(database, drawing.Chance(2)
                                 ? "SELECT FROM partitions WHERE partition = " + partition
                                 : "SELECT FROM sessions WHERE id = '" + id + "'");
    }
    std::vector<absl::StatusOr<Outcome>> outcomes;
    if (drawing.Chance(2)) {
      PendingList pending;
      for (const auto& [model, command] : drawn) {
        // The second half comes about when the lock goes: nothing of it may overtake the first.
        if (lock.has_value() && pending.size() == kCommands / 2)
          absl::SleepFor(LockedForAWhile::kWhile);
        pending.push_back(std::make_unique<Pending>(*store, command));
      }
      for (const auto& one : pending) outcomes.push_back(one->Wait());
    } else {
      for (const auto& [model, command] : drawn) outcomes.push_back(SubmitAndWait(*store, command));
    }
    for (int i = 0; i < kCommands; ++i) {
      auto& [model, command] = drawn[i];
      const std::string before = model->born ? Told(*model) : "unborn";
      const std::string expected = model->Take(command, outcomes[i]);
      ASSERT_EQ(FactsOfOutcome(outcomes[i], expected), expected)
          << "command " << i << " for " << model->workflow() << " " << before << "\n"
          << std::visit([](const auto& r) { return r.GetTypeName() + " " + r.ShortDebugString(); },
                        command.request)
          << "\n"
          << outcomes[i].status();
      ++answers[expected];
      if (!outcomes[i].ok() || !model->lives()) continue;
      // A repeated request is answered with the session as it stands then, which is now.
      ASSERT_EQ(Told(outcomes[i]->session), Told(*model)) << "command " << i;
    }
  }
  int accepted = 0;
  for (const auto& [answer, count] : answers) accepted += answer[0] == '!' ? 0 : count;
  EXPECT_GT(accepted, rounds * kCommands / 8) << "seed " << seed;
  for (const std::string& answer : wanted)
    EXPECT_TRUE(met(answer)) << answer << " was never drawn; seed " << seed;
  EXPECT_GT(from_cache, rounds) << "seed " << seed;
  EXPECT_GT(optimistic, rounds) << "seed " << seed;
  EXPECT_GT(locked, rounds) << "seed " << seed;
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  ExpectKept(database, models);
}

}  // namespace
}  // namespace sessiond::db
