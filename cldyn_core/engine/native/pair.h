// Two layers of convolutions in one stage. The second follows the first a few columns behind, so that what passes
// between them is still in the cache.
#pragma once

#include <array>

#include "convolution.h"

namespace {

class Pair : public Stage {
 public:
  Pair(std::vector<Input> inputs, int channels, std::vector<Winograd> first, Winograd second, Margin between,
       Margin margin)
      : Stage(std::move(inputs), channels, second.block(), second.dilation(), 2 * second.dilation(), margin),
        between_margin_(between), first_(std::move(first)), second_(std::move(second)) {
    for (const Winograd& one : first_) between_channels_ += one.outputs();
  }

  void allocate(int width) override {
    Stage::allocate(width);
    between_.resize(between_channels_, height(), width, block() + 2 * second_.dilation(), between_margin_);
  }

 protected:
  // The second layer at columns x .. x + columns - 1 of rows y .. y + block - 1.
  virtual void follow(int y, int x, int columns) = 0;

  void compute(int y) override {
    const int width = whole_vectors(out->width()), ahead = y + second_.dilation();
    int done = 0;
    for (int x = 0; x < width; x += kChunk) {
      const int columns = std::min(kChunk, width - x), end = x + columns;
      int channel = 0;
      for (size_t i = 0; i < first_.size(); channel += first_[i++].outputs()) lead(int(i), channel, ahead, x, columns);
      if (x == 0 || end == width)  // either margin, as soon as its columns are there
        for (int k = ahead; k < ahead + block(); ++k) between_.finish(k);
      const int ready = end == width ? width : end - kVectors * kLanes;
      for (; !warming() && done < ready; done += kChunk) follow(y, done, std::min(kChunk, ready - done));
      done = ready;
    }
  }

  int warm_up() const override { return block(); }
  Slice between() const { return {&between_, 0, between_channels_}; }
  Winograd& second() { return second_; }

 private:
  void lead(int i, int channel, int y, int x, int columns) {
    const std::vector<Slice> from = {slice(i)};
    std::array<float*, 8> to;
    for (int k = 0; k < block(); ++k) to[k] = between_.writable(y + k) + channel * between_.stride() + x;
    first_[i](from, y, x, columns, to.data(), between_.stride());
  }

  Margin between_margin_;
  std::vector<Winograd> first_;
  Winograd second_;
  int between_channels_ = 0;
  Rows between_;
};

// The spatial attention of FRB1: each input through its first convolution, the second over all of that.
class SpatialAttention : public Pair {
 public:
  SpatialAttention(std::vector<Input> inputs, std::vector<Winograd> first, Winograd second)
      : Pair(std::move(inputs), second.outputs(), std::move(first), second, Margin::kReflect, Margin::kZero) {}

 protected:
  void follow(int y, int x, int columns) override {
    std::array<float*, 8> to;
    for (int k = 0; k < block(); ++k) to[k] = out->writable(y + k) + x;
    second()({between()}, y, x, columns, to.data(), out->stride());
  }
};

// CB: u1 of x, u2 of [x, u1], then x + LReLU(1x1 convolution of [x, u1, u2]).
class ConvBlock : public Pair {
 public:
  // merge: weights [out][in].
  ConvBlock(Input input, Winograd first, Winograd second, float slope, const float* merge, const float* merge_bias,
            Margin margin)
      : Pair({input}, kWidth, {std::move(first)}, std::move(second), Margin::kZero, margin), slope_(slope),
        bias_(merge_bias, merge_bias + kWidth), weights_(kWidth * 3 * kWidth), last_(kWidth * 8 * kChunk) {
    for (int o = 0; o < kWidth; ++o)
      for (int k = 0; k < 3 * kWidth; ++k)
        weights_[(o / kOutputs * 3 * kWidth + k) * kOutputs + o % kOutputs] = merge[o * 3 * kWidth + k];
  }

 protected:
  void follow(int y, int x, int columns) override {
    std::array<float*, 8> to;
    for (int k = 0; k < block(); ++k) to[k] = last_.data() + k * kWidth * kChunk;
    second()({slice(0), between()}, y, x, columns, to.data(), kChunk);
    for (int k = 0; k < block(); ++k) merge(y + k, x, columns, to[k]);
  }

 private:
  static constexpr int kWidth = 8;

  void merge(int y, int x, int columns, const float* last) {
    const Slice first = slice(0), middle = between();
    const float *a = first.at(y) + x, *b = middle.at(y) + x;
    float* to = out->writable(y) + x;
    for_blocks(columns, [&](auto vectors, int column) {
      const float* w = weights_.data();
      for (int o = 0; o < kWidth; o += kOutputs, w += 3 * kWidth * kOutputs) {
        Vec sums[kOutputs][vectors];
        for_each<kOutputs, vectors>([&](int k, int v) { sums[k][v] = splat(bias_[o + k]); });
        const int step = kWidth * kOutputs;
        accumulate<kOutputs, vectors, 1>(sums, a + column, first.rows->stride(), 0, kWidth, w);
        accumulate<kOutputs, vectors, 1>(sums, b + column, middle.rows->stride(), 0, kWidth, w + step);
        accumulate<kOutputs, vectors, 1>(sums, last + column, kChunk, 0, kWidth, w + 2 * step);
        for_each<kOutputs, vectors>([&](int k, int v) {
          const int at = column + v * kLanes;
          store(to + (o + k) * out->stride() + at,
                load(a + (o + k) * first.rows->stride() + at) + activate(sums[k][v], slope_));
        });
      }
    });
  }

  float slope_;
  std::vector<float> bias_, weights_, last_;
};

}  // namespace
