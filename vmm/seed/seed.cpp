#include "vmm/seed/seed.h"

#include <string>
#include <string_view>
#include <utility>

#include "vmm/seed/read_file.h"
#include "vmm/seed/texts.h"

namespace hako::seed {
namespace {

constexpr const char* kLabel = "cidata";

constexpr const char* kUserData = "user-data";
constexpr const char* kMetaData = "meta-data";
constexpr const char* kNetworkConfig = "network-config";
constexpr const char* kVendorData = "vendor-data";

Result<> check_size(const char* field, const std::optional<std::string>& text) {
    if (text && text->size() > kMaxText)
        return std::unexpected(Error(Fault::kInput, fmt::format("{} bytes; at most {} are allowed",
                                                                text->size(), format_size(kMaxText)))
                                   .wrap(field));
    return {};
}

Result<std::string> meta_data_of(const Config& config) {
    std::string text = config.meta_data.value_or("");
    if (config.instance_id) {
        HAKO_TRY_WRAP(check_instance_id(*config.instance_id), "{}", kInstanceId);
        text = HAKO_TRY_WRAP(set_meta_data(text, kInstanceId, *config.instance_id), "{}", kMetaData);
    }
    text = HAKO_TRY_WRAP(complete_meta_data(text, derive_instance_id(config)), "{}", kMetaData);
    if (config.hostname) {
        HAKO_TRY_WRAP(check_hostname(*config.hostname), "hostname");
        text = HAKO_TRY_WRAP(set_meta_data(text, kLocalHostname, *config.hostname), "{}", kMetaData);
    }
    return text;
}

Result<std::string> read_text(const char* field, const std::filesystem::path& path) {
    return HAKO_TRY_WRAP(read_file(path, kMaxText), "{}", field);
}

Result<> read_text(const char* field, const std::optional<std::filesystem::path>& path,
                   std::optional<std::string>& text) {
    if (path) text = HAKO_TRY(read_text(field, *path));
    return {};
}

}  // namespace

Result<DiskConfig> disk_of(const Config& config) {
    HAKO_TRY(check_size(kUserData, config.user_data));
    HAKO_TRY(check_size(kMetaData, config.meta_data));
    HAKO_TRY(check_size(kNetworkConfig, config.network_config));
    HAKO_TRY(check_size(kVendorData, config.vendor_data));

    HAKO_TRY_WRAP(check_user_data(config.user_data), "{}", kUserData);
    if (config.vendor_data) HAKO_TRY_WRAP(check_user_data(*config.vendor_data), "{}", kVendorData);
    if (config.network_config)
        HAKO_TRY_WRAP(check_network_config(*config.network_config), "{}", kNetworkConfig);

    DiskConfig disk{.label = kLabel, .format = config.format, .files = {}};
    disk.files.push_back({.path = kMetaData, .content = HAKO_TRY(meta_data_of(config))});
    disk.files.push_back({.path = kUserData, .content = config.user_data});
    if (config.network_config)
        disk.files.push_back({.path = kNetworkConfig, .content = *config.network_config});
    if (config.vendor_data) disk.files.push_back({.path = kVendorData, .content = *config.vendor_data});
    return disk;
}

Result<Image> build(const Config& config) {
    return build(HAKO_TRY(disk_of(config)));
}

Result<Config> from_files(const Paths& paths) {
    Config config;
    config.user_data = HAKO_TRY(read_text(kUserData, paths.user_data));
    HAKO_TRY(read_text(kMetaData, paths.meta_data, config.meta_data));
    HAKO_TRY(read_text(kNetworkConfig, paths.network_config, config.network_config));
    HAKO_TRY(read_text(kVendorData, paths.vendor_data, config.vendor_data));
    return config;
}

}  // namespace hako::seed
