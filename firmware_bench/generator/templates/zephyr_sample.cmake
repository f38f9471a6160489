cmake_minimum_required(VERSION 3.20.0)

list(APPEND ZEPHYR_EXTRA_MODULES ${CMAKE_CURRENT_SOURCE_DIR}/../..)
find_package(Zephyr REQUIRED HINTS $ENV{ZEPHYR_BASE})
project(serial_protocol LANGUAGES C)

target_sources(app PRIVATE src/main.c src/ts_firmware.c src/ts_protocol.c src/ts_reply.c)
