#include "vmm/seed/texts.h"

#include <doctest/doctest.h>

#include "vmm/seed/yaml.h"

using namespace hako;

namespace {

std::string completed(std::string_view text) {
    const auto result = seed::complete_meta_data(text, "iid-1");
    if (!result) return "error: " + result.error().text();
    return *result;
}

}  // namespace

TEST_CASE("user-data begins as one of cloud-init's formats") {
    for (const char* good :
         {"", "\n", "#cloud-config\n", "#cloud-config\npackages: [vim]\n", "#!/bin/sh\necho hi\n",
          "#include\nhttp://x/\n", "#include-once\n", "#cloud-boothook\n#!/bin/sh\n", "#part-handler\n",
          "## template: jinja\n#cloud-config\n{% if x %}", "Content-Type: multipart/mixed; boundary=\"x\"\n",
          "From nobody\nMIME-Version: 1.0\n", "\x1f\x8b\x08", "#cloud-config-archive\n- {type: text/plain}\n",
          "  #Cloud-Config\na: 1\n"})
        CHECK_MESSAGE(seed::check_user_data(good), good);
    for (const char* bad : {"hostname: x\n", "# cloud-config\na: 1\n", "echo hi\n", "{}",
                            "\x7f"
                            "ELF"}) {
        const auto result = seed::check_user_data(bad);
        REQUIRE_MESSAGE(!result, bad);
        CHECK(result.error().fault() == Fault::kInput);
        CHECK(result.error().text().find("#cloud-config") != std::string::npos);
    }
}

TEST_CASE("a cloud-config that cloud-init could not read is refused before the VM starts") {
    const auto broken = seed::check_user_data("#cloud-config\nusers:\n  - name: a\n - name: b\n");
    REQUIRE_FALSE(broken);
    CHECK(broken.error().text().find("line 4") != std::string::npos);
    CHECK_FALSE(seed::check_user_data("#cloud-config\n- a\n"));
}

TEST_CASE("network-config is a mapping") {
    CHECK(seed::check_network_config("version: 2\nethernets: {}\n"));
    CHECK_FALSE(seed::check_network_config(""));
    CHECK_FALSE(seed::check_network_config("- version: 2\n"));
}

TEST_CASE("meta-data that has an instance-id stays as it is") {
    for (const char* text :
         {"instance-id: web-1\n", "local-hostname: x\ninstance-id: 7", "{\"instance-id\": \"i\"}"})
        CHECK(completed(text) == text);
}

TEST_CASE("meta-data without an instance-id gets one and keeps the rest byte by byte") {
    CHECK(completed("") == "instance-id: iid-1\n");
    CHECK(completed("# only words") == "# only words\ninstance-id: iid-1\n");
    CHECK(completed("local-hostname: hü\n") == "instance-id: iid-1\nlocal-hostname: hü\n");
    CHECK(completed("# ä\r\n---\n  a: 1\n  b: 2\n") == "# ä\r\n---\n  instance-id: iid-1\n  a: 1\n  b: 2\n");
    CHECK(completed("{\"a\": 1}\n") == "{\"instance-id\": \"iid-1\", \"a\": 1}\n");
    CHECK(completed("{}") == "{\"instance-id\": \"iid-1\"}");
    CHECK(completed("\xef\xbb\xbf"
                    "a: 1\n") ==
          "\xef\xbb\xbf"
          "instance-id: iid-1\na: 1\n");
    CHECK(completed("public-keys:\n  - instance-id: no\n") ==
          "instance-id: iid-1\npublic-keys:\n  - instance-id: no\n");
}

TEST_CASE("meta-data that cannot carry an instance-id is refused with what to do") {
    CHECK(completed("- a\n").starts_with("error: "));
    CHECK(completed("instance-id:\n").find("instance-id is empty") != std::string::npos);
    CHECK(completed("a: 1\n...\n---\nb: 1\n").starts_with("error: "));
    CHECK(completed("~\n").starts_with("error: "));
}

TEST_CASE("every change of a text makes another instance") {
    const seed::Config base{.user_data = "#!a", .meta_data = {}, .network_config = {}, .vendor_data = {}};
    const std::string id = seed::derive_instance_id(base);
    CHECK(id.size() == 20);
    CHECK(id.starts_with("iid-"));
    CHECK(seed::derive_instance_id(base) == id);

    seed::Config other = base;
    other.user_data = "#!b";
    CHECK(seed::derive_instance_id(other) != id);
    other = base;
    other.vendor_data = "";
    CHECK(seed::derive_instance_id(other) != id);
    seed::Config moved = base;
    moved.network_config = "";
    CHECK(seed::derive_instance_id(moved) != seed::derive_instance_id(other));
}
