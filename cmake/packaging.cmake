# What is installed, and the relocatable tarball of `cpack -G TGZ`.
#
# Programs of the project link the static library; the shared one exports what internvl.h declares. The
# tarball carries the libraries that a bare machine lacks (component `bundle`), never an OpenCL loader
# or the C and C++ runtimes: drivers bring their own ideas of those.

add_library(ivl_shared SHARED $<TARGET_OBJECTS:ivl_objects>)
set_target_properties(ivl_shared PROPERTIES
  OUTPUT_NAME internvl VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}
  INSTALL_RPATH "$ORIGIN" LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/internvl.map)
target_link_libraries(ivl_shared PRIVATE ivl_flags ${IVL_LIBRARIES})
target_link_options(ivl_shared PRIVATE
                    LINKER:--version-script=${CMAKE_SOURCE_DIR}/cmake/internvl.map)
if(NOT IVL_SANITIZE)
  target_link_options(ivl_shared PRIVATE LINKER:--no-undefined)
endif()

set(CMAKE_INSTALL_DEFAULT_COMPONENT_NAME internvl)
install(TARGETS ivl_shared RUNTIME_DEPENDENCY_SET ivl_bundle LIBRARY COMPONENT internvl)
install(TARGETS ivl_static ARCHIVE COMPONENT internvl)
install(FILES model/internvl.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/internvl)
install(FILES runtime/status.h runtime/log.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/internvl/runtime)
if(TARGET internvl)
  # RUNPATH is not inherited: the program names every bundled library itself, so that those that
  # need one another find it already loaded.
  target_link_options(internvl PRIVATE LINKER:--no-as-needed)
  set_target_properties(internvl PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
  install(TARGETS internvl RUNTIME_DEPENDENCY_SET ivl_bundle RUNTIME COMPONENT internvl)
endif()

file(RELATIVE_PATH IVL_PC_UP /p/${CMAKE_INSTALL_LIBDIR}/pkgconfig /p)
string(REGEX REPLACE "/$" "" IVL_PC_UP "${IVL_PC_UP}")
configure_file(cmake/internvl.pc.in internvl.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/internvl.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES docs/internvl.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES cli/completion/internvl.bash RENAME internvl
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES cli/completion/_internvl DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES LICENSE README.md CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR})

# Only in the tarball. The pattern lists what comes from the system.
install(RUNTIME_DEPENDENCY_SET ivl_bundle
        PRE_EXCLUDE_REGEXES "libOpenCL" "libstdc\\+\\+" "libgcc_s" "^libc\\." "^libm\\." "^libdl\\."
                            "^libpthread\\." "^librt\\." "ld-linux" "^lib.*san\\." "linux-vdso"
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT bundle EXCLUDE_FROM_ALL)
foreach(package libclblast1 libjansson4 libjpeg62-turbo libwebp7 libwebpdemux2 libgif7 libpng16-16
        libsqlite3-0 zlib1g)
  if(EXISTS /usr/share/doc/${package}/copyright)
    install(FILES /usr/share/doc/${package}/copyright RENAME ${package}
            DESTINATION ${CMAKE_INSTALL_DOCDIR}/licenses COMPONENT bundle EXCLUDE_FROM_ALL)
  endif()
endforeach()

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_VENDOR "InternVL-CL")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "${PROJECT_DESCRIPTION}")
set(CPACK_PACKAGE_FILE_NAME "internvl-${PROJECT_VERSION}-${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR}")
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_COMPONENT_INCLUDE_TOPLEVEL_DIRECTORY ON)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_COMPONENTS_ALL internvl bundle)
set(CPACK_STRIP_FILES ON)
include(CPack)
