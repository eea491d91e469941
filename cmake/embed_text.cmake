# Turns one file into a C array that ends with NUL.
# Usage: cmake -DOUT=file.c -DFILE=file -DHEADER=cli/file.h -DNAME=array -P embed_text.cmake
get_filename_component(name "${FILE}" NAME)
file(READ "${FILE}" hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," body "${hex}")
string(REGEX REPLACE "(0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,0x..,)" "\\1\n" body "${body}")
file(WRITE "${OUT}" "/* Made from ${name} by cmake/embed_text.cmake; do not edit. */\n#include \"${HEADER}\"\n\n"
     "const char ${NAME}[] = {\n${body}0};\n")
