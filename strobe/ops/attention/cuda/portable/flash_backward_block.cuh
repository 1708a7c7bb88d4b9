#pragma once

#include <cstdint>

#include "strobe/gpu/atomic.cuh"
#include "strobe/gpu/named_barrier.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_config.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_load.cuh"
#include "strobe/ops/attention/cuda/portable/flash_backward_scores.cuh"

namespace strobe {

// A block of flash backward at work, as one of its warps sees it; the members are registers. The
// numbers are those of the steps in flash_backward_kernel.cuh.
template <class Config>
class FlashBackwardBlock : public FlashBackwardScores<Config> {
  using Base = FlashBackwardScores<Config>;

 public:
  using T = typename Config::T;
  using Params = typename Base::Params;
  using Scores = typename Config::Scores;
  using Shared = typename Config::Shared;

  __device__ FlashBackwardBlock(const Params& params, Shared& shared,
                                const AttentionDeviceSequence& sequence, int tile, int head)
      : Base(params, sequence, tile, head), shared_(shared), query_tile_(query_tile(sequence)) {}

  // All columns that the rows see, and the rows of the outputs.
  __device__ __forceinline__ void run() {
    const int begin = band_.any_begin(block_row_) / Config::kStreamRows * Config::kStreamRows;
    const int end = band_.any_end(block_row_ + Config::kBlockRows);
    Round round = {begin, kRowsAreKeys ? head_ * params_.group : head_};
    const int last_head = kRowsAreKeys ? round.head + params_.group - 1 : head_;
    bool has_round = begin < end;
    if (has_round) {
      load_own_rows();  // [1]
      load_columns(round.column, round.head, 0);
      wait_for_loads();
      take_rows();
    }
    for (int stage = 0; has_round;) {
      Round next = {round.column + Config::kStreamRows, round.head};
      if (next.column >= end) next = {begin, round.head + 1};
      const bool has_next = next.head <= last_head;
      if (params_.stages == 2 && has_next) load_columns(next.column, next.head, 1 - stage);
      add_round(shared_.columns[stage], round.column, round.head);
      if (params_.stages == 2) {
        stage = 1 - stage;
      } else if (has_next) {
        __syncthreads();
        load_columns(next.column, next.head, 0);
      }
      if (has_next || Config::kSumsQueries) wait_for_loads();
      round = next;
      has_round = has_next;
    }
    add_query_sums();
    write();  // [7]
  }

  // dS of the columns [column, column + kStreamRows), without dropout's factor, added to `sums`:
  // one after another steps of kStep columns.
  static constexpr int kSteps = Config::kStreamRows / Config::kStep;
  __device__ __forceinline__ void add_dscores(int column, Scores (&sums)[kSteps]) {
    if (band_.hides_all(block_row_, Config::kBlockRows, column, Config::kStreamRows)) return;
    __syncthreads();  // all have done with what was loaded before
    load_own_rows();
    load_columns(column, head_, 0);
    wait_for_loads();
    take_rows();
#pragma unroll
    for (int i = 0; i < kSteps; ++i) {
      const int step = i * Config::kStep;
      if (sees_nothing(column + step)) continue;
      Scores probs = {}, dscores = {};
      make_scores(probs, dscores, shared_.columns[0], step, column + step, head_);
      Base::for_each_score([&](int m, int n, int e) { sums[i][m][n][e] += dscores[m][n][e]; });
    }
  }

  // Of the warp's first row, from the start of the sequence.
  __device__ int first_row() const { return block_row_ + warp_row_; }

 private:
  using Columns = typename Config::Columns;
  using Sums = typename Config::Sums;
  using Tile = SharedTile<T, Config::kHeadDim>;
  template <Operand kOperand>
  using Reader = FragmentReader<T, Config::kHeadDim, kOperand>;
  using Base::band_, Base::block_row_, Base::warp_row_, Base::params_, Base::head_;
  using Base::kRowsAreKeys, Base::kRoles;
  using Lefts = typename Base::Lefts;
  using Base::lane, Base::warp, Base::sees_nothing;

