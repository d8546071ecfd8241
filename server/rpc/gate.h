// The gate: what every call passes before anything of it is parsed. Who calls? May they call this?
// Do they ask for more than their share?
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/access/authenticator.h"
#include "server/access/principal.h"

namespace sessiond::rpc {

// What a connection and a call bring to say who calls.
access::Credentials CredentialsOf(const grpc::ServerContext& context);

// Thread-safe.
class Gate {
 public:
  // REQUIRES: it outlives the gate.
  explicit Gate(access::Authenticator& authenticator) : authenticator_(authenticator) {}

  // A call that was let in; it counts for its caller's limits until this is destroyed.
  struct Admitted {
    access::PrincipalPtr principal;
    access::Usage::Held held;
  };
  // UNAUTHENTICATED (CREDENTIALS_INVALID), PERMISSION_DENIED (NOT_ALLOWED), RESOURCE_EXHAUSTED
  // (RATE_LIMITED). `bytes`: of the request, unparsed.
  absl::StatusOr<Admitted> Admit(const grpc::ServerContext& context,
                                 const access::MethodDescriptor* method, int64_t bytes);

  // For what any role may do, such as reflection.
  absl::Status AdmitAnybody(const grpc::ServerContext& context);

  // Whether a stream that was let in may go on: nothing of its caller's rights has changed, and its
  // token is not over. UNAUTHENTICATED or UNAVAILABLE, with what to do.
  absl::Status Check(const access::Credentials& credentials, const access::Principal& principal);

 private:
  absl::StatusOr<access::PrincipalPtr> Authenticate(const grpc::ServerContext& context);

  access::Authenticator& authenticator_;
};

// NOT_ALLOWED, if the request sets a field that the caller's roles do not reach.
absl::Status CheckFields(const access::Principal& principal, const access::MethodDescriptor* method,
                         const google::protobuf::Message& request);

}  // namespace sessiond::rpc
