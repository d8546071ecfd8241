// sessionctl on a terminal: what a person sees and types.
#pragma once

#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace sessiond {

// A sessionctl on a terminal of its own.
class Terminal {
 public:
  explicit Terminal(std::vector<std::string> arguments, unsigned short columns = 100) {
    winsize window = {.ws_row = 12, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    pid_ = forkpty(&fd_, nullptr, nullptr, &window);
    if (pid_ != 0) return;
    setenv("TERM", "xterm", 1);
    std::vector<char*> words;
    for (std::string& argument : arguments) words.push_back(argument.data());
    words.push_back(nullptr);
    execv(SESSIONCTL, words.data());
    _exit(127);
  }
  ~Terminal() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    close(fd_);
  }

  void Type(const std::string& keys) {
    ASSERT_EQ(write(fd_, keys.data(), keys.size()), static_cast<ssize_t>(keys.size()));
  }
  void Resize(unsigned short rows, unsigned short columns) {
    winsize window = {.ws_row = rows, .ws_col = columns, .ws_xpixel = 0, .ws_ypixel = 0};
    ioctl(fd_, TIOCSWINSZ, &window);
  }
  // All that was written since the last time, up to this text; the rest if it never comes.
  std::string Until(const std::string& text) {
    char buffer[4096];
    std::size_t end;
    while ((end = written_.find(text)) == std::string::npos) {
      pollfd poll_fd = {.fd = fd_, .events = POLLIN, .revents = 0};
      if (poll(&poll_fd, 1, 20'000) != 1) break;
      const ssize_t size = read(fd_, buffer, sizeof buffer);
      if (size <= 0) break;
      written_.append(buffer, static_cast<std::size_t>(size));
    }
    end = std::min(end == std::string::npos ? end : end + text.size(), written_.size());
    const std::string before = written_.substr(0, end);
    written_.erase(0, end);
    return before;
  }
  // All that it writes until it ends.
  std::string UntilEnd() { return Until(std::string(1, '\0')); }
  bool Echoes() const {
    termios modes = {};
    tcgetattr(fd_, &modes);
    return (modes.c_lflag & ECHO) != 0;
  }
  int Wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_;
  int fd_;
  std::string written_;
};

}  // namespace sessiond
