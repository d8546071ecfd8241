#include "client/sessionctl/import_report.h"

#include "absl/strings/str_cat.h"
#include "client/sessionctl/printable.h"
#include "client/sessionctl/progress.h"
#include "google/protobuf/struct.pb.h"

namespace sessiond::ctl {
namespace {

// What a person reads, and what a program may hold; a file, or -o jsonl, has them all.
constexpr std::size_t kTableRowsMax = 50;
constexpr std::size_t kKeptMax = 10'000;

std::string LineOf(const v1::ImportSessionsResponse& response) {
  return absl::StrCat(ToJson(response, /*pretty=*/false), "\n");
}

}  // namespace

ImportReport::ImportReport(Format format, const std::string& path) : format_(format), path_(path) {
  if (!path.empty()) file_.open(path, std::ios::trunc);
}

void ImportReport::Add(const v1::ImportSessionsResponse& response) {
  absl::MutexLock lock(&mutex_);
  switch (response.result()) {
    case v1::ImportSessionsResponse::IMPORTED:
      ++imported_;
      return;
    case v1::ImportSessionsResponse::ALREADY_THERE:
      ++already_there_;
      return;
    default:
      break;
  }
  ++refused_;
  if (not_taken_.size() < kKeptMax) not_taken_.emplace(response.line(), response);
  if (file_.is_open()) file_ << LineOf(response) << std::flush;
  if (format_ == Format::kJsonLines) ctl::Print(LineOf(response));
  if (format_ == Format::kName) ctl::Print(NameLine(response.session_id()));
}

int64_t ImportReport::done() const {
  absl::MutexLock lock(&mutex_);
  return imported_ + already_there_ + refused_;
}

bool ImportReport::refused() const {
  absl::MutexLock lock(&mutex_);
  return refused_ > 0;
}

void ImportReport::Print() const {
  absl::MutexLock lock(&mutex_);
  if (format_ == Format::kTable) PrintTable();
  if (format_ == Format::kJson) PrintJson();
}

void ImportReport::PrintTable() const {
  Card card;
  card.Add("Imported", WithCommas(imported_));
  card.Add("Already there", WithCommas(already_there_));
  card.Add("Refused", WithCommas(refused_), refused_ > 0 ? color::kRed : "");
  ctl::Print(card.Format());
  if (not_taken_.empty()) return;
  std::vector<Row> rows;
  for (const auto& [line, response] : not_taken_) {
    if (rows.size() == kTableRowsMax) break;
    rows.push_back({{absl::StrCat(line)},
                    {OneLine(response.session_id())},
                    {response.reason()},
                    {OneLine(response.description())}});
  }
  ctl::Print(absl::StrCat("\n", FormatTable({{.name = "LINE", .right = true},
                                             {.name = "SESSION"},
                                             {.name = "REASON", .fit = Column::kLeftOut},
                                             {.name = "WHY"}},
                                            rows, /*headings=*/true)));
  if (static_cast<int64_t>(rows.size()) < refused_) {
    ctl::Print(absl::StrCat(
        "\nand ", WithCommas(refused_ - static_cast<int64_t>(rows.size())),
        " more: ", path_.empty() ? "--report FILE has them all" : Printable(path_), "\n"));
  }
}

void ImportReport::PrintJson() const {
  google::protobuf::Struct report;
  auto& fields = *report.mutable_fields();
  fields["imported"].set_number_value(static_cast<double>(imported_));
  fields["alreadyThere"].set_number_value(static_cast<double>(already_there_));
  fields["refused"].set_number_value(static_cast<double>(refused_));
  auto& list = *fields["notTaken"].mutable_list_value();
  for (const auto& [line, response] : not_taken_) {
    auto& one = *list.add_values()->mutable_struct_value()->mutable_fields();
    one["line"].set_number_value(line);
    one["sessionId"].set_string_value(response.session_id());
    one["reason"].set_string_value(response.reason());
    one["description"].set_string_value(response.description());
  }
  ctl::Print(ToJson(report, /*pretty=*/true));
}

}  // namespace sessiond::ctl
