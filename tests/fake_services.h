// The services beside SessionService in this process, for the tests of the client: every call is
// noted, and answered with what is held for answers of its kind, or refused as told.
#pragma once

#include <deque>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "google/protobuf/message.h"
#include "grpcpp/server_context.h"
#include "sessiond/v1/admin_service.grpc.pb.h"
#include "sessiond/v1/artifact_service.grpc.pb.h"
#include "sessiond/v1/error_service.grpc.pb.h"
#include "sessiond/v1/message_service.grpc.pb.h"
#include "sessiond/v1/task_service.grpc.pb.h"
#include "sessiond/v1/workflow_service.grpc.pb.h"
#include "tests/on_the_wire.h"

namespace sessiond {

// What was asked of the services, and what they answer.
class FakeCalls {
 public:
  // The next calls are refused with these, in this order, and those after them go well.
  void RefuseNext(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    refusals_.push_back(OnTheWire(status));
  }
  // What the next calls that answer such a message answer with, in this order; the last one for
  // ever.
  template <class Response>
  void Hold(const Response& response) {
    absl::MutexLock lock(&mutex_);
    held_[Response::descriptor()->name()].push_back(response.SerializeAsString());
  }
  // `StartTask session_id: "s1" …`, without request ids; oldest first.
  std::vector<std::string> Requests() const {
    absl::MutexLock lock(&mutex_);
    return requests_;
  }
  std::vector<std::string> RequestIds() const {
    absl::MutexLock lock(&mutex_);
    return request_ids_;
  }

  template <class Request>
  void Note(const char* method, const Request& request) {
    absl::MutexLock lock(&mutex_);
    requests_.push_back(absl::StrCat(method, " ", request.ShortDebugString()));
  }
  template <class Request, class Response>
  grpc::Status Answer(const char* method, const Request* request, Response* response) {
    absl::MutexLock lock(&mutex_);
    Request noted = *request;
    if constexpr (requires { noted.clear_request_id(); }) {
      request_ids_.push_back(noted.request_id());
      noted.clear_request_id();
    }
    requests_.push_back(absl::StrCat(method, " ", noted.ShortDebugString()));
    if (!refusals_.empty()) {
      grpc::Status status = std::move(refusals_.front());
      refusals_.pop_front();
      return status;
    }
    auto& held = held_[Response::descriptor()->name()];
    if (!held.empty()) response->ParseFromString(held.front());
    if (held.size() > 1) held.pop_front();
    return grpc::Status::OK;
  }

