#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "api/json/base64.h"
#include "api/json/codec.h"
#include "api/schema/helper_disk.h"
#include "api/schema/vm.h"
#include "vmm/seed/file_tree.h"
#include "vmm/seed/seed.h"

using namespace hako;
using namespace hako::api;

namespace {

/// Why a VM with `fields` beside its kernel is refused.
std::string refusal(std::string_view fields) {
    auto config =
        json::decode<VmConfig>(std::string(R"({"payload":{"kernel":"/k"},)").append(fields).append("}"));
    auto error = config ? Error(Fault::kInput, "taken") : config.error();
    if (config) {
        const auto machine = to_machine(*config);
        if (!machine) error = machine.error();
    }
    CHECK(error.fault() == Fault::kInput);
    const std::string text = error.chain().back();
    CHECK(text.find("sEcReT") == std::string::npos);
    return text;
}

std::string file_refusal(std::string_view file) {
    return refusal(std::string(R"("helper_disks":[{"id":"a","files":{"f":"x"}},{"id":"b","files":)")
                       .append(file)
                       .append("}]"));
}

}  // namespace

TEST_CASE("base64 goes both ways, and is strict") {
    std::string bytes;
    for (int i = 0; i < 300; ++i) {
        CHECK(json::from_base64(json::to_base64(bytes)) == bytes);
        bytes += static_cast<char>(i * 37);
    }
    CHECK(json::to_base64("hako") == "aGFrbw==");
    CHECK(json::from_base64("aGFrbw==") == "hako");
    for (const char* bad :
         {"a", "aGFrbw", "aGFrbw=", "aGFr bw==", "aGFrbw==\n", "====", "a===", "aGFrbx==", "_w=="})
        CHECK_MESSAGE(!json::from_base64(bad), bad);
}

TEST_CASE("files are texts, or objects with content or base64 and a mode") {
    const auto disk = json::decode<HelperDiskConfig>(R"({"id":"cm","format":"iso9660","files":{
        "a/b":"text\u0000","c":{"content":"é","mode":256},"d":{"base64":"AAH/"},"e":{"content":null,"base64":""}}})");
    REQUIRE(disk);
    CHECK(disk->label == "cfgdata");
    REQUIRE(disk->files.list.size() == 4);
    CHECK(disk->files.list[0] == seed::File{.path = "a/b", .content = std::string("text\0", 5)});
    CHECK(disk->files.list[1] == seed::File{.path = "c", .content = "é", .mode = 0400});
    CHECK(disk->files.list[2] == seed::File{.path = "d", .content = std::string("\0\1\xff", 3)});
    CHECK(disk->files.list[3].content.empty());
    CHECK(json::decode<HelperDiskConfig>(std::string_view(json::encode(*disk))) == *disk);
    const auto helper = to_machine(*disk, {});
    REQUIRE(helper);
    CHECK(helper->id == "cm");
    CHECK(helper->serial == "cm");
    CHECK(info_of(*helper).size == helper->image->size);
}

TEST_CASE("what a file cannot be is refused by its path, and not shown") {
    CHECK(file_refusal(R"("sEcReT")") ==
          "helper_disks[1].files: an object with a field for each path is wanted");
    CHECK(file_refusal(R"({"x":7})") == R"(helper_disks[1].files["x"]: a text or an object is wanted)");
    CHECK(file_refusal(R"({"x":{}})") == R"(helper_disks[1].files["x"]: either content or base64 is wanted)");
    CHECK(file_refusal(R"({"x":{"content":"sEcReT","base64":""}})")
              .ends_with("either content or base64 is wanted"));
    CHECK(file_refusal(R"({"x":{"content":["sEcReT"]}})") ==
          R"(helper_disks[1].files["x"].content: a text is wanted)");
    CHECK(file_refusal(R"({"x":{"base64":"sEcReT!"}})")
              .starts_with(R"(helper_disks[1].files["x"].base64: a text in)"));
    CHECK(file_refusal(R"({"x":{"content":"sEcReT","mode":512}})") ==
          R"(helper_disks[1].files."x".mode: a whole number from 0 to 511 is wanted, not 512)");
    CHECK(
        file_refusal(R"({"../x":"sEcReT"})").starts_with(R"(helper_disks[1].files: "../x": a path has no)"));
    CHECK(file_refusal(R"({"/x":"sEcReT"})").starts_with(R"(helper_disks[1].files: "/x": a path begins)"));
    CHECK(file_refusal(R"({"a":"sEcReT","a/b":"sEcReT"})").find("a folder, too") != std::string::npos);
    CHECK(file_refusal(R"({"x":"sEcReT)" + std::string(seed::kMaxFile, 'x') + R"("})")
              .starts_with(R"(helper_disks[1].files: "x": 2097158 bytes: at most 2 MiB)"));
    CHECK(file_refusal(R"({"x":"sEcReT)" + std::string(100 << 20, 'x') + R"("})")
              .starts_with(R"(helper_disks[1].files: "x": 104857606 bytes: at most 2 MiB)"));
}

