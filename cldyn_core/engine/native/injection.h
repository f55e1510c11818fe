// A2SI, step 8: what a plan's kernels add to a feature.
#pragma once

#include <array>

#include "convolution.h"

namespace {

// x + merge(mean over the branches of LReLU(their convolution of x + shift)).
class Injection : public Stage {
 public:
  // merge [8][8] and its bias belong to the model; kernels change with the plan.
  Injection(Input input, float slope, const float* shift, const float* merge, const float* merge_bias)
      : Stage({input}, kWidth, kRows, 3, 3, Margin::kZero), slope_(slope), shift_(shift, shift + kWidth),
        merge_bias_(merge_bias, merge_bias + kWidth), merge_(kWidth * kWidth), sum_(kRows * kPlane) {
    for (int o = 0; o < kWidth; ++o)
      for (int k = 0; k < kWidth; ++k)
        merge_[(o / kOutputs * kWidth + k) * kOutputs + o % kOutputs] = merge[o * kWidth + k];
  }

  // kernels [branches][8 out][8 in][3][3]; configurations as in the paper: 0 is 1x1, d is 3x3 with dilation d.
  void set(int branches, const int32_t* configurations, const float* kernels) {
    const size_t count = size_t(branches) * kKernel;
    if (plan_ == std::vector<int32_t>(configurations, configurations + branches) &&
        std::equal(kernels_.begin(), kernels_.end(), kernels, kernels + count))
      return;
    plan_.clear();  // until all is there: memory may run out on the way
    std::vector<int32_t> plan(configurations, configurations + branches);
    kernels_.assign(kernels, kernels + count);
    groups_.clear();
    for (int dilation = 1; dilation <= 2; ++dilation) add_group(plan, dilation);
    direct_.clear();
    for (int m = 0; m < branches; ++m)
      if (plan[m] == 0 || plan[m] == 3) direct_.push_back({std::max(plan[m], 1), plan[m] == 0, direct_weights(m)});
    plan_ = std::move(plan);
  }

 protected:
  void compute(int y) override {
    const int width = whole_vectors(out->width());
    for (int x = 0; x < width; x += kChunk) {
      const int columns = std::min(kChunk, width - x);
      std::fill(sum_.begin(), sum_.end(), 0.0f);
      for (Winograd& group : groups_) add(group, y, x, columns);
      for (const DirectBranch& branch : direct_)
        for (int k = 0; k < kRows; ++k) add(branch, y + k, x, columns, sum_.data() + k * kPlane);
      for (int k = 0; k < kRows; ++k) inject(y + k, x, columns, sum_.data() + k * kPlane);
    }
  }

 private:
  static constexpr int kWidth = 8, kRows = 8, kKernel = kWidth * kWidth * 9, kPlane = kWidth * kChunk;

  struct DirectBranch {
    int dilation;
    bool point;
    std::vector<float> weights;  // [block of outputs][dy][in][dx][out]
  };

  // All branches of one dilation as one convolution.
  void add_group(const std::vector<int32_t>& plan, int dilation) {
    std::vector<float> weights, bias;
    for (size_t m = 0; m < plan.size(); ++m)
      if (plan[m] == dilation) {
        weights.insert(weights.end(), kernels_.begin() + m * kKernel, kernels_.begin() + (m + 1) * kKernel);
        bias.insert(bias.end(), shift_.begin(), shift_.end());
      }
    if (bias.empty()) return;
    groups_.emplace_back(int(bias.size()), kWidth, dilation, slope_, weights.data(), bias.data());
    if (branches_.size() < kRows * bias.size() * kChunk) branches_.resize(kRows * bias.size() * kChunk);
  }

  std::vector<float> direct_weights(int branch) const {
    std::vector<float> weights;
    for (int block = 0; block < kWidth; block += kOutputs)
      for (int dy = 0; dy < 3; ++dy)
        for (int k = 0; k < kWidth; ++k)
          for (int dx = 0; dx < 3; ++dx)
            for (int o = block; o < block + kOutputs; ++o)
              weights.push_back(kernels_[(((branch * kWidth + o) * kWidth + k) * 3 + dy) * 3 + dx]);
    return weights;
  }

  void add(Winograd& group, int y, int x, int columns) {
    const int channels = group.outputs();
    for (int first = 0; first < kRows; first += group.block()) {
      std::array<float*, kRows> to;
      for (int k = 0; k < group.block(); ++k) to[k] = branches_.data() + size_t(k) * channels * kChunk;
      group({slice(0)}, y + first, x, columns, to.data(), kChunk);
      for (int k = 0; k < group.block(); ++k)
        for (int c = 0; c < channels; ++c) {
          const float* from = to[k] + c * kChunk;
          float* sum = sum_.data() + (first + k) * kPlane + c % kWidth * kChunk;
          for (int j = 0; j < columns; j += kLanes) store(sum + j, load(sum + j) + load(from + j));
        }
    }
  }

  void add(const DirectBranch& branch, int y, int x, int columns, float* sum) {
    const Slice from = slice(0);
    const size_t stride = from.rows->stride();
    for_blocks(columns, [&](auto vectors, int column) {
      const float* w = branch.weights.data();
      for (int o = 0; o < kWidth; o += kOutputs) {
        Vec sums[kOutputs][vectors];
        for_each<kOutputs, vectors>([&](int k, int v) { sums[k][v] = splat(shift_[o + k]); });
        for (int dy = -1; dy <= 1; ++dy, w += kWidth * 3 * kOutputs)
          if (!branch.point || dy == 0)
            accumulate<kOutputs, vectors, 3>(sums, from.at(y + dy * branch.dilation) + x + column - branch.dilation,
                                             stride, branch.dilation, kWidth, w);
        for_each<kOutputs, vectors>([&](int k, int v) {
          float* to = sum + (o + k) * kChunk + column + v * kLanes;
          store(to, load(to) + activate(sums[k][v], slope_));
        });
      }
    });
  }

  void inject(int y, int x, int columns, float* sum) {
    const Slice input = slice(0);
    const float* from = input.at(y) + x;
    float* to = out->writable(y) + x;
    const float share = 1.0f / float(plan_.size());
    for (int j = 0; j < kPlane; j += kLanes) store(sum + j, share * load(sum + j));
    for_blocks(columns, [&](auto vectors, int column) {
      for (int o = 0; o < kWidth; o += kOutputs) {
        Vec sums[kOutputs][vectors];
        for_each<kOutputs, vectors>([&](int k, int v) {
          sums[k][v] = load(from + (o + k) * input.rows->stride() + column + v * kLanes) + merge_bias_[o + k];
        });
        accumulate<kOutputs, vectors, 1>(sums, sum + column, kChunk, 0, kWidth, merge_.data() + o * kWidth);
        for_each<kOutputs, vectors>(
            [&](int k, int v) { store(to + (o + k) * out->stride() + column + v * kLanes, sums[k][v]); });
      }
    });
  }

  float slope_;
  std::vector<float> shift_, merge_bias_, merge_, sum_, branches_, kernels_;
  std::vector<int32_t> plan_;
  std::vector<Winograd> groups_;
  std::vector<DirectBranch> direct_;
};

}  // namespace
