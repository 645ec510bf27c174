#include "vmm/seed/seed.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vmm/seed/hash.h"
#include "vmm/seed/iso.h"
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
        return fail_input("{}: {} bytes; at most {} are allowed", field, text->size(), format_size(kMaxText));
    return {};
}

Result<Fd> sealed_memfd(std::string_view content) {
    Fd fd(::memfd_create("hako-seed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (!fd.valid()) return fail_errno(errno, "cannot create a memfd for the cloud-init seed");
    for (std::size_t done = 0; done < content.size();) {
        const ssize_t written = ::write(fd.get(), content.data() + done, content.size() - done);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return fail_errno(errno, "cannot write the cloud-init seed into memory");
        done += static_cast<std::size_t>(written);
    }
    if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return fail_errno(errno, "cannot seal the cloud-init seed");
    return fd;
}

Result<std::string> read_text(const char* field, const std::filesystem::path& path) {
    // Without O_NONBLOCK a named pipe would hold up the start.
    const Fd fd(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    if (!fd.valid()) return fail_input("{}: cannot open {}: {}", field, path.string(), errno_text(errno));
    struct stat info{};
    if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode))
        return fail_input("{}: {} is not a regular file", field, path.string());
    std::string text;
    std::vector<char> buffer(64 * KiB);
    while (text.size() <= kMaxText) {
        const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_input("{}: cannot read {}: {}", field, path.string(), errno_text(errno));
        if (got == 0) return text;
        text.append(buffer.data(), static_cast<std::size_t>(got));
    }
    return fail_input("{}: {} is larger than {}", field, path.string(), format_size(kMaxText));
}

}  // namespace

Result<Image> build(const Config& config) {
    HAKO_TRY(check_size(kUserData, config.user_data));
    HAKO_TRY(check_size(kMetaData, config.meta_data));
    HAKO_TRY(check_size(kNetworkConfig, config.network_config));
    HAKO_TRY(check_size(kVendorData, config.vendor_data));

    HAKO_TRY_WRAP(check_user_data(config.user_data), "{}", kUserData);
    if (config.vendor_data) HAKO_TRY_WRAP(check_user_data(*config.vendor_data), "{}", kVendorData);
    if (config.network_config)
        HAKO_TRY_WRAP(check_network_config(*config.network_config), "{}", kNetworkConfig);
    const std::string meta_data = HAKO_TRY_WRAP(
        complete_meta_data(config.meta_data.value_or(""), derive_instance_id(config)), "{}", kMetaData);

    std::vector<IsoFile> files = {{kMetaData, meta_data}, {kUserData, config.user_data}};
    if (config.network_config) files.push_back({kNetworkConfig, *config.network_config});
    if (config.vendor_data) files.push_back({kVendorData, *config.vendor_data});
    const std::string image = HAKO_TRY_WRAP(make_iso(kLabel, files), "cloud-init seed");
    return Image{.fd = HAKO_TRY(sealed_memfd(image)), .size = image.size(), .checksum = fnv1a(image)};
}

Result<Config> from_files(const std::filesystem::path& user_data,
                          const std::optional<std::filesystem::path>& meta_data,
                          const std::optional<std::filesystem::path>& network_config) {
    Config config;
    config.user_data = HAKO_TRY(read_text(kUserData, user_data));
    if (meta_data) config.meta_data = HAKO_TRY(read_text(kMetaData, *meta_data));
    if (network_config) config.network_config = HAKO_TRY(read_text(kNetworkConfig, *network_config));
    return config;
}

}  // namespace hako::seed
