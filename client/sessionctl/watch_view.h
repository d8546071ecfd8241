// How a watch looks: a table that is drawn anew in its place on a terminal, lines elsewhere.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "client/sessionctl/output.h"
#include "sessiond/v1/session_service.pb.h"

namespace sessiond::ctl {

class WatchView {
 public:
  virtual ~WatchView() = default;

  // Called by the thread that watches.
  virtual void Take(const v1::WatchSessionsResponse& response) = 0;
  virtual void Lost(const absl::Status& why) = 0;
  // `anew`: what was told before the trouble no longer counts.
  virtual void Resumed(bool anew) = 0;

  // What was drawn last stands where it was; or not, because the window has another size; or not,
  // because the process was stopped, and others have written since.
  enum class Redraw { kInPlace, kWindowChanged, kInForeground };
  // Called by another thread, ten times a second and when there is a reason to.
  virtual void Draw(Redraw) {}
};

// Whether there is a terminal that can be drawn on.
bool IsScreen(Format format);

std::unique_ptr<WatchView> MakeWatchScreen();
// A line for each response; of a table, for each session or change.
std::unique_ptr<WatchView> MakeWatchLines(Format format);

}  // namespace sessiond::ctl
