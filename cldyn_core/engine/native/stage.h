// A network as a pipeline of stages, each of which makes a few rows at a time and asks its inputs for what it needs.
// So an image passes through all layers while it is in the cache, and no layer is computed twice.
#pragma once

#include "rows.h"

namespace {

class Stage;

// A range of channels of another stage's output.
struct Input {
  Stage* stage;
  int first = 0;
  int count = 0;  // 0: all
};

// A range of channels of some rows.
struct Slice {
  const Rows* rows;
  int first, count;
  const float* at(int y) const { return rows->at(y) + first * rows->stride(); }
};

class Stage {
 public:
  // block: rows made at a time, 0 if they are there; above, below: rows of the inputs that a block reads beyond itself.
  Stage(std::vector<Input> inputs, int channels, int block, int above, int below, Margin margin)
      : inputs_(std::move(inputs)), channels_(channels), block_(block), above_(above), below_(below), margin_(margin) {
    for (Input& input : inputs_) {
      if (input.count == 0) input.count = input.stage->channels_;
      depth_ += input.count;
    }
  }
  virtual ~Stage() = default;
  Stage(const Stage&) = delete;
  Stage& operator=(const Stage&) = delete;

  Rows* out = &own_;  // a ring of this stage's own, or the whole image that the pipelines of several bands fill

  int channels() const { return channels_; }

  // A new image of this height, of which nothing is made yet.
  void forget(int height) { next_ = height_ = height; }

  // Rows from `first` on will be asked for, at first up to `end`: blocks lie so that one ends there.
  void start(int first, int end) {
    if (block_ == 0) return;
    first_ = end - (end - first + block_ - 1) / block_ * block_;
    next_ = first_ - warm_up();
    for (const Input& input : inputs_) input.stage->start(next_ - above_, next_ + block_ + below_);
  }

  // Makes all rows above `end`. Rehearsing computes nothing but how many rows must be kept.
  void require(int end, bool rehearse) {
    end = std::min(end, height_);
    while (next_ < end) {  // never for a Whole
      for (const Input& input : inputs_) {
        input.stage->require(next_ + block_ + below_, rehearse);
        input.stage->capacity_ = std::max(input.stage->capacity_, input.stage->next_ - (next_ - above_));
      }
      if (!rehearse) {
        compute(next_);
        for (int y = std::max(next_, first_); y < next_ + block_; ++y) out->finish(y);
      }
      next_ += block_;
    }
  }

  // The ring, after a rehearsal.
  virtual void allocate(int width) {
    if (out == &own_) own_.resize(channels_, height_, width, std::max(capacity_, block_), margin_);
  }

 protected:
  // Makes rows y .. y + block - 1 of `out`; or, while warming(), only what is needed for later ones.
  virtual void compute(int y) = 0;

  // Rows before the first one for which `compute` is called too.
  virtual int warm_up() const { return 0; }

  bool warming() const { return next_ < first_; }
  const std::vector<Input>& inputs() const { return inputs_; }
  Slice slice(int input) const { return {inputs_[input].stage->out, inputs_[input].first, inputs_[input].count}; }
  int depth() const { return depth_; }  // channels of all inputs together
  int block() const { return block_; }
  int height() const { return height_; }

 private:
  std::vector<Input> inputs_;
  int channels_, block_, above_, below_, depth_ = 0;
  Margin margin_;
  int first_ = 0, next_ = 0, height_ = 0, capacity_ = 0;
  Rows own_;
};

// An image that is complete before the pipeline starts.
class Whole : public Stage {
 public:
  explicit Whole(Rows* rows) : Stage({}, rows->channels(), 0, 0, 0, rows->margin()) { out = rows; }

 protected:
  void compute(int) override {}
};

// The same rows once more, under another margin.
class Copy : public Stage {
 public:
  Copy(Input input, Margin margin) : Stage({input}, 8, 4, 0, 0, margin) {}

 protected:
  void compute(int y) override {
    const Slice from = slice(0);
    for (int k = y; k < y + block(); ++k)
      for (int c = 0; c < channels(); ++c)
        std::memcpy(out->writable(k) + c * out->stride(), from.at(k) + c * from.rows->stride(),
                    sizeof(float) * out->width());
  }
};

}  // namespace