 private:
  mutable absl::Mutex mutex_;
  std::deque<grpc::Status> refusals_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::deque<std::string>> held_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> request_ids_ ABSL_GUARDED_BY(mutex_);
};

// A method that is answered as FakeCalls says.
#define FAKE_CALL(Method, Response)                                             \
  grpc::Status Method(grpc::ServerContext*, const v1::Method##Request* request, \
                      v1::Response* response) override {                        \
    return calls_.Answer(#Method, request, response);                           \
  }

class FakeTaskService final : public v1::TaskService::Service {
 public:
  explicit FakeTaskService(FakeCalls& calls) : calls_(calls) {}

  FAKE_CALL(StartTask, SessionTask)
  FAKE_CALL(GetTask, SessionTask)
  FAKE_CALL(ReportTaskProgress, SessionTask)
  FAKE_CALL(CompleteTask, SessionTask)
  FAKE_CALL(FailTask, SessionTask)
  FAKE_CALL(CancelTask, SessionTask)
  FAKE_CALL(RetryTask, SessionTask)
  FAKE_CALL(ListTasks, ListTasksResponse)

 private:
  FakeCalls& calls_;
};

class FakeErrorService final : public v1::ErrorService::Service {
 public:
  explicit FakeErrorService(FakeCalls& calls) : calls_(calls) {}

  FAKE_CALL(RecordError, SessionError)
  FAKE_CALL(GetError, SessionError)
  FAKE_CALL(ListErrors, ListErrorsResponse)
  FAKE_CALL(ResolveError, SessionError)
  FAKE_CALL(SummarizeErrors, SummarizeErrorsResponse)

 private:
  FakeCalls& calls_;
};

class FakeMessageService final : public v1::MessageService::Service {
 public:
  explicit FakeMessageService(FakeCalls& calls) : calls_(calls) {}

  FAKE_CALL(AppendMessages, AppendMessagesResponse)
  FAKE_CALL(ListMessages, ListMessagesResponse)

 private:
  FakeCalls& calls_;
};

class FakeArtifactService final : public v1::ArtifactService::Service {
 public:
  explicit FakeArtifactService(FakeCalls& calls) : calls_(calls) {}

  FAKE_CALL(AddArtifacts, AddArtifactsResponse)
  FAKE_CALL(ListArtifacts, ListArtifactsResponse)
  FAKE_CALL(DeleteArtifact, DeleteArtifactResponse)

 private:
  FakeCalls& calls_;
};

class FakeWorkflowService final : public v1::WorkflowService::Service {
 public:
  explicit FakeWorkflowService(FakeCalls& calls) : calls_(calls) {}

  FAKE_CALL(ListWorkflows, ListWorkflowsResponse)
  FAKE_CALL(GetWorkflow, Workflow)
  FAKE_CALL(CreateWorkflow, Workflow)
  FAKE_CALL(ValidateWorkflow, ValidateWorkflowResponse)

 private:
  FakeCalls& calls_;
};

class FakeAdminService final : public v1::AdminService::Service {
 public:
  explicit FakeAdminService(FakeCalls& calls) : calls_(calls) {}

  FAKE_CALL(EraseOwner, EraseOwnerResponse)
  FAKE_CALL(DetachReference, DetachReferenceResponse)
  FAKE_CALL(PurgeSessions, PurgeSessionsResponse)
  FAKE_CALL(GetServerInfo, GetServerInfoResponse)

  // Takes every session in that it does not have; refuses those whose owner is `nobody`; ends each
  // stream with the next of the statuses it was told, after so many answers.
  void BreakAfter(int answers, absl::Status status) {
    absl::MutexLock lock(&mutex_);
    breaks_.push_back({answers, OnTheWire(status)});
  }
  // Answers the next sessions with this reason instead of taking them.
  void RefuseNextSessions(const std::string& reason, int times) {
    absl::MutexLock lock(&mutex_);
    reasons_.insert(reasons_.end(), times, reason);
  }
  // Waits until so many were asked to be taken in.
  void AwaitSessions(int count) const {
    absl::MutexLock lock(&mutex_);
    const auto asked = [this, count]()
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return asked_ >= count; };
    mutex_.Await(absl::Condition(&asked));
  }
  std::set<std::string> Imported() const {
    absl::MutexLock lock(&mutex_);
    return imported_;
  }
  int streams() const {
    absl::MutexLock lock(&mutex_);
    return streams_;
  }
  grpc::Status ImportSessions(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::ImportSessionsResponse, v1::ImportSessionsRequest>* stream)
      override {
    Break next = NextBreak();
    v1::ImportSessionsRequest request;
    while (stream->Read(&request)) {
      calls_.Note("ImportSessions", request);
      // The stream breaks before this is answered, though it may be done.
      const v1::ImportSessionsResponse response = Import(request);
      if (next.answers-- == 0) return next.status;
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

 private:
  struct Break {
    int answers;
    grpc::Status status;
  };

  Break NextBreak() {
    absl::MutexLock lock(&mutex_);
    ++streams_;
    if (breaks_.empty()) return {-1, grpc::Status::OK};
    Break next = std::move(breaks_.front());
    breaks_.pop_front();
    return next;
  }

  v1::ImportSessionsResponse Import(const v1::ImportSessionsRequest& request) {
    absl::MutexLock lock(&mutex_);
    ++asked_;
    v1::ImportSessionsResponse response;
    response.set_line(request.line());
    response.set_session_id(request.session().session_id());
    response.set_result(v1::ImportSessionsResponse::REFUSED);
    if (!reasons_.empty()) {
      response.set_reason(reasons_.front());
      reasons_.pop_front();
    } else if (request.session().owner_id() == "nobody") {
      response.set_reason("INVALID_FIELD");
      response.set_description("Nobody owns nothing");
    } else {
      response.set_result(imported_.insert(request.session().session_id()).second
                              ? v1::ImportSessionsResponse::IMPORTED
                              : v1::ImportSessionsResponse::ALREADY_THERE);
    }
    return response;
  }

  FakeCalls& calls_;
  mutable absl::Mutex mutex_;
  std::deque<Break> breaks_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> reasons_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string> imported_ ABSL_GUARDED_BY(mutex_);
  int streams_ ABSL_GUARDED_BY(mutex_) = 0;
  int asked_ ABSL_GUARDED_BY(mutex_) = 0;
};

#undef FAKE_CALL

}  // namespace sessiond
