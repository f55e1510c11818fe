// Means and maxima of feature maps.
#pragma once

#include "stage.h"

namespace {

// Sum and maximum of each channel over a band; makes no rows.
class Statistics : public Stage {
 public:
  explicit Statistics(Input input)
      : Stage({input}, input.stage->channels(), 4, 0, 0, Margin::kZero), sum(channels()), maximum(channels()) {
    out = &nothing_;
  }

  void reset() {
    std::fill(sum.begin(), sum.end(), 0.0);
    std::fill(maximum.begin(), maximum.end(), std::numeric_limits<float>::lowest());
  }

  std::vector<double> sum;
  std::vector<float> maximum;

 protected:
  void compute(int y) override {
    const Slice from = slice(0);
    for (int k = y; k < std::min(y + block(), from.rows->height()); ++k)
      for (int c = 0; c < channels(); ++c) add(c, from.at(k) + c * from.rows->stride(), from.rows->width());
  }

 private:
  void add(int channel, const float* row, int width) {
    const int whole = width / kLanes * kLanes;
    Vec sums = {}, most = splat(maximum[channel]);
    for (int x = 0; x < whole; x += kLanes) sums += load(row + x), most = vmax(most, load(row + x));
    float total = 0.0f, top = maximum[channel];
    for (int i = 0; i < kLanes; ++i) total += sums[i], top = std::max(top, float(most[i]));
    for (int x = whole; x < width; ++x) total += row[x], top = std::max(top, row[x]);
    sum[channel] += total, maximum[channel] = top;
  }

  Rows nothing_;
};

}  // namespace
