// What the initial state already covers. It is read in pages, each as of its own moment, while
// changes go on. It covers a change exactly when the change was committed before its session's page
// was read. Pages are ranges of an order in which sessions never move, so one moment per page is
// enough, and nothing per session.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "server/watch/change.h"
#include "state_machine/timestamps.h"

namespace sessiond::watch {

class InitialState {
 public:
  // The position of a session in the order of pages: by create_time, then id; of named sessions by
  // id.
  using Key = std::pair<int64_t, std::string>;

  explicit InitialState(bool named) : named_(named) {}

  Key KeyOf(const v1::Session& session) const {
    return {named_ ? 0 : absl::ToUnixMicros(FromProto(session.create_time())),
            session.session_id()};
  }

  // A page that ends with this key, and is followed by another.
  void AddPage(Key last, Positions as_of) { pages_.push_back({std::move(last), std::move(as_of)}); }
  // The last page: everything after the previous one.
  void AddLastPage(Positions as_of) { last_ = std::move(as_of); }

  // REQUIRES, like the following: the last page was added. Changes up to here for which Covers
  // returns false must still be sent.
  const Positions& last_as_of() const { return last_; }

  // Whether its session was sent, or left out, in the state after the change or a later one.
  bool Covers(const Change& change) const {
    assert(!last_.empty());
    const v1::Session* session = change.after != nullptr ? change.after.get() : change.before.get();
    if (session == nullptr) return false;
    const auto page =
        std::lower_bound(pages_.begin(), pages_.end(), KeyOf(*session),
                         [](const Page& each, const Key& key) { return each.last < key; });
    const Positions& as_of = page == pages_.end() ? last_ : page->as_of;
    return change.position <= as_of[change.partition];
  }

 private:
  struct Page {
    Key last;
    Positions as_of;
  };
  const bool named_;
  // Ascending.
  std::vector<Page> pages_;
  Positions last_;
};

}  // namespace sessiond::watch
