// Boost.Asio and Boost.Beast, as this room uses them.
#pragma once

// clang-format off
#include <utility>  // First: Asio's coroutines use std::exchange without including it.
// clang-format on

#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include "absl/strings/string_view.h"

namespace sessiond::http {

namespace asio = boost::asio;
namespace beast = boost::beast;
using asio::ip::tcp;

// Awaits an operation, and stores its result in `error`.
inline auto Into(beast::error_code& error) {
  return asio::redirect_error(asio::use_awaitable, error);
}

inline absl::string_view View(beast::string_view text) { return {text.data(), text.size()}; }

}  // namespace sessiond::http
