# @NAME@ as a library of the application.
if(CONFIG_TINYSCENE_MODEL)
  zephyr_include_directories(../src)
  zephyr_library()
  zephyr_library_sources(
@SOURCES@
  )
endif()
