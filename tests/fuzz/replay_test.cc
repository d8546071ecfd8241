// Every file of the corpora, through its target. What a fuzzer has found becomes a file there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#define FUZZ_TARGET(name) extern "C" int Fuzz_##name(const uint8_t* data, std::size_t size);
#include "targets.inc"
#undef FUZZ_TARGET

namespace sessiond::fuzz {
namespace {

namespace fs = std::filesystem;

struct Target {
  std::string name;
  int (*run)(const uint8_t* data, std::size_t size);
};

const std::vector<Target>& Targets() {
  static const auto& targets = *new std::vector<Target>{
#define FUZZ_TARGET(name) {#name, Fuzz_##name},
#include "targets.inc"
#undef FUZZ_TARGET
  };
  return targets;
}

std::vector<fs::path> CorpusOf(const std::string& target) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(fs::path(FUZZ_CORPUS) / target))
    files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

void Feed(const Target& target, const std::string& bytes) {
  // Exactly as many, so that AddressSanitizer sees who reads on.
  const std::vector<uint8_t> exact(bytes.begin(), bytes.end());
  EXPECT_EQ(target.run(exact.data(), exact.size()), 0);
}

using Case = std::pair<const Target*, fs::path>;

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const Target& target : Targets()) {
    for (const fs::path& file : CorpusOf(target.name)) cases.emplace_back(&target, file);
  }
  return cases;
}

class Corpus : public testing::TestWithParam<Case> {};

TEST_P(Corpus, BreaksNoPromise) {
  const auto& [target, file] = GetParam();
  std::ifstream in(file, std::ios::binary);
  ASSERT_TRUE(in) << file;
  Feed(*target, {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()});
}

INSTANTIATE_TEST_SUITE_P(, Corpus, testing::ValuesIn(Cases()), [](const auto& info) {
  std::string name = info.param.first->name + "_" + info.param.second.filename().string();
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
});

TEST(Targets, EachHasACorpusAndTakesNothingToo) {
  for (const Target& target : Targets()) {
    EXPECT_GE(CorpusOf(target.name).size(), 5U) << target.name;
    Feed(target, "");
  }
}

TEST(Targets, NoCorpusIsLeftWithoutOne) {
  for (const auto& entry : fs::directory_iterator(FUZZ_CORPUS)) {
    EXPECT_TRUE(std::any_of(Targets().begin(), Targets().end(), [&](const Target& target) {
      return target.name == entry.path().filename();
    })) << entry.path();
  }
}

}  // namespace
}  // namespace sessiond::fuzz
