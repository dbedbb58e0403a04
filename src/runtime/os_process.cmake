# The OS-process part of the runtime room; src/runtime/CMakeLists.txt includes this file and adds the list to its sources.
set(DAGVERK_RUNTIME_OS_PROCESS_SOURCES
  os_process.cpp
  os_process_launch.cpp
  os_process_loop.cpp
  os_process_spawner.cpp
)
