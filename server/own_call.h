// A call of the daemon to an address of its own, like any client's and on a new connection: the
// kernel also accepts connections when nothing serves them.
#pragma once

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/config/address.h"

namespace sessiond {

// In plain text: a health check. With TLS, for which the daemon has no client's certificate and
// whose own certificate it need not trust: as much of a handshake as the server does by itself.
// `listening`: as numbers. A name server that is gone keeps no client away that knows the address.
absl::Status CallOneself(const Address& listening, bool with_tls, absl::Duration time_max);

}  // namespace sessiond