  static constexpr int kDepth = Config::kHeadDim / 16;
  static constexpr bool kKeepsRows = Config::kTile.rows_in_registers;

  // A tile of columns, of one query head.
  struct Round {
    int column, head;
  };

  __device__ __forceinline__ void add_round(const Columns& columns, int column, int head) {
    if constexpr (Config::kPassesSurvivors) {
      add_step_of_role_with_dropout(columns, column, head);
    } else if constexpr (kRoles == 2) {
      add_step_of_role(columns, column, head);
    } else {
      add_query_sums();
#pragma unroll 1
      for (int step = 0; step < Config::kStreamRows; step += Config::kStep) {
        add_step(columns, step, column + step, head);
      }
    }
    if constexpr (Config::kSumsQueries) {
      const int64_t head_row = static_cast<int64_t>(Base::batch_) * params_.heads_q + head;
      shared_sums_ = params_.query_sums +
                     (head_row * params_.query_sum_tiles + query_tile_ + column / kQuerySumRows) *
                         (kQuerySumRows * Config::kHeadDim);
      exchange_ = 1 - exchange_;
    }
  }

  __device__ int query_tile(const AttentionDeviceSequence& sequence) const {
    return params_.is_packed() ? sequence.first_q / kQuerySumRows +
                                     static_cast<int>(sequence.dropout_head) / params_.heads_q
                               : 0;
  }

  __device__ SequenceRows<const T> query_rows(const BthdView<const T>& view, int head) const {
    return SequenceRows<const T>::of(view, Base::batch_, Base::first_q_, head);
  }
  __device__ SequenceRows<const T> key_rows(const BthdView<const T>& view, int head) const {
    return SequenceRows<const T>::of(view, Base::batch_, Base::first_k_, head);
  }

  __device__ __forceinline__ void load_own_rows() {
    const auto load = [&](int which, const SequenceRows<const T>& rows) {
      load_rows<T, Config::kHeadDim, Config::kBlockRows, Config::kThreads, Config::kArch>(
          shared_.rows[which], rows, block_row_, band_.row_begin, band_.row_end, params_.head_dim);
    };
    load(0, kRowsAreKeys ? key_rows(params_.k, head_) : query_rows(params_.q, head_));
    load(1, kRowsAreKeys ? key_rows(params_.v, head_) : query_rows(params_.dout, head_));
  }

  __device__ __forceinline__ void load_columns(int column, int head, int stage) {
    Columns& columns = shared_.columns[stage];
    const auto load = [&](int which, const SequenceRows<const T>& rows) {
      load_rows<T, Config::kHeadDim, Config::kStreamRows, Config::kThreads, Config::kArch>(
          columns.tiles[which], rows, column, band_.column_begin, band_.column_end,
          params_.head_dim);
    };
    if constexpr (kRowsAreKeys) {
      load(0, query_rows(params_.q, head));
      load(1, query_rows(params_.dout, head));
      const int i = static_cast<int>(threadIdx.x), query = column + i;
      if (i < Config::kStreamRows) {
        const bool is_inside = query >= band_.column_begin && query < band_.column_end;
        copy_statistics(&columns.statistics[i], Base::statistics(head) + query, is_inside);
      }
    } else {
      load(0, key_rows(params_.k, head / params_.group));
      load(1, key_rows(params_.v, head / params_.group));
    }
    if constexpr (Config::kIsSm80) cp_async_commit();
  }

  static __device__ __forceinline__ void copy_statistics(float2* to, const float2* from,
                                                         bool is_inside) {
    if constexpr (Config::kIsSm80) {
      cp_async_8(shared_address(to), from, is_inside);
    } else {
      *to = is_inside ? *from : float2{};
    }
  }

  static __device__ __forceinline__ void wait_for_loads() {
    if constexpr (Config::kIsSm80) cp_async_wait<0>();
    __syncthreads();
  }

  // k (0) and v (1), or q and dout: the warp's own rows of the block's.
  __device__ Tile own_rows(int which) const {
    return {shared_address(shared_.rows) + which * Config::kRowsBytes +
            warp_row_ * Tile::kRowBytes};
  }
  static __device__ Tile column_rows(const Columns& columns, int which, int step) {
    return {shared_address(columns.tiles) + which * Config::kStreamBytes + step * Tile::kRowBytes};
  }

