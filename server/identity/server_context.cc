#include "server/identity/server_context.h"

#include <openssl/pem.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace sessiond::identity {
namespace {

OwnedX509 NextCertificate(BIO* bio) {
  return OwnedX509(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr));
}

bool UseChain(SSL_CTX* context, const std::string& pem) {
  const OwnedBio bio = ReadFrom(pem);
  const OwnedX509 own = NextCertificate(bio.get());
  if (own == nullptr || SSL_CTX_use_certificate(context, own.get()) != 1) return false;
  while (const OwnedX509 issuer = NextCertificate(bio.get())) {
    if (SSL_CTX_add1_chain_cert(context, issuer.get()) != 1) return false;
  }
  return true;
}

bool UseKey(SSL_CTX* context, const std::string& pem) {
  const OwnedBio bio = ReadFrom(pem);
  const OwnedKey key(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
  return key != nullptr && SSL_CTX_use_PrivateKey(context, key.get()) == 1;
}

// They are believed, and named to clients that choose among certificates. False: there are none.
bool BelieveAuthorities(SSL_CTX* context, const std::string& pem) {
  const OwnedBio bio = ReadFrom(pem);
  bool any = false;
  while (const OwnedX509 authority = NextCertificate(bio.get())) {
    if (X509_STORE_add_cert(SSL_CTX_get_cert_store(context), authority.get()) != 1 ||
        SSL_CTX_add_client_CA(context, authority.get()) != 1) {
      return false;
    }
    any = true;
  }
  return any;
}

}  // namespace

absl::StatusOr<OwnedSslContext> NewServerContext(const TlsMaterial& material,
                                                 ClientAuth client_auth) {
  OwnedSslContext context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_num_tickets(context.get(), 0);
  bool usable =
      UseChain(context.get(), material.cert_chain_pem) && UseKey(context.get(), material.key_pem);
  if (client_auth != ClientAuth::kNone) {
    usable = usable && BelieveAuthorities(context.get(), material.client_ca_pem);
    const int required = client_auth == ClientAuth::kRequired ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER | required, nullptr);
  }
  const std::string reason = TakeReason();
  if (usable) return context;
  return absl::InvalidArgumentError(
      absl::StrCat("The TLS certificate, its key and the client CAs cannot be served (", reason,
                   "): name files that are complete and fit together."));
}

}  // namespace sessiond::identity
