// Writes the sample state in this hako's format to stdout: how a fixture is made, once for each version.
#include <cstdio>

#include "tests/unit/machine/sample_state.h"

int main() {
    const auto bytes = hako::encode(hako::test::sample_state(1));
    if (!bytes) return 1;
    return std::fwrite(bytes->data(), 1, bytes->size(), stdout) == bytes->size() ? 0 : 1;
}