  // What a warp keeps of its rows for all steps.
  __device__ __forceinline__ void take_rows() {
    if constexpr (kKeepsRows) {
#pragma unroll
      for (int which = 0; which < 2; ++which) {
        const Reader<Operand::left> rows(own_rows(which));
#pragma unroll
        for (int k = 0; k < kDepth; ++k) {
#pragma unroll
          for (int m = 0; m < Config::kRowTiles; ++m) {
            kept_[which][k][m] = rows(16 * m, 16 * k);
          }
        }
      }
    }
    Base::take_statistics();
  }

  // scores += rows · columnsᵀ, over head_dim; k·q for `which` = 0, v·dout for 1.
  __device__ __forceinline__ void add_products(Scores& scores, int which, const Columns& columns,
                                               int step) const {
    const Reader<Operand::left> rows(own_rows(which));
    const Reader<Operand::right> tile(column_rows(columns, which, step));
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      Fragment<T> left[Config::kRowTiles];
#pragma unroll
      for (int m = 0; m < Config::kRowTiles; ++m) {
        left[m] = kKeepsRows ? kept_[which][k][m] : rows(16 * m, 16 * k);
      }
#pragma unroll
      for (int n = 0; n < Config::kColumnTiles; n += 2) {
        const Fragment<T> right = tile(8 * n, 16 * k);
#pragma unroll
        for (int m = 0; m < Config::kRowTiles; ++m) {
          multiply<T, Config::kArch>(scores[m][n], scores[m][n + 1], left[m], right);
        }
      }
    }
  }

  // sums += scores · columns, over the step's columns.
  __device__ __forceinline__ void add_sums(Sums& sums, const Lefts& scores, int which,
                                           const Columns& columns, int step) const {
    const Reader<Operand::right_transposed> tile(column_rows(columns, which, step));
    const int first_column = Config::kTile.head_splits == 1 ? 0 : warp() % 2 * Config::kSumColumns;
#pragma unroll
    for (int k = 0; k < Config::kColumnTiles / 2; ++k) {
#pragma unroll
      for (int n = 0; n < Config::kSumTiles; n += 2) {
        const Fragment<T> right = tile(16 * k, first_column + 8 * n);
#pragma unroll
        for (int m = 0; m < Config::kRowTiles; ++m) {
          multiply<T, Config::kArch>(sums[m][n], sums[m][n + 1], scores[k][m], right);
        }
      }
    }
  }

  // [2] to [4]: Z∘P and dS of the columns [column, column + kStep), which are rows [step, …) of
  // `columns`. Both are zero before.
  __device__ __forceinline__ void make_scores(Scores& probs, Scores& dscores,
                                              const Columns& columns, int step, int column,
                                              int head) const {
    add_products(probs, 0, columns, step);
    add_products(dscores, 1, columns, step);
    Base::to_probs(probs, columns.statistics + step, column, head);
    Base::to_dscores(probs, dscores, columns.statistics + step, column, head);
  }

  __device__ __forceinline__ void add_step(const Columns& columns, int step, int column, int head) {
    const bool is_empty = sees_nothing(column);
    Scores probs = {}, dscores = {};
    if (!is_empty) make_scores(probs, dscores, columns, step, column, head);
    Lefts left;
    Base::to_lefts(left, dscores);
    if constexpr (Config::kSumsQueries) share_dscores(left, step);
    if (is_empty) return;
    if constexpr (kRowsAreKeys) {  // [5]
      Lefts prob_left;
      Base::to_lefts(prob_left, probs);
      add_sums(sums_[1], prob_left, 1, columns, step);
    }
    add_sums(sums_[0], left, 0, columns, step);
  }

