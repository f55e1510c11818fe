// A network for a band of rows, and threads that share the bands.
#pragma once

#include <atomic>
#include <memory>
#include <thread>

#include "attention.h"
#include "pair.h"
#include "weights.h"

namespace {

// Stages that end in one, for a band of rows.
class Pipeline {
 public:
  Pipeline(int from, int to) : from_(from), to_(to) {}

  template <typename S, typename... Arguments>
  S* add(Arguments&&... arguments) {
    auto stage = std::make_unique<S>(std::forward<Arguments>(arguments)...);
    S* added = stage.get();
    stages_.push_back(std::move(stage));
    return added;
  }

  Stage* add_block(Stage* x, const BlockWeights& w, Margin margin) {
    return add<ConvBlock>(Input{x}, Winograd(8, 8, 2, kSlope, w.first.weights, w.first.bias),
                          Winograd(8, 16, 2, kSlope, w.second.weights, w.second.bias), kSlope, w.merge.weights,
                          w.merge.bias, margin);
  }

  // Once, when all stages are there.
  void allocate(int height, int width) {
    height_ = height;
    advance(true);
    for (auto& stage : stages_) stage->allocate(width);
  }

  void run() { advance(false); }

 private:
  void advance(bool rehearse) {
    for (auto& stage : stages_) stage->forget(height_);
    stages_.back()->start(from_, from_ + 8);
    stages_.back()->require(to_, rehearse);
  }

  int from_, to_, height_ = 0;
  std::vector<std::unique_ptr<Stage>> stages_;
};

// The first rows of a network: an image of floats, read where it lies.
class Source : public Stage {
 public:
  Source() : Stage({}, 1, 4, 0, 0, Margin::kReflect) {}
  const float* image = nullptr;

 protected:
  void compute(int y) override {
    for (int k = std::max(y, 0); k < std::min(y + block(), out->height()); ++k)
      std::memcpy(out->writable(k), image + size_t(k) * out->width(), sizeof(float) * out->width());
  }
};

using Pipelines = std::vector<std::unique_ptr<Pipeline>>;

// Calls work(0) .. work(count - 1), each once, on so many threads. Rethrows what one of them threw.
template <typename Work>
void in_parallel(int threads, int count, Work work) {
  std::atomic<int> next{0};
  std::exception_ptr fault;
  std::mutex of_fault;
  auto take = [&] {
    try {
      for (int i; (i = next++) < count;) work(i);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(of_fault);
      fault = std::current_exception();
    }
  };
  std::vector<std::thread> helpers;
  helpers.reserve(size_t(std::max(threads, 0)));
  try {
    for (int i = 1; i < std::min(threads, count); ++i) helpers.emplace_back(take);
  } catch (const std::system_error&) {  // no more threads to be had: those that there are do the work
  }
  take();
  for (std::thread& helper : helpers) helper.join();
  if (fault) std::rethrow_exception(fault);
}

inline void run(int threads, const Pipelines& pipelines) {
  in_parallel(threads, int(pipelines.size()), [&](int i) { pipelines[i]->run(); });
}

// Appends pipelines for bands that cover an image; build(pipeline) adds the stages of one.
template <typename Build>
void add_bands(Pipelines& to, int count, int height, int width, Build build) {
  const int rows = ((height + count - 1) / count + 7) / 8 * 8;  // whole blocks: no row is made by two bands
  for (int from = 0; from < height; from += rows) {
    to.push_back(std::make_unique<Pipeline>(from, std::min(from + rows, height)));
    build(*to.back());
    to.back()->allocate(height, width);
  }
}

}  // namespace
