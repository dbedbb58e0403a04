#include "stores/sqlite/doorbell.hpp"

#include "stores/sqlite/node_lock.hpp"

#include "dagverk/base/concat.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utility>

namespace dagverk::stores {

namespace {

constexpr std::string_view bell_suffix = ".bell";

/// The address of a socket file, whose path may be longer than an address has room for.
class BellAddress {
 public:
  BellAddress(std::string_view store_path, std::string_view name) {
    address_.sun_family = AF_UNIX;
    std::string path = node_file(store_path, name, bell_suffix);
    if (path.size() >= sizeof(address_.sun_path)) {
      folder_ = ::open(node_folder(store_path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
      path = concat("/proc/self/fd/", folder_, "/", name, bell_suffix);
    }
    if (path.size() >= sizeof(address_.sun_path)) path.clear();  // a name that no bell of ours has
    std::memcpy(address_.sun_path, path.c_str(), path.size() + 1);
  }
  BellAddress(const BellAddress&) = delete;
  BellAddress& operator=(const BellAddress&) = delete;
  ~BellAddress() {
    if (folder_ >= 0) ::close(folder_);
  }

  [[nodiscard]] const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&address_); }
  [[nodiscard]] static socklen_t size() noexcept { return sizeof(sockaddr_un); }

 private:
  sockaddr_un address_{};
  int folder_ = -1;
};

int open_socket() noexcept { return ::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

}  // namespace

Doorbell::Doorbell(std::string path, int descriptor) noexcept : path_(std::move(path)), descriptor_(descriptor) {}

Doorbell::Doorbell(Doorbell&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

Doorbell& Doorbell::operator=(Doorbell&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

Doorbell::~Doorbell() {
  if (descriptor_ < 0) return;
  ::unlink(path_.c_str());
  ::close(descriptor_);
}

Result<Doorbell> Doorbell::create(std::string_view store_path, std::string_view name) {
  if (auto made = make_node_folder(store_path); !made) return made.error();
  std::string path = node_file(store_path, name, bell_suffix);
  const int descriptor = open_socket();
  if (descriptor < 0) {
    const int error = errno;
    return Error{ErrorCode::io, concat("doorbell: cannot make a socket: ", std::strerror(error))};
  }
  const BellAddress address(store_path, name);
  if (::bind(descriptor, address.get(), BellAddress::size()) != 0) {
    const int error = errno;
    ::close(descriptor);
    return Error{ErrorCode::io, concat("doorbell: cannot create ", path, ": ", std::strerror(error))};
  }
  return Doorbell(std::move(path), descriptor);
}

bool Doorbell::take_rings() const noexcept {
  bool rung = false;
  std::array<char, 8> bytes;
  // Bounded, so that somebody who never stops ringing is not listened to for ever.
  for (int ring = 0; ring < 64 && ::recv(descriptor_, bytes.data(), bytes.size(), MSG_DONTWAIT) >= 0; ++ring)
    rung = true;
  return rung;
}

BellRinger::~BellRinger() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

bool BellRinger::ring(std::string_view name) noexcept {
  if (!is_node_name(name)) return false;
  if (descriptor_ < 0) descriptor_ = open_socket();
  if (descriptor_ < 0) return true;  // out of descriptors: they look by themselves
  const BellAddress address(store_path_, name);
  if (::sendto(descriptor_, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL, address.get(), BellAddress::size()) >= 0) return true;
  return errno != ECONNREFUSED && errno != ENOENT;
}

void BellRinger::remove(std::string_view name) const noexcept {
  if (is_node_name(name)) ::unlink(node_file(store_path_, name, bell_suffix).c_str());
}

}  // namespace dagverk::stores
