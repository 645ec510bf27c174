// The DSDT's definition block: which devices there are and where, in AML.
#pragma once

#include "vmm/boot/acpi/aml.h"
#include "vmm/boot/acpi/tables.h"

namespace hako::acpi {

/// The table's body, behind its header.
Bytes dsdt_body(const AcpiConfig& config);

}  // namespace hako::acpi
