// What a watch is interested in, and which changes concern it.
//
// Most watches are interested in few sessions: those they name, those of one owner, those with one
// label. Each interest has keys, and each change has keys; a change concerns an interest only if
// they share one. So a change is matched against only the watches that it may concern, and costs
// nothing for thousands of others.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "db/base/stored_events.h"
#include "server/watch/change.h"
#include "sessiond/v1/session_service.pb.h"
#include "state_machine/filter.h"
#include "state_machine/scope.h"

namespace sessiond::watch {

inline constexpr int kWatchedIdsMax = 1000;

// The kinds of keys, the most selective first.
enum class KeyKind {
  kSessionId,
  kReference,
  kOwner,
  kLabel,
  kStage,
  kStatus,
  kState,
  kWorkflow,
  kNamespace,
  kAll
};
inline constexpr int kKeyKinds = 10;
// Which kinds are used, by KeyKind.
using KeyKinds = std::array<bool, kKeyKinds>;

// Immutable.
class Interest {
 public:
  // INVALID_FORMAT: one of the ids. INVALID_FIELD: too many ids, or an unknown event type.
  // INVALID_FILTER: as in a list; also for `recoverable`, which changes without an event.
  // What is out of `scope` does not concern it.
  static absl::StatusOr<std::shared_ptr<const Interest>> Of(const v1::WatchSessionsRequest& request,
                                                            Scope scope, int partition_count);

  // Nothing when the change does not concern it. Otherwise whether the initial state would show the
  // session after the change.
  //
  // A change concerns it when the session matched before or after. Of a session that is gone little
  // is known unless the change came from memory. If the filter asks for more, it is unknown whether
  // the session matched, and the change is sent: a missed change cannot be repaired, a surplus one
  // can be ignored.
  std::optional<bool> Judge(const Change& change) const;

  // Whether the initial state shows a session.
  bool Shows(const v1::Session& session) const;

  // How far a session that is read later must be taken back for Judge.
  db::Rewinding rewinding() const {
    return asks_for_payload_ ? db::Rewinding::kAll : db::Rewinding::kStanding;
  }
  // Whether deleted sessions are shown: when they are asked for, by id or by a filter of state or
  // delete_time. Otherwise their changes are sent, but they do not match: as in lists.
  bool shows_deleted() const { return shows_deleted_; }
  // Ascending; empty for all that match.
  const std::vector<std::string>& session_ids() const { return session_ids_; }
  const std::string& namespace_name() const { return namespace_; }
  const Filter& filter() const { return filter_; }
  const Scope& scope() const { return scope_; }
  // The partitions of its sessions, ascending.
  const std::vector<int16_t>& partitions() const { return partitions_; }
  KeyKind key_kind() const { return key_kind_; }
  // One key; for named sessions one each.
  const std::vector<std::string>& keys() const { return keys_; }
  // Equal for equal interests in the same scope, and only for those.
  std::string Canonical() const;

 private:
  Interest() = default;
  absl::Status Take(const v1::WatchSessionsRequest& request);
  void Place(int partition_count);
  void FindKeys();

  Scope scope_;
  std::vector<std::string> session_ids_;
  // `-` for all; empty with session_ids.
  std::string namespace_;
  std::string filter_text_;
  Filter filter_;
  // Ascending; empty for all.
  std::vector<int> event_types_;
  bool shows_deleted_ = false;
  // Whether the filter asks for fields that a tombstone does not have, and for the owner.
  bool asks_for_payload_ = false, asks_for_owner_ = false;
  std::vector<int16_t> partitions_;
  KeyKind key_kind_ = KeyKind::kAll;
  std::vector<std::string> keys_;
};

// The keys of a change, of the kinds that are used, each once. For a session that is gone they are
// unknown: it may concern every watch of its partition.
std::vector<std::string> KeysOf(const Change& change, const KeyKinds& kinds);

}  // namespace sessiond::watch
