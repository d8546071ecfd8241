// As much of libpq as the benchmark's own statements need: a blocking connection, prepared
// statements, texts in and out. The daemon does it otherwise, for other reasons:
// db/connection/connection.h.
#pragma once

#include <libpq-fe.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace sessiond::bench {

// What a statement answered.
class Rows {
 public:
  explicit Rows(PGresult* result) : result_(result, PQclear) {}

  int size() const { return PQntuples(result_.get()); }
  // How many rows the statement wrote.
  std::string affected() const { return PQcmdTuples(result_.get()); }
  bool IsNull(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }
  // Empty for null.
  std::string Text(int row, int column) const {
    return {PQgetvalue(result_.get(), row, column),
            static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
  }

 private:
  std::unique_ptr<PGresult, decltype(&PQclear)> result_;
};

// All of it throws std::runtime_error with what PostgreSQL says.
class Connection {
 public:
  explicit Connection(const std::string& conninfo)
      : connection_(PQconnectdb(conninfo.c_str()), PQfinish) {
    if (PQstatus(connection_.get()) != CONNECTION_OK)
      throw std::runtime_error(PQerrorMessage(connection_.get()));
  }

  void Prepare(const std::string& name, const std::string& sql) {
    Checked(PQprepare(connection_.get(), name.c_str(), sql.c_str(), 0, nullptr));
  }

  // Parameters are texts; a text must not have a zero byte in it.
  Rows Run(const std::string& name, const std::vector<std::string>& parameters) {
    std::vector<const char*> values;
    for (const std::string& parameter : parameters) values.push_back(parameter.c_str());
    return Checked(PQexecPrepared(connection_.get(), name.c_str(), static_cast<int>(values.size()),
                                  values.data(), nullptr, nullptr, /*resultFormat=*/0));
  }

  Rows Execute(const std::string& sql) { return Checked(PQexec(connection_.get(), sql.c_str())); }

 private:
  Rows Checked(PGresult* result) const {
    Rows rows(result);
    const ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
      throw std::runtime_error(PQerrorMessage(connection_.get()));
    return rows;
  }

  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
};

// An array parameter. The elements need no quoting: they are numbers, ids or letters.
template <typename Elements>
std::string Array(const Elements& elements) {
  return absl::StrCat("{", absl::StrJoin(elements, ","), "}");
}

}  // namespace sessiond::bench
