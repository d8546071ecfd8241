// A list that is read page by page while iterating over it.
#pragma once

#include <cstddef>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace sessiond {

template <class T>
struct Page {
  std::vector<T> items;
  std::string next_page_token;  // Empty at the end.
};

// A single-pass range of StatusOr<T>: the items in order, and, if a page cannot be read, its status
// as the last one.
//
//   for (absl::StatusOr<v1::Session>& session : client.ListSessions(request)) {
//     if (!session.ok()) return session.status();
//     Use(*session);
//   }
template <class T>
class StreamRange {
 public:
  // Returns the page of a token; the first page's token is empty.
  using ReadPage = std::function<absl::StatusOr<Page<T>>(const std::string& page_token)>;

  explicit StreamRange(ReadPage read_page) : read_page_(std::move(read_page)) {}

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = absl::StatusOr<T>;
    using difference_type = std::ptrdiff_t;
    using pointer = value_type*;
    using reference = value_type&;

    explicit Iterator(StreamRange* range) : range_(range) {}
    reference operator*() const { return *range_->current_; }
    pointer operator->() const { return &*range_->current_; }
    Iterator& operator++() {
      range_->Advance();
      return *this;
    }
    void operator++(int) { range_->Advance(); }
    bool operator==(std::default_sentinel_t) const { return !range_->current_.has_value(); }

   private:
    StreamRange* range_;
  };

  // Reads the first page. REQUIRES: called once.
  Iterator begin() {
    Advance();
    return Iterator(this);
  }
  std::default_sentinel_t end() const { return std::default_sentinel; }

 private:
  void Advance() {
    current_.reset();
    while (next_ == page_.items.size() && !last_page_) {
      absl::StatusOr<Page<T>> page = read_page_(page_.next_page_token);
      if (!page.ok()) {
        last_page_ = true;
        current_ = page.status();
        return;
      }
      page_ = *std::move(page);
      next_ = 0;
      last_page_ = page_.next_page_token.empty();
    }
    if (next_ < page_.items.size()) current_ = std::move(page_.items[next_++]);
  }

  ReadPage read_page_;
  Page<T> page_;
  std::size_t next_ = 0;  // Within the page.
  bool last_page_ = false;
  std::optional<absl::StatusOr<T>> current_;
};

}  // namespace sessiond
