/* Multiples of P-256's base point, the way ring has those of any other point.
 *
 * ring has a table of 37 * 64 multiples for it, 151,552 bytes that only make
 * faster what happens once or twice in a handshake. The linker calls
 * these in place of ring's (--wrap); the table is then left out. ring's P-384
 * does without a table in the same way. */
#include <stdint.h>

typedef uint64_t Limb;

/* Constant in time; what ECDH uses with the other side's point. */
void RING(p256_point_mul)(Limb r[3][4], const Limb scalar[4], const Limb x[4], const Limb y[4]);

/* The base point (FIPS 186-5, G), in Montgomery form: times 2^256 modulo p. */
static const Limb X[4] = {0x79e730d418a9143c, 0x75ba95fc5fedb601, 0x79fb732b77622510, 0x18905f76a53755c6};
static const Limb Y[4] = {0xddf25357ce95560a, 0x8b4ab8e4ba19e45c, 0xd2e88688dd21f325, 0x8571ff1825885d85};

void WRAP(p256_point_mul_base)(Limb r[3][4], const Limb scalar[4]) {
  RING(p256_point_mul)(r, scalar, X, Y);
}

void WRAP(p256_point_mul_base_vartime)(Limb r[3][4], const Limb scalar[4]) {
  RING(p256_point_mul)(r, scalar, X, Y);
}
