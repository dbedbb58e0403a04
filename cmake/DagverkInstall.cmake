# The package's entry file; each room installs its own part, see dagverk_add_module().
get_property(dagverk_installed_rooms GLOBAL PROPERTY dagverk_modules)
list(JOIN dagverk_installed_rooms " " dagverk_installed_rooms)
set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/dagverk")
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/dagverkConfig.cmake.in"
  "${PROJECT_BINARY_DIR}/package/dagverkConfig.cmake" INSTALL_DESTINATION "${package_dir}")
# No promise about the binary interface before 1.0: a user asks for this minor version.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/package/dagverkConfigVersion.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/package/dagverkConfig.cmake" "${PROJECT_BINARY_DIR}/package/dagverkConfigVersion.cmake"
        DESTINATION "${package_dir}" COMPONENT base)
file(GLOB umbrella_headers CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/include/dagverk/*.hpp")
install(FILES ${umbrella_headers} DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/dagverk" COMPONENT base)
