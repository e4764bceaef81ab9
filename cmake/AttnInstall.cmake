# Headers, libraries, attention.pc and the CMake package.

include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/attn)
if(BUILD_SHARED_LIBS)
  install(TARGETS attn_shared EXPORT attn_shared_targets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
  install(EXPORT attn_shared_targets NAMESPACE attn:: DESTINATION ${package_dir})
endif()
install(TARGETS attn_static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES include/attn.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES include/attn/backward.h include/attn/cache.h include/attn/common.h include/attn/desc.h
  include/attn/layer.h include/attn/merge.h include/attn/packed.h include/attn/profile.h
  include/attn/rollout.h include/attn/rotary.h include/attn/sdpa.h include/attn/tuning.h include/attn/version.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/attn)

# Paths relative to the prefix keep attention.pc right when the prefix moves.
foreach(dir LIBDIR INCLUDEDIR)
  if(IS_ABSOLUTE "${CMAKE_INSTALL_${dir}}")
    set(pc_${dir} "${CMAKE_INSTALL_${dir}}")
  else()
    set(pc_${dir} "\${prefix}/${CMAKE_INSTALL_${dir}}")
  endif()
endforeach()
# Configured when installing: cmake --install may be given another prefix.
install(CODE "
  set(pc_LIBDIR [[${pc_LIBDIR}]])
  set(pc_INCLUDEDIR [[${pc_INCLUDEDIR}]])
  set(PROJECT_VERSION [[${PROJECT_VERSION}]])
  set(ATTN_BLAS_NAME [[${ATTN_BLAS_NAME}]])
  configure_file([[${PROJECT_SOURCE_DIR}/attention.pc.in]]
    [[${PROJECT_BINARY_DIR}/attention.pc]] @ONLY)")
install(FILES "${PROJECT_BINARY_DIR}/attention.pc"
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

configure_package_config_file(cmake/attn-config.cmake.in attn-config.cmake
  INSTALL_DESTINATION ${package_dir}
  PATH_VARS CMAKE_INSTALL_LIBDIR CMAKE_INSTALL_INCLUDEDIR)
write_basic_package_version_file(attn-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/attn-config.cmake"
  "${PROJECT_BINARY_DIR}/attn-config-version.cmake"
  DESTINATION ${package_dir})
