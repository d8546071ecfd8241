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

// Who calls, as far as a transport knows. Asked only for what is needed.
class Caller {
 public:
  virtual access::Credentials credentials() const = 0;
  // The address that its connection comes from.
  virtual std::string peer() const = 0;

 protected:
  ~Caller() = default;
};

// By gRPC.
class GrpcCaller final : public Caller {
 public:
  // REQUIRES: the context outlives this.
  explicit GrpcCaller(const grpc::ServerContext& context) : context_(context) {}
  access::Credentials credentials() const override;
  std::string peer() const override { return context_.peer(); }

 private:
  const grpc::ServerContext& context_;
};

// Thread-safe.
class Gate {
 public:
  // REQUIRES: it outlives the gate.
  explicit Gate(access::Authenticator& authenticator) : authenticator_(authenticator) {}

  struct Admission {
    // UNAUTHENTICATED (CREDENTIALS_INVALID), PERMISSION_DENIED (NOT_ALLOWED), RESOURCE_EXHAUSTED
    // (RATE_LIMITED).
    absl::Status status;
    // Null: it is not known who calls.
    access::PrincipalPtr principal;
    // A call that was let in counts for its caller's limits until this is destroyed.
    access::Usage::Held held;
  };
  // `bytes`: of the request, unparsed.
  Admission Admit(const Caller& caller, const access::MethodDescriptor* method, int64_t bytes);

  // For what any role may do, such as reflection.
  absl::Status AdmitAnybody(const Caller& caller);

  // Whether a stream that was let in may go on: nothing of its caller's rights has changed, and its
  // token is not over. UNAUTHENTICATED, or OUT_OF_RANGE (RESUME_TOKEN_EXPIRED).
  absl::Status Check(const access::Credentials& credentials, const access::Principal& principal);

 private:
  absl::StatusOr<access::PrincipalPtr> Authenticate(const Caller& caller);

  access::Authenticator& authenticator_;
};

// NOT_ALLOWED, if the request sets a field that the caller's roles do not reach.
absl::Status CheckFields(const access::Principal& principal, const access::MethodDescriptor* method,
                         const google::protobuf::Message& request);

}  // namespace sessiond::rpc
