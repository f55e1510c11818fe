// The whole VFN over one image: passes over bands of rows, with the channel attention between them.
#pragma once

#include "injection.h"
#include "pipeline.h"
#include "statistics.h"

namespace {

class Vfn {
 public:
  Vfn(const float* weights, size_t count, int depth, int threads)
      : weights_(weights, count, depth), threads_(std::max(threads, 1)) {}

  // Encoder block 0 of both images, (height, width) each.
  void encode(const float* infrared, const float* luma, int height, int width) {
    if (height != height_ || width != width_) build(height, width);
    for (Source* source : sources_[0]) source->image = infrared;
    for (Source* source : sources_[1]) source->image = luma;
    run(threads_, encoders_);
  }

  // The rest, from what `encode` left. branches: 0 without injection, else kernels [2][depth - 1][branches][8][8][3][3].
  const Rows& finish(int branches, const int32_t* configurations, const float* kernels) {
    const bool compensated = branches > 0;
    if (compensated)
      for (int i = 0; i < 2 * (weights_.depth - 1); ++i)
        for (Injection* injection : injections_[i])
          injection->set(branches, configurations + i * branches, kernels + size_t(i) * branches * 576);
    run(threads_, compensated ? compensated_ : plain_);
    for (Statistics* statistics : statistics_) statistics->reset();
    run(threads_, gradients_);
    weigh_channels();
    run(threads_, decoders_);
    return luma_;
  }

  const Rows& encoded(int modality) const { return encoded_[modality]; }

 private:
  void weigh_channels() {
    float mean[16], most[16] = {}, channel[16] = {};
    double sum[16] = {};
    const int bands = int(statistics_.size()) / 2;
    for (int i = 0; i < int(statistics_.size()); ++i)
      for (int c = 0; c < 8; ++c) {
        const int at = i / bands * 8 + c;
        sum[at] += statistics_[i]->sum[c];
        most[at] = std::max(most[at], statistics_[i]->maximum[c]);
      }
    for (int c = 0; c < 16; ++c) mean[c] = float(sum[c] / (double(height_) * width_));
    weights_.channel_mean.add(mean, channel);
    weights_.channel_max.add(most, channel);
    for (Gate* gate : gates_) std::copy(channel, channel + 16, gate->channel);
  }

  void build(int height, int width) {
    height_ = width_ = 0;  // until all is there: memory may run out on the way
    luma_.resize(1, height, width, height, Margin::kZero);
    for (Pipelines* old : {&encoders_, &plain_, &compensated_, &gradients_, &decoders_}) old->clear();
    sources_[0].clear(), sources_[1].clear(), statistics_.clear(), gates_.clear();
    injections_.assign(2 * (weights_.depth - 1), {});
    const int count = (threads_ + 1) / 2;
    for (int modality = 0; modality < 2; ++modality) {
      encoded_[modality].resize(8, height, width, height, Margin::kZero);
      features_[modality].resize(8, height, width, height, Margin::kReplicate);
      add_bands(encoders_, count, height, width, [&](Pipeline& p) { build_encoder(p, modality); });
      add_bands(plain_, count, height, width, [&](Pipeline& p) { build_rest(p, modality, false); });
      add_bands(compensated_, count, height, width, [&](Pipeline& p) { build_rest(p, modality, true); });
      add_bands(gradients_, count, height, width, [&](Pipeline& p) {
        Gradient* gradient = p.add<Gradient>(std::vector<Input>{{p.add<Whole>(&features_[modality])}});
        statistics_.push_back(p.add<Statistics>(Input{gradient}));
      });
    }
    add_bands(decoders_, threads_, height, width, [&](Pipeline& p) { build_decoder(p); });
    height_ = height, width_ = width;
  }

  const EncoderWeights& encoder(int modality) const { return modality ? weights_.visible : weights_.infrared; }

  void build_encoder(Pipeline& p, int modality) {
    const EncoderWeights& w = encoder(modality);
    Source* source = p.add<Source>();
    sources_[modality].push_back(source);
    Stage* stem = p.add<Direct>(Input{source}, 4, kSlope, false, Margin::kReflect, w.stem.weights,
                                w.stem.bias);
    Stage* widened = p.add<Convolution>(Input{stem}, Margin::kZero,
                                        Winograd(8, 4, 1, kSlope, w.widen.weights, w.widen.bias));
    p.add_block(widened, w.blocks[0], Margin::kZero)->out = &encoded_[modality];
  }

  void build_rest(Pipeline& p, int modality, bool compensated) {
    const EncoderWeights& w = encoder(modality);
    Stage* x = p.add<Whole>(&encoded_[modality]);
    for (int i = 1; i < weights_.depth; ++i) {
      if (compensated) {
        const InjectionWeights& injection = w.injections[i - 1];
        Injection* added = p.add<Injection>(Input{x}, kSlope, injection.shift, injection.merge, injection.merge_bias);
        injections_[modality * (weights_.depth - 1) + i - 1].push_back(added);
        x = added;
      }
      x = p.add_block(x, w.blocks[i], i + 1 < weights_.depth ? Margin::kZero : Margin::kReplicate);
    }
    if (weights_.depth == 1) x = p.add<Copy>(Input{x}, Margin::kReplicate);
    x->out = &features_[modality];
  }

  void build_decoder(Pipeline& p) {
    const Input infrared{p.add<Whole>(&features_[0])}, visible{p.add<Whole>(&features_[1])};
    Stage* gradient = p.add<Gradient>(std::vector<Input>{infrared, visible});
    Stage* pooled = p.add<Pool>(Input{gradient});
    const VfnWeights& w = weights_;
    std::vector<Winograd> first;
    first.emplace_back(32, 16, 1, kRelu, w.spatial_mean.weights, w.spatial_mean.bias);
    first.emplace_back(32, 16, 1, kRelu, w.spatial_max.weights, w.spatial_max.bias);
    Stage* spatial = p.add<SpatialAttention>(std::vector<Input>{{pooled, 0, 16}, {pooled, 16, 16}}, std::move(first),
                                             Winograd(16, 64, 1, 1.0f, w.spatial.weights, w.spatial.bias));
    Gate* gate = p.add<Gate>(std::vector<Input>{infrared, visible, {spatial}}, Margin::kReflect);
    gates_.push_back(gate);
    Stage* x = p.add<Convolution>(Input{gate}, Margin::kZero,
                                  Winograd(8, 16, 1, kSlope, w.reduce.weights, w.reduce.bias));
    for (int i = 0; i < w.depth; ++i)
      x = p.add_block(x, w.blocks[i], i + 1 < w.depth ? Margin::kZero : Margin::kReflect);
    Stage* narrowed = p.add<Direct>(Input{x}, 4, kSlope, false, Margin::kReflect, w.narrow.weights,
                                    w.narrow.bias);
    p.add<Direct>(Input{narrowed}, 1, kSlope, true, Margin::kZero, w.luma.weights, w.luma.bias)->out =
        &luma_;
  }

  VfnWeights weights_;
  int threads_, height_ = 0, width_ = 0;
  Rows encoded_[2], features_[2], luma_;
  Pipelines encoders_, plain_, compensated_, gradients_, decoders_;
  std::vector<Source*> sources_[2];
  std::vector<std::vector<Injection*>> injections_;
  std::vector<Statistics*> statistics_;
  std::vector<Gate*> gates_;
};

}  // namespace
