// What a competent person writes in an afternoon, neither sabotaged nor tuned: the generated
// synchronous service on gRPC's own threads, a pool of blocking connections with prepared
// statements, one transaction for each call.
//
//   BEGIN · SELECT … FOR UPDATE · INSERT request · UPDATE session · INSERT event · COMMIT
//
// It promises what the daemon promises of these five calls: durable when answered, one event for
// each change, sequences without gaps, no second effect of a repeated request_id, and a refusal
// when the state or the stage is not the right one. Where it does less, that is in its favour: it
// knows two workflows by heart, has no tasks, takes no etags, does not compare the payloads of
// repeated requests, never reconnects, keeps no old values for watches, writes one event for the
// last stage where the daemon writes two, and orders nothing between sessions: positions of events
// come from a sequence, below zero, so that they never meet the daemon's in the same table. Its
// sessions are of the namespace `naive`.
#include "tests/bench/naive.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <iostream>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "sessiond/v1/message_service.grpc.pb.h"
#include "sessiond/v1/session_service.grpc.pb.h"
#include "tests/bench/commands.h"
#include "tests/bench/naive_database.h"

namespace sessiond::bench {
namespace {

using google::protobuf::Struct;
using grpc::Status;
using v1::Session;
using v1::SessionEvent;

void Put(Struct& fields, const std::string& name, const std::string& text) {
  (*fields.mutable_fields())[name].set_string_value(text);
}

void Put(Struct& fields, const std::string& name, std::int32_t number) {
  (*fields.mutable_fields())[name].set_number_value(number);
}

std::int32_t CountOf(const Session& session, const std::string& counter) {
  const auto found = session.counters().find(counter);
  return found == session.counters().end() ? 0 : found->second;
}

Status NotFound(const std::string& id) {
  return {grpc::StatusCode::NOT_FOUND, absl::StrCat("There is no session ", id, ".")};
}

Status Refused(const std::string& why) { return {grpc::StatusCode::FAILED_PRECONDITION, why}; }

// What all changes of a session have in common: it is locked, the request is new, the session is
// active. `change` makes the change: its row, its answer, its event. A repeated request is answered
// with the session as it is.
template <typename Request, typename Work>
Status Change(Pool& pool, Request request, const std::string& id, Session* answer,
              const Work& change) try {
  if (request.request_id().empty()) request.set_request_id(DrawId());
  Transaction transaction(pool);
  const Rows locked = transaction.Run("lock", id);
  if (locked.size() == 0) return NotFound(id);
  if (!transaction.Remember(request.request_id(), request.SerializeAsString(), id, id)) {
    *answer = ReadSession(transaction.Run("get", id));
    return Status::OK;
  }
  const Session before = ReadLocked(locked);
  if (before.state() != Session::ACTIVE) return Refused("The session is not active.");
  const Status changed = change(transaction, request, before);
  if (changed.ok()) transaction.Commit();
  return changed;
} catch (const std::runtime_error& error) {
  return {grpc::StatusCode::UNAVAILABLE, error.what()};
}

class SessionService final : public v1::SessionService::Service {
 public:
  explicit SessionService(Pool& pool) : pool_(pool) {}

  Status CreateSession(grpc::ServerContext*, const v1::CreateSessionRequest* request,
                       Session* answer) override try {
    const Session& session = request->session();
    const std::string stage = FirstStage(session.workflow());
    if (stage.empty() || session.owner_id().empty() || session.owner_display_name().empty())
      return {grpc::StatusCode::INVALID_ARGUMENT, "A known workflow and an owner are required."};
    Struct counters, labels, changes;
    Put(counters, CounterOf(session.workflow()), 0);
    for (const auto& [name, value] : session.labels()) Put(labels, name, value);
    *(*changes.mutable_fields())["context"].mutable_struct_value() = session.context();
    *(*changes.mutable_fields())["labels"].mutable_struct_value() = labels;

    const std::string id = DrawId();
    const std::string request_id = request->request_id().empty() ? id : request->request_id();
    Transaction transaction(pool_);
    if (!transaction.Remember(request_id, request->SerializeAsString(), "", id)) {
      *answer = ReadSession(transaction.Run("get", transaction.CreatedBefore(request_id)));
      return Status::OK;
    }
    *answer = ReadSession(
        transaction.Run("insert_session", id,
                        {session.workflow(), session.owner_id(), session.owner_display_name(),
                         stage, ToJson(session.context()), ToJson(counters), ToJson(labels)}));
    transaction.InsertEvent(SessionEvent::CREATED, Session(), *answer, request->reason(),
                            request_id, changes);
    transaction.Commit();
    return Status::OK;
  } catch (const std::runtime_error& error) {
    return {grpc::StatusCode::UNAVAILABLE, error.what()};
  }

  Status GetSession(grpc::ServerContext*, const v1::GetSessionRequest* request,
                    Session* answer) override try {
    const std::string& id = request->session_id();
    const Rows found = pool_.Take()->Run("get", {pool_.PartitionOf(id), id});
    if (found.size() == 0) return NotFound(id);
    *answer = ReadSession(found);
    return Status::OK;
  } catch (const std::runtime_error& error) {
    return {grpc::StatusCode::UNAVAILABLE, error.what()};
  }

