#include "migration/instance/saved_vm.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <tuple>

#include "vmm/state/sections.h"

namespace hako::migration {
namespace {

constexpr std::string_view kMachine = "machine-state";
/// Sections of disks; instance: the disk's id.
struct HelperSections {
    std::string_view facts;
    std::string_view image;
};
constexpr HelperSections kHelpers = {.facts = "helper", .image = "helper-image"};
constexpr HelperSections kComing = {.facts = "coming-helper", .image = "coming-helper-image"};
constexpr std::string_view kComingMac = "coming-mac";  // instance: the interface's id

/// A helper disk without its image.
struct HelperFacts {
    std::string label;
    std::string serial;
    seed::Format format = seed::Format::kIso9660;
    std::uint64_t size = 0;      ///< bytes
    std::uint64_t checksum = 0;  ///< seed::Image::checksum
};

}  // namespace
}  // namespace hako::migration

namespace hako::state {

template <>
struct Names<seed::Format> {
    static constexpr std::array list = {Name{seed::Format::kIso9660, "iso9660"},
                                        Name{seed::Format::kVfat, "vfat"}};
};

template <>
struct Fields<migration::HelperFacts> {
    using T = migration::HelperFacts;
    static constexpr auto list =
        std::tuple(upto(64, "label", &T::label), upto(64, "serial", &T::serial), field("format", &T::format),
                   field("size", &T::size), hex("checksum", &T::checksum));
};

template <>
struct Fields<NewMac> {
    /// Its id is the section's instance.
    static constexpr auto list = std::tuple(field("mac", &NewMac::mac));
};

}  // namespace hako::state

namespace hako::migration {
namespace {

Result<> add(state::Writer& writer, const HelperSections& names, const seed::Helper& helper) {
    writer.add(names.facts, helper.id,
               HelperFacts{.label = helper.label,
                           .serial = helper.serial,
                           .format = helper.format,
                           .size = helper.image->size,
                           .checksum = helper.image->checksum});
    std::vector<std::byte> image(helper.image->size);
    const ssize_t got = ::pread(helper.image->fd.get(), image.data(), image.size(), 0);
    if (got < 0 || static_cast<std::size_t>(got) != image.size())
        return fail_errno(errno, "helper disk {}: cannot be read", helper.id);
    writer.add_payload(names.image, helper.id, 1, std::move(image), state::Need::kRequired);
    return {};
}

Result<seed::Helper> take_helper(state::Reader& reader, const HelperSections& names, std::string_view id) {
    const auto facts = HAKO_TRY(reader.take<HelperFacts>(names.facts, id));
    const auto bytes = HAKO_TRY(reader.take_payload(names.image, id));
    auto image = std::make_shared<seed::Image>(
        HAKO_TRY(seed::seal(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()))));
    if (image->size != facts.size || image->checksum != facts.checksum)
        return fail_input("helper disk {}: it is not what was saved: its checksum is wrong", id);
    return seed::Helper{.id = std::string(id),
                        .label = facts.label,
                        .serial = facts.serial,
                        .format = facts.format,
                        .image = std::move(image)};
}

}  // namespace

Result<std::vector<std::byte>> encode(const SavedVm& vm) {
    state::Writer writer;
    writer.add_payload(kMachine, {}, 1, vm.machine, state::Need::kRequired);
    for (const seed::Helper& helper : vm.helpers)
        HAKO_TRY(add(writer, kHelpers, helper));
    for (const seed::Helper& helper : vm.coming.helpers)
        HAKO_TRY(add(writer, kComing, helper));
    for (const NewMac& next : vm.coming.macs)
        writer.add(kComingMac, next.id, next);
    return std::move(writer).finish();
}

Result<SavedVm> decode_saved_vm(std::span<const std::byte> bytes) {
    state::Reader reader = HAKO_TRY(state::Reader::parse(bytes));
    SavedVm vm;
    const auto machine = HAKO_TRY(reader.take_payload(kMachine, {}));
    vm.machine.assign(machine.begin(), machine.end());
    for (const std::string_view id : reader.instances(kHelpers.facts))
        vm.helpers.push_back(HAKO_TRY(take_helper(reader, kHelpers, id)));
    for (const std::string_view id : reader.instances(kComing.facts))
        vm.coming.helpers.push_back(HAKO_TRY(take_helper(reader, kComing, id)));
    for (const std::string_view id : reader.instances(kComingMac)) {
        auto next = HAKO_TRY(reader.take<NewMac>(kComingMac, id));
        if (!virtio::net::usable_mac(next.mac))
            return fail_input("network interface {}: what is to be its address is none", id);
        next.id = id;
        vm.coming.macs.push_back(std::move(next));
    }
    HAKO_TRY(reader.finish());
    return vm;
}

}  // namespace hako::migration
