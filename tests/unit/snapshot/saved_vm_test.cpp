#include "migration/instance/saved_vm.h"

#include <doctest/doctest.h>

#include "vmm/seed/helper.h"

using namespace hako;
using migration::SavedVm;

namespace {

SavedVm sample() {
    SavedVm vm;
    vm.machine = {std::byte{1}, std::byte{2}};
    vm.helpers.push_back(seed::make_seed({.user_data = ""}).value());
    vm.coming.helpers.push_back(seed::make_seed({.user_data = "", .instance_id = "next"}).value());
    vm.coming.put({.id = "lan", .mac = {2, 0, 0, 0, 0, 9}});
    return vm;
}

}  // namespace

TEST_CASE("what waits for the guest to let go of something goes along") {
    const SavedVm vm = sample();
    const auto bytes = encode(vm).value();
    const auto back = migration::decode_saved_vm(bytes);
    REQUIRE_MESSAGE(back, back.error().text());
    CHECK(back->machine == vm.machine);
    REQUIRE(back->helpers.size() == 1);
    CHECK(back->helpers[0].image->checksum == vm.helpers[0].image->checksum);
    REQUIRE(back->coming.helpers.size() == 1);
    CHECK(back->coming.helpers[0].id == seed::kSeedId);
    CHECK(back->coming.helpers[0].image->checksum == vm.coming.helpers[0].image->checksum);
    CHECK(back->coming.helpers[0].image->checksum != vm.helpers[0].image->checksum);
    CHECK(back->coming.macs == vm.coming.macs);
}

TEST_CASE("who does not know what waits refuses the VM, and nobody else does") {
    SavedVm vm = sample();
    const auto with = encode(vm).value();
    std::size_t coming = 0;
    const auto reader = state::Reader::parse(with).value();
    for (const state::Section& section : reader.sections()) {
        if (!section.name.starts_with("coming")) continue;
        ++coming;
        CHECK(section.need == state::Need::kRequired);
    }
    CHECK(coming == 3);
    vm.coming = {};
    const auto without = encode(vm).value();
    CHECK(state::Reader::parse(without).value().sections().size() == reader.sections().size() - 3);
}

TEST_CASE("an address that no interface may have is refused") {
    SavedVm vm = sample();
    vm.coming.put({.id = "lan", .mac = {1, 0, 0, 0, 0, 9}});
    const auto refused = migration::decode_saved_vm(encode(vm).value());
    REQUIRE_FALSE(refused);
    CHECK(refused.error().text().find("lan") != std::string::npos);
}
