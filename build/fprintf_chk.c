/* libunwind.a was compiled for glibc with _FORTIFY_SOURCE; this is all it asks
 * for. */
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
