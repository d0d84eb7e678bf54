#!/bin/sh
# The ports: the Arduino sketch is compiled and linked for an ATmega2560 with Arduino's own core and avr-gcc; those for ESP-IDF and Zephyr
# are held to declarations of what they call (test/stand-in), for their frameworks are no packages.
set -eu
cd "$(dirname "$0")"
strict='-std=gnu99 -Wall -Wextra -Wno-unused-parameter -Werror -fsyntax-only -Isrc'
for cc in gcc clang; do
  command -v $cc >/dev/null 2>&1 || continue
  # shellcheck disable=SC2086 # several flags
  $cc $strict -DHW_FLASH_UNIT=4 -Itest/stand-in/esp-idf ports/esp-idf/headwater_port.c
  # shellcheck disable=SC2086
  $cc $strict -Itest/stand-in/zephyr ports/zephyr/headwater_port.c
  echo "ESP-IDF and Zephyr ports: $cc is content"
done

core=/usr/share/arduino/hardware/arduino/avr
[ -e $core/cores/arduino/Arduino.h ] || { echo 'arduino-core-avr is not installed' >&2; exit 1; }
out=build/arduino
rm -rf $out && mkdir -p $out/sketch
ln -s ../../../src $out/sketch/src
cp ports/arduino/headwater.ino $out/sketch/headwater.cpp
flags="-Os -ffunction-sections -fdata-sections -mmcu=atmega2560 -DF_CPU=16000000L -DARDUINO=10819 -DARDUINO_AVR_MEGA2560 \
  -DHW_FLASH_UNIT=1 -I$out/sketch -I$core/cores/arduino -I$core/variants/mega"
cxx="-std=gnu++11 -fno-exceptions -fno-threadsafe-statics"
# DECIMAL_DIG: Arduino builds its core with a newer avr-gcc, whose float.h has it in C++.
for file in $core/cores/arduino/*.c $core/cores/arduino/*.cpp; do
  # shellcheck disable=SC2086
  case $file in
    *.c) avr-gcc -std=gnu11 -w $flags -c "$file" -o "$out/core-$(basename "$file").o" ;;
    *) avr-g++ $cxx -w -DDECIMAL_DIG=17 $flags -c "$file" -o "$out/core-$(basename "$file").o" ;;
  esac
done
for file in src/hw_bytes.c src/hw_cbor.c src/hw_frame.c src/hw_ring.c src/hw_serial.c src/hw_mqtt.c; do
  # shellcheck disable=SC2086
  avr-gcc -std=c99 -Wall -Wextra -pedantic -Werror $flags -c $file -o "$out/$(basename $file).o"
done
# shellcheck disable=SC2086
avr-g++ $cxx -Wall -Wextra -Werror -include Arduino.h $flags -c $out/sketch/headwater.cpp -o $out/sketch.o
# shellcheck disable=SC2086
avr-g++ $cxx -Wall -Wextra -Werror $flags -c test/stand-in/arduino/flash.cpp -o $out/flash.o
avr-gcc -mmcu=atmega2560 -Os -Wl,--gc-sections $out/*.o -lm -o $out/headwater.elf
avr-size $out/headwater.elf | awk 'END {
  printf "Arduino sketch on an ATmega2560, linked: %d bytes of flash, %d of RAM (of 8192)\n", $1 + $2, $2 + $3
}'