TEST_CASE("what a helper disk cannot be is refused by its field") {
    CHECK(refusal(R"("helper_disks":[{"files":{}}])") == "helper_disks[0].id: missing, and must be given");
    CHECK(refusal(R"("helper_disks":[{"id":"a"}])") == "helper_disks[0].files: missing, and must be given");
    CHECK(refusal(R"("helper_disks":[{"id":"__seed","files":{}}])")
              .starts_with("helper_disks[0].id: a text that"));
    CHECK(refusal(R"("helper_disks":[{"id":"a","format":"ext4","files":{}}])")
              .starts_with(R"(helper_disks[0].format: one of "iso9660" "vfat" is wanted, not "ext4")"));
    CHECK(refusal(R"("helper_disks":[{"id":"a","label":"a b","files":{}}])")
              .starts_with("helper_disks[0].label: 1 to 16"));
    CHECK(refusal(R"("helper_disks":[{"id":"a","serial":"123456789012345678901","files":{}}])")
              .starts_with("helper_disks[0].serial: a text of at most 20"));
    CHECK(refusal(R"("helper_disks":[{"id":"a","format":"vfat","files":{"x":{"content":"","mode":256}}}])")
              .starts_with(R"(helper_disks[0].files: "x": vfat keeps no mode)"));
    CHECK(refusal(R"("helper_disks":[{"id":"a","files":{}},{"id":"a","files":{}}])")
              .find("id a is given twice") != std::string::npos);
    CHECK(refusal(R"("disks":[{"path":"/d","id":"a"}],"helper_disks":[{"id":"a","files":{}}])")
              .find("given twice") != std::string::npos);
}

TEST_CASE("what cloud-init would not understand is refused by its field, with its place") {
    CHECK(refusal(R"("cloud_init":{})") == "cloud_init.user_data: missing, and must be given");
    CHECK(refusal(R"("cloud_init":{"user_data":"sEcReT"})")
              .starts_with("cloud_init.user_data: its first line"));
    CHECK(refusal(R"("cloud_init":{"user_data":"#cloud-config\na: 1\n b: 2\n"})")
              .starts_with("cloud_init.user_data: line 3, column "));
    CHECK(refusal(R"("cloud_init":{"user_data":"sEcReT\u0000"})")
              .starts_with("cloud_init.user_data: a text without NUL"));
    CHECK(refusal(R"("cloud_init":{"user_data":"","vendor_data":"sEcReT"})")
              .starts_with("cloud_init.vendor_data: its"));
    CHECK(refusal(R"("cloud_init":{"user_data":"","network_config":"version: 3\n"})")
              .starts_with("cloud_init.network_config: `version: 1`"));
    CHECK(refusal(R"("cloud_init":{"user_data":"","meta_data":"[]"})")
              .starts_with("cloud_init.meta_data: not a YAML mapping"));
    CHECK(refusal(R"("cloud_init":{"user_data":"","instance_id":""})")
              .starts_with("cloud_init.instance_id: 1 to 255"));
    CHECK(refusal(R"("cloud_init":{"user_data":"","hostname":"a_b"})")
              .starts_with("cloud_init.hostname: a host name"));
    CHECK(
        refusal(R"("cloud_init":{"user_data":"","format":"ext4"})").starts_with("cloud_init.format: one of"));
    CHECK(refusal(R"("cloud_init":{"user_data":"#!)" + std::string(seed::kMaxText, 'x') + R"("})") ==
          "cloud_init.user_data: 1048578 bytes; at most 1 MiB are allowed");
    CHECK(refusal(R"("cloud_init":{"user_data":"#!)" + std::string(seed::kMaxText - 2, 'x') + R"("})") ==
          "taken");
}
