/* Multiples of P-256's base point, in place of ring's own.
 *
 * ring has a table of 37 * 64 multiples for them, 151,552 bytes which only
 * make faster what happens once or twice in a handshake. The linker calls
 * these in its place (--wrap); the table is then left out. */
#include <stdint.h>

typedef uint64_t Limb;

/* Constant in time; what ECDH uses with the other side's point. */
void RING(p256_point_mul)(Limb r[3][4], const Limb scalar[4], const Limb x[4], const Limb y[4]);
void RING(p256_point_double)(Limb r[3][4], const Limb a[3][4]);
/* Knows the sum of equal, opposite and infinite points, too. */
void RING(p256_point_add)(Limb r[3][4], const Limb a[3][4], const Limb b[3][4]);

/* Sums of 1, 2^64, 2^128 and 2^192 times the base point: entry n - 1 has those
 * whose bits are set in n. The first is the base point itself (SP 800-186, G).
 * All are in Montgomery form, times 2^256 modulo p. */
static const Limb TABLE[15][2][4] = {
    {{0x79e730d418a9143c, 0x75ba95fc5fedb601, 0x79fb732b77622510, 0x18905f76a53755c6},
     {0xddf25357ce95560a, 0x8b4ab8e4ba19e45c, 0xd2e88688dd21f325, 0x8571ff1825885d85}},
    {{0x4f922fc516a0d2bb, 0x0d5cc16c1a623499, 0x9241cf3a57c62c8b, 0x2f5e6961fd1b667f},
     {0x5c15c70bf5a01797, 0x3d20b44d60956192, 0x04911b37071fdb52, 0xf648f9168d6f0f7b}},
    {{0x9e566847e137bbbc, 0xe434469e8a6a0bec, 0xb1c4276179d73463, 0x5abe0285133d0015},
     {0x92aa837cc04c7dab, 0x573d9f4c43260c07, 0x0c93156278e6cc37, 0x94bb725b6b6f7383}},
    {{0x62a8c244bfe20925, 0x91c19ac38fdce867, 0x5a96a5d5dd387063, 0x61d587d421d324f6},
     {0xe87673a2a37173ea, 0x2384800853778b65, 0x10f8441e05bab43e, 0xfa11fe124621efbe}},
    {{0x1c891f2b2cb19ffd, 0x01ba8d5bb1923c23, 0xb6d03d678ac5ca8e, 0x586eb04c1f13bedc},
     {0x0c35c6e527e8ed09, 0x1e81a33c1819ede2, 0x278fd6c056c652fa, 0x19d5ac0870864f11}},
    {{0x62577734d2b533d5, 0x673b8af6a1bdddc0, 0x577e7c9aa79ec293, 0xbb6de651c3b266b1},
     {0xe7e9303ab65259b3, 0xd6a0afd3d03a7480, 0xc5ac83d19b3cfc27, 0x60b4619a5d18b99b}},
    {{0xbd6a38e11ae5aa1c, 0xb8b7652b49e73658, 0x0b130014ee5f87ed, 0x9d0f27b2aeebffcd},
     {0xca9246317a730a55, 0x9c955b2fddbbc83a, 0x07c1dfe0ac019a71, 0x244a566d356ec48d}},
    {{0x56f8410ef4f8b16a, 0x97241afec47b266a, 0x0a406b8e6d9c87c1, 0x803f3e02cd42ab1b},
     {0x7f0309a804dbec69, 0xa83b85f73bbad05f, 0xc6097273ad8e197f, 0xc097440e5067adc1}},
    {{0x846a56f2c379ab34, 0xa8ee068b841df8d1, 0x20314459176c68ef, 0xf1af32d5915f1f30},
     {0x99c375315d75bd50, 0x837cffbaf72f67bc, 0x0613a41848d7723f, 0x23d0f130e2d41c8b}},
    {{0xed93e225d5be5a2b, 0x6fe799835934f3c6, 0x4314092622626ffc, 0x50bbb4d97990216a},
     {0x378191c6e57ec63e, 0x65422c40181dcdb2, 0x41a8099b0236e0f6, 0x2b10011801fe49c3}},
    {{0xfc68b5c59b391593, 0xc385f5a2598270fc, 0x7144f3aad19adcbb, 0xdd55899983fbae0c},
     {0x93b88b8e74b82ff4, 0xd2e03c4071e734c9, 0x9a7a9eaf43c0322a, 0xe6e4c551149d6041}},
    {{0x5fe14bfe80ec21fe, 0xf6ce116ac255be82, 0x98bc5a072f4a5d67, 0xfad27148db7e63af},
     {0x90c0b6ac29ab05b3, 0x37a9a83c4e251ae6, 0x0a7dc875c2aade7d, 0x77387de39f0e1a84}},
    {{0x1e9ecc49a56c0dd7, 0xa5cffcd846086c74, 0x8f7a1408f505aece, 0xb37b85c0bef0c47e},
     {0x3596b6e4cc0e6a8f, 0xfd6d4bbf6b388f23, 0xaba453fac39cef4e, 0x9c135ac8f9f628d5}},
    {{0x0a1c729495c8f8be, 0x2961c4803bf362bf, 0x9e418403df63d4ac, 0xc109f9cb91ece900},
     {0xc2d095d058945705, 0xb9083d96ddeb85c0, 0x84692b8d7a40449b, 0x9bc3344f2eee1ee1}},
    {{0x0d5ae35642913074, 0x55491b2748a542b1, 0x469ca665b310732a, 0x29591d525f1a4cc1},
     {0xe76f5b6bb84f983f, 0xbe7eef419f5f84e1, 0x1200d49680baa189, 0x6376551f18ef332c}},};

static const Limb ONE[4] = {1, 0xffffffff00000000, 0xffffffffffffffff, 0x00000000fffffffe};

/* For keys, which are secret: as any other point's. */
void WRAP(p256_point_mul_base)(Limb r[3][4], const Limb scalar[4]) {
  RING(p256_point_mul)(r, scalar, TABLE[0][0], TABLE[0][1]);
}

/* For signatures, which are not: a comb with a tooth in each limb, from the
 * highest bit down. */
void WRAP(p256_point_mul_base_vartime)(Limb r[3][4], const Limb scalar[4]) {
  for (int i = 0; i < 3; i++)
    for (int limb = 0; limb < 4; limb++) r[i][limb] = 0; /* infinity */
  for (int bit = 63; bit >= 0; bit--) {
    RING(p256_point_double)(r, (const Limb(*)[4])r);
    Limb n = 0;
    for (int limb = 0; limb < 4; limb++) n |= (scalar[limb] >> bit & 1) << limb;
    if (n == 0) continue;
    Limb point[3][4];
    for (int limb = 0; limb < 4; limb++) {
      point[0][limb] = TABLE[n - 1][0][limb];
      point[1][limb] = TABLE[n - 1][1][limb];
      point[2][limb] = ONE[limb];
    }
    RING(p256_point_add)(r, (const Limb(*)[4])r, (const Limb(*)[4])point);
  }
}
