#include "server/identity/current_tls.h"

#include <utility>

namespace sessiond::identity {

CurrentTls::CurrentTls(TlsMaterial material)
    : material_(std::make_shared<const TlsMaterial>(std::move(material))) {}

void CurrentTls::Set(TlsMaterial material) {
  auto shared = std::make_shared<const TlsMaterial>(std::move(material));
  const std::lock_guard<std::mutex> lock(mutex_);
  material_.swap(shared);
}

std::shared_ptr<const TlsMaterial> CurrentTls::Get() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return material_;
}

}  // namespace sessiond::identity
