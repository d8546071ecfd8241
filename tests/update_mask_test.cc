// Update masks: which paths there are, and which cannot stand beside each other.
#include "state_machine/update_mask.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "state_machine/refusal.h"

namespace sessiond {
namespace {

absl::StatusOr<std::vector<UpdatePath>> Parse(const std::vector<std::string>& paths) {
  google::protobuf::FieldMask mask;
  for (const std::string& path : paths) mask.add_paths(path);
  return ParseUpdateMask(mask);
}

struct Sound {
  const char* path;
  UpdateField field;
  const char* key;
};

TEST(UpdateMask, NamesFieldsAndKeys) {
  constexpr Sound kSound[] = {
      {"owner_id", UpdateField::kOwnerId, ""},
      {"owner_display_name", UpdateField::kOwnerDisplayName, ""},
      {"hold", UpdateField::kHold, ""},
      {"context", UpdateField::kContext, ""},
      {"context.site_name", UpdateField::kContext, "site_name"},
      {"references", UpdateField::kReferences, ""},
      {"references.job_posting", UpdateField::kReferences, "job_posting"},
      {"labels", UpdateField::kLabels, ""},
      {"labels.team", UpdateField::kLabels, "team"},
      {"labels.a-b_C9", UpdateField::kLabels, "a-b_C9"},
      {"labels.`a.b`", UpdateField::kLabels, "a.b"},
      {"labels.`team`", UpdateField::kLabels, "team"},
      {"labels.`ä b`", UpdateField::kLabels, "ä b"},
  };
  for (const Sound& sound : kSound) {
    const auto paths = Parse({sound.path});
    ASSERT_TRUE(paths.ok()) << paths.status();
    ASSERT_EQ(paths->size(), 1u);
    EXPECT_EQ(paths->front().field, sound.field) << sound.path;
    EXPECT_EQ(paths->front().key, sound.key) << sound.path;
    EXPECT_EQ(paths->front().path, sound.path);
  }
}

TEST(UpdateMask, RefusesWhatDoesNotExistOrCannotBeSet) {
  for (const char* path : {"",
                           "*",
                           ".",
                           "state",
                           "stage",
                           "status",
                           "session_id",
                           "namespace",
                           "workflow",
                           "counters",
                           "counters.total_tickets_generated",
                           "etag",
                           "purge_time",
                           "session.labels",
                           "Labels",
                           "labels.",
                           "labels..",
                           "labels.a.b",
                           "labels.a b",
                           "labels.`",
                           "labels.``",
                           "labels.`a",
                           "labels.a`",
                           "labels.`a`b`",
                           "labels.`a`.b",
                           "hold.x",
                           "owner_id.x",
                           "labels.ä",
                           "context.a.b",
                           " labels",
                           "labels "}) {
    const auto paths = Parse({"hold", path});
    EXPECT_EQ(ReasonOf(paths.status()), v1::INVALID_FIELD_MASK) << path;
    EXPECT_EQ(paths.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorInfoOf(paths.status()).metadata().count("path"), 1u);
  }
}

TEST(UpdateMask, RefusesPathsThatCoverEachOther) {
  const std::vector<std::vector<std::string>> twice = {
      {"hold", "hold"},           {"labels", "labels.a"},
      {"labels.a", "labels"},     {"labels.a", "labels.a"},
      {"labels.a", "labels.`a`"}, {"labels.`a.b`", "hold", "labels.`a.b`"},
      {"context.x", "context"},
  };
  for (const auto& paths : twice) {
    EXPECT_EQ(ReasonOf(Parse(paths).status()), v1::INVALID_FIELD_MASK) << absl::StrJoin(paths, ",");
  }
  EXPECT_TRUE(Parse({"labels.a", "labels.b", "context.a", "references.a", "hold"}).ok());
}

TEST(UpdateMask, Has256PathsAtMost) {
  std::vector<std::string> paths;
  for (int i = 0; i < 256; ++i) paths.push_back(absl::StrCat("labels.k", i));
  EXPECT_TRUE(Parse(paths).ok());
  paths.push_back("hold");
  EXPECT_EQ(ReasonOf(Parse(paths).status()), v1::INVALID_FIELD_MASK);
}

TEST(UpdateMask, RefusalShowsThePathInAscii) {
  const absl::Status status = Parse({std::string("x\n\xFF") + std::string(5000, 'y')}).status();
  EXPECT_LT(status.message().size(), 1024u);
  EXPECT_EQ(ErrorInfoOf(status).metadata().at("path").substr(0, 7), "x\\n\\xff");
}

}  // namespace
}  // namespace sessiond
