#include "server/rpc/gate.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "server/identity/certificate_identity.h"
#include "server/ops/log.h"
#include "server/rpc/raw_service.h"
#include "state_machine/refusal.h"

namespace sessiond::rpc {
namespace {

constexpr char kAuthorization[] = "authorization";

absl::Status NotAllowed(const access::Principal& principal, const access::MethodDescriptor* method,
                        absl::string_view what) {
  return Refusal(v1::NOT_ALLOWED,
                 absl::StrCat("You are ", principal.name, ", and your roles (",
                              absl::StrJoin(principal.roles, ", "), ") do not let you ", what,
                              ". GetServerInfo says what they let you do."))
      .With("caller", principal.name)
      .With("method", access::NameOf(*method));
}

}  // namespace

access::Credentials CredentialsOf(const grpc::ServerContext& context) {
  access::Credentials credentials{.by_unix_socket = absl::StartsWith(context.peer(), "unix:")};
  if (const auto connection = context.auth_context(); connection != nullptr) {
    auto identity = identity::CertificateIdentity(*connection);
    if (!absl::IsNotFound(identity.status())) credentials.certificate = std::move(identity);
  }
  const auto [begin, end] = context.client_metadata().equal_range(kAuthorization);
  for (auto each = begin; each != end; ++each)
    credentials.authorization.emplace_back(each->second.data(), each->second.size());
  return credentials;
}

absl::StatusOr<access::PrincipalPtr> Gate::Authenticate(const grpc::ServerContext& context) {
  std::string why;
  auto principal = authenticator_.Authenticate(CredentialsOf(context), &why);
  if (!principal.ok())
    Log(LogLevel::kInfo, "access", "not let in", {{"peer", context.peer()}, {"why", why}});
  return principal;
}

absl::StatusOr<Gate::Admitted> Gate::Admit(const grpc::ServerContext& context,
                                           const access::MethodDescriptor* method, int64_t bytes) {
  auto principal = Authenticate(context);
  if (!principal.ok()) return principal.status();
  if (!(*principal)->May(method))
    return NotAllowed(**principal, method, absl::StrCat("call ", access::NameOf(*method)));
  auto held = (*principal)->usage->Admit(RawService::IsStream(*method), bytes, SteadyTime::Now());
  if (!held.ok()) return held.status();
  return Admitted{*std::move(principal), *std::move(held)};
}

absl::Status Gate::AdmitAnybody(const grpc::ServerContext& context) {
  return Authenticate(context).status();
}

absl::Status Gate::Check(const access::Credentials& credentials,
                         const access::Principal& principal) {
  std::string why;
  const auto now = authenticator_.Authenticate(credentials, &why);
  if (!now.ok()) return now.status();
  if (access::SameRights(**now, principal)) return absl::OkStatus();
  return Refusal(v1::DRAINING,
                 "What you may see has changed since this stream began. Begin it anew, without a "
                 "resume_token.")
      .RetryAfter(absl::Milliseconds(500));
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
