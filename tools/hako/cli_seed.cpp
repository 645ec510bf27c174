#include "tools/hako/cli_seed.h"

#include <algorithm>
#include <array>

#include "tools/hako/cli_key_values.h"
#include "tools/hako/cli_values.h"

namespace hako::cli {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kSeedKeys = {"user-data"sv,   "meta-data"sv, "network-config"sv, "vendor-data"sv,
                                  "instance-id"sv, "hostname"sv,  "format"sv};
constexpr std::array kSeedBare = {"user-data"sv, "meta-data"sv, "network-config"sv};
constexpr KeyValueSyntax kSeed = {
    .option = "--cloud-init", .keys = kSeedKeys, .flags = {}, .bare = kSeedBare};

constexpr std::array kHelperKeys = {"id"sv, "folder"sv, "label"sv, "serial"sv, "format"sv, "mode"sv};
constexpr KeyValueSyntax kHelper = {.option = "--helper-disk", .keys = kHelperKeys, .flags = {}, .bare = {}};

constexpr std::size_t kMaxId = 64;
constexpr std::size_t kMaxSerial = 20;  // VIRTIO_BLK_T_GET_ID

Result<> read_optional(const KeyValues& values, std::string_view key, std::optional<std::string>& text) {
    if (values.find(key) == nullptr) return {};
    return values.read_text(key, text.emplace());
}

Result<> read_format(const KeyValues& values, seed::Format& format) {
    const std::string* const given = values.find("format");
    if (given == nullptr) return {};
    if (*given != "iso9660" && *given != "vfat") return values.refuse("format", "iso9660 or vfat");
    format = *given == "vfat" ? seed::Format::kVfat : seed::Format::kIso9660;
    return {};
}

/// "0400": octal, as chmod takes it.
Result<> read_mode(const KeyValues& values, std::optional<std::uint32_t>& mode) {
    const std::string* const given = values.find("mode");
    if (given == nullptr) return {};
    const bool octal = std::ranges::all_of(*given, [](char c) { return c >= '0' && c <= '7'; });
    if (given->empty() || given->size() > 4 || !octal || (given->size() == 4 && given->front() != '0'))
        return values.refuse("mode", "an octal number up to 0777");
    mode = 0;
    for (const char digit : *given)
        mode = *mode * 8 + static_cast<std::uint32_t>(digit - '0');
    return {};
}

bool is_id(std::string_view text) {
    const auto good = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
               c == '-' || c == '.';
    };
    return !text.empty() && text.size() <= kMaxId && !text.starts_with("__") &&
           std::ranges::all_of(text, good);
}

Result<HelperFolder> parse_helper_folder(std::string_view text) {
    const KeyValues values = HAKO_TRY(KeyValues::parse(kHelper, text));
    HelperFolder helper;
    HAKO_TRY(values.read_text("id", helper.id));
    if (helper.id.empty()) return values.refuse_all("id=TEXT is missing");
    if (!is_id(helper.id))
        return values.refuse(
            "id", fmt::format("1 to {} letters, digits, '.', '_' or '-', not beginning with \"__\"", kMaxId));
    HAKO_TRY(values.read_text("folder", helper.folder));
    if (helper.folder.empty()) return values.refuse_all("folder=PATH is missing: where the files are");
    HAKO_TRY(values.read_text("label", helper.label));
    HAKO_TRY(values.read_text("serial", helper.serial));
    if (helper.serial.size() > kMaxSerial ||
        !std::ranges::all_of(helper.serial, [](char c) { return c >= ' ' && c <= '~'; }))
        return values.refuse("serial", fmt::format("at most {} printable characters", kMaxSerial));
    if (helper.serial.empty()) helper.serial = helper.id.substr(0, kMaxSerial);
    HAKO_TRY(read_format(values, helper.format));
    HAKO_TRY(read_mode(values, helper.mode));
    return helper;
}

Result<SeedCommand> show_command(const App& app) {
    SeedCommand command{.verb = SeedCommand::Verb::kShow};
    const std::vector<std::string>& words = app.seed_words;
    if (words.size() < 2) return fail_input("seed show: which image? hako seed show IMAGE [FILE]");
    if (words.size() > 3) return fail_input("seed show {}: one image and one file of it at most", words[1]);
    command.image = words[1];
    if (words.size() == 3) command.file = words[2];
    if (!app.cloud_init.empty() || !app.helper_disk.empty() || !app.output.empty())
        return fail_input("seed show: takes no options but an image, and perhaps a file of it");
    return command;
}

}  // namespace

Result<SeedPaths> parse_seed_paths(std::string_view text) {
    const KeyValues values = HAKO_TRY(KeyValues::parse(kSeed, text));
    SeedPaths paths;
    HAKO_TRY(values.read_text("user-data", paths.user_data));
    if (paths.user_data.empty()) return values.refuse_all("the user-data file is missing");
    HAKO_TRY(read_optional(values, "meta-data", paths.meta_data));
    HAKO_TRY(read_optional(values, "network-config", paths.network_config));
    HAKO_TRY(read_optional(values, "vendor-data", paths.vendor_data));
    HAKO_TRY(read_optional(values, "instance-id", paths.instance_id));
    HAKO_TRY(read_optional(values, "hostname", paths.hostname));
    HAKO_TRY(read_format(values, paths.format));
    return paths;
}

Result<std::vector<HelperFolder>> parse_helper_folders(std::span<const std::string> texts) {
    std::vector<HelperFolder> helpers;
    for (const std::string& text : texts) {
        HelperFolder helper = HAKO_TRY(parse_helper_folder(text));
        if (std::ranges::find(helpers, helper.id, &HelperFolder::id) != helpers.end())
            return fail_input("--helper-disk {}: the id {} is taken: ids must differ", text, helper.id);
        helpers.push_back(std::move(helper));
    }
    return helpers;
}

Result<SeedCommand> seed_command(const App& app) {
    if (app.seed_words.empty()) return fail_input("seed: what shall be done? build, check or show");
    const std::string& verb = app.seed_words.front();
    if (verb == "show") return show_command(app);
    if (verb != "build" && verb != "check") return fail_input("seed {}: must be build, check or show", verb);
    if (app.seed_words.size() > 1)
        return fail_input("seed {} {}: takes no such argument; see `hako seed --help`", verb,
                          app.seed_words[1]);

    SeedCommand command{.verb = verb == "build" ? SeedCommand::Verb::kBuild : SeedCommand::Verb::kCheck};
    if (const std::string* value = HAKO_TRY(single("--cloud-init", app.cloud_init)))
        command.cloud_init = HAKO_TRY(parse_seed_paths(*value));
    std::vector<HelperFolder> helpers = HAKO_TRY(parse_helper_folders(app.helper_disk));
    if (helpers.size() + (command.cloud_init ? 1 : 0) != 1)
        return fail_input("seed {}: one --cloud-init or one --helper-disk is wanted", verb);
    if (!helpers.empty()) command.helper = std::move(helpers.front());
    HAKO_TRY(read_text("--output", app.output, command.image));
    if (command.verb == SeedCommand::Verb::kBuild && command.image.empty())
        return fail_input("seed build: --output is missing: the file to write");
    if (command.verb == SeedCommand::Verb::kCheck && !command.image.empty())
        return fail_input("--output {}: hako seed check writes nothing", command.image);
    return command;
}

}  // namespace hako::cli
