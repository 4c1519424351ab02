/* Where the program starts, before musl does.
 *
 * The linker packs the relative relocations (DT_RELR): a bit for each pointer
 * in place of 24 bytes. musl knows them since 1.2.4; Debian 12 has 1.2.3. So
 * they are applied here, and struck out, so that a musl which knows them does
 * not apply them again. Nothing here may need a relocation itself. */
#include <elf.h>

#ifndef DT_RELR
#define DT_RELRSZ 35
#define DT_RELR 36
#endif

#define hidden __attribute__((visibility("hidden")))

extern hidden const char __ehdr_start[]; /* the linker's: at address 0 of the file */
extern hidden Elf64_Dyn _DYNAMIC[];

__asm__(".globl relocate_and_start\n"
        ".hidden relocate_and_start\n"
        ".type relocate_and_start, @function\n"
        "relocate_and_start:\n"
        "	xor %ebp, %ebp\n"
        "	call relocate\n" /* the stack is aligned and looks as it did, afterwards */
        "	jmp _start\n");

hidden void relocate(void) {
  Elf64_Addr base = (Elf64_Addr)__ehdr_start;
  const Elf64_Addr *entry = 0;
  Elf64_Xword size = 0;
  for (Elf64_Dyn *dyn = _DYNAMIC; dyn->d_tag != DT_NULL; dyn++) {
    if (dyn->d_tag == DT_RELR) {
      entry = (const Elf64_Addr *)(base + dyn->d_un.d_ptr);
    } else if (dyn->d_tag == DT_RELRSZ) {
      size = dyn->d_un.d_val;
      dyn->d_un.d_val = 0;
    }
  }
  Elf64_Addr *where = 0;
  for (; size >= sizeof *entry; size -= sizeof *entry, entry++) {
    if ((*entry & 1) == 0) { /* an address: relocated, and the bits go on after it */
      where = (Elf64_Addr *)(base + *entry);
      *where++ += base;
    } else { /* 63 bits, one for each word from here */
      for (int bit = 0; bit < 63; bit++)
        if (*entry >> (bit + 1) & 1) where[bit] += base;
      where += 63;
    }
  }
}
