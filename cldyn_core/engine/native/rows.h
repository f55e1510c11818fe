// Rows of a multi-channel image, of which only the latest are kept; or all of them.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "simd.h"

namespace {

constexpr int kReach = 4;  // columns beyond the image that a convolution may read
constexpr int kPad = 32;   // floats left and right of a row: kReach, and room for whole vectors

enum class Margin { kZero, kReflect, kReplicate };

// Row y lies in slot y % capacity as [channel][kPad + width + kPad]. Where a consumer reads beyond the image, the
// margin says what it sees.
class Rows {
 public:
  void resize(int channels, int height, int width, int capacity, Margin margin) {
    channels_ = channels, height_ = height, width_ = width, margin_ = margin;
    capacity_ = std::min(capacity, height);
    stride_ = (width + kLanes - 1) / kLanes * kLanes + 2 * kPad;
    row_ = size_t(channels_) * stride_;
    memory_.assign(row_ * (capacity_ + 2) + kPad, 0.0f);
    zeros_ = memory_.data() + kPad + row_ * capacity_;
    spare_ = zeros_ + row_;
  }

  int channels() const { return channels_; }
  Margin margin() const { return margin_; }
  int height() const { return height_; }
  int width() const { return width_; }
  size_t stride() const { return stride_; }  // floats from channel to channel

  // Channel 0, column 0 of a row to read; y may lie outside the image.
  const float* at(int y) const {
    if (y < 0 || y >= height_) {
      if (margin_ == Margin::kZero) return zeros_;
      const int last = height_ - 1;
      if (margin_ == Margin::kReflect) y = y < 0 ? -y : 2 * last - y;
      y = std::min(std::max(y, 0), last);
    }
    return slot(y);
  }

  // The same to write; a row outside the image goes nowhere.
  float* writable(int y) { return y >= 0 && y < height_ ? slot(y) : spare_; }

  // To be called when a row is complete: what lies left and right of it.
  void finish(int y) {
    if (y < 0 || y >= height_) return;
    const int furthest = width_ - 1;
    for (int c = 0; c < channels_; ++c) {
      float* row = slot(y) + c * stride_;
      for (int k = 1; k <= kReach; ++k) {
        const bool zero = margin_ == Margin::kZero;
        const int mirror = margin_ == Margin::kReflect ? std::min(k, furthest) : 0;
        row[-k] = zero ? 0.0f : row[mirror];
        row[width_ - 1 + k] = zero ? 0.0f : row[width_ - 1 - mirror];
      }
    }
  }

 private:
  float* slot(int y) const { return memory_.data() + kPad + size_t(y % capacity_) * row_; }

  int channels_ = 0, height_ = 0, width_ = 0, capacity_ = 0;
  Margin margin_ = Margin::kZero;
  size_t stride_ = 0, row_ = 0;
  mutable std::vector<float> memory_;
  float *zeros_ = nullptr, *spare_ = nullptr;
};

}  // namespace
