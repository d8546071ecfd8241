#include "tests/postgres_fixture.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "db/postgres/migrate.h"

namespace sessiond {
namespace {

constexpr char kTemplate[] = "migrated";

// Forked before anything else, and kept until everything else is gone.
db::PostgresSupervisor* cluster_supervisor;
db::PostgresSupervisor* spare_supervisor;
db::EmbeddedPostgres* cluster;

// Without PostgreSQL no test means anything.
template <class T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", std::string(value.status().message()).c_str());
  std::exit(1);
}
void Must(const absl::Status& status) { Must(status.ok() ? absl::StatusOr<int>(0) : status); }

void Administer(const std::string& sql) {
  auto connection =
      Must(db::Connection::Open({.dsn = TestCluster().dsn("postgres")}, TestDeadline()));
  Must(connection->Execute(sql, TestDeadline()));
}

[[noreturn]] void OwnPostgres(const char* data_dir) {
  auto supervisor = Must(db::PostgresSupervisor::Fork());
  // Nobody is left to remove a socket directory elsewhere.
  auto postgres = Must(db::EmbeddedPostgres::Start(
      {.data_dir = data_dir, .durable = false, .socket_dir = absl::StrCat(data_dir, "/socket")},
      *supervisor));
  std::printf("%d\n", Must(postgres->state()).pid);
  std::fflush(stdout);
  while (true) pause();
}

class StopCluster : public testing::Environment {
 public:
  void TearDown() override {
    delete cluster;
    cluster = nullptr;
  }
};

}  // namespace

db::EmbeddedPostgres& TestCluster() {
  if (cluster == nullptr) {
    cluster = Must(db::EmbeddedPostgres::Start({.ephemeral = true, .max_connections = 200},
                                               *cluster_supervisor))
                  .release();
    Administer(absl::StrCat("CREATE DATABASE ", kTemplate));
    Must(db::Migrate(cluster->dsn(kTemplate)));
  }
  return *cluster;
}

db::PostgresSupervisor& SpareSupervisor() { return *spare_supervisor; }

TestDatabase::TestDatabase(Schema schema) {
  static std::atomic<int> count = 0;
  name_ = absl::StrCat("test_", ++count);
  Administer(absl::StrCat("CREATE DATABASE ", name_,
                          schema == Schema::kMigrated ? " TEMPLATE migrated" : ""));
  dsn_ = TestCluster().dsn(name_);
}

TestDatabase::~TestDatabase() {
  if (name_.empty()) return;
  Administer(absl::StrCat("DROP DATABASE ", name_, " WITH (FORCE)"));
}

std::unique_ptr<db::Connection> TestDatabase::Connect() const {
  return Must(db::Connection::Open({.dsn = dsn_}, TestDeadline()));
}

std::string TestDatabase::Ask(const std::string& sql) const {
  auto connection = Connect();
  connection->QueueSql(sql);
  const std::vector<db::Result> results = Must(connection->RoundTrip(TestDeadline()));
  return results[0].rows() == 0 ? "" : std::string(results[0].Text(0, 0));
}

void TestDatabase::LetIn(bool anybody) const {
  Administer(absl::StrCat("ALTER DATABASE ", name_, " ALLOW_CONNECTIONS ", anybody));
}

}  // namespace sessiond

int main(int argc, char** argv) {
  if (argc == 3 && std::string(argv[1]) == sessiond::kOwnPostgres) sessiond::OwnPostgres(argv[2]);
  auto cluster_supervisor = sessiond::Must(sessiond::db::PostgresSupervisor::Fork());
  auto spare_supervisor = sessiond::Must(sessiond::db::PostgresSupervisor::Fork());
  sessiond::cluster_supervisor = cluster_supervisor.get();
  sessiond::spare_supervisor = spare_supervisor.get();
  testing::InitGoogleTest(&argc, argv);
  testing::AddGlobalTestEnvironment(new sessiond::StopCluster);
  return RUN_ALL_TESTS();
}
