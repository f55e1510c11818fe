// Convolutions over rows. The multiply-adds of all of them happen in `accumulate`.
#pragma once

#include "stage.h"

namespace {

constexpr int kOutputs = kLanes == 16 ? 8 : 4;  // output channels and vectors that one call accumulates in registers
constexpr int kVectors = kLanes == 16 ? 3 : 2;
constexpr int kChunk = 96;  // columns at a time, so that what a chunk needs stays in the first two caches
static_assert(kChunk % (kVectors * kLanes) == 0, "a chunk is made of whole blocks");

// sums[o][v] += w[k][t][o] * x[k * stride + t * step + v], for `depth` channels k and T taps.
template <int O, int V, int T>
inline __attribute__((always_inline)) void accumulate(Vec (&sums)[O][V], const float* x, size_t stride, int step,
                                                      int depth, const float* w) {
  for (int k = 0; k < depth; ++k, x += stride) {
#pragma GCC unroll 3
    for (int t = 0; t < T; ++t, w += O) {
      Vec columns[V];
#pragma GCC unroll 3
      for (int v = 0; v < V; ++v) columns[v] = load(x + t * step + v * kLanes);
#pragma GCC unroll 8
      for (int o = 0; o < O; ++o) {
        const Vec factor = splat(w[o]);
#pragma GCC unroll 3
        for (int v = 0; v < V; ++v) sums[o][v] += columns[v] * factor;
      }
    }
  }
}

// Calls f(o, v) for all, unrolled, so that what it indexes can live in registers.
template <int O, int V, typename F>
inline __attribute__((always_inline)) void for_each(F&& f) {
#pragma GCC unroll 8
  for (int o = 0; o < O; ++o) {
#pragma GCC unroll 3
    for (int v = 0; v < V; ++v) f(o, v);
  }
}

// Calls f(V, column), V a constant, for blocks of V vectors that cover `width` columns (a multiple of kLanes).
template <typename F>
inline void for_blocks(int width, F&& f) {
  int x = 0;
  for (; x + kVectors * kLanes <= width; x += kVectors * kLanes) f(std::integral_constant<int, kVectors>(), x);
  for (; x < width; x += kLanes) f(std::integral_constant<int, 1>(), x);
}

inline int whole_vectors(int width) { return (width + kLanes - 1) / kLanes * kLanes; }

// 3x3 convolution, dilated or not, as Winograd's F(4, 3) along y: four rows for six products in place of twelve. The
// rows of a dilated convolution fall into `dilation` interleaved images, each treated so.
class Winograd {
 public:
  // weights [out][in][3][3]; slope: see activate.
  Winograd(int outputs, int depth, int dilation, float slope, const float* weights, const float* bias)
      : outputs_(outputs), depth_(depth), dilation_(dilation), slope_(slope), bias_(bias, bias + outputs),
        weights_(kPoints * outputs * depth * 3), transformed_(kPoints * depth * kRow),
        products_(kPoints * outputs * kChunk) {
    for (int o = 0; o < outputs; ++o)
      for (int k = 0; k < depth; ++k)
        for (int t = 0; t < 3; ++t) {
          const float* column = weights + (o * depth + k) * 9 + t;
          const double a = column[0], b = column[3], c = column[6];
          const double points[kPoints] = {a / 4, -(a + b + c) / 6, -(a - b + c) / 6, (a + 2 * b + 4 * c) / 24,
                                          (a - 2 * b + 4 * c) / 24, c};
          for (int e = 0; e < kPoints; ++e) weight(e, o, k, t) = float(points[e]);
        }
  }

  int block() const { return 4 * dilation_; }  // rows of a call
  int dilation() const { return dilation_; }
  int outputs() const { return outputs_; }

  // Columns x .. x + columns - 1 (whole vectors, at most kChunk) of rows y .. y + block - 1. to[k]: where column x of
  // row y + k goes, channels `stride` floats apart.
  void operator()(const std::vector<Slice>& inputs, int y, int x, int columns, float* const* to, size_t stride) {
    for (int phase = 0; phase < dilation_; ++phase) {
      transform(inputs, y + phase, x, columns);
      multiply(columns);
      restore(to + phase, stride, columns);
    }
  }

 private:
  static constexpr int kPoints = 6;
  static constexpr int kRow = kChunk + 2 * kLanes;

  float& weight(int e, int o, int k, int t) {
    return weights_[(((e * (outputs_ / kOutputs) + o / kOutputs) * depth_ + k) * 3 + t) * kOutputs + o % kOutputs];
  }

  void transform(const std::vector<Slice>& inputs, int y, int x, int columns) {
    float* to = transformed_.data();
    const size_t plane = size_t(depth_) * kRow;
    for (const Slice& input : inputs) {
      const float* r[kPoints];
      for (int k = 0; k < kPoints; ++k) r[k] = input.at(y + (k - 1) * dilation_) + x - dilation_;
      for (int c = 0; c < input.count; ++c, to += kRow)
        for (int j = 0; j < columns + 2 * dilation_; j += kLanes) {
          const size_t at = c * input.rows->stride() + j;
          const Vec d0 = load(r[0] + at), d1 = load(r[1] + at), d2 = load(r[2] + at), d3 = load(r[3] + at),
                    d4 = load(r[4] + at), d5 = load(r[5] + at);
          const Vec even = d4 - 4.0f * d2, odd = d3 - 4.0f * d1, wide = d4 - d2, skew = 2.0f * (d3 - d1);
          store(to + j, 4.0f * d0 - 5.0f * d2 + d4);
          store(to + plane + j, even + odd);
          store(to + 2 * plane + j, even - odd);
          store(to + 3 * plane + j, wide + skew);
          store(to + 4 * plane + j, wide - skew);
          store(to + 5 * plane + j, 4.0f * d1 - 5.0f * d3 + d5);
        }
    }
  }

