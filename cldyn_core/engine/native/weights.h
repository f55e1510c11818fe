// The weights of a VFN, as one array of floats that executors/native.py writes in the order in which they are taken here.
#pragma once

#include <algorithm>
#include <vector>

namespace {

constexpr float kSlope = 0.2f, kRelu = 0.0f;

// Hands out weights in the order in which the network asks for them; native.py writes them in that order.
class Weights {
 public:
  explicit Weights(const float* next) : next_(next) {}
  const float* take(int count) {
    next_ += count;
    return next_ - count;
  }

 private:
  const float* next_;
};

struct ConvolutionWeights {
  const float *weights, *bias;
  ConvolutionWeights(Weights& from, int outputs, int inputs, int taps = 9)
      : weights(from.take(outputs * inputs * taps)), bias(from.take(outputs)) {}
};

struct BlockWeights {  // CB
  ConvolutionWeights first, second, merge;
  explicit BlockWeights(Weights& from) : first(from, 8, 8), second(from, 8, 16), merge(from, 8, 24, 1) {}
};

struct InjectionWeights {
  const float *shift, *merge, *merge_bias;
  explicit InjectionWeights(Weights& from) : shift(from.take(8)), merge(from.take(64)), merge_bias(from.take(8)) {}
};

struct EncoderWeights {  // FEB and, after all blocks but the last, A2SI
  ConvolutionWeights stem, widen;
  std::vector<BlockWeights> blocks;
  std::vector<InjectionWeights> injections;
  EncoderWeights(Weights& from, int depth) : stem(from, 4, 1), widen(from, 8, 4) {
    for (int i = 0; i < depth; ++i) blocks.emplace_back(from);
    for (int i = 0; i + 1 < depth; ++i) injections.emplace_back(from);
  }
};

struct ChannelWeights {  // 16 -> 32 -> 16
  ConvolutionWeights hidden, result;
  explicit ChannelWeights(Weights& from) : hidden(from, 32, 16, 1), result(from, 16, 32, 1) {}

  void add(const float* x, float* to) const {
    float h[32];
    for (int o = 0; o < 32; ++o) {
      h[o] = hidden.bias[o];
      for (int k = 0; k < 16; ++k) h[o] += hidden.weights[o * 16 + k] * x[k];
      h[o] = std::max(h[o], 0.0f);
    }
    for (int o = 0; o < 16; ++o) {
      to[o] += result.bias[o];
      for (int k = 0; k < 32; ++k) to[o] += result.weights[o * 32 + k] * h[k];
    }
  }
};

struct VfnWeights {
  std::vector<float> memory;
  Weights cursor;
  int depth;
  EncoderWeights infrared, visible;
  ChannelWeights channel_mean, channel_max;
  ConvolutionWeights spatial_mean, spatial_max, spatial, reduce;
  std::vector<BlockWeights> blocks;
  ConvolutionWeights narrow, luma;
  VfnWeights(const float* weights, size_t count, int depth_)
      : memory(weights, weights + count), cursor(memory.data()), depth(depth_), infrared(cursor, depth),
        visible(cursor, depth), channel_mean(cursor), channel_max(cursor), spatial_mean(cursor, 32, 16),
        spatial_max(cursor, 32, 16), spatial(cursor, 16, 64), reduce(cursor, 8, 16), blocks(take_blocks(cursor, depth)),
        narrow(cursor, 4, 8), luma(cursor, 1, 4) {}

 private:
  static std::vector<BlockWeights> take_blocks(Weights& from, int depth) {
    std::vector<BlockWeights> taken;
    for (int i = 0; i < depth; ++i) taken.emplace_back(from);
    return taken;
  }
};

}  // namespace
