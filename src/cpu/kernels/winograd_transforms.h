// Minimal filtering along one axis, of which Winograd tiles are made: F(tile, kernel) in the names of Lavin and Gray,
// "Fast Algorithms for Convolutional Neural Networks" (2016). A tile of `tile` outputs has edge = tile + kernel - 1
// inputs. They are evaluated at edge - 1 finite points (kernels.h) and at infinity by input(), which multiplies by B^T;
// output(), which multiplies by A^T, interpolates the outputs. Every factor is exact in float32; what is not (thirds)
// stands in the weights.
//
// Values are read by get(index) and written by set(index, value): GCC 12 would keep arrays of them in memory (the
// inputs of five tiles of O-Net's conv2 with AVX-512: 0.57 instead of 0.17 microseconds). output() adds a bias if one
// is given: no point counts once in every output, so that the products cannot.
#pragma once

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace mtcnn_fast {
namespace {

inline F32 plus(F32 x) { return x; }
inline F32 plus(F32 x, F32 bias) { return x + bias; }
inline F32 times(F32 factor, F32 x) { return factor * x; }
inline F32 times(F32 factor, F32 x, F32 bias) { return fma(factor, x, bias); }

// Points a, -a, b and -b. d0 to d4 are inputs one after the other.
struct SymmetricPoints {
  float a, b;

  // The values at the four points, to set(first), set(first + 1), and so on.
  template <class Set>
  void evaluate(F32 d0, F32 d1, F32 d2, F32 d3, const Set& set, int first) const {
    const F32 p = fma(splat(-b * b), d1, d3), q = fma(splat(-b * b), d0, d2);
    const F32 r = fma(splat(-a * a), d1, d3), s = fma(splat(-a * a), d0, d2);
    set(first, fma(splat(a), q, p));
    set(first + 1, fma(splat(-a), q, p));
    set(first + 2, fma(splat(b), s, r));
    set(first + 3, fma(splat(-b), s, r));
  }
  // What is 0 at all four: the value at another point, which is 0 or infinity.
  F32 evaluate_elsewhere(F32 d0, F32 d2, F32 d4) const {
    return fma(splat(a * a * b * b), d0, fma(splat(-a * a - b * b), d2, d4));
  }
};

template <int kEdge>
struct Winograd;

template <>
struct Winograd<4> {  // F(2, 3) and F(3, 2) at kWinogradPoints4
  template <class Get, class Set>
  static void input(const Get& get, const Set& set) {
    const F32 d1 = get(1), d2 = get(2);
    set(0, d2 - get(0));
    set(1, d2 + d1);
    set(2, d2 - d1);
    set(3, get(3) - d1);
  }
  template <int kTile, class Get, class Set, class... Bias>
  static void output(const Get& get, const Set& set, Bias... bias) {
    static_assert(kTile == 2 || kTile == 3);
    const F32 m1 = get(1), m2 = get(2), even = m1 + m2, odd = m1 - m2;
    set(0, plus(get(0), bias...) + even);
    if constexpr (kTile == 2) {
      set(1, plus(get(3), bias...) + odd);
    } else {
      set(1, plus(odd, bias...));
      set(2, plus(get(3), bias...) + even);
    }
  }
};

template <>
struct Winograd<5> {  // F(3, 3) at kWinogradPoints5
  static constexpr float a = kWinogradPoints5[0], b = kWinogradPoints5[2];
  template <class Get, class Set>
  static void input(const Get& get, const Set& set) {
    const F32 d0 = get(0), d2 = get(2);
    constexpr SymmetricPoints kPoints{a, b};
    kPoints.evaluate(d0, get(1), d2, get(3), set, 0);
    set(4, kPoints.evaluate_elsewhere(d0, d2, get(4)));
  }
  template <int kTile, class Get, class Set, class... Bias>
  static void output(const Get& get, const Set& set, Bias... bias) {
    static_assert(kTile == 3);
    const F32 m0 = get(0), m1 = get(1), m2 = get(2), m3 = get(3);
    const F32 s = m0 + m1, t = m0 - m1, u = m2 + m3, v = m2 - m3;
    set(0, plus(s, bias...) + u);
    set(1, fma(splat(b), v, times(splat(a), t, bias...)));
    set(2, fma(splat(b * b), u, fma(splat(a * a), s, plus(get(4), bias...))));
  }
};

template <>
struct Winograd<6> {  // F(4, 3) at kWinogradPoints6
  static constexpr float a = kWinogradPoints6[1], b = kWinogradPoints6[3];
  template <class Get, class Set>
  static void input(const Get& get, const Set& set) {
    const F32 d1 = get(1), d2 = get(2), d3 = get(3), d4 = get(4);
    constexpr SymmetricPoints kPoints{a, b};
    set(0, kPoints.evaluate_elsewhere(get(0), d2, d4));
    kPoints.evaluate(d1, d2, d3, d4, set, 1);
    set(5, kPoints.evaluate_elsewhere(d1, d3, get(5)));
  }
  template <int kTile, class Get, class Set, class... Bias>
  static void output(const Get& get, const Set& set, Bias... bias) {
    static_assert(kTile == 4);
    const F32 m1 = get(1), m2 = get(2), m3 = get(3), m4 = get(4);
    const F32 s = m1 + m2, t = m1 - m2, u = m3 + m4, v = m3 - m4;
    set(0, (plus(get(0), bias...) + s) + u);
    set(1, fma(splat(b), v, times(splat(a), t, bias...)));
    set(2, fma(splat(b * b), u, times(splat(a * a), s, bias...)));
    set(3, fma(splat(b * b * b), v, fma(splat(a * a * a), t, plus(get(5), bias...))));
  }
};

struct WinogradPixels {  // F(4, 3) at kWinogradPixelPoints
  static constexpr int tile = 4, edge = 6;
  template <class Get, class Set>
  static void input(const Get& get, const Set& set) {
    const F32 d1 = get(1), d2 = get(2), d3 = get(3), d4 = get(4), e = d4 - d2, f = d3 - d1, h = splat(1.5f);
    set(0, fma(h, f, e) + (get(0) - d2));
    set(1, fma(h, d3 + d2, e + f));
    set(2, fma(h, d3 - d2, e - f));
    set(3, fma(splat(2.0f), f, e));
    set(4, fma(splat(-0.5f), f, e));
    set(5, fma(h, e, get(5) - d3) - f);
  }
  template <class Get, class Set>
  static void output(const Get& get, const Set& set, F32 bias) {
    const F32 m1 = get(1), m2 = get(2), m3 = get(3), m4 = get(4), even = m1 + m2, odd = m1 - m2;
    set(0, ((get(0) + bias) + even) + (m3 + m4));
    set(1, fma(splat(-2.0f), m4, fma(splat(0.5f), m3, odd + bias)));
    set(2, fma(splat(4.0f), m4, fma(splat(0.25f), m3, even + bias)));
    set(3, fma(splat(-8.0f), m4, fma(splat(0.125f), m3, odd)) + (get(5) + bias));
  }
};

}  // namespace
}  // namespace mtcnn_fast
