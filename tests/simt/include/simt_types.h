// CUDA's vector types, as vector_types.h and vector_functions.h have them.
#pragma once

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned width = 1, unsigned height = 1, unsigned depth = 1) : x(width), y(height), z(depth) {}
};
struct uint3 {
  unsigned x, y, z;
};

#define SIMT_VECTOR_TYPES(name, type, alignment2, alignment4)         \
  struct alignas(alignment2) name##2 {                                \
    type x, y;                                                        \
  };                                                                  \
  struct alignas(alignment4) name##4 {                                \
    type x, y, z, w;                                                  \
  };                                                                  \
  constexpr name##2 make_##name##2(type x, type y) { return {x, y}; } \
  constexpr name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }
#define SIMT_VECTOR3_TYPE(name, type) \
  struct name##3 {                    \
    type x, y, z;                     \
  };                                  \
  constexpr name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }

SIMT_VECTOR_TYPES(char, signed char, 2, 4)
SIMT_VECTOR_TYPES(uchar, unsigned char, 2, 4)
SIMT_VECTOR_TYPES(short, short, 4, 8)
SIMT_VECTOR_TYPES(ushort, unsigned short, 4, 8)
SIMT_VECTOR_TYPES(int, int, 8, 16)
SIMT_VECTOR_TYPES(uint, unsigned, 8, 16)
SIMT_VECTOR_TYPES(longlong, long long, 16, 16)
SIMT_VECTOR_TYPES(ulonglong, unsigned long long, 16, 16)
SIMT_VECTOR_TYPES(float, float, 8, 16)
SIMT_VECTOR_TYPES(double, double, 16, 16)
SIMT_VECTOR3_TYPE(uchar, unsigned char)
SIMT_VECTOR3_TYPE(int, int)
SIMT_VECTOR3_TYPE(float, float)
SIMT_VECTOR3_TYPE(double, double)
constexpr uint3 make_uint3(unsigned x, unsigned y, unsigned z) { return {x, y, z}; }

#undef SIMT_VECTOR_TYPES
#undef SIMT_VECTOR3_TYPE
