// ioctl(2) with EINTR retried, and KVM's structs that end in an array.
#pragma once

#include <sys/ioctl.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <memory>

namespace hako::kvm {

/// The ioctl's result, or -1 with errno.
template <typename Argument>
int ioctl_retry(int fd, unsigned long request, Argument argument) {
    int result = 0;
    do {
        result = ::ioctl(fd, request, argument);
    } while (result < 0 && errno == EINTR);
    return result;
}

template <typename Header>
using Flexible = std::unique_ptr<Header, decltype(&std::free)>;

/// A KVM struct that ends in an array of `Element`, zeroed, with room for `count` of them.
template <typename Header, typename Element>
Flexible<Header> make_flexible(std::size_t count) {
    return {static_cast<Header*>(std::calloc(1, sizeof(Header) + count * sizeof(Element))), &std::free};
}

}  // namespace hako::kvm
