/* What libunwind.a asks for where it is Debian's, which was compiled for glibc with _FORTIFY_SOURCE: the first in
 * LLVM 14, the others in LLVM 19. build.sh links it there. */
#include <stdarg.h>
#include <stdio.h>

int __fprintf_chk(FILE *f, int flag, const char *format, ...) {
  va_list args;
  (void)flag;
  va_start(args, format);
  int n = vfprintf(f, format, args);
  va_end(args);
  return n;
}

int __vfprintf_chk(FILE *f, int flag, const char *format, va_list args) {
  (void)flag;
  return vfprintf(f, format, args);
}

int __vsnprintf_chk(char *to, size_t size, int flag, size_t room, const char *format, va_list args) {
  (void)flag;
  (void)room;
  return vsnprintf(to, size, format, args);
}
