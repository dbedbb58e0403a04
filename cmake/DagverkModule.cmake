include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# The package that provides an imported target, as arguments of find_dependency(): an installed room finds what it links.
function(dagverk_package_of target result)
  set(known
    "Threads::Threads|Threads"
    "SQLite::SQLite3|SQLite3"
    "Boost::json|Boost 1.81 COMPONENTS json"
    "Boost::headers|Boost 1.81"
    "fmt::fmt|fmt"
    "spdlog::spdlog|spdlog"
    "GTest::gtest|GTest"
    "Catch2::Catch2|Catch2"
    "OpenSSL::SSL|OpenSSL"
    "OpenSSL::Crypto|OpenSSL"
    "tomlplusplus::tomlplusplus|tomlplusplus"
    "date::date-tz|date"
  )
  foreach(row IN LISTS known)
    if(row MATCHES "^(.+)\\|(.+)$" AND CMAKE_MATCH_1 STREQUAL target)
      set(${result} "${CMAKE_MATCH_2}" PARENT_SCOPE)
      return()
    endif()
  endforeach()
  if(target MATCHES "::")
    message(FATAL_ERROR "cmake/DagverkModule.cmake does not know which package provides ${target}: add its row")
  endif()
  set(${result} "" PARENT_SCOPE)  # a plain library name such as `rt`
endfunction()

# Flags of every target of ours.
function(dagverk_target_defaults target)
  target_compile_features(${target} PUBLIC cxx_std_23)
  target_compile_options(${target} PRIVATE ${DAGVERK_WARNINGS})
  if(DAGVERK_WARNINGS AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # False alarms out of libstdc++'s own headers under -O3 or a sanitizer: GCC 12's -Wrestrict and the other flow analyses of string and
    # std::function code, as GCC's manual warns. The sanitizers and clang-tidy look for the real ones.
    target_compile_options(
      ${target} PRIVATE -Wno-restrict -Wno-uninitialized -Wno-maybe-uninitialized -Wno-array-bounds -Wno-stringop-overflow -Wno-stringop-overread
    )
  endif()
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
endfunction()

# dagverk_add_module(<name> SOURCES a.cpp … [PUBLIC_DEPS base …] [PRIVATE_DEPS …] [PUBLIC_LIBS Threads::Threads …]
#                    [PRIVATE_LIBS SQLite::SQLite3 …])
#
# Makes the static library dagverk_<name>, alias dagverk::<name>, from exactly these sources, and its install rules as
# component <name> of the package. DEPS are rooms of ours, LIBS are foreign targets (find them in the room's CMakeLists.txt).
function(dagverk_add_module name)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;PUBLIC_DEPS;PRIVATE_DEPS;PUBLIC_LIBS;PRIVATE_LIBS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "dagverk_add_module(${name}): needs SOURCES, and no ${arg_UNPARSED_ARGUMENTS}")
  endif()
  set(target dagverk_${name})
  add_library(${target} STATIC ${arg_SOURCES})
  add_library(dagverk::${name} ALIAS ${target})
  dagverk_target_defaults(${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name})
  target_include_directories(${target}
    PUBLIC "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>" "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>"
    PRIVATE "${PROJECT_SOURCE_DIR}/src")
  foreach(dep IN LISTS arg_PUBLIC_DEPS arg_PRIVATE_DEPS)
    if(NOT TARGET dagverk_${dep})
      message(FATAL_ERROR "The room ${name} needs ${dep}, which is not above it in the list of CMakeLists.txt")
    endif()
  endforeach()
  foreach(dep IN LISTS arg_PUBLIC_DEPS)
    target_link_libraries(${target} PUBLIC dagverk_${dep})
  endforeach()
  foreach(dep IN LISTS arg_PRIVATE_DEPS)
    target_link_libraries(${target} PRIVATE dagverk_${dep})
  endforeach()
  target_link_libraries(${target} PUBLIC ${arg_PUBLIC_LIBS} PRIVATE ${arg_PRIVATE_LIBS})
  set_property(GLOBAL APPEND PROPERTY dagverk_modules ${name})

  if(NOT DAGVERK_INSTALL)
    return()
  endif()
  file(RELATIVE_PATH room "${PROJECT_SOURCE_DIR}/src" "${CMAKE_CURRENT_SOURCE_DIR}")
  set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/dagverk")
  install(TARGETS ${target} EXPORT dagverk_${name} ARCHIVE COMPONENT ${name})
  install(EXPORT dagverk_${name} NAMESPACE dagverk:: FILE dagverk-${name}-targets.cmake DESTINATION "${package_dir}"
          COMPONENT ${name})
  if(EXISTS "${PROJECT_SOURCE_DIR}/include/dagverk/${room}")
    install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/dagverk/${room}/"
            DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/dagverk/${room}" COMPONENT ${name})
  endif()
  # A static library's private links are its users' links too, so both kinds are found by whoever uses the room.
  set(packages "")
  foreach(lib IN LISTS arg_PUBLIC_LIBS arg_PRIVATE_LIBS)
    dagverk_package_of(${lib} package)
    if(package)
      string(APPEND packages "find_dependency(${package})\n")
    endif()
  endforeach()
  set(rooms ${arg_PUBLIC_DEPS} ${arg_PRIVATE_DEPS})
  list(JOIN rooms " " rooms)
  set(room_file "${PROJECT_BINARY_DIR}/package/dagverk-${name}.cmake")
  file(CONFIGURE OUTPUT "${room_file}" @ONLY CONTENT [=[
# Generated for the room @name@: what it needs, then the room itself. Included once by dagverkConfig.cmake.
foreach(_dagverk_needed IN ITEMS @rooms@)
  _dagverk_load(${_dagverk_needed})
endforeach()
@packages@include("${CMAKE_CURRENT_LIST_DIR}/dagverk-@name@-targets.cmake")
]=])
  install(FILES "${room_file}" DESTINATION "${package_dir}" COMPONENT ${name})
endfunction()

# dagverk_add_program(<target> SOURCES a.cpp … [DEPS runtime …] [LIBS benchmark::benchmark …] [INSTALL])
#
# An executable of ours in <build>/bin: the command, examples, benchmarks.
function(dagverk_add_program target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "INSTALL" "" "SOURCES;DEPS;LIBS")
  if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
    message(FATAL_ERROR "dagverk_add_program(${target}): needs SOURCES, and no ${arg_UNPARSED_ARGUMENTS}")
  endif()
  add_executable(${target} ${arg_SOURCES})
  dagverk_target_defaults(${target})
  list(TRANSFORM arg_DEPS PREPEND dagverk_)
  target_link_libraries(${target} PRIVATE ${arg_DEPS} ${arg_LIBS})
  if(arg_INSTALL AND DAGVERK_INSTALL)
    install(TARGETS ${target} RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT programs)
  endif()
endfunction()