  // The same where two warps share the rows: role 0 makes P and dv, role 1 dS and dk. What both add
  // to the sums of the round before stands where one of them has tensor cores to itself, because
  // the other is at its scores.
  __device__ __forceinline__ void add_step_of_role(const Columns& columns, int column, int head) {
    constexpr int kPairs = Config::kTile.warps / 2, kPairThreads = 2 * kWarpSize;
    const int role = warp() / kPairs, pair = warp() % kPairs;
    unsigned char* exchange =
        shared_.exchange[exchange_] + pair * (Config::kWarpRows * Config::kStreamRows * 2);
    const bool is_empty = sees_nothing(column);
    Lefts left = {};
    if (role == 1 || is_empty) add_query_sums();
    if (!is_empty) {
      Scores scores = {};
      add_products(scores, role, columns, 0);
      if (role == 0) {
        Base::to_probs(scores, columns.statistics, column, head);
        Base::give_probs(scores, left, exchange, column, head);
        barrier_arrive(1 + pair, kPairThreads);
        add_query_sums();
      } else {
        barrier_wait(1 + pair, kPairThreads);
        Base::take_probs(scores, left, exchange, columns.statistics, {});
        __syncwarp();  // dS takes the place of P
      }
    }
    if constexpr (Config::kSumsQueries) {
      if (role == 1) share_dscores(left, 0);
    }
    if (!is_empty) add_sums(sums_[0], left, 1 - role, columns, 0);
  }

  // The same where role 1 also draws what survives dropout, for both: while role 0 is at S and P.
  // Role 0 needs it last, after its part of the round before.
  __device__ __forceinline__ void add_step_of_role_with_dropout(const Columns& columns, int column,
                                                                int head) {
    constexpr int kPairs = Config::kTile.warps / 2, kPairThreads = 2 * kWarpSize;
    const int role = warp() / kPairs, pair = warp() % kPairs;
    const int probs_given = 1 + pair, survivors_given = 1 + kPairs + pair;  // barriers
    unsigned char* exchange =
        shared_.exchange[exchange_] + pair * (Config::kWarpRows * Config::kStreamRows * 2);
    if (sees_nothing(column)) {
      add_query_sums();
      if (role == 1) share_dscores({}, 0);
      return;
    }
    uint4& passed = shared_.survivors.of[pair][lane()];
    Lefts left;
    Scores scores = {};
    if (role == 1) {
      typename Base::TileSurvivors drawn;
      Base::draw(drawn, column, head);
      passed = {drawn[0][0], drawn[0][1], drawn[1][0], drawn[1][1]};
      barrier_arrive(survivors_given, kPairThreads);
    }
    const auto passed_survivors = [&](typename Base::TileSurvivors& survivors) {
      const uint4 words = passed;
      survivors[0][0] = words.x, survivors[0][1] = words.y;
      survivors[1][0] = words.z, survivors[1][1] = words.w;
    };
    add_products(scores, role, columns, 0);
    typename Base::TileSurvivors survivors;
    if (role == 0) {
      Base::to_probs(scores, columns.statistics, column, head);
      Base::give_probs(scores, left, exchange, column, head);
      barrier_arrive(probs_given, kPairThreads);
      add_query_sums();
      barrier_wait(survivors_given, kPairThreads);
      passed_survivors(survivors);
      Base::drop(left, survivors);
    } else {
      barrier_wait(probs_given, kPairThreads);
      passed_survivors(survivors);
      Base::take_probs(scores, left, exchange, columns.statistics, survivors);
      __syncwarp();  // dS takes the place of P
      share_dscores(left, 0);
      add_query_sums();
    }
    add_sums(sums_[0], left, 1 - role, columns, 0);
  }

