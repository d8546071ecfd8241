// Who is let in for how long, while more comes than can be done: ends of tasks and sessions when
// nothing else is, and messages last.
#pragma once

#include "google/protobuf/descriptor.h"
#include "sessiond/v1/message_service.pb.h"
#include "sessiond/v1/session_service.pb.h"
#include "sessiond/v1/task_service.pb.h"

namespace sessiond::db {

// Ascending.
enum class Importance { kLow, kNormal, kHigh };
inline constexpr int kImportances = 3;

// Of a request of this type.
inline Importance ImportanceOf(const google::protobuf::Descriptor* request) {
  for (const auto* high :
       {v1::CompleteTaskRequest::descriptor(), v1::FailTaskRequest::descriptor(),
        v1::CancelTaskRequest::descriptor(), v1::StopSessionRequest::descriptor(),
        v1::FailSessionRequest::descriptor()}) {
    if (request == high) return Importance::kHigh;
  }
  return request == v1::AppendMessagesRequest::descriptor() ? Importance::kLow
                                                            : Importance::kNormal;
}

}  // namespace sessiond::db
