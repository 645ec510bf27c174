#include "vmm/seed/file_tree.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

using namespace hako;
using seed::File;
using seed::FileTree;
using seed::Format;

namespace {

std::string refusal(const std::vector<File>& files, Format format = Format::kIso9660) {
    const auto tree = FileTree::create(files, format);
    if (tree) return "taken";
    CHECK(tree.error().fault() == Fault::kInput);
    return tree.error().text();
}

std::string refusal_of(std::string path, Format format = Format::kIso9660) {
    return refusal({{.path = std::move(path), .content = "x"}}, format);
}

}  // namespace

TEST_CASE("folders are made of paths, and names are in order") {
    const std::vector<File> files = {{.path = "z", .content = "1"},
                                     {.path = "b/d", .content = "2"},
                                     {.path = "b/c/e", .content = "3"},
                                     {.path = "é", .content = "4"},
                                     {.path = "a", .content = "5"}};
    const auto tree = FileTree::create(files, Format::kIso9660);
    REQUIRE(tree);
    const auto names = [&](std::size_t folder) {
        std::string text;
        for (const std::size_t child : (*tree)[folder].children)
            text += (*tree)[child].name + ((*tree)[child].file == nullptr ? "/ " : " ");
        return text;
    };
    CHECK(names(0) == "a b/ z é ");
    const std::size_t b = (*tree)[0].children[1];
    CHECK(names(b) == "c/ d ");
    const std::size_t c = (*tree)[b].children[0];
    CHECK((*tree)[c].parent == b);
    CHECK((*tree)[(*tree)[c].children[0]].file->content == "3");
}

TEST_CASE("paths stay on the disk") {
    for (const char* bad : {"../x", "a/../x", "..", ".", "a/./b", "/x", "//x", "x/", "a//b", "", "a\nb",
                            "a\x7f", "\xff", "\xed\xa0\x80", "a/\xc0\xaf/b"})
        CHECK_MESSAGE(refusal_of(bad) != "taken", bad);
    CHECK(refusal_of(std::string("a\0b", 3)).find("control characters") != std::string::npos);
    for (const char* good : {"x", "..a", "...", "a b", "a/b/c", "-", "~", "grüße/世界"})
        CHECK_MESSAGE(refusal_of(good) == "taken", good);
    CHECK(refusal_of("../x").starts_with("\"../x\": a path has no"));
}

TEST_CASE("a refusal shows a path harmlessly and not all of it") {
    CHECK(refusal_of("a\x1b[2J").starts_with("\"a\\x1b[2J\": "));
    CHECK(refusal_of(std::string(100'000, 'a')).size() < 200);
}

TEST_CASE("lengths, depths, sizes and numbers are bounded") {
    CHECK(refusal_of(std::string(255, 'a')) == "taken");
    CHECK(refusal_of(std::string(256, 'a')).find("256 bytes") != std::string::npos);
    CHECK(refusal_of("a/b/c/d/e/f/g/h") == "taken");
    CHECK(refusal_of("a/b/c/d/e/f/g/h/i").find("at most 8 names") != std::string::npos);
    const std::string large(seed::kMaxFile, 'x');
    CHECK(refusal({{.path = "a", .content = large}}) == "taken");
    CHECK(refusal({{.path = "a", .content = large + "x"}}) ==
          "\"a\": 2097153 bytes: at most 2 MiB are allowed");
    std::vector<File> files;
    for (int i = 0; i < 4; ++i)
        files.push_back({.path = std::to_string(i), .content = large});
    CHECK(refusal(files) == "taken");
    files.push_back({.path = "one more", .content = "x"});
    CHECK(refusal(files) == "more than 8 MiB in all");
    files.clear();
    for (std::size_t i = 0; i < seed::kMaxFiles; ++i)
        files.push_back({.path = std::to_string(i), .content = ""});
    CHECK(refusal(files) == "taken");
    files.push_back({.path = "one more", .content = ""});
    CHECK(refusal(files).starts_with("1025 files"));
}

TEST_CASE("a path is there once, and no file is a folder") {
    CHECK(refusal({{.path = "a", .content = ""}, {.path = "a", .content = ""}}).find("given twice") !=
          std::string::npos);
    CHECK(refusal({{.path = "a", .content = ""}, {.path = "a/b", .content = ""}}).find("a folder, too") !=
          std::string::npos);
    CHECK(refusal({{.path = "a/b", .content = ""}, {.path = "a", .content = ""}}).find("a folder, too") !=
          std::string::npos);
    CHECK(refusal({{.path = "a", .content = ""}, {.path = "A", .content = ""}}) == "taken");
}

TEST_CASE("modes are permissions") {
    CHECK(refusal({{.path = "a", .content = "", .mode = 0777}}) == "taken");
    CHECK(refusal({{.path = "a", .content = "", .mode = 01000}}).find("mode 1000") != std::string::npos);
}

TEST_CASE("what FAT cannot hold is refused") {
    for (const char* bad : {"a:b", "a*", "a?", "a<", "a>", "a|", "a\"", "a\\b", "a.", "a ", "a./b"})
        CHECK_MESSAGE(refusal_of(bad, Format::kVfat).find("vfat") != std::string::npos, bad);
    for (const char* bad : {"a:b", "a."})
        CHECK_MESSAGE(refusal_of(bad) == "taken", bad);
    CHECK(refusal({{.path = "a", .content = "", .mode = 0400}}, Format::kVfat).find("no mode") !=
          std::string::npos);
    CHECK(refusal({{.path = "b/ab", .content = ""}, {.path = "b/aB", .content = ""}}, Format::kVfat)
              .find("case of letters") != std::string::npos);
    CHECK(refusal({{.path = "b/ab", .content = ""}, {.path = "c/aB", .content = ""}}, Format::kVfat) ==
          "taken");
}
