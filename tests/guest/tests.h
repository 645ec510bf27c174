// The tests of the bare-metal guest.
#pragma once

#include "guest.h"

namespace guest {

// What several tests do.
/// Writes into `pages` pages, having checked what it wrote in the round before; round 0 is the first.
void count(std::uint64_t pages, std::uint64_t round);
void say_round(std::uint64_t round);
/// Looks at memory that has come, and lets go of what is to go; `keeps_odd`: of every other piece.
void answer_memory(bool keeps_odd);

void test_ports();
void test_pci();
void test_block();
void test_segments();
void test_block_depth();
void test_hostile_queue();
void test_balloon();
void test_smp();
void test_reset();
void test_panic();
void test_crash_kernel();
void test_triple_fault();
void test_kvm_error();
void test_wait();
void test_deaf();
void test_reboot_once();
void test_restore();
void test_restore_pae();
void test_dirty();
void test_disk_dirty();
void test_memory();
void test_memory_kept();
void test_mem();
void test_mem_kept();
void test_generation();
void test_touch();
void test_echo();
void test_watchdog();
void test_hot();
void test_journal();
void test_obey();

inline constexpr Test kTests[] = {
    {"ports", test_ports},
    {"pci", test_pci},
    {"block", test_block},
    {"segments", test_segments},
    {"block-depth", test_block_depth},
    {"hostile-queue", test_hostile_queue},
    {"balloon", test_balloon},
    {"smp", test_smp},
    {"reset", test_reset},
    {"panic", test_panic},
    {"crash-kernel", test_crash_kernel},
    {"triple-fault", test_triple_fault},
    {"kvm-error", test_kvm_error},
    {"wait", test_wait},
    {"deaf", test_deaf},
    {"reboot-once", test_reboot_once},
    {"restore", test_restore},
    {"restore-pae", test_restore_pae},
    {"dirty", test_dirty},
    {"disk-dirty", test_disk_dirty},
    {"memory", test_memory},
    {"memory-kept", test_memory_kept},
    {"mem", test_mem},
    {"mem-kept", test_mem_kept},
    {"generation", test_generation},
    {"touch", test_touch},
    {"echo", test_echo},
    {"watchdog", test_watchdog},
    {"hot", test_hot},
    {"journal", test_journal},
    {"obey", test_obey},
};

}  // namespace guest
