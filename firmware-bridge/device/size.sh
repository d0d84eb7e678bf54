# Code and RAM of the library on the smallest cores, against the bounds it promises: size.sh "<compiler and flags>"
set -eu
compiler=$1
mkdir -p build
failed=0
for core in cortex-m0plus cortex-m4; do
  for file in hw_bytes hw_cbor hw_frame hw_ring hw_serial hw_mqtt; do
    $compiler -Wall -Wextra -pedantic -Werror -mcpu=$core -c src/$file.c -o build/$core-$file.o
  done
  total() { arm-none-eabi-size -t "$@" | awk 'END { print $1 + $2 }'; }
  base="build/$core-hw_bytes.o build/$core-hw_cbor.o build/$core-hw_frame.o build/$core-hw_ring.o build/$core-hw_serial.o"
  code=$(total $base)
  mqtt=$(total build/$core-hw_mqtt.o)
  printf '#include "../src/hw_serial.h"\nchar ram[sizeof(hw_ring) + sizeof(hw_serial)];\n' >build/ram.c
  $compiler -mcpu=$core -c build/ram.c -o build/$core-ram.o
  ram=$(arm-none-eabi-size build/$core-ram.o | awk 'END { print $2 + $3 }')
  echo "$core: CBOR + ring + serial $code bytes of code (at most 6144), $ram of RAM (at most 1024); MQTT $mqtt more (at most 4096)"
  if [ "$core" = cortex-m0plus ] && { [ "$code" -gt 6144 ] || [ "$ram" -gt 1024 ] || [ "$mqtt" -gt 4096 ]; }; then failed=1; fi
done
exit $failed
