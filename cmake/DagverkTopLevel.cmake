# Settings of the whole build tree. As a subproject we leave all of them to the project that includes us.
if(DAGVERK_SANITIZE)
  add_compile_options(-fsanitize=${DAGVERK_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${DAGVERK_SANITIZE})
  if(DAGVERK_SANITIZE MATCHES "undefined")
    # This one check asks the kernel whether memory can be read, through a pipe of its own: a test that takes all file descriptors
    # away makes it report objects that are sound. The address sanitizer sees what it is for.
    add_compile_options(-fno-sanitize=vptr)
  endif()
endif()

if(NOT PROJECT_IS_TOP_LEVEL)
  return()
endif()

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

# ccache when it is there. The sloppiness is what it needs to cache files that use a precompiled header; without this
# folder's name in what it compares, a second clone or worktree builds from what the first one built.
if(NOT CMAKE_CXX_COMPILER_LAUNCHER OR CMAKE_CXX_COMPILER_LAUNCHER STREQUAL "ccache")
  find_program(DAGVERK_CCACHE ccache)
  mark_as_advanced(DAGVERK_CCACHE)
  if(DAGVERK_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER
        "${CMAKE_COMMAND}" -E env "CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime"
        "CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}" "CCACHE_NOHASHDIR=1" "${DAGVERK_CCACHE}")
  endif()
endif()
