// Commands for tests, spelled briefly, and the built-in workflows they are about.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include "server/state_machine/decide.h"
#include "tests/test_seed.h"
#include "tests/workflows.h"

namespace sessiond {

// A built-in definition, or one of tests/workflows, without a revision.
inline v1::Workflow BuiltinDefinition(const std::string& name) {
  for (const std::string& text : AllWorkflowTexts()) {
    const auto workflow = Workflow::Parse(text);
    if (workflow.ok() && (*workflow)->name() == name) return (*workflow)->definition();
  }
  ADD_FAILURE() << "no workflow " << name;
  std::abort();
}

inline std::shared_ptr<const Workflow> BuiltinWorkflow(const std::string& name,
                                                       int32_t revision = 1) {
  v1::Workflow definition = BuiltinDefinition(name);
  definition.set_revision(revision);
  return *Workflow::Make(std::move(definition));
}

// A request about an existing session, as a command.
template <class Request>
Command About(const std::string& session_id, Request request = {}) {
  if constexpr (std::is_same_v<Request, v1::UpdateSessionRequest>) {
    request.mutable_session()->set_session_id(session_id);
  } else {
    request.set_session_id(session_id);
  }
  Command command{.caller = "tester", .request_id = request.request_id(), .session_id = session_id};
  command.request = std::move(request);
  return command;
}

inline Command Advance(const std::string& session_id, const std::string& target_stage) {
  v1::AdvanceSessionRequest request;
  request.set_target_stage(target_stage);
  return About(session_id, request);
}

inline Command Delete(const std::string& session_id, bool force) {
  v1::DeleteSessionRequest request;
  request.set_force(force);
  return About(session_id, request);
}

inline Command SetLabel(const std::string& session_id, const std::string& key,
                        const std::string& value) {
  v1::UpdateSessionRequest request;
  (*request.mutable_session()->mutable_labels())[key] = value;
  request.mutable_update_mask()->add_paths("labels." + key);
  return About(session_id, request);
}

inline Command Increment(const std::string& session_id, const std::string& counter, int32_t by) {
  v1::UpdateSessionRequest request;
  (*request.mutable_counter_increments())[counter] = by;
  return About(session_id, request);
}

// A session with all that any workflow requires at its beginning.
inline v1::CreateSessionRequest NewSession(const std::string& workflow) {
  v1::CreateSessionRequest request;
  request.mutable_session()->set_workflow(workflow);
  request.mutable_session()->set_owner_id("owner-1");
  request.mutable_session()->set_owner_display_name("Owner One");
  return request;
}

inline Command Create(std::shared_ptr<const Workflow> workflow, v1::CreateSessionRequest request) {
  Command command{.caller = "tester",
                  .request_id = request.request_id(),
                  .session_id = request.session_id(),
                  .workflow = std::move(workflow)};
  command.request = std::move(request);
  return command;
}

// The same command, as if its caller had sent this request id.
inline Command WithRequestId(Command command, const std::string& request_id) {
  std::visit(
      [&](auto& request) {
        if constexpr (requires { request.set_request_id(request_id); })
          request.set_request_id(request_id);
      },
      command.request);
  command.request_id = request_id;
  return command;
}

}  // namespace sessiond
