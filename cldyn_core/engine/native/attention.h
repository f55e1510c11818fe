// FRB1: the gradient attention.
#pragma once

#include "stage.h"

namespace {

// |Sobel_x / 8| + |Sobel_y / 8| of all channels. Its inputs repeat their border.
class Gradient : public Stage {
 public:
  explicit Gradient(std::vector<Input> inputs)
      : Stage(inputs, int(inputs.size()) * 8, 4, 1, 1, Margin::kZero) {}

 protected:
  void compute(int y) override {
    for (int k = 0; k < block(); ++k) {
      float* to = out->writable(y + k);
      for (size_t i = 0; i < inputs().size(); ++i) {
        const Slice from = slice(int(i));
        const float *above = from.at(y + k - 1), *here = from.at(y + k), *below = from.at(y + k + 1);
        for (int c = 0; c < from.count; ++c, to += out->stride()) {
          const size_t at = c * from.rows->stride();
          row(above + at, here + at, below + at, to);
        }
      }
    }
  }

 private:
  void row(const float* a, const float* b, const float* c, float* to) {
    for (int x = 0; x < out->width(); x += kLanes) {
      const Vec a0 = load(a + x - 1), a1 = load(a + x), a2 = load(a + x + 1), c0 = load(c + x - 1), c1 = load(c + x),
                c2 = load(c + x + 1);
      const Vec along_x = (a2 - a0) + 2.0f * (load(b + x + 1) - load(b + x - 1)) + (c2 - c0);
      const Vec along_y = (c0 - a0) + 2.0f * (c1 - a1) + (c2 - a2);
      store(to + x, 0.125f * (vabs(along_x) + vabs(along_y)));
    }
  }
};

// 3x3 means (zeros outside count) of all channels, then 3x3 maxima of all channels; of values that are not negative.
class Pool : public Stage {
 public:
  explicit Pool(Input input) : Stage({input}, 2 * input.stage->channels(), 4, 1, 1, Margin::kReflect) {}

 protected:
  void compute(int y) override {
    const Slice from = slice(0);
    for (int k = 0; k < block(); ++k) {
      const float *above = from.at(y + k - 1), *here = from.at(y + k), *below = from.at(y + k + 1);
      float* means = out->writable(y + k);
      float* maxima = means + from.count * out->stride();
      for (int c = 0; c < from.count; ++c) {
        const size_t at = c * from.rows->stride(), to = c * out->stride();
        row(above + at, here + at, below + at, means + to, maxima + to);
      }
    }
  }

 private:
  void row(const float* a, const float* b, const float* c, float* mean, float* maximum) {
    for (int x = 0; x < out->width(); x += kLanes) {
      Vec total = {}, most = {};
      for (int dx = -1; dx <= 1; ++dx) {
        const Vec u = load(a + x + dx), v = load(b + x + dx), w = load(c + x + dx);
        total += u + v + w;
        most = vmax(most, vmax(u, vmax(v, w)));
      }
      store(mean + x, total * (1.0f / 9.0f));
      store(maximum + x, most);
    }
  }
};

// Features times sigmoid(channel attention * spatial attention). The last input is the spatial attention.
class Gate : public Stage {
 public:
  Gate(std::vector<Input> inputs, Margin margin) : Stage(std::move(inputs), 16, 4, 0, 0, margin) {}
  float channel[16] = {};

 protected:
  void compute(int y) override {
    const int last = int(inputs().size()) - 1;
    const Slice spatial = slice(last);
    for (int k = 0; k < block(); ++k)
      for (int i = 0, c = 0; i < last; ++i) {
        const Slice from = slice(i);
        for (int j = 0; j < from.count; ++j, ++c)
          row(from.at(y + k) + j * from.rows->stride(), spatial.at(y + k) + c * spatial.rows->stride(), channel[c],
              out->writable(y + k) + c * out->stride());
      }
  }

 private:
  void row(const float* feature, const float* spatial, float channel, float* to) {
    for (int x = 0; x < out->width(); x += kLanes)
      store(to + x, load(feature + x) * sigmoid(channel * load(spatial + x)));
  }
};

}  // namespace
