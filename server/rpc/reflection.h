// Server reflection, so that grpcurl, grpcui, buf and Postman need no .proto files:
// grpc.reflection.v1 and, for older tools, v1alpha. Our own code, because the packaged gRPC has
// only v1alpha and returns descriptors without comments; these come from the embedded descriptor
// set and have them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/rpc/gate.h"
#include "server/rpc/standard_service.h"

namespace sessiond::rpc {

// Both versions of the service. Outlives the server that serves it. Thread-safe.
class Reflection final : public StandardService {
 public:
  // `services`: the full names of the services that are served, except reflection itself.
  // `descriptor_set`: a serialized FileDescriptorSet that contains them, with everything they
  // import; it outlives this.
  // `gate`: lets in whoever has any role; null: everybody.
  Reflection(absl::string_view descriptor_set, absl::Span<const std::string> services,
             Gate* gate = nullptr);
  ~Reflection() override;

  std::vector<grpc::Service*> services() override;
  void Accept(CallQueue& queue, GrpcStream::Shared& shared) override;
  // With CANCELLED: clients do not hold such a stream for long.
  void EndStreams() override;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace sessiond::rpc
