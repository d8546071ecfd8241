#include "client/sessionctl/import_report.h"

#include "absl/strings/str_cat.h"
#include "client/sessionctl/printable.h"
#include "client/sessionctl/progress.h"
#include "google/protobuf/struct.pb.h"

namespace sessiond::ctl {
namespace {

using Response = v1::ImportSessionsResponse;

// As much as a person reads, or a program can hold; a file, or -o jsonl, has all of them.
constexpr std::size_t kTableRowsMax = 50;
constexpr std::size_t kKeptMax = 10'000;

std::string LineOf(const v1::ImportSessionsResponse& response) {
  return absl::StrCat(ToJson(response, /*pretty=*/false), "\n");
}

}  // namespace

ImportReport::ImportReport(Format format, const std::string& path) : format_(format), path_(path) {
  if (!path.empty()) file_.open(path, std::ios::trunc);
}

void ImportReport::Remark(int32_t line, std::string remark) {
  absl::MutexLock lock(&mutex_);
  remarks_[line] = std::move(remark);
}

void ImportReport::Add(v1::ImportSessionsResponse response) {
  absl::MutexLock lock(&mutex_);
  const auto remark = remarks_.extract(response.line());
  switch (response.result()) {
    case Response::IMPORTED:
      ++imported_;
      break;
    case Response::COMPLETED:
      ++completed_;
      break;
    case Response::ALREADY_THERE:
      ++already_there_;
      break;
    default:
      ++refused_;
      return Tell(response);
  }
  if (remark.empty()) return;
  ++remarked_;
  response.set_description(absl::StrCat(
      response.description(), response.description().empty() ? "" : " ", remark.mapped()));
  Tell(response);
}

void ImportReport::Tell(const v1::ImportSessionsResponse& response) {
  if (reported_.size() < kKeptMax) reported_.emplace(response.line(), response);
  if (file_.is_open()) file_ << LineOf(response) << std::flush;
  if (format_ == Format::kJsonLines) ctl::Print(LineOf(response));
  if (format_ == Format::kName) ctl::Print(absl::StrCat(response.session_id(), "\n"));
}

bool ImportReport::written() const {
  absl::MutexLock lock(&mutex_);
  return path_.empty() || file_.good();
}

int64_t ImportReport::done() const {
  absl::MutexLock lock(&mutex_);
  return imported_ + completed_ + already_there_ + refused_;
}

bool ImportReport::all_taken() const {
  absl::MutexLock lock(&mutex_);
  return refused_ == 0 && remarked_ == 0;
}

void ImportReport::Print() const {
  absl::MutexLock lock(&mutex_);
  if (format_ == Format::kTable) PrintTable();
  if (format_ == Format::kJson) PrintJson();
}

void ImportReport::PrintTable() const {
  Card card;
  card.Add("Imported", WithCommas(imported_));
  if (completed_ > 0) card.Add("Completed", WithCommas(completed_));
  card.Add("Already there", WithCommas(already_there_));
  card.Add("Refused", WithCommas(refused_), refused_ > 0 ? color::kRed : "");
  if (remarked_ > 0) card.Add("Not as it was", WithCommas(remarked_), color::kYellow);
  ctl::Print(card.Format());
  if (reported_.empty()) return;
  std::vector<Row> rows;
  for (const auto& [line, response] : reported_) {
    if (rows.size() == kTableRowsMax) break;
    rows.push_back(
        {{absl::StrCat(line)},
         {OneLine(response.session_id())},
         {response.reason().empty() ? Response::Result_Name(response.result()) : response.reason()},
         {OneLine(response.description())}});
  }
  ctl::Print(absl::StrCat("\n", FormatTable({{.name = "LINE", .right = true},
                                             {.name = "SESSION"},
                                             {.name = "REASON", .fit = Column::kLeftOut},
                                             {.name = "WHY"}},
                                            rows, /*headings=*/true)));
  const int64_t more = refused_ + remarked_ - static_cast<int64_t>(rows.size());
  if (more == 0) return;
  ctl::Print(absl::StrCat("\nand ", WithCommas(more), " more: ",
                          path_.empty() ? "--report FILE has them all" : Printable(path_), "\n"));
}

void ImportReport::PrintJson() const {
  google::protobuf::Struct report;
  auto& fields = *report.mutable_fields();
  fields["imported"].set_number_value(static_cast<double>(imported_));
  fields["completed"].set_number_value(static_cast<double>(completed_));
  fields["alreadyThere"].set_number_value(static_cast<double>(already_there_));
  fields["refused"].set_number_value(static_cast<double>(refused_));
  auto& not_taken = *fields["notTaken"].mutable_list_value();
  auto& not_as_it_was = *fields["notAsItWas"].mutable_list_value();
  for (const auto& [line, response] : reported_) {
    const bool refused = response.result() == Response::REFUSED;
    auto& one = *(refused ? not_taken : not_as_it_was).add_values()->mutable_struct_value();
    auto& fields = *one.mutable_fields();
    fields["line"].set_number_value(line);
    fields["sessionId"].set_string_value(response.session_id());
    if (refused) fields["reason"].set_string_value(response.reason());
    fields["description"].set_string_value(response.description());
  }
  ctl::Print(ToJson(report, /*pretty=*/true));
}

}  // namespace sessiond::ctl
