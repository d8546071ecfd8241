#include "server/rpc/gate.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "server/identity/certificate_identity.h"
#include "server/ops/log.h"
#include "state_machine/refusal.h"

namespace sessiond::rpc {
namespace {

constexpr char kAuthorization[] = "authorization";

// gRPC names the peer by its socket's address, whose family the kernel knows: whoever comes by TCP
// begins with ipv4: or ipv6:. Behind unix: is whatever path the client gave its own socket, mostly
// none; an abstract name has another scheme.
bool IsUnixPeer(absl::string_view peer) {
  return absl::StartsWith(peer, "unix:") || absl::StartsWith(peer, "unix-abstract:");
}

absl::Status NotAllowed(const access::Principal& principal, const access::MethodDescriptor* method,
                        absl::string_view what) {
  return Refusal(v1::NOT_ALLOWED,
                 absl::StrCat("You are ", principal.name, ", and your roles (",
                              absl::StrJoin(principal.roles, ", "), ") do not let you ", what,
                              ". GetServerInfo says what they let you do."))
      .With("caller", principal.name)
      .With("method", access::NameOf(*method));
}

// A stream that goes on until its caller leaves. An import ends like a call.
bool IsWatch(const access::MethodDescriptor& method) {
  return method.server_streaming() && !method.client_streaming();
}

}  // namespace

access::Credentials GrpcCaller::credentials() const {
  access::Credentials credentials{.by_unix_socket = IsUnixPeer(peer())};
  if (const auto connection = context_.auth_context(); connection != nullptr) {
    auto identity = identity::CertificateIdentity(*connection);
    if (!absl::IsNotFound(identity.status())) credentials.certificate = std::move(identity);
  }
  const auto [begin, end] = context_.client_metadata().equal_range(kAuthorization);
  for (auto each = begin; each != end; ++each)
    credentials.authorization.emplace_back(each->second.data(), each->second.size());
  return credentials;
}

absl::StatusOr<access::PrincipalPtr> Gate::Authenticate(const Caller& caller) {
  std::string why;
  auto principal = authenticator_.Authenticate(caller.credentials(), &why);
  if (!principal.ok())
    Log(LogLevel::kInfo, "access", "not let in", {{"peer", caller.peer()}, {"why", why}});
  return principal;
}

Gate::Admission Gate::Admit(const Caller& caller, const access::MethodDescriptor* method,
                            int64_t bytes) {
  Admission admission;
  auto principal = Authenticate(caller);
  if (!principal.ok()) {
    admission.status = principal.status();
    return admission;
  }
  admission.principal = *std::move(principal);
  const access::Principal& who = *admission.principal;
  if (!who.May(method)) {
    admission.status = NotAllowed(who, method, absl::StrCat("call ", access::NameOf(*method)));
    return admission;
  }
  auto held = who.usage->Admit(
      who.limits, {.watch = IsWatch(*method), .bytes = bytes, .connection = caller.peer()},
      SteadyTime::Now());
  if (held.ok()) {
    admission.held = *std::move(held);
  } else {
    admission.status = held.status();
  }
  return admission;
}

absl::Status Gate::AdmitAnybody(const Caller& caller) { return Authenticate(caller).status(); }

absl::Status Gate::Check(const access::Credentials& credentials,
                         const access::Principal& principal) {
  std::string why;
  const auto now = authenticator_.Authenticate(credentials, &why);
  if (!now.ok()) {
    Log(LogLevel::kInfo, "access", "a stream ends", {{"caller", principal.name}, {"why", why}});
    return now.status();
  }
  if (access::SameRights(**now, principal)) return absl::OkStatus();
  return Refusal(v1::RESUME_TOKEN_EXPIRED,
                 "What you may see has changed since this stream began. Read the present state and "
                 "watch from there: set initial_state, and no resume_token.");
}

absl::Status CheckFields(const access::Principal& principal, const access::MethodDescriptor* method,
                         const google::protobuf::Message& request) {
  if (principal.MaySetAll(method)) return absl::OkStatus();
  const auto* field = access::GuardedField(request);
  if (field == nullptr) return absl::OkStatus();
  return NotAllowed(principal, method,
                    absl::StrCat("set ", field->name(), " in ", access::NameOf(*method)));
}

}  // namespace sessiond::rpc
