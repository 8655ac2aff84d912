# A wheel carries the C++ library inside the Python package, so that one `pip install` serves both languages; otherwise
# it goes where the system's conventions say.
include(CMakePackageConfigHelpers)
if(SKBUILD)
  set(CMAKE_INSTALL_INCLUDEDIR mtcnn_fast/include)
  set(CMAKE_INSTALL_LIBDIR mtcnn_fast/lib)
  install(TARGETS _core DESTINATION mtcnn_fast)
endif()
include(GNUInstallDirs)
set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/mtcnn_fast)

install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS mtcnn_fast EXPORT mtcnn_fast
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
if(TARGET mtcnn_fast_cuda)
  install(TARGETS mtcnn_fast_cuda LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
endif()
install(EXPORT mtcnn_fast NAMESPACE mtcnn_fast:: FILE mtcnn_fast-targets.cmake DESTINATION ${package_dir})

configure_package_config_file(cmake/mtcnn_fast-config.cmake.in ${generated}/mtcnn_fast-config.cmake
  INSTALL_DESTINATION ${package_dir} NO_SET_AND_CHECK_MACRO)
# Before 1.0 every minor version may change the interface.
write_basic_package_version_file(${generated}/mtcnn_fast-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${generated}/mtcnn_fast-config.cmake ${generated}/mtcnn_fast-config-version.cmake
  DESTINATION ${package_dir})

file(RELATIVE_PATH include_from_pkgconfig
  ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_FULL_INCLUDEDIR})
list(TRANSFORM CMAKE_DL_LIBS PREPEND -l OUTPUT_VARIABLE system_libraries)
string(JOIN " " system_libraries -pthread ${system_libraries})
configure_file(cmake/mtcnn_fast.pc.in ${generated}/mtcnn_fast.pc @ONLY)
install(FILES ${generated}/mtcnn_fast.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