  // Fields of the context, labels and counters; it sets them, and cannot remove them.
  Status UpdateSession(grpc::ServerContext*, const v1::UpdateSessionRequest* asked,
                       Session* answer) override {
    const auto change = [answer](Transaction& transaction, const v1::UpdateSessionRequest& request,
                                 const Session& before) {
      Struct context, labels, counters, changes;
      for (const std::string& path : request.update_mask().paths()) {
        absl::string_view key = path;
        if (absl::ConsumePrefix(&key, "context.")) {
          const auto given = request.session().context().fields().find(std::string(key));
          if (given == request.session().context().fields().end()) continue;
          (*context.mutable_fields())[given->first] = given->second;
          (*changes.mutable_fields())[path] = given->second;
        } else if (absl::ConsumePrefix(&key, "labels.")) {
          const auto given = request.session().labels().find(std::string(key));
          if (given == request.session().labels().end()) continue;
          Put(labels, given->first, given->second);
          Put(changes, path, given->second);
        }
      }
      for (const auto& [name, increment] : request.counter_increments()) {
        Put(counters, name, CountOf(before, name) + increment);
        Put(changes, absl::StrCat("counters.", name), CountOf(before, name) + increment);
      }
      *answer = ReadSession(transaction.Run("update", before.session_id(),
                                            {ToJson(context), ToJson(counters), ToJson(labels)}));
      transaction.InsertEvent(SessionEvent::UPDATED, before, *answer, request.reason(),
                              request.request_id(), changes);
      return Status::OK;
    };
    return Change(pool_, *asked, asked->session().session_id(), answer, change);
  }

  Status AdvanceSession(grpc::ServerContext*, const v1::AdvanceSessionRequest* asked,
                        Session* answer) override {
    const auto change = [answer](Transaction& transaction, const v1::AdvanceSessionRequest& request,
                                 const Session& before) {
      const std::string& target = request.target_stage();
      if (target != before.next_stage())
        return Refused(absl::StrCat("The next stage is ", before.next_stage(), "."));
      *answer = ReadSession(transaction.Run(target == "completed" ? "complete" : "advance",
                                            before.session_id(), {target}));
      transaction.InsertEvent(SessionEvent::ADVANCED, before, *answer, request.reason(),
                              request.request_id(), Struct());
      return Status::OK;
    };
    return Change(pool_, *asked, asked->session_id(), answer, change);
  }

 private:
  Pool& pool_;
};

class MessageService final : public v1::MessageService::Service {
 public:
  explicit MessageService(Pool& pool) : pool_(pool) {}

  Status AppendMessages(grpc::ServerContext*, const v1::AppendMessagesRequest* asked,
                        v1::AppendMessagesResponse* answer) override {
    const auto change = [answer](Transaction& transaction, const v1::AppendMessagesRequest& request,
                                 const Session& before) {
      const std::string counter = CounterOf(before.workflow());
      std::int32_t questions = CountOf(before, counter);
      std::int32_t sequence = before.message_count();
      for (const v1::SessionMessage& message : request.messages()) {
        if (message.type() == "question") ++questions;
        transaction.Run("insert_message", before.session_id(),
                        {absl::StrCat(++sequence), message.type(), message.content(),
                         message.question_type(), message.author(), ToJson(message.metadata())});
      }
      Struct counters, changes;
      Put(counters, counter, questions);
      *answer->mutable_session() =
          ReadSession(transaction.Run("count_messages", before.session_id(),
                                      {absl::StrCat(request.messages_size()), ToJson(counters)}));
      answer->set_first_sequence(before.message_count() + 1);
      answer->set_last_sequence(sequence);
      Put(changes, "first_sequence", answer->first_sequence());
      Put(changes, "last_sequence", answer->last_sequence());
      Put(changes, "message_count", sequence);
      transaction.InsertEvent(SessionEvent::MESSAGES_APPENDED, before, answer->session(),
                              request.reason(), request.request_id(), changes);
      return Status::OK;
    };
    return Change(pool_, *asked, asked->session_id(), answer->mutable_session(), change);
  }

 private:
  Pool& pool_;
};

}  // namespace

int RunNaive(const NaiveOptions& options) try {
  Pool pool(options.db, options.connections);
  SessionService sessions(pool);
  MessageService messages(pool);
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&sessions);
  builder.RegisterService(&messages);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    throw std::runtime_error(
        absl::StrCat("cannot listen on ", options.listen, "; is something else there?"));
  }
  Answer("{\"port\": %d}", port);
  std::cin.ignore(std::numeric_limits<std::streamsize>::max());
  server->Shutdown(std::chrono::system_clock::now());
  return 0;
} catch (const std::runtime_error& error) {
  absl::FPrintF(stderr, "sessiond_bench: %s\n", error.what());
  return 1;
}

}  // namespace sessiond::bench
