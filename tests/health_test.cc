// grpc.health.v1 as clients see it, and what makes the daemon ready.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>

#include "db/postgres/database_probe.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/grpcpp.h"
#include "server/ops/readiness.h"
#include "server/rpc/health_service.h"
#include "tests/service_host.h"

namespace sessiond {
namespace {

using rpc::HealthService;

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

HealthCheckRequest For(const std::string& service) {
  HealthCheckRequest request;
  request.set_service(service);
  return request;
}

class HealthTest : public testing::Test {
 protected:
  grpc::Status Check(const std::string& service) {
    grpc::ClientContext context;
    return stub_->Check(&context, For(service), &response_);
  }

  std::atomic<bool> alive_ = true;
  HealthService service_{{"sessiond.v1.SessionService"}, [this] { return alive_.load(); }};
  ServiceHost host_{{&service_}};
  std::unique_ptr<Health::Stub> stub_ = Health::NewStub(host_.channel());
  HealthCheckResponse response_;
};

TEST_F(HealthTest, ServicesAreAsReadyAsTheDaemonAndLivenessIsNot) {
  for (const bool ready : {false, true, false}) {
    service_.SetReady(ready);
    for (const char* service : {"", "sessiond.v1.SessionService"}) {
      ASSERT_TRUE(Check(service).ok());
      EXPECT_EQ(response_.status(),
                ready ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
    }
    ASSERT_TRUE(Check("liveness").ok());
    EXPECT_EQ(response_.status(), HealthCheckResponse::SERVING);
  }
}

TEST_F(HealthTest, LivenessServesWhileTheDaemonIsAlive) {
  alive_ = false;
  ASSERT_TRUE(Check("liveness").ok());
  EXPECT_EQ(response_.status(), HealthCheckResponse::NOT_SERVING);
}

TEST_F(HealthTest, CheckOfAnUnknownServiceIsNotFound) {
  EXPECT_EQ(Check("sessiond.v1.Nothing").error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(HealthTest, WatchTellsEveryChangeAndNothingElse) {
  grpc::ClientContext context;
  const auto stream = stub_->Watch(&context, For(""));
  ASSERT_TRUE(stream->Read(&response_));
  EXPECT_EQ(response_.status(), HealthCheckResponse::NOT_SERVING);
  service_.SetReady(false);
  service_.SetReady(true);
  ASSERT_TRUE(stream->Read(&response_));
  EXPECT_EQ(response_.status(), HealthCheckResponse::SERVING);
  service_.SetReady(true);
  service_.SetReady(false);
  ASSERT_TRUE(stream->Read(&response_));
  EXPECT_EQ(response_.status(), HealthCheckResponse::NOT_SERVING);
  context.TryCancel();
  EXPECT_FALSE(stream->Read(&response_));
}

TEST_F(HealthTest, WatchOfAnUnknownServiceSaysSoAndStaysOpen) {
  grpc::ClientContext context;
  const auto stream = stub_->Watch(&context, For("sessiond.v1.Nothing"));
  ASSERT_TRUE(stream->Read(&response_));
  EXPECT_EQ(response_.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  context.TryCancel();
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(HealthTest, ADrainTellsWatchersAndEndsTheirStreams) {
  service_.SetReady(true);
  grpc::ClientContext context;
  const auto stream = stub_->Watch(&context, For(""));
  ASSERT_TRUE(stream->Read(&response_));
  service_.SetReady(false);
  service_.EndStreams();
  ASSERT_TRUE(stream->Read(&response_));
  EXPECT_EQ(response_.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_FALSE(stream->Read(&response_));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);

  // One who comes late is told the same.
  grpc::ClientContext late_context;
  const auto late = stub_->Watch(&late_context, For(""));
  ASSERT_TRUE(late->Read(&response_));
  EXPECT_EQ(response_.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(late->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(HealthTest, ShutdownDoesNotWaitForWatchers) {
  grpc::ClientContext context;
  const auto stream = stub_->Watch(&context, For(""));
  ASSERT_TRUE(stream->Read(&response_));
  service_.EndStreams();
  host_.server().Shutdown();  // Without a deadline: it returns when the last call has ended.
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

class ReadinessTest : public testing::Test {
 protected:
  SteadyTime At(int second) const { return begin_ + absl::Seconds(second); }

  const SteadyTime begin_ = SteadyTime::Now();
  const absl::Status out_ = absl::UnavailableError("connection refused");
  Readiness readiness_{absl::Seconds(10)};
};

TEST_F(ReadinessTest, ItIsNotReadyBeforeTheDatabaseHasAnswered) {
  EXPECT_FALSE(readiness_.ready(At(0)));
  readiness_.Observe(out_, At(0));
  EXPECT_FALSE(readiness_.ready(At(0)));
  readiness_.Observe(1, At(1));
  EXPECT_TRUE(readiness_.ready(At(1)));
}

TEST_F(ReadinessTest, TheDatabaseMayBeOutOfReachForTheGrace) {
  readiness_.Observe(1, At(0));
  readiness_.Observe(out_, At(1));
  EXPECT_TRUE(readiness_.ready(At(10)));
  EXPECT_FALSE(readiness_.ready(At(11)));
  EXPECT_EQ(readiness_.Checks(At(12))[0].detail, "out of reach for 12s: connection refused");
  readiness_.Observe(1, At(13));
  EXPECT_TRUE(readiness_.ready(At(13)));
}

TEST_F(ReadinessTest, AnotherSchemaIsNeverReady) {
  readiness_.Observe(1, At(0));
  readiness_.Observe(absl::FailedPreconditionError("run: sessiond migrate up"), At(1));
  EXPECT_FALSE(readiness_.ready(At(1)));
  EXPECT_EQ(readiness_.Checks(At(1))[0].detail, "run: sessiond migrate up");
}

TEST_F(ReadinessTest, TooFewConnectionsAreOverlookedForTheGraceOnceThereWereEnough) {
  const absl::Status few = absl::FailedPreconditionError("the role app has 5: raise them");
  readiness_.Observe(1, At(0));
  readiness_.ObserveConnections(few, At(0));
  EXPECT_FALSE(readiness_.ready(At(0))) << "there never were enough";
  EXPECT_EQ(readiness_.Checks(At(0))[1].name, "connections");
  EXPECT_EQ(readiness_.Checks(At(0))[1].detail, "the role app has 5: raise them");
  readiness_.ObserveConnections(absl::OkStatus(), At(1));
  EXPECT_TRUE(readiness_.ready(At(1)));
  readiness_.ObserveConnections(few, At(2));
  EXPECT_TRUE(readiness_.ready(At(11)));
  EXPECT_FALSE(readiness_.ready(At(12)));
}

TEST_F(ReadinessTest, ADatabaseThatCouldLoseWhatItAcknowledgedIsNotReadyUnlessThatIsAllowed) {
  const absl::Status unsafe = absl::FailedPreconditionError("fsync = off");
  const auto durability = [this] { return readiness_.Checks(At(0))[3]; };
  readiness_.Observe(1, At(0));
  EXPECT_EQ(durability().name, "durability");
  EXPECT_EQ(durability().detail, "nothing is to be kept");
  EXPECT_TRUE(readiness_.ready(At(0)));
  readiness_.ObserveDurability(unsafe, /*allowed=*/false);
  EXPECT_EQ(durability().detail, "fsync = off");
  EXPECT_FALSE(durability().ok);
  EXPECT_FALSE(readiness_.ready(At(0)));
  readiness_.ObserveDurability(unsafe, /*allowed=*/true);
  EXPECT_EQ(durability().detail, "UNSAFE, as --allow-unsafe-database allows: fsync = off");
  EXPECT_TRUE(readiness_.ready(At(0)));
  readiness_.ObserveDurability(absl::OkStatus(), /*allowed=*/false);
  EXPECT_EQ(durability().detail, "acknowledged changes survive a crash");
  EXPECT_TRUE(readiness_.ready(At(0)));
}

TEST_F(ReadinessTest, ADatabaseThatTakesNoChangesIsWaitedForOnlyAMoment) {
  readiness_.Observe(1, At(0));
  readiness_.Observe(absl::ResourceExhaustedError("the disk is full"), At(1));
  EXPECT_TRUE(readiness_.ready(At(3)));
  EXPECT_FALSE(readiness_.ready(At(4)));
  EXPECT_EQ(readiness_.Checks(At(4))[0].detail, "takes no changes for 4s: the disk is full");
  readiness_.Observe(1, At(5));
  EXPECT_TRUE(readiness_.ready(At(5)));
}

TEST_F(ReadinessTest, APortThatDoesNotAnswerIsNotReadyAndInTheEndNotAlive) {
  readiness_.Observe(1, At(0));
  readiness_.ObserveOwnCall(absl::OkStatus(), At(0));
  EXPECT_TRUE(readiness_.ready(At(0)));
  readiness_.ObserveOwnCall(out_, At(2));
  EXPECT_TRUE(readiness_.ready(At(3)));
  EXPECT_FALSE(readiness_.ready(At(4)));
  EXPECT_THAT(readiness_.Checks(At(4))[2].detail, testing::HasSubstr("for 4s: connection refused"));
  for (int second = 4; second <= 61; ++second) {
    readiness_.Observe(1, At(second));
    readiness_.ObserveOwnCall(out_, At(second));
  }
  EXPECT_TRUE(readiness_.alive(At(60)));
  EXPECT_FALSE(readiness_.alive(At(61)));
  readiness_.ObserveOwnCall(absl::OkStatus(), At(62));
  EXPECT_TRUE(readiness_.alive(At(62)));
  EXPECT_TRUE(readiness_.ready(At(62)));
}

TEST_F(ReadinessTest, APortThatLetsNobodyInForNowIsNotReadyButAlive) {
  const absl::Status full = absl::ResourceExhaustedError("20 connections are open");
  readiness_.Observe(1, At(0));
  readiness_.ObserveOwnCall(absl::OkStatus(), At(0));
  for (int second = 2; second <= 120; second += 2) {
    readiness_.Observe(1, At(second));
    readiness_.ObserveOwnCall(full, At(second));
  }
  EXPECT_FALSE(readiness_.ready(At(120)));
  EXPECT_TRUE(readiness_.alive(At(120)));
  EXPECT_EQ(readiness_.Checks(At(120))[2].detail, "lets nobody in for 2m: 20 connections are open");
  readiness_.ObserveOwnCall(absl::OkStatus(), At(122));
  readiness_.Observe(1, At(122));
  EXPECT_TRUE(readiness_.ready(At(122)));
}

TEST_F(ReadinessTest, ADaemonThatGoesRoundNoMoreIsNotAlive) {
  EXPECT_TRUE(readiness_.alive(At(0)));  // It has not begun to.
  readiness_.ObserveOwnCall(absl::OkStatus(), At(0));
  readiness_.Observe(1, At(31));  // Whatever the database says.
  EXPECT_TRUE(readiness_.alive(At(30)));
  EXPECT_FALSE(readiness_.alive(At(31)));
  readiness_.StartDraining();
  EXPECT_TRUE(readiness_.alive(At(31)));
}

// As while a name server hangs.
TEST_F(ReadinessTest, WhoeverAsksTheDatabaseMayWaitForItAndTheDaemonIsAlive) {
  readiness_.Observe(1, At(0));
  for (int second = 0; second <= 120; second += 2)
    readiness_.ObserveOwnCall(absl::OkStatus(), At(second));
  EXPECT_TRUE(readiness_.alive(At(120)));
  EXPECT_TRUE(readiness_.ready(At(30)));
  EXPECT_FALSE(readiness_.ready(At(31)));
  EXPECT_EQ(readiness_.Checks(At(31))[0].detail, "has been asked for 31s");
}

TEST(DatabaseTrouble, IsNamedWithTheWayOut) {
  const struct {
    const char* sqlstate;
    const char* said;
    absl::StatusCode code;
    const char* way_out;
  } kCases[] = {
      {"53300", "", absl::StatusCode::kResourceExhausted, "raise max_connections"},
      {"53300", "too many connections for role \"app\"", absl::StatusCode::kResourceExhausted,
       "too many connections for role \"app\""},
      {"53100", "", absl::StatusCode::kResourceExhausted, "free space"},
      {"25006", "", absl::StatusCode::kResourceExhausted, "default_transaction_read_only"},
      {"57014", "", absl::StatusCode::kResourceExhausted, "pg_stat_activity"},
      {"42501", "", absl::StatusCode::kFailedPrecondition, "GRANT"},
      {"58030", "", absl::StatusCode::kResourceExhausted, "look after the disk"},
      {"XX001", "", absl::StatusCode::kResourceExhausted, "from a backup"},
      {"XX002", "", absl::StatusCode::kResourceExhausted, "REINDEX"},
      {"57P03", "", absl::StatusCode::kUnavailable, "starting"},
      {"08006", "Connection refused", absl::StatusCode::kUnavailable, "Connection refused"},
      {"08006", "", absl::StatusCode::kUnavailable, "does not answer"},
      {"", "", absl::StatusCode::kUnavailable, "does not answer"},
      {"28P01", "", absl::StatusCode::kUnavailable, "check its password"},
      {"42501", "connecting: FATAL:  permission denied for database \"x\"",
       absl::StatusCode::kUnavailable, "CONNECT"},
      {"3D000", "", absl::StatusCode::kUnavailable, "no such database"},
      {"P0001", "", absl::StatusCode::kResourceExhausted, "refuses what changes need"},
  };
  for (const auto& each : kCases) {
    const absl::Status status = db::DatabaseTrouble(each.sqlstate, each.said);
    EXPECT_EQ(status.code(), each.code) << status;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(each.way_out));
  }
}

TEST(LaneReports, TroubleLastsUntilALaneCommits) {
  const SteadyTime begin = SteadyTime::Now();
  db::LaneReports reports;
  EXPECT_TRUE(reports.TroubleSince(SteadyTime::InfinitePast()).ok());
  reports.Failed(absl::UnavailableError("x"), absl::ZeroDuration(), begin);
  EXPECT_FALSE(reports.TroubleSince(SteadyTime::InfinitePast()).ok());
  EXPECT_FALSE(reports.TroubleSince(begin).ok());
  EXPECT_TRUE(reports.TroubleSince(begin + absl::Seconds(1)).ok());
  reports.Committed(begin + absl::Seconds(1));
  EXPECT_TRUE(reports.TroubleSince(SteadyTime::InfinitePast()).ok());
}

// As where each waits for a standby that is gone, until its statement timeout.
TEST(LaneReports, TroubleThatTakesLongToShowLastsUntilTheNextCouldHaveShown) {
  const SteadyTime begin = SteadyTime::Now();
  db::LaneReports reports;
  reports.Failed(absl::UnavailableError("x"), absl::Seconds(5), begin);
  EXPECT_FALSE(reports.TroubleSince(begin + absl::Seconds(5)).ok());
  EXPECT_TRUE(reports.TroubleSince(begin + absl::Seconds(6)).ok());
  reports.Committed(begin + absl::Milliseconds(1));
  EXPECT_TRUE(reports.TroubleSince(begin).ok());
}

TEST_F(ReadinessTest, ADrainingDaemonIsNeverReadyAgain) {
  readiness_.Observe(1, At(0));
  readiness_.StartDraining();
  readiness_.Observe(1, At(1));
  EXPECT_FALSE(readiness_.ready(At(1)));
}

}  // namespace
}  // namespace sessiond
