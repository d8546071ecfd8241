// Whose a certificate is.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/identity/certificate_identity.h"
#include "test_ca.h"

namespace sessiond::identity {
namespace {

using Names = std::vector<std::string>;

struct Row {
  Names uris;
  Names dns_names;
  // Empty: nobody.
  std::string identity;
};

const Row kRows[] = {
    {{"spiffe://trust/x"}, {}, "spiffe://trust/x"},
    {{"spiffe://example.org/ns/prod/sa/a_B-9.z"}, {}, "spiffe://example.org/ns/prod/sa/a_B-9.z"},
    {{"spiffe://trust/x"}, {"a.example"}, "spiffe://trust/x"},
    {{"spiffe://trust/x"}, {"a.example", "b.example"}, "spiffe://trust/x"},
    {{}, {"worker.example"}, "dns:worker.example"},
    {{}, {"Worker.EXAMPLE"}, "dns:worker.example"},
    {{}, {"localhost"}, "dns:localhost"},
    {{"https://a.example/"}, {"a.example"}, "dns:a.example"},
    {{"https://a.example/", "urn:x"}, {"a.example"}, "dns:a.example"},
    {{}, {}, ""},
    {{"https://a.example/"}, {}, ""},
    {{}, {"a.example", "b.example"}, ""},
    {{}, {"a.example", "a.example"}, ""},
    // Two that count, or one that is not what it says it is: the DNS name does not step in.
    {{"spiffe://trust/x", "spiffe://trust/y"}, {}, ""},
    {{"spiffe://trust/x", "spiffe://trust/x"}, {}, ""},
    {{"spiffe://trust/x", "https://a.example/"}, {"a.example"}, ""},
    {{"https://a.example/", "spiffe://trust/x"}, {"a.example"}, ""},
    {{"SPIFFE://trust/x"}, {"a.example"}, ""},
    {{"spiffe:trust/x"}, {"a.example"}, ""},
    {{"spiffe://"}, {"a.example"}, ""},
    {{"spiffe://trust"}, {"a.example"}, ""},
    {{"spiffe://trust/"}, {"a.example"}, ""},
    {{"spiffe:///x"}, {"a.example"}, ""},
    {{"spiffe://Trust/x"}, {"a.example"}, ""},
    {{"spiffe://trust:1/x"}, {"a.example"}, ""},
    {{"spiffe://user@trust/x"}, {"a.example"}, ""},
    {{"spiffe://trust/x/"}, {"a.example"}, ""},
    {{"spiffe://trust//x"}, {"a.example"}, ""},
    {{"spiffe://trust/x/../y"}, {"a.example"}, ""},
    {{"spiffe://trust/./x"}, {"a.example"}, ""},
    {{"spiffe://trust/%78"}, {"a.example"}, ""},
    {{"spiffe://trust/x?y"}, {"a.example"}, ""},
    {{"spiffe://trust/x#y"}, {"a.example"}, ""},
    {{"spiffe://trust/\xc3\xa9"}, {"a.example"}, ""},
    {{std::string("spiffe://trust/x\0y", 18)}, {"a.example"}, ""},
    {{"spiffe://trust/" + std::string(2048, 'x')}, {"a.example"}, ""},
    {{"spiffe://" + std::string(256, 'x') + "/x"}, {"a.example"}, ""},
    {{}, {""}, ""},
    {{}, {"*.example"}, ""},
    {{}, {"a..example"}, ""},
    {{}, {"a.example."}, ""},
    {{}, {".example"}, ""},
    {{}, {"-a.example"}, ""},
    {{}, {"a b"}, ""},
    {{}, {"a/b"}, ""},
    {{}, {"spiffe://trust/x"}, ""},
    {{}, {std::string("a.example\0.evil", 15)}, ""},
    {{}, {std::string(64, 'a') + ".example"}, ""},
};

TEST(CertificateIdentity, IsTheOneNameThatCounts) {
  for (const Row& row : kRows) {
    const absl::StatusOr<std::string> identity = CertificateIdentity(row.uris, row.dns_names);
    SCOPED_TRACE(::testing::PrintToString(row.uris) + ::testing::PrintToString(row.dns_names));
    EXPECT_EQ(identity.value_or(""), row.identity);
    if (!identity.ok()) {
      EXPECT_EQ(identity.status().code(), absl::StatusCode::kUnauthenticated);
    }
  }
}

TEST(CertificateIdentity, IsReadFromACertificate) {
  const TestCa ca("authority");
  const struct {
    Names names;
    std::string identity;
  } rows[] = {
      {{"URI:spiffe://trust/x"}, "spiffe://trust/x"},
      {{"DNS:a.example", "URI:spiffe://trust/x", "IP:127.0.0.1"}, "spiffe://trust/x"},
      {{"DNS:a.example"}, "dns:a.example"},
      {{"DNS:a.example", "IP:127.0.0.1", "email:a@b.example"}, "dns:a.example"},
      {{"DNS:a.example", "DNS:b.example"}, ""},
      {{"URI:spiffe://trust/x", "URI:spiffe://trust/y"}, ""},
      {{"IP:127.0.0.1"}, ""},
      {{"email:a@b.example"}, ""},
      {{}, ""},
  };
  for (const auto& row : rows) {
    const Issued issued = ca.Issue({.common_name = "cn.example", .names = row.names});
    EXPECT_EQ(CertificateIdentity(issued.cert_pem).value_or(""), row.identity)
        << ::testing::PrintToString(row.names);
  }
}

TEST(CertificateIdentity, OfAnythingElseIsNobodys) {
  for (const char* const text : {"", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n"}) {
    EXPECT_EQ(CertificateIdentity(absl::string_view(text)).status().code(),
              absl::StatusCode::kUnauthenticated);
  }
}

}  // namespace
}  // namespace sessiond::identity
