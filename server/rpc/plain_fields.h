// UpdateSession's fields beside its mask, set_context to remove_reference_keys: another way to name
// keys, for callers whose JSON changes or refuses such masks. The mask takes them before anything
// else looks at the request, so that decisions, events and the payload of a request id know one
// form only.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "sessiond/v1/session_service.pb.h"
#include "state_machine/update_mask.h"

namespace sessiond::rpc {

struct PlainKey {
  UpdateField field;
  std::string key;
  // Where it is in the request: `set_labels.team`, `remove_label_keys[0]`. In ASCII.
  std::string place;
  bool is_set;
};

// By field and key; of one key, its removal comes last.
std::vector<PlainKey> PlainKeysOf(const v1::UpdateSessionRequest& request);

// As a place and a sentence, if there are too many with the mask's paths. Counted, not collected: a
// request has room for millions.
std::optional<std::pair<std::string, std::string>> TooManyPlainKeys(
    const v1::UpdateSessionRequest& request);

// What is wrong with them that no rule of their fields says, as places and sentences: keys that are
// empty, set and removed, or removed twice.
std::vector<std::pair<std::string, std::string>> ProblemsOf(const std::vector<PlainKey>& keys);

// INVALID_FIELD_MASK: a path of the mask covers one of the keys.
absl::Status CheckMaskOverlap(const std::vector<UpdatePath>& mask,
                              const std::vector<PlainKey>& keys);

// Moves them to the mask and the session. REQUIRES: the request is valid.
void TakePlainFields(v1::UpdateSessionRequest& request);
// No other request has any.
inline void TakePlainFields(google::protobuf::Message& /*request*/) {}

}  // namespace sessiond::rpc
