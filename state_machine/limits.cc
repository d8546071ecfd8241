#include "state_machine/limits.h"

#include "state_machine/struct_json.h"

namespace sessiond {

bool JsonBytesExceed(const google::protobuf::Struct& fields, std::size_t bytes_max) {
  return fields.ByteSizeLong() > bytes_max / 6 && ToJson(fields).size() > bytes_max;
}

}  // namespace sessiond
