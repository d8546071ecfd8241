// What Prometheus is told.
#include "server/ops/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sessiond/v1/session_service.pb.h"

namespace sessiond {
namespace {

using testing::HasSubstr;
using testing::Not;

class MetricsTest : public testing::Test {
 protected:
  const std::string service_ = v1::GetSessionRequest::descriptor()->file()->service(0)->full_name();
  Metrics metrics_{{service_}};
};

TEST_F(MetricsTest, EveryMethodAndEveryReasonBeginsAtZero) {
  const std::string page = metrics_.Text();
  const std::string labels =
      "{grpc_method=\"GetSession\",grpc_service=\"sessiond.v1.SessionService\",grpc_type="
      "\"unary\"}";
  EXPECT_THAT(page, HasSubstr("grpc_server_started_total" + labels + " 0\n"));
  EXPECT_THAT(page, HasSubstr("grpc_server_handling_seconds_count" + labels + " 0\n"));
  EXPECT_THAT(page, HasSubstr("grpc_server_handled_total{grpc_code=\"Unauthenticated\",grpc_method="
                              "\"DeleteSession\""));
  EXPECT_THAT(page, HasSubstr("sessiond_refusals_total{reason=\"NEVER_EXISTED\"} 0\n"));
}

TEST_F(MetricsTest, CallsAreCountedByTheirCode) {
  MethodMetrics& get = metrics_.Method(service_, "GetSession");
  get.Started();
  get.Handled(5, absl::Milliseconds(2));
  const std::string page = metrics_.Text();
  EXPECT_THAT(page, HasSubstr("grpc_server_started_total{grpc_method=\"GetSession\",grpc_service="
                              "\"sessiond.v1.SessionService\",grpc_type=\"unary\"} 1\n"));
  EXPECT_THAT(page,
              HasSubstr("grpc_server_handled_total{grpc_code=\"NotFound\",grpc_method="
                        "\"GetSession\",grpc_service=\"sessiond.v1.SessionService\",grpc_type="
                        "\"unary\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("\"unary\",le=\"0.001\"} 0\n"));
  EXPECT_THAT(page, HasSubstr("\"unary\",le=\"0.0025\"} 1\n"));
}

TEST_F(MetricsTest, TransitionsAreCountedByKindAndEnds) {
  for (int i = 0; i < 3; ++i) {
    // Text that is gone right after the call, and too long to lie inside a std::string.
    metrics_.Transition("stage", std::string("site_info_collection"), std::string("upload"));
  }
  metrics_.Transition("status", "active", "paused");
  const std::string page = metrics_.Text();
  EXPECT_THAT(page, HasSubstr("sessiond_transitions_total{from=\"site_info_collection\",kind="
                              "\"stage\",to=\"upload\"} 3\n"));
  EXPECT_THAT(
      page,
      HasSubstr("sessiond_transitions_total{from=\"active\",kind=\"status\",to=\"paused\"} 1\n"));
}

TEST_F(MetricsTest, AReasonOfANewerContractIsCountedAsNone) {
  metrics_.Refused(v1::NEVER_EXISTED);
  metrics_.Refused(static_cast<v1::ErrorReason>(100'000));
  EXPECT_THAT(metrics_.Text(), HasSubstr("sessiond_refusals_total{reason=\"NEVER_EXISTED\"} 1\n"));
  EXPECT_THAT(metrics_.Text(),
              HasSubstr("sessiond_refusals_total{reason=\"ERROR_REASON_UNSPECIFIED\"} 1\n"));
}

TEST_F(MetricsTest, RefusalsAreCountedForSoManyCallersAndNoMore) {
  for (int i = 0; i < 1002; ++i)
    metrics_.RefusedCaller(absl::StrCat("caller-", i), v1::NOT_ALLOWED);
  metrics_.RefusedCaller("caller-0", v1::NOT_ALLOWED);
  const std::string page = metrics_.Text();
  const auto line = [](absl::string_view caller, int count) {
    return absl::StrCat("sessiond_caller_refusals_total{caller=\"", caller,
                        "\",reason=\"NOT_ALLOWED\"} ", count, "\n");
  };
  EXPECT_THAT(page, HasSubstr(line("caller-0", 2)));
  EXPECT_THAT(page, HasSubstr(line("caller-999", 1)));
  EXPECT_THAT(page, HasSubstr(line("others", 2)));
}

TEST_F(MetricsTest, WhatIsAskedIsAskedAtEveryScrape) {
  int waiting = 0;
  metrics_.OnScrape([&] { metrics_.SetLaneInbox(++waiting); });
  EXPECT_THAT(metrics_.Text(), HasSubstr("sessiond_lane_inbox 1\n"));
  EXPECT_THAT(metrics_.Text(), HasSubstr("sessiond_lane_inbox 2\n"));
}

TEST_F(MetricsTest, EveryMetricOfTheReferenceIsServed) {
  metrics_.Transition("state", "", "active");
  metrics_.RefusedCaller("shop", v1::NOT_ALLOWED);
  const std::string page = metrics_.Text();
  const std::string reference = MetricsReference();
  int documented = 0;
  for (std::size_t at = reference.find("| `"); at != std::string::npos;
       at = reference.find("| `", at + 1)) {
    const std::string name = reference.substr(at + 3, reference.find('`', at + 3) - at - 3);
    EXPECT_THAT(page, HasSubstr("# TYPE " + name + " ")) << name;
    ++documented;
  }
  EXPECT_GT(documented, 10);
}

TEST_F(MetricsTest, TheProcessesOwnFiguresArePlausible) {
  const std::string page = metrics_.Text();
  for (const char* name : {"process_resident_memory_bytes", "process_open_fds", "process_threads",
                           "process_start_time_seconds"}) {
    EXPECT_THAT(page, Not(HasSubstr(std::string("\n") + name + " 0\n")));
  }
}

}  // namespace
}  // namespace sessiond
