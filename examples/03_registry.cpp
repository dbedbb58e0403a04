// Clients join a room by registering themselves; a message goes to everybody who is in it, and those who end are out.

#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/runtime/registry.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <cstdio>
#include <string>

using Rooms = dagverk::Registry<std::string, std::string>;  // from a room to the names of its clients

class Client : public dagverk::GenServer<Client> {
 public:
  struct Say {
    using Reply = std::string;
    std::string text;
  };
  Client(Rooms rooms, std::string name) : name_(name), joined_(rooms.register_self("lobby", std::move(name))) {}
  std::string handle_call(const Say& say) { return name_ + (joined_ ? " hears " : " is outside of ") + say.text; }

 private:
  std::string name_;
  dagverk::Result<void> joined_;
};

int main() {
  dagverk::Runtime runtime;
  Rooms rooms = Rooms::create(runtime, {.keys = dagverk::RegistryKeys::duplicate}).value();
  for (const char* name : {"Ada", "Grace", "Joe"}) {
    if (!runtime.start<Client>(rooms, std::string(name))) return 1;
  }
  if (!runtime.stop(rooms.lookup("lobby")[1].pid)) return 1;  // Grace leaves by ending
  const std::size_t reached = rooms.dispatch("lobby", [](const Rooms::Entries& entries) {
    for (const Rooms::Entry& entry : entries) {
      const dagverk::ServerRef<Client> client(entry.pid);
      std::printf("%s\n", client.call_blocking<Client::Say>("hello").value().c_str());
    }
  });
  return reached == 2 ? 0 : 1;
}
