// The views of a watch: a table that is redrawn in place on a terminal, lines elsewhere.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "client/sessionctl/output.h"
#include "sessiond/v1/session_service.pb.h"

namespace sessiond::ctl {

class WatchView {
 public:
  virtual ~WatchView() = default;

  // Called by the watching thread.
  virtual void Take(const v1::WatchSessionsResponse& response) = 0;
  virtual void Lost(const absl::Status& why) = 0;
  // `anew`: discard what was sent before the error.
  virtual void Resumed(bool anew) = 0;

  // Whether the last drawing is still in its place; or not, because the window's size has changed;
  // or because the process was stopped, and other programs have written since.
  enum class Redraw { kInPlace, kWindowChanged, kInForeground };
  // Called by another thread, ten times a second and when there is a reason to.
  virtual void Draw(Redraw) {}
};

std::unique_ptr<WatchView> MakeWatchScreen();
// A line for each response; in a table, for each session or change.
std::unique_ptr<WatchView> MakeWatchLines(Format format);

}  // namespace sessiond::ctl
