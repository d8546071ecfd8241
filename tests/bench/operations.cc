#include "tests/bench/operations.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "sessiond/v1/error_service.pb.h"
#include "sessiond/v1/message_service.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "sessiond/v1/task_service.pb.h"
#include "tests/bench/client.h"

namespace sessiond::bench {
namespace {

constexpr absl::string_view kStages[] = {"upload", "processing", "review", "jira_export",
                                         "completed"};
constexpr std::int64_t kAdvancesPerSession = std::size(kStages);

// Sessions are advanced in blocks, lap by lap: all of a block to `upload` beforehand, then all to
// `processing`, … So the same session comes again only after all others of its block, never while
// it is in flight. A block is as many rows as pgbench works on, or some more; of a daemon that is
// asked for few advances it is fewer, in its favour.
constexpr std::int64_t kBlock = 16384;
constexpr std::int64_t kSessionsMin = 4096;
constexpr std::int64_t kLaps = kAdvancesPerSession - 1;

// How far sessions are advanced on which tasks run: to `processing`.
constexpr int kStagesBeforeTasks = 2;

constexpr std::uint64_t kOwners = 5000;
constexpr int kPageSize = 20;
constexpr char kNothingPrepared[] = "there are no sessions for it; say `prepare OPERATION COUNT`";

// What the bulk loader writes: of eight sessions the first is an interview, the others are ticket
// exports, and an owner has twenty.
constexpr std::uint64_t kAdoptedPerInterview = 8;
constexpr std::uint64_t kAdoptedPerOwner = 20;

std::string AdoptedId(std::uint64_t index) {
  return absl::StrFormat("00000000-0000-7000-9000-%012d", index);
}

// What we look at of a reply.
struct Reply {
  std::string session_id;
  std::string stage;     // of replies that show the session
  std::string task_id;   // of StartTask
  std::string owner_id;  // of ListSessions
};

// Of a list the first session stands for all. Throws std::runtime_error.
Reply Read(Method method, grpc::ByteBuffer& bytes) {
  switch (method) {
    case Method::kAppend: {
      const auto response = Parse<v1::AppendMessagesResponse>(bytes);
      return {.session_id = response.session().session_id(), .stage = response.session().stage()};
    }
    case Method::kList: {
      const auto response = Parse<v1::ListSessionsResponse>(bytes);
      if (response.sessions().empty()) return {};
      return {.owner_id = response.sessions(0).owner_id()};
    }
    case Method::kStart:
    case Method::kComplete: {
      const auto task = Parse<v1::SessionTask>(bytes);
      return {.session_id = task.session_id(), .task_id = task.task_id()};
    }
    case Method::kRecord:
      return {.session_id = Parse<v1::SessionError>(bytes).session_id()};
    default: {
      const auto session = Parse<v1::Session>(bytes);
      return {.session_id = session.session_id(), .stage = session.stage()};
    }
  }
}

}  // namespace

Operation ParseOperation(const std::string& name) {
  constexpr std::pair<absl::string_view, Operation> kOperations[] = {
      {"create", Operation::kCreate},
      {"advance", Operation::kAdvance},
      {"cold", Operation::kCold},
      {"update", Operation::kUpdate},
      {"get", Operation::kGet},
      {"list", Operation::kList},
      {"messages256", Operation::kMessages256},
      {"messages16k", Operation::kMessages16k},
      {"tasks", Operation::kTasks},
      {"errors", Operation::kErrors}};
  for (const auto& [known, operation] : kOperations) {
    if (name == known) return operation;
  }
  throw std::runtime_error(absl::StrCat("there is no operation `", name, "`; load.h names them"));
}

const std::string& Name(Method method) {
  static const std::string names[] = {
      "/sessiond.v1.SessionService/CreateSession", "/sessiond.v1.SessionService/AdvanceSession",
      "/sessiond.v1.SessionService/UpdateSession", "/sessiond.v1.SessionService/GetSession",
      "/sessiond.v1.SessionService/ListSessions",  "/sessiond.v1.MessageService/AppendMessages",
      "/sessiond.v1.TaskService/StartTask",        "/sessiond.v1.TaskService/CompleteTask",
      "/sessiond.v1.ErrorService/RecordError"};
  return names[static_cast<int>(method)];
}

Workload::Workload() {
  text_.resize(std::size_t{1} << 20);
  for (char& letter : text_) letter = static_cast<char>('a' + random_() % 26);
}

// Making sessions ---------------------------------------------------------------------------------

void Workload::Prepare(Operation operation, std::int64_t count,
                       const std::function<void(Operation)>& run) {
  switch (operation) {
    case Operation::kCreate:
      return;
    case Operation::kAdvance: {
      const std::int64_t sessions = std::max(count / kLaps + 1, kSessionsMin);
      const std::int64_t blocks = std::max<std::int64_t>(sessions / kBlock, 1);
      block_ = sessions / blocks + 1;
      advanced_ids_.clear();
      next_advance_ = 0;
      Make(Operation::kMakeSession, blocks * block_, advanced_ids_, run);
      Reach(kStages[0], advanced_ids_, 0, run);
      return;
    }
    case Operation::kCold:
      Make(Operation::kMakeSession, next_cold_ + count, cold_ids_, run);
      return;
    case Operation::kMessages256:
    case Operation::kMessages16k:
      Make(Operation::kMakeInterview, count, interview_ids_, run);
      return;
    case Operation::kTasks:
    case Operation::kErrors: {
      const std::size_t before = worked_ids_.size();
      Make(Operation::kMakeSession, count, worked_ids_, run);
      for (int stage = 0; stage < kStagesBeforeTasks; ++stage)
        Reach(kStages[stage], worked_ids_, before, run);
      return;
    }
    default:
      Make(Operation::kMakeSession, count, updated_ids_, run);
  }
}

// Until `ids` has `wanted`.
void Workload::Make(Operation operation, std::int64_t wanted, Ids& ids,
                    const std::function<void(Operation)>& run) {
  left_to_make_ = wanted - static_cast<std::int64_t>(ids.size());
  made_ids_.clear();
  run(operation);
  std::move(made_ids_.begin(), made_ids_.end(), std::back_inserter(ids));
}

// Advances all of `ids` from the one at `begin` on.
void Workload::Reach(absl::string_view stage, const Ids& ids, std::size_t begin,
                     const std::function<void(Operation)>& run) {
  reach_stage_ = stage;
  to_reach_ = &ids;
  next_to_reach_ = begin;
  run(Operation::kReachStage);
}

// Requests and replies ----------------------------------------------------------------------------

std::optional<Request> Workload::Next(Operation operation) {
  switch (operation) {
    case Operation::kCreate:
      return CreateSession(/*awaited=*/false);
    case Operation::kAdvance:
      return Advance();
    case Operation::kCold:
      if (next_cold_ == static_cast<std::int64_t>(cold_ids_.size())) return std::nullopt;
      return AdvanceTo(cold_ids_[next_cold_++], kStages[0]);
    case Operation::kUpdate:
      return Update();
    case Operation::kGet:
      return Get();
    case Operation::kList:
      return List();
    case Operation::kMessages256:
      return Append(256);
    case Operation::kMessages16k:
      return Append(16384);
    case Operation::kTasks:
      return StartOrCompleteTask();
    case Operation::kErrors:
      return RecordError();
    case Operation::kMakeSession:
      if (left_to_make_-- <= 0) return std::nullopt;
      return CreateSession(/*awaited=*/true);
    case Operation::kMakeInterview:
      if (left_to_make_-- <= 0) return std::nullopt;
      return CreateInterview();
    case Operation::kReachStage:
      if (next_to_reach_ == to_reach_->size()) return std::nullopt;
      return AdvanceTo((*to_reach_)[next_to_reach_++], reach_stage_);
  }
  return std::nullopt;
}

std::string Workload::Take(const Request& request, grpc::ByteBuffer& bytes) {
  Reply reply = Read(request.method, bytes);
  const bool right = (request.session_id.empty() || reply.session_id == request.session_id) &&
                     (request.stage.empty() || reply.stage == request.stage) &&
                     (reply.owner_id.empty() || reply.owner_id == request.owner_id);
  if (!right) {
    return absl::StrCat(Name(request.method),
                        " answered for the wrong session, stage or owner: ", reply.session_id, " ",
                        reply.stage, " ", reply.owner_id);
  }
  if (!request.awaited) return "";
  if (request.method == Method::kCreate) {
    made_ids_.push_back(std::move(reply.session_id));
  } else {
    started_tasks_.push_back({request.session_id, std::move(reply.task_id)});
  }
  return "";
}

Request Workload::CreateSession(bool awaited) {
  v1::CreateSessionRequest request;
  v1::Session& session = *request.mutable_session();
  session.set_workflow("ticket_export");
  session.set_owner_id(absl::StrCat("user-", random_() % kOwners));
  session.set_owner_display_name("Ada Lovelace");
  (*session.mutable_labels())["team"] = absl::StrCat("team-", random_() % 100);
  auto& context = *session.mutable_context()->mutable_fields();
  context["site_name"].set_string_value(SiteName());
  context["site_description"].set_string_value(
      "Two production halls and an office wing; access over the north gate, keys at the porter, "
      "photos attached");
  context["jira_project_key"].set_string_value("SITE");
  context["llm_provider_choice"].set_string_value("anthropic");
  request.set_request_id(RequestId());
  return {.method = Method::kCreate, .bytes = Serialize(request), .awaited = awaited};
}

Request Workload::CreateInterview() {
  v1::CreateSessionRequest request;
  v1::Session& session = *request.mutable_session();
  session.set_workflow("interview");
  session.set_owner_id(absl::StrCat("user-", random_() % kOwners));
  session.set_owner_display_name("Ada Lovelace");
  request.set_request_id(RequestId());
  return {.method = Method::kCreate, .bytes = Serialize(request), .awaited = true};
}

std::optional<Request> Workload::Advance() {
  if (next_advance_ == static_cast<std::int64_t>(advanced_ids_.size()) * kLaps) return std::nullopt;
  const std::int64_t block = next_advance_ / (block_ * kLaps);
  const std::int64_t lap = next_advance_ / block_ % kLaps;
  const std::int64_t index = block * block_ + next_advance_ % block_;
  ++next_advance_;
  return AdvanceTo(advanced_ids_[index], kStages[1 + lap]);
}

Request Workload::AdvanceTo(const std::string& id, absl::string_view stage) {
  v1::AdvanceSessionRequest request;
  request.set_session_id(id);
  request.set_target_stage(std::string(stage));
  request.set_request_id(RequestId());
  return {
      .method = Method::kAdvance, .bytes = Serialize(request), .session_id = id, .stage = stage};
}

// By turns: a field of the context, a counter, a label (the one that is indexed).
Request Workload::Update() {
  v1::UpdateSessionRequest request;
  std::string id = AnyTicketExport();
  request.mutable_session()->set_session_id(id);
  request.set_request_id(RequestId());
  switch (next_update_++ % 3) {
    case 0:
      request.mutable_update_mask()->add_paths("context.site_name");
      (*request.mutable_session()->mutable_context()->mutable_fields())["site_name"]
          .set_string_value(SiteName());
      break;
    case 1:
      (*request.mutable_counter_increments())["total_tickets_generated"] = 1;
      break;
    default:
      request.mutable_update_mask()->add_paths("labels.team");
      (*request.mutable_session()->mutable_labels())["team"] =
          absl::StrCat("team-", random_() % 100);
  }
  return {.method = Method::kUpdate, .bytes = Serialize(request), .session_id = std::move(id)};
}

Request Workload::Get() {
  v1::GetSessionRequest request;
  std::string id = AnySession();
  request.set_session_id(id);
  return {.method = Method::kGet, .bytes = Serialize(request), .session_id = std::move(id)};
}

// What a person sees first: the newest sessions of theirs.
Request Workload::List() {
  v1::ListSessionsRequest request;
  std::string owner = AnyOwner();
  request.set_filter(absl::StrCat("owner_id = \"", owner, "\""));
  request.set_page_size(kPageSize);
  return {.method = Method::kList, .bytes = Serialize(request), .owner_id = std::move(owner)};
}

// One message; by turns a question, which is counted in the session, and an answer.
Request Workload::Append(std::size_t bytes) {
  v1::AppendMessagesRequest request;
  std::string id = AnyInterview();
  request.set_session_id(id);
  request.set_request_id(RequestId());
  v1::SessionMessage& message = *request.add_messages();
  message.set_content(text_.substr(random_() % (text_.size() - bytes), bytes));
  message.set_author("Ada Lovelace");
  if (next_message_++ % 2 == 0) {
    message.set_type("question");
    message.set_question_type("technical");
  } else {
    message.set_type("answer");
  }
  return {.method = Method::kAppend, .bytes = Serialize(request), .session_id = std::move(id)};
}

// Completes a task that runs, if there is one, else starts one: so one call in two is either.
// Sessions come one after the other, never again while one of their calls is in flight.
Request Workload::StartOrCompleteTask() {
  if (!started_tasks_.empty()) {
    StartedTask task = std::move(started_tasks_.front());
    started_tasks_.pop_front();
    v1::CompleteTaskRequest request;
    request.set_session_id(task.session_id);
    request.set_request_id(RequestId());
    request.set_task_id(task.task_id);
    (*request.mutable_result()->mutable_fields())["tickets"].set_number_value(5);
    return {.method = Method::kComplete,
            .bytes = Serialize(request),
            .session_id = std::move(task.session_id)};
  }
  if (worked_ids_.empty()) throw std::runtime_error(kNothingPrepared);
  const std::string& id = worked_ids_[next_task_++ % worked_ids_.size()];
  v1::StartTaskRequest request;
  request.set_session_id(id);
  request.set_request_id(RequestId());
  request.set_task_type("processing");
  return {.method = Method::kStart, .bytes = Serialize(request), .session_id = id, .awaited = true};
}

// By turns of every severity; the blocking ones are counted in the session.
Request Workload::RecordError() {
  v1::RecordErrorRequest request;
  const std::string& id = AnyOf(worked_ids_);
  request.set_session_id(id);
  request.set_request_id(RequestId());
  v1::SessionError& error = *request.mutable_error();
  error.set_category(static_cast<v1::SessionError::Category>(1 + next_error_ % 3));
  error.set_severity(static_cast<v1::SessionError::Severity>(1 + next_error_ % 3));
  ++next_error_;
  error.set_user_message("The photo of the north gate cannot be read; upload it again");
  error.add_recovery_actions("Upload the photo again");
  error.add_recovery_actions("Go on without it");
  (*error.mutable_technical_details()->mutable_fields())["decoder"].set_string_value(
      "unexpected end of file at byte 18234");
  error.set_error_code("IMAGE_UNREADABLE");
  return {.method = Method::kRecord, .bytes = Serialize(request), .session_id = id};
}

// Choosing ----------------------------------------------------------------------------------------

const std::string& Workload::AnyOf(const Ids& ids) {
  if (ids.empty()) throw std::runtime_error(kNothingPrepared);
  return ids[Draw(keys_, ids.size(), random_)];
}

std::string Workload::AnySession() {
  return adopted_ > 0 ? AdoptedId(Draw(keys_, adopted_, random_)) : AnyOf(updated_ids_);
}

std::string Workload::AnyInterview() {
  if (adopted_ == 0) return AnyOf(interview_ids_);
  const std::uint64_t interviews = (adopted_ - 1) / kAdoptedPerInterview + 1;
  return AdoptedId(Draw(keys_, interviews, random_) * kAdoptedPerInterview);
}

std::string Workload::AnyTicketExport() {
  if (adopted_ == 0) return AnyOf(updated_ids_);
  const std::uint64_t interviews = (adopted_ - 1) / kAdoptedPerInterview + 1;
  if (adopted_ == interviews) throw std::runtime_error("there are no ticket exports among them");
  const std::uint64_t chosen = Draw(keys_, adopted_ - interviews, random_);
  return AdoptedId(chosen + chosen / (kAdoptedPerInterview - 1) + 1);
}

std::string Workload::AnyOwner() {
  const std::uint64_t owners = adopted_ > 0 ? adopted_ / kAdoptedPerOwner + 1 : kOwners;
  return absl::StrCat("user-", Draw(keys_, owners, random_));
}

std::string Workload::SiteName() { return absl::StrCat("Harbour Street ", random_() % 100000); }

std::string Workload::RequestId() { return absl::StrFormat("%016x-%016x", random_(), random_()); }

}  // namespace sessiond::bench
