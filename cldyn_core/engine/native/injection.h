// A2SI, step 8: what a plan's kernels add to a feature.
#pragma once

#include "convolution.h"

namespace {

// x + merge(mean over the branches of LReLU(their convolution of x + shift)).
class Injection : public Stage {
 public:
  // merge [8][8] and its bias belong to the model; kernels change with the plan.
  Injection(Input input, float slope, const float* shift, const float* merge, const float* merge_bias)
      : Stage({input}, kWidth, 4, 3, 3, Margin::kZero), slope_(slope), shift_(shift, shift + kWidth),
        merge_bias_(merge_bias, merge_bias + kWidth), merge_(kWidth * kWidth), mean_(kWidth * kChunk) {
    for (int o = 0; o < kWidth; ++o)
      for (int k = 0; k < kWidth; ++k)
        merge_[(o / kOutputs * kWidth + k) * kOutputs + o % kOutputs] = merge[o * kWidth + k];
  }

  // kernels [branches][8 out][8 in][3][3]; configurations as in the paper: 0 is 1x1, d is 3x3 with dilation d.
  void set(int branches, const int32_t* configurations, const float* kernels) {
    configurations_.assign(configurations, configurations + branches);
    kernels_.resize(size_t(branches) * kKernel);
    float* to = kernels_.data();  // [branch][block of outputs][dy][in][dx][out]
    for (int m = 0; m < branches; ++m)
      for (int block = 0; block < kWidth; block += kOutputs)
        for (int dy = 0; dy < 3; ++dy)
          for (int k = 0; k < kWidth; ++k)
            for (int dx = 0; dx < 3; ++dx)
              for (int o = block; o < block + kOutputs; ++o)
                *to++ = kernels[(((m * kWidth + o) * kWidth + k) * 3 + dy) * 3 + dx];
  }

 protected:
  void compute(int y) override {
    const int width = whole_vectors(out->width());
    for (int k = 0; k < block(); ++k)
      for (int x = 0; x < width; x += kChunk) {
        const int columns = std::min(kChunk, width - x);
        std::fill(mean_.begin(), mean_.end(), 0.0f);
        for (size_t m = 0; m < configurations_.size(); ++m) branch(int(m), y + k, x, columns);
        inject(y + k, x, columns);
      }
  }

 private:
  static constexpr int kWidth = 8, kKernel = kWidth * kWidth * 9;

  void branch(int m, int y, int x, int columns) {
    const Slice from = slice(0);
    const int dilation = std::max(configurations_[m], 1);
    const float share = 1.0f / float(configurations_.size());
    for_blocks(columns, [&](auto vectors, int column) {
      for (int o = 0; o < kWidth; o += kOutputs) {
        const float* w = kernels_.data() + size_t(m) * kKernel + o * kWidth * 9;
        Vec sums[kOutputs][vectors];
        for_each<kOutputs, vectors>([&](int k, int v) { sums[k][v] = splat(shift_[o + k]); });
        for (int dy = -1; dy <= 1; ++dy, w += kWidth * 3 * kOutputs)
          if (configurations_[m] != 0 || dy == 0)
            accumulate<kOutputs, vectors, 3>(sums, from.at(y + dy * dilation) + x + column - dilation, from.rows->stride(),
                                             dilation, kWidth, w);
        for_each<kOutputs, vectors>([&](int k, int v) {
          float* to = mean_.data() + (o + k) * kChunk + column + v * kLanes;
          store(to, load(to) + share * activate(sums[k][v], slope_));
        });
      }
    });
  }

  void inject(int y, int x, int columns) {
    const Slice input = slice(0);
    const float* from = input.at(y) + x;
    float* to = out->writable(y) + x;
    for_blocks(columns, [&](auto vectors, int column) {
      for (int o = 0; o < kWidth; o += kOutputs) {
        Vec sums[kOutputs][vectors];
        for_each<kOutputs, vectors>([&](int k, int v) {
          sums[k][v] = load(from + (o + k) * input.rows->stride() + column + v * kLanes) + merge_bias_[o + k];
        });
        accumulate<kOutputs, vectors, 1>(sums, mean_.data() + column, kChunk, 0, kWidth, merge_.data() + o * kWidth);
        for_each<kOutputs, vectors>(
            [&](int k, int v) { store(to + (o + k) * out->stride() + column + v * kLanes, sums[k][v]); });
      }
    });
  }

  float slope_;
  std::vector<float> shift_, merge_bias_, merge_, mean_, kernels_;
  std::vector<int32_t> configurations_;
};

}  // namespace
