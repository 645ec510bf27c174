// A PCI function: its configuration space, and its BARs on the MMIO bus wherever the guest puts them.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>

#include "devices/pci/address_space.h"
#include "devices/pci/config_space.h"
#include "vmm/base/log.h"
#include "vmm/base/result.h"
#include "vmm/bus/bus.h"
#include "vmm/state/fields.h"

namespace hako::pci {

/// What every function is to the host bridge. Its lock covers configuration space and BAR accesses alike; the
/// protected virtual methods are called with it held.
///
/// A derived class adds its BARs and capabilities, then calls finish_config(), then is put into a HostBridge.
/// A BAR gets an address of its own when it is added, and keeps it reserved (its home) for the function's
/// life, so that the guest may find it there or move it. It answers while memory decoding is on and its
/// address lies in a PCI window free of other devices; otherwise it stays unmapped and the log says why.
class Function {
  public:
    struct State {
        ConfigSpace::State config;
        std::array<std::uint64_t, kBars> bar_homes{};  ///< 0 where there is no BAR

        bool operator==(const State&) const = default;
    };

    Function(const Function&) = delete;
    Function& operator=(const Function&) = delete;
    virtual ~Function();

    /// Configuration accesses of 1, 2 or 4 bytes at any offset; bytes beyond 4096 read as ones.
    void read_config(std::uint32_t offset, std::span<std::byte> data);
    void write_config(std::uint32_t offset, std::span<const std::byte> data);

    /// For log lines: the id of the device behind it.
    [[nodiscard]] const std::string& name() const { return name_; }
    /// Where BAR `index` answers now, or nothing while it does not.
    [[nodiscard]] std::optional<std::uint64_t> mapped_at(unsigned index) const;

  protected:
    /// `restored`: the state to go on from, taken over by add_bar() and finish_config(). The address space
    /// must outlive the function.
    Function(AddressSpace& space, std::string name, const Identity& identity, std::optional<State> restored);

    Result<> add_bar(unsigned index, BarType type, std::uint64_t size);
    /// See ConfigSpace::add_capability().
    Result<std::uint16_t> add_capability(std::uint8_t id, std::span<const std::uint8_t> body,
                                         std::span<const std::uint8_t> writable = {});
    /// See ConfigSpace::add_register().
    Result<> add_register(std::uint16_t offset, std::size_t size, std::uint32_t writable);
    /// After the last BAR, capability and register: takes over the restored state and maps what it says is
    /// decoded.
    Result<> finish_config();
    /// Takes all BARs off the bus. A derived class that has bar_unmapped() calls it in its destructor.
    void unmap_bars();

    virtual void read_bar(unsigned index, std::uint64_t offset, std::span<std::byte> data) = 0;
    virtual void write_bar(unsigned index, std::uint64_t offset, std::span<const std::byte> data) = 0;
    /// BAR `index` answers at `address` from now on, or no longer does.
    virtual void bar_mapped(unsigned /*index*/, std::uint64_t /*address*/) {}
    virtual void bar_unmapped(unsigned /*index*/, std::uint64_t /*address*/) {}
    /// Around configuration accesses: a last change to what is read; the effect of what was written.
    virtual void before_config_read(std::uint32_t /*offset*/, std::size_t /*length*/) {}
    virtual void after_config_write(std::uint32_t /*offset*/, std::size_t /*length*/) {}

    [[nodiscard]] ConfigSpace& config() { return config_; }
    [[nodiscard]] const ConfigSpace& config() const { return config_; }
    /// With the lock held.
    [[nodiscard]] State function_state() const;
    [[nodiscard]] std::mutex& mutex() const { return mutex_; }

  private:
    /// What the MMIO bus calls for one BAR.
    class Bar final : public BusDevice {
      public:
        Bar(Function& function, unsigned index, std::uint64_t bytes, std::uint64_t address)
            : owner(function), number(index), size(bytes), home(address) {}
        void read(std::uint64_t offset, std::span<std::byte> data) override;
        void write(std::uint64_t offset, std::span<const std::byte> data) override;

        Function& owner;
        const unsigned number;
        const std::uint64_t size;
        const std::uint64_t home;
        std::optional<std::uint64_t> mapped;
    };
    void update_mappings();

    AddressSpace& space_;
    const std::string name_;
    mutable std::mutex mutex_;
    ConfigSpace config_;
    std::array<std::unique_ptr<Bar>, kBars> bars_;
    std::optional<State> restored_;
    LogLimit log_limit_;
};

}  // namespace hako::pci

namespace hako::state {

template <>
struct Fields<pci::Function::State> {
    using T = pci::Function::State;
    static constexpr auto list = std::tuple(field("config", &T::config), hex("bar_homes", &T::bar_homes));
};

}  // namespace hako::state
