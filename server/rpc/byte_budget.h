// What many calls together hold of requests or replies. A peer that sends half of a request, or
// does not read its reply, is one of many.
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>

namespace sessiond::rpc {

// Thread-safe.
class ByteBudget {
 public:
  explicit ByteBudget(std::size_t bytes_max) : left_(bytes_max) {}

  // Bytes that are held until this is destroyed. The budget outlives it.
  class Share {
   public:
    Share() = default;
    Share(Share&& other) noexcept
        : budget_(std::exchange(other.budget_, nullptr)), bytes_(other.bytes_) {}
    Share& operator=(Share&& other) noexcept {
      std::swap(budget_, other.budget_);
      std::swap(bytes_, other.bytes_);
      return *this;
    }
    ~Share() {
      if (budget_ != nullptr) budget_->left_ += bytes_;
    }

    explicit operator bool() const { return budget_ != nullptr; }

   private:
    friend class ByteBudget;
    Share(ByteBudget* budget, std::size_t bytes) : budget_(budget), bytes_(bytes) {}

    ByteBudget* budget_ = nullptr;
    std::size_t bytes_ = 0;
  };

  // Nothing, which is false: there would not be `spare` left of it.
  Share Take(std::size_t bytes, std::size_t spare = 0) {
    std::size_t left = left_.load(std::memory_order_relaxed);
    do {
      if (bytes > left || left - bytes < spare) return {};
    } while (!left_.compare_exchange_weak(left, left - bytes));
    return {this, bytes};
  }
  // Takes more, if needed, until the share has so many. False: there is not as much left.
  bool Grow(Share& share, std::size_t bytes) {
    if (share.bytes_ >= bytes) return true;
    Share more = Take(bytes - share.bytes_);
    if (!more) return false;
    share.budget_ = std::exchange(more.budget_, nullptr);
    share.bytes_ = bytes;
    return true;
  }
  std::size_t left() const { return left_; }

 private:
  std::atomic<std::size_t> left_;
};

}  // namespace sessiond::rpc