  // dSᵀ for all warps: rows of keys, kStreamRows queries wide.
  using DscoreTile = SharedTile<T, Config::kStreamRows>;
  __device__ __forceinline__ void share_dscores(const Lefts& dscores, int step) const {
    const AccumulatorWriter<T, Config::kStreamRows> rows(
        {shared_address(shared_.exchange[exchange_]) + warp_row_ * DscoreTile::kRowBytes});
#pragma unroll
    for (int m = 0; m < Config::kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < Config::kColumnTiles; n += 2) {
        rows.write(16 * m, step + 8 * n, dscores[n / 2][m]);
      }
    }
  }

  // [6] Adds dS K of the round before to a tile of the sums that become dq.
  __device__ __forceinline__ void add_query_sums() const {
    if constexpr (Config::kSumsQueries) add_query_sums_of_all();
  }

  __device__ __forceinline__ void add_query_sums_of_all() const {
    if (shared_sums_ == nullptr) return;
    constexpr int kRows = kQuerySumRows / Config::kQueryWarpRows;
    constexpr int kColumns = Config::kHeadDim / Config::kQueryWarpColumns;
    constexpr int kRowTiles = kRows / 16, kColumnTiles = kColumns / 8;
    static_assert(Config::kStreamRows == kQuerySumRows && kColumns % 16 == 0);
    const int first_row = warp() / Config::kQueryWarpColumns * kRows;
    const int first_column = warp() % Config::kQueryWarpColumns * kColumns;
    const FragmentReader<T, Config::kStreamRows, Operand::left_transposed> dscores(
        {shared_address(shared_.exchange[1 - exchange_])});
    const Reader<Operand::right_transposed> keys({shared_address(shared_.rows)});
    float sums[kRowTiles][kColumnTiles][4] = {};
#pragma unroll
    for (int k = 0; k < Config::kBlockRows; k += 16) {
      Fragment<T> left[kRowTiles];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        left[m] = dscores(k, first_row + 16 * m);
      }
#pragma unroll
      for (int n = 0; n < kColumnTiles; n += 2) {
        const Fragment<T> right = keys(k, first_column + 8 * n);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          multiply<T, Config::kArch>(sums[m][n], sums[m][n + 1], left[m], right);
        }
      }
    }
    float* to = shared_sums_ + warp() * (kRows * kColumns) + lane() * 4;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
        atomic_add_4(to + (m * kColumnTiles + n) * (4 * kWarpSize), sums[m][n]);
      }
    }
  }

  // Sums, scaled, to the block's rows of the outputs, through shared memory.
  __device__ __forceinline__ void write() {
    const float keep_scale = Config::kHasDropout ? params_.dropout.keep_scale() : 1.0f;
    __syncthreads();
    if constexpr (kRoles == 2) {
      const int role = warp() / (Config::kTile.warps / 2);
      stage_sums(1 - role, sums_[0], role == 0 ? keep_scale : params_.scale * keep_scale);
    } else {
      stage_sums(0, sums_[0], params_.scale * keep_scale);
      if constexpr (kRowsAreKeys) stage_sums(1, sums_[1], keep_scale);
    }
    __syncthreads();
    const auto write_rows = [&](int which, const BthdView<T>& view, int first_row) {
      const auto rows = SequenceRows<T>::of(view, Base::batch_, first_row, head_);
      store_rows<T, Config::kHeadDim, Config::kBlockRows, Config::kThreads>(
          rows, shared_.rows[which], block_row_, Base::length_, params_.head_dim);
    };
    if constexpr (kRowsAreKeys) {
      write_rows(0, params_.dk, Base::first_k_);
      write_rows(1, params_.dv, Base::first_k_);
    } else {
      write_rows(0, params_.dq, Base::first_q_);
    }
  }

  __device__ __forceinline__ void stage_sums(int which, const Sums& sums, float factor) {
    const AccumulatorWriter<T, Config::kHeadDim> rows(own_rows(which));
    const int first_column = Config::kTile.head_splits == 1 ? 0 : warp() % 2 * Config::kSumColumns;
#pragma unroll
    for (int m = 0; m < Config::kRowTiles; ++m) {
#pragma unroll
      for (int n = 0; n < Config::kSumTiles; ++n) {
        rows(16 * m, first_column + 8 * n, sums[m][n], factor);
      }
    }
  }

  Shared& shared_;
  const int query_tile_;  // packed: the first one of the sequence
  // The sums to which the round before adds dS K; and the part of `exchange` that this round fills.
  float* shared_sums_ = nullptr;
  int exchange_ = 0;
  Fragment<T> kept_[2][kKeepsRows ? kDepth : 1][Config::kRowTiles];
  Sums sums_[Config::kOutputs] = {};  // of dq; of dk and dv; with two roles of one of them
};

}  // namespace strobe
