// What the selection knows of an image: means of an A2SI's image features (ALGORITHM: steps 2 and 6).
#pragma once

#include "pipeline.h"
#include "statistics.h"

namespace {

class Description {
 public:
  static constexpr int kArchitecture = 8, kHidden = 64, kQuery = 128;

  // Convolutions with their norms folded in: 8 -> 8, then 8 -> 64 and 64 -> 128; weights [out][in][3][3] and biases.
  Description(const float* weights, size_t count, int threads)
      : memory_(weights, weights + count), cursor_(memory_.data()), architecture_(cursor_, kArchitecture, 8),
        hidden_(cursor_, kHidden, 8), query_(cursor_, kQuery, kHidden), threads_(std::max(threads, 1)) {}

  // feature: [8][height][width]; means: kArchitecture values and, if they are wanted, kQuery more.
  void describe(const float* feature, int height, int width, bool query, float* means) {
    if (height != height_ || width != width_) build(height, width);
    for (int y = 0; y < height; ++y) {
      for (int c = 0; c < 8; ++c)
        std::memcpy(feature_.writable(y) + c * feature_.stride(), feature + (size_t(c) * height + y) * width,
                    sizeof(float) * width);
      feature_.finish(y);
    }
    average(architecture_pipelines_, architecture_sums_, kArchitecture, means);
    if (query) average(query_pipelines_, query_sums_, kQuery, means + kArchitecture);
  }

 private:
  void average(const Pipelines& pipelines, const std::vector<Statistics*>& bands, int channels, float* means) {
    for (Statistics* band : bands) band->reset();
    run(threads_, pipelines);
    for (int c = 0; c < channels; ++c) {
      double sum = 0.0;
      for (const Statistics* band : bands) sum += band->sum[c];
      means[c] = float(sum / (double(height_) * width_));
    }
  }

  void build(int height, int width) {
    height_ = width_ = 0;  // until all is there: memory may run out on the way
    query_pipelines_.clear(), architecture_pipelines_.clear(), query_sums_.clear(), architecture_sums_.clear();
    feature_.resize(8, height, width, height, Margin::kZero);
    add_bands(query_pipelines_, threads_, height, width, [&](Pipeline& p) {
      Stage* x = p.add<Convolution>(Input{p.add<Whole>(&feature_)}, Margin::kZero,
                                    Winograd(kHidden, 8, 1, kSlope, hidden_.weights, hidden_.bias));
      x = p.add<Convolution>(Input{x}, Margin::kZero,
                             Winograd(kQuery, kHidden, 1, kSlope, query_.weights, query_.bias));
      query_sums_.push_back(p.add<Statistics>(Input{x}));
    });
    add_bands(architecture_pipelines_, threads_, height, width, [&](Pipeline& p) {
      Stage* x = p.add<Convolution>(Input{p.add<Whole>(&feature_)}, Margin::kZero,
                                    Winograd(kArchitecture, 8, 1, kSlope, architecture_.weights, architecture_.bias));
      architecture_sums_.push_back(p.add<Statistics>(Input{x}));
    });
    height_ = height, width_ = width;
  }

  std::vector<float> memory_;
  Weights cursor_;
  ConvolutionWeights architecture_, hidden_, query_;
  int threads_, height_ = 0, width_ = 0;
  Rows feature_;
  Pipelines architecture_pipelines_, query_pipelines_;
  std::vector<Statistics*> architecture_sums_, query_sums_;
};

}  // namespace
