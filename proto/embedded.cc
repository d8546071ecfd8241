#include "proto/embedded.h"

#include <cstddef>

#define EMBEDDED(symbol)                                              \
  extern "C" const char symbol[];                                     \
  extern "C" const char symbol##_end[];                               \
  static absl::string_view Get_##symbol() {                           \
    return {symbol, static_cast<std::size_t>(symbol##_end - symbol)}; \
  }

EMBEDDED(sessiond_descriptor_set)
EMBEDDED(sessiond_workflow_ticket_export)
EMBEDDED(sessiond_workflow_execution)
EMBEDDED(sessiond_workflow_interview)

namespace sessiond {

absl::string_view DescriptorSet() { return Get_sessiond_descriptor_set(); }

std::array<absl::string_view, 3> BuiltinWorkflows() {
  return {Get_sessiond_workflow_ticket_export(), Get_sessiond_workflow_execution(),
          Get_sessiond_workflow_interview()};
}

}  // namespace sessiond