  void multiply(int columns) {
    const float* w = weights_.data();
    for (int e = 0; e < kPoints; ++e)
      for (int o = 0; o < outputs_; o += kOutputs, w += size_t(depth_) * 3 * kOutputs) {
        float* to = products_.data() + (e * outputs_ + o) * kChunk;
        const float* from = transformed_.data() + size_t(e) * depth_ * kRow;
        for_blocks(columns, [&](auto vectors, int x) {
          Vec sums[kOutputs][vectors] = {};
          accumulate<kOutputs, vectors, 3>(sums, from + x, kRow, dilation_, depth_, w);
          for_each<kOutputs, vectors>([&](int k, int v) { store(to + k * kChunk + x + v * kLanes, sums[k][v]); });
        });
      }
  }

  void restore(float* const* to, size_t stride, int columns) {
    const size_t plane = size_t(outputs_) * kChunk;
    for (int o = 0; o < outputs_; ++o) {
      const float* m = products_.data() + o * kChunk;
      for (int j = 0; j < columns; j += kLanes) {
        const Vec m1 = load(m + plane + j), m2 = load(m + 2 * plane + j), m3 = load(m + 3 * plane + j),
                  m4 = load(m + 4 * plane + j);
        const Vec s = m1 + m2, d = m1 - m2, t = m3 + m4, u = m3 - m4, b = splat(bias_[o]);
        const size_t at = o * stride + j;
        store(to[0] + at, activate(load(m + j) + s + t + b, slope_));
        store(to[dilation_] + at, activate(d + 2.0f * u + b, slope_));
        store(to[2 * dilation_] + at, activate(s + 4.0f * t + b, slope_));
        store(to[3 * dilation_] + at, activate(d + 8.0f * u + load(m + 5 * plane + j) + b, slope_));
      }
    }
  }

  int outputs_, depth_, dilation_;
  float slope_;
  std::vector<float> bias_, weights_, transformed_, products_;
};

// A 3x3 convolution by Winograd.
class Convolution : public Stage {
 public:
  Convolution(Input input, Margin margin, Winograd convolution)
      : Stage({input}, convolution.outputs(), convolution.block(), convolution.dilation(), convolution.dilation(),
              margin),
        convolve_(std::move(convolution)) {}

 protected:
  void compute(int y) override {
    const std::vector<Slice> from = {slice(0)};
    const int width = whole_vectors(out->width());
    float* to[8];
    for (int x = 0; x < width; x += kChunk) {
      for (int k = 0; k < block(); ++k) to[k] = out->writable(y + k) + x;
      convolve_(from, y, x, std::min(kChunk, width - x), to, out->stride());
    }
  }

 private:
  Winograd convolve_;
};

// 3x3 convolution as it stands, for few channels.
class Direct : public Stage {
 public:
  // weights [out][in][3][3]; to_luma: sigmoid(2 x) in place of the activation, which is (tanh(x) + 1) / 2.
  Direct(Input input, int outputs, float slope, bool to_luma, Margin margin, const float* weights,
         const float* bias)
      : Stage({input}, outputs, 4, 1, 1, margin), slope_(slope), to_luma_(to_luma),
        bias_(bias, bias + outputs), weights_(outputs * depth() * 9) {
    float* to = weights_.data();  // [dy][in][dx][out]
    for (int dy = 0; dy < 3; ++dy)
      for (int k = 0; k < depth(); ++k)
        for (int dx = 0; dx < 3; ++dx)
          for (int o = 0; o < outputs; ++o) *to++ = weights[((o * depth() + k) * 3 + dy) * 3 + dx];
  }

 protected:
  void compute(int y) override {
    for (int k = 0; k < block(); ++k) {
      if (channels() == 4) row<4>(y + k);
      if (channels() == 1) row<1>(y + k);
    }
  }

 private:
  template <int O>
  void row(int y) {
    const Slice from = slice(0);
    float* to = out->writable(y);
    const size_t plane = size_t(depth()) * 3 * O;
    for_blocks(whole_vectors(out->width()), [&](auto vectors, int x) {
      Vec sums[O][vectors];
      for_each<O, vectors>([&](int o, int v) { sums[o][v] = splat(bias_[o]); });
      for (int dy = 0; dy < 3; ++dy)
        accumulate<O, vectors, 3>(sums, from.at(y + dy - 1) + x - 1, from.rows->stride(), 1, depth(),
                                  weights_.data() + dy * plane);
      for_each<O, vectors>([&](int o, int v) {
        store(to + o * out->stride() + x + v * kLanes,
              to_luma_ ? sigmoid(2.0f * sums[o][v]) : activate(sums[o][v], slope_));
      });
    });
  }

  float slope_;
  bool to_luma_;
  std::vector<float> bias_, weights_;
};

}  // namespace
