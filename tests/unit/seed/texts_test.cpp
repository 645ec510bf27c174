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

TEST_CASE("network-config is of version 1 or 2") {
    for (const char* good :
         {"version: 2\nethernets: {}\n", "version: 1\nconfig: []\n", "network:\n  version: 2\n",
          "network: {version: 1, config: [{type: physical, name: eth0}]}\n", "network: {config: disabled}\n",
          "{\"version\": 2}"})
        CHECK_MESSAGE(seed::check_network_config(good), good);
    for (const char* bad : {"", "- version: 2\n", "ethernets: {}\n", "version: 3\n", "version: [2]\n",
                            "version: 1\n", "network: {ethernets: {}}\n", "other: {version: 2}\n"})
        CHECK_MESSAGE(!seed::check_network_config(bad), bad);
}

TEST_CASE("a key that is given is put into meta-data, or must be the same there") {
    const auto set = [](std::string_view text) {
        const auto result = seed::set_meta_data(text, "local-hostname", "web");
        return result ? *result : "error: " + result.error().text();
    };
    CHECK(set("") == "local-hostname: \"web\"\n");
    CHECK(set("instance-id: i\n") == "local-hostname: \"web\"\ninstance-id: i\n");
    CHECK(set("{\"a\": 1}") == "{\"local-hostname\": \"web\", \"a\": 1}");
    CHECK(set("local-hostname: web\n") == "local-hostname: web\n");
    CHECK(set("local-hostname: other\n").find("another local-hostname") != std::string::npos);
}

TEST_CASE("instance ids and host names") {
    for (const char* good : {"i-1", "iid:0.1_x", "7"})
        CHECK_MESSAGE(seed::check_instance_id(good), good);
    for (const char* bad : {"", "a b", "a\"", "a\n", "\xc3\xa9"})
        CHECK_MESSAGE(!seed::check_instance_id(bad), bad);
    CHECK_FALSE(seed::check_instance_id(std::string(256, 'a')));
    for (const char* good : {"web", "web-1.example.org", "1", "a.b"})
        CHECK_MESSAGE(seed::check_hostname(good), good);
    for (const char* bad : {"", "-a", "a-", "a..b", ".a", "a.", "a_b", "a b", "\xc3\xa9"})
        CHECK_MESSAGE(!seed::check_hostname(bad), bad);
    CHECK(seed::check_hostname(std::string(63, 'a')));
    CHECK_FALSE(seed::check_hostname(std::string(64, 'a')));
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
    const seed::Config base{.user_data = "#!a"};
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
    seed::Config named = base;
    named.hostname = "web";
    CHECK(seed::derive_instance_id(named) != id);
    seed::Config moved = base;
    moved.network_config = "";
    CHECK(seed::derive_instance_id(moved) != seed::derive_instance_id(other));
}
